//! Fields: unknown, missing, of a wrong type, out of range.

use super::*;

#[test]
fn an_unknown_field_is_told_with_the_nearest_name() {
    insta::assert_snapshot!(after(SWEEPFILE, "configs:", "config:"), @"
    error: unknown field `config` in `Sweepfile`
     --> Sweepfile:2:1
      |
    2 | config: [configs/master.yaml]
      | ^^^^^^ not a field here
      |
      = help: did you mean `configs`?

    error: `Sweepfile` has no `configs`
     --> Sweepfile:1:1
      |
    1 | version: 1
      | ^ expected a field `configs`
    ");
    insta::assert_snapshot!(after_alpha("conc-list", "conc_list"), @"
    error: unknown field `conc_list` in `search-space`
      --> configs/master.yaml:11:53
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 2, conc_list: [1, 2, 4] }] }
       |                                                     ^^^^^^^^^ not a field here
       |
       = help: did you mean `conc-list`?
    ");
    insta::assert_snapshot!(after(RECIPE, "reset:", "rest:"), @"
    error: unknown field `rest` in `server`
     --> benchmarks/sglang/recipe.yaml:7:3
      |
    7 |   rest: { http: POST /flush_cache }
      |   ^^^^ not a field here
      |
      = help: did you mean `reset`?
    ");
    insta::assert_snapshot!(after(RUNNERS, "hardware:", "hardwares:"), @"
    error: unknown field `hardwares` in `configs/runners.yaml`
     --> configs/runners.yaml:3:1
      |
    3 | hardwares:
      | ^^^^^^^^^ not a field here
      |
      = help: did you mean `hardware`?
    ");
}

#[test]
fn a_missing_field_is_told_with_its_config() {
    insta::assert_snapshot!(after_alpha("  runner: h100\n", ""), @"
    error: `alpha-fp8-h100-sglang` has no `runner`
     --> configs/master.yaml:2:3
      |
    2 |   image: lmsysorg/sglang:v0.5.1
      |   ^ expected a field `runner`
    ");
    insta::assert_snapshot!(after(SWEEPFILE, "version: 1\n", ""), @"
    error: `Sweepfile` has no `version`
     --> Sweepfile:1:1
      |
    1 | configs: [configs/master.yaml]
      | ^ expected a field `version`
    ");
}

#[test]
fn a_wrong_type_is_told_with_the_right_one() {
    insta::assert_snapshot!(after_alpha("tp: 2", "tp: two"), @r#"
    error: `tp` cannot be the string "two"
      --> configs/master.yaml:11:50
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: two, conc-list: [1, 2, 4] }] }
       |                                                  ^^^ expected an integer
    "#);
    insta::assert_snapshot!(after_alpha("conc-list: [1, 2, 4]", "conc-list: 4"), @"
    error: `conc-list` cannot be the integer 4
      --> configs/master.yaml:11:64
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-list: 4 }] }
       |                                                                ^ expected a list
    ");
    insta::assert_snapshot!(after_alpha("isl: 64", "isl: 64.5"), @"
    error: `isl` cannot be the number 64.5
      --> configs/master.yaml:11:16
       |
    11 |       - { isl: 64.5, osl: 16, search-space: [{ tp: 2, conc-list: [1, 2, 4] }] }
       |                ^^^^ expected an integer
    ");
    insta::assert_snapshot!(after_alpha("multinode: false", "multinode: may"), @r#"
    error: `multinode` cannot be the string "may"
     --> configs/master.yaml:8:14
      |
    8 |   multinode: may
      |              ^^^ expected true or false
    "#);
    insta::assert_snapshot!(after_alpha("model-prefix: alpha", "model-prefix: 8"), @r#"
    error: `model-prefix` cannot be the integer 8
     --> configs/master.yaml:4:17
      |
    4 |   model-prefix: 8
      |                 ^ expected a string
      |
      = help: in quotes it is a string: "8"
    "#);
    insta::assert_snapshot!(after_alpha("precision: fp8", "precision:"), @"
    error: `precision` is empty
     --> configs/master.yaml:6:12
      |
    6 |   precision:
      |            ^ expected a string
    ");
}

#[test]
fn a_value_out_of_range_is_told_with_the_range() {
    insta::assert_snapshot!(after_alpha("isl: 64", "isl: 5_000_000_000"), @"
    error: `isl` is out of range: 5000000000
      --> configs/master.yaml:11:16
       |
    11 |       - { isl: 5_000_000_000, osl: 16, search-space: [{ tp: 2, conc-list: [1, 2, 4] }] }
       |                ^^^^^^^^^^^^^ expected at most 1000000000
    ");
    insta::assert_snapshot!(after_alpha("tp: 2", "tp: 0"), @"
    error: `tp` is out of range: 0
      --> configs/master.yaml:11:50
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 0, conc-list: [1, 2, 4] }] }
       |                                                  ^ expected at least 1
    ");
    insta::assert_snapshot!(after(SWEEPFILE, "time-scale: 100", "time-scale: 0.5"), @"
    error: `time-scale` is out of range: 0.5
     --> Sweepfile:8:103
      |
    8 |       sim: { executor: process, serves: [h100], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 0.5 } }
      |                                                                                                       ^^^ expected at least 1
    ");
    insta::assert_snapshot!(after(SWEEPFILE, "serves: [h100]", "serves: []"), @"
    error: `serves` is empty
     --> Sweepfile:8:41
      |
    8 |       sim: { executor: process, serves: [], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 100 } }
      |                                         ^ expected at least one entry
    ");
    insta::assert_snapshot!(after(SWEEPFILE, "version: 1", "version: 2"), @"
    error: `version` cannot be the integer 2
     --> Sweepfile:1:10
      |
    1 | version: 2
      |          ^ expected `1`
    ");
    insta::assert_snapshot!(after_adding(SWEEPFILE, "priorities: { alpha*: 3000000000 }\n"), @"
    error: `alpha*` is out of range: 3000000000
     --> Sweepfile:9:23
      |
    9 | priorities: { alpha*: 3000000000 }
      |                       ^^^^^^^^^^ expected at most 2147483647
    ");
    for size in ["tp: 65537", "tp: 2, ep: 4294967297"] {
        let shown = after_alpha("tp: 2", size);
        assert!(shown.contains("expected at most 65536"), "{shown}");
    }
}

#[test]
fn a_choice_is_told_with_what_there_is_to_choose() {
    insta::assert_snapshot!(after_alpha("tp: 2", "tp: 2, spec-decoding: draft-model"), @r#"
    error: `spec-decoding` cannot be the string "draft-model"
      --> configs/master.yaml:11:68
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 2, spec-decoding: draft-model, conc-list: [1, 2, 4] }] }
       |                                                                    ^^^^^^^^^^^ expected one of `none`, `mtp`, `draft_model`
       |
       = help: did you mean `draft_model`?
    "#);
    insta::assert_snapshot!(after_alpha("tp: 2", "tp: 2, spec-decoding: 1"), @"
    error: `spec-decoding` cannot be the integer 1
      --> configs/master.yaml:11:68
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 2, spec-decoding: 1, conc-list: [1, 2, 4] }] }
       |                                                                    ^ expected one of `none`, `mtp`, `draft_model`
    ");
    insta::assert_snapshot!(after(SWEEPFILE, "executor: process", "executor: proces"), @r#"
    error: `executor` cannot be the string "proces"
     --> Sweepfile:8:24
      |
    8 |       sim: { executor: proces, serves: [h100], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 100 } }
      |                        ^^^^^^ expected one of `process`, `docker`, `slurm`
      |
      = help: did you mean `process`?
    "#);
}

#[test]
fn a_pair_is_a_pair() {
    insta::assert_snapshot!(after(RECIPE, "bench: {", "bench: { token-ids: [1],"), @"
    error: `token-ids` has 1 entry
     --> benchmarks/sglang/recipe.yaml:8:21
      |
    8 | bench: { token-ids: [1], prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                     ^ expected 2 entries
    ");
    insta::assert_snapshot!(after(RECIPE, "bench: {", "bench: { token-ids: [a, 2],"), @r#"
    error: `token-ids` cannot be the string "a"
     --> benchmarks/sglang/recipe.yaml:8:22
      |
    8 | bench: { token-ids: [a, 2], prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                      ^ expected an integer
    "#);
    insta::assert_snapshot!(after(RECIPE, "bench: {", "bench: { token-ids: [9, 2],"), @"
    error: `token-ids` from 9 to 2 is an empty range
     --> benchmarks/sglang/recipe.yaml:8:21
      |
    8 | bench: { token-ids: [9, 2], prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                     ^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
    ");
}

#[test]
fn texts_with_a_form_are_told_an_example() {
    insta::assert_snapshot!(after(RECIPE, "within: 1m", "within: 90"), @"
    error: `within` is not a valid duration
     --> benchmarks/sglang/recipe.yaml:6:35
      |
    6 |   ready: { http: /health, within: 90 }
      |                                   ^^ expected a time span such as `45m`, `1h30m` or `250ms`
    ");
    insta::assert_snapshot!(after(RECIPE, "within: 1m", "within: 90 minutes"), @"
    error: `within` is not a valid duration
     --> benchmarks/sglang/recipe.yaml:6:35
      |
    6 |   ready: { http: /health, within: 90 minutes }
      |                                   ^^^^^^^^^^ expected a time span such as `45m`, `1h30m` or `250ms`
    ");
    insta::assert_snapshot!(after(RECIPE, "POST /flush_cache", "/flush_cache"), @"
    error: `http` is not a valid HTTP call
     --> benchmarks/sglang/recipe.yaml:7:18
      |
    7 |   reset: { http: /flush_cache }
      |                  ^^^^^^^^^^^^ expected a method and a path, as `POST /flush_cache`
    ");
    insta::assert_snapshot!(after_adding(SWEEPFILE, "cache: { max-size: 20 }\n"), @"
    error: `max-size` is not a valid size
     --> Sweepfile:9:20
      |
    9 | cache: { max-size: 20 }
      |                    ^^ expected a size such as `20GiB` or `500MB`
    ");
    insta::assert_snapshot!(after_adding(SWEEPFILE, "cache: { max-size: 20G }\n"), @"
    error: `max-size` is not a valid size
     --> Sweepfile:9:20
      |
    9 | cache: { max-size: 20G }
      |                    ^^^ expected a size such as `20GiB` or `500MB`
    ");
}

#[test]
fn every_mistake_is_told_in_one_go() {
    let project = Project::new();
    project.edit_config("alpha-fp8-h100-sglang", "tp: 2", "tp: two");
    project.replace(RECIPE, "within: 1m", "within: 90 minutes");
    project.replace(RUNNERS, "hardware:", "hardwares:");
    let shown = refused(&project, &["build"]);
    assert_eq!(shown.matches("error: ").count(), 3, "{shown}");
    for file in [MASTER, RECIPE, RUNNERS] {
        assert!(shown.contains(&format!("--> {file}:")), "{shown}");
    }
}
