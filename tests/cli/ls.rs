//! `sweep ls`.

use serde_json::Value;

use super::{ALPHA, Project, refused, told};

fn ids(project: &Project, patterns: &[&str]) -> Vec<String> {
    told(project, &[&["ls"], patterns].concat())
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn points_are_listed_in_the_order_of_the_files_and_counted_apart() {
    let project = Project::new();
    let ran = project.sweep(&["ls"]);
    insta::assert_snapshot!(ran.stdout, @"
    alpha-fp8-h100-sglang/64_16/tp2/c1
    alpha-fp8-h100-sglang/64_16/tp2/c2
    alpha-fp8-h100-sglang/64_16/tp2/c4
    beta-fp4-h100-sglang/64_16/tp2/c1
    beta-fp4-h100-sglang/64_16/tp2/c2
    beta-fp4-h100-sglang/64_16/tp2/c4
    gamma-fp8-h100-vllm/64_16/tp4/c1
    gamma-fp8-h100-vllm/64_16/tp4/c2
    delta-fp4-h100-vllm/64_16/tp4/c1
    delta-fp4-h100-vllm/64_16/tp4/c2
    ");
    assert_eq!(ran.stderr, "10 points, 5 servers\n");
    assert!(!project.path(".cache").exists());
}

#[test]
fn one_of_a_kind_is_counted_as_one() {
    let ran = Project::new().sweep(&["ls", "delta-*/**/c1"]);
    assert_eq!(ran.stderr, "1 point, 1 server\n");
}

#[test]
fn targets_of_each_kind() {
    let project = Project::new();
    let of = |kind: &str| told(&project, &["ls", "beta-*", "delta-*", "--kind", kind]);
    insta::assert_snapshot!(of("image"), @"
    image:lmsysorg/sglang:v0.5.1
    image:vllm/vllm-openai:v0.11.0
    ");
    insta::assert_snapshot!(of("server"), @"
    server:beta-fp4-h100-sglang/64_16/tp2/c1
    server:delta-fp4-h100-vllm/64_16/tp4/c1
    server:delta-fp4-h100-vllm/64_16/tp4/c2
    ");
    insta::assert_snapshot!(of("bench"), @"
    bench:beta-fp4-h100-sglang/64_16/tp2/c1
    bench:beta-fp4-h100-sglang/64_16/tp2/c2
    bench:beta-fp4-h100-sglang/64_16/tp2/c4
    bench:delta-fp4-h100-vllm/64_16/tp4/c1
    bench:delta-fp4-h100-vllm/64_16/tp4/c2
    ");
    insta::assert_snapshot!(of("process"), @"
    process:beta-fp4-h100-sglang/64_16/tp2/c1
    process:beta-fp4-h100-sglang/64_16/tp2/c2
    process:beta-fp4-h100-sglang/64_16/tp2/c4
    process:delta-fp4-h100-vllm/64_16/tp4/c1
    process:delta-fp4-h100-vllm/64_16/tp4/c2
    ");
    insta::assert_snapshot!(of("collect"), @"collect:beta-all+delta-all");
    insta::assert_snapshot!(of("summarize"), @"summarize:beta-all+delta-all");
}

#[test]
fn json_holds_what_a_point_is() {
    let project = Project::new();
    let listed = project.json(&["ls", "delta-*/**/c2", "--format", "json"]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&listed).unwrap(), @r#"
    [
      {
        "conc": 2,
        "config": "delta-fp4-h100-vllm",
        "eval": null,
        "framework": "vllm",
        "gpus": 4,
        "id": "delta-fp4-h100-vllm/64_16/tp4/c2",
        "image": "vllm/vllm-openai:v0.11.0",
        "isl": 64,
        "measured": true,
        "model": "openai/gpt-oss-120b",
        "model_prefix": "delta",
        "osl": 16,
        "precision": "fp4",
        "problem": null,
        "runner": "h100",
        "scenario": "fixed-seq-len",
        "server": "server:delta-fp4-h100-vllm/64_16/tp4/c2",
        "spec_decoding": "none",
        "topology": {
          "single": {
            "dcp_size": 1,
            "dp_attn": false,
            "ep": 1,
            "pcp_size": 1,
            "pp": 1,
            "tp": 4
          }
        }
      }
    ]
    "#);
    let kinds = project.json(&["ls", "alpha-*", "--kind", "server", "--format", "json"]);
    assert_eq!(kinds, serde_json::json!([format!("server:{ALPHA}/64_16/tp2/c1")]));
}

#[test]
fn patterns_add_up_and_those_with_a_bang_take_away() {
    let project = Project::new();
    let all = ids(&project, &[]);
    assert_eq!(ids(&project, &["*"]), all);
    assert_eq!(ids(&project, &["**"]), all);
    assert_eq!(ids(&project, &["*-sglang"]).len(), 6);
    assert_eq!(ids(&project, &["*-sglang", "alpha-*"]).len(), 6);
    assert_eq!(
        ids(&project, &["gamma-*", "alpha-*"]),
        [&all[..3], &all[6..8]].concat()
    );
    assert_eq!(ids(&project, &["**/c4"]).len(), 2);
    assert_eq!(ids(&project, &["*", "!*-vllm"]), &all[..6]);
    assert_eq!(ids(&project, &["!*-vllm"]), &all[..6]);
    assert_eq!(ids(&project, &["!*-vllm", "!**/c4", "!**/c2"]).len(), 2);
    assert_eq!(ids(&project, &["**/tp2/*", "!**/c1"]).len(), 4);
    assert_eq!(ids(&project, &["bench:*/64_16/*/c1"]).len(), 4);
    assert_eq!(ids(&project, &["{alpha,delta}-*"]).len(), 5);
    assert_eq!(ids(&project, &["alpha-fp?-*"]).len(), 3);
    // An image has no points of its own.
    assert_eq!(ids(&project, &["image:vllm/*"]).len(), 0);
    // What another pattern asks for stays, but for what is taken away.
    assert_eq!(ids(&project, &["alpha-*", "!alpha-*/**/c1", "**/c1"]).len(), 5);
}

#[test]
fn sweeps_are_named() {
    let project = Project::new();
    let sweeps = "\
sweeps:
  small: { select: ['**/c1', '!delta-*'] }
  both: { include: [small], select: ['delta-*'] }
";
    project.write("Sweepfile", &(project.read("Sweepfile") + sweeps));
    assert_eq!(ids(&project, &["small"]).len(), 3);
    // The pattern that takes away holds for the whole selection.
    assert_eq!(ids(&project, &["both"]).len(), 3);
    assert_eq!(ids(&project, &["collect:small"]), ids(&project, &["small"]));
    let kind = |words: &[&str]| told(&project, &[&["ls", "--kind", "collect"], words].concat());
    assert_eq!(kind(&["small"]), "collect:small\n");
    assert_eq!(kind(&["summarize:small"]), "collect:small\n");
    assert_eq!(kind(&[]), "collect:all\n");
}

#[test]
fn what_matches_nothing_is_told_with_what_is_near() {
    let project = Project::new();
    insta::assert_snapshot!(refused(&project, &["ls", "alhpa-fp8-h100-sglang"], 4), @"
    error: no target matches `alhpa-fp8-h100-sglang`
     |
     = help: did you mean `alpha-fp8-h100-sglang`, `beta-fp4-h100-sglang`?
    ");
    insta::assert_snapshot!(refused(&project, &["ls", "alpho-*"], 4), @"
    error: no target matches `alpho-*`
     |
     = help: did you mean `alpha-fp8-h100-sglang`?
    ");
    insta::assert_snapshot!(refused(&project, &["ls", "**/tp2/c8"], 4), @"
    error: no target matches `**/tp2/c8`
     |
     = help: did you mean `alpha-fp8-h100-sglang/64_16/tp2/c1`, `alpha-fp8-h100-sglang/64_16/tp2/c2`, `alpha-fp8-h100-sglang/64_16/tp2/c4`?
    ");
    insta::assert_snapshot!(refused(&project, &["ls", "bench:alpha-fp8-h100-sglang/64_16/tp2/c3"], 4), @"
    error: no target matches `bench:alpha-fp8-h100-sglang/64_16/tp2/c3`
     |
     = help: did you mean `alpha-fp8-h100-sglang/64_16/tp2/c1`, `alpha-fp8-h100-sglang/64_16/tp2/c2`, `alpha-fp8-h100-sglang/64_16/tp2/c4`?
    ");
    insta::assert_snapshot!(refused(&project, &["ls", "image:lmsysorg/sglang:v0.5.2"], 4), @"
    error: no target matches `image:lmsysorg/sglang:v0.5.2`
     |
     = help: did you mean `lmsysorg/sglang:v0.5.1`?
    ");
    insta::assert_snapshot!(refused(&project, &["ls", "zzz"], 4), @"
    error: no target matches `zzz`
     |
     = help: `sweep ls` lists what there is
     = help: a pattern is a config key (`dsr1-fp8-*`), an id (`**/c64`), a kind and an id (`bench:*/8k1k/*/c64`), or `!pattern`
    ");
    // One that takes away nothing is as wrong as one that asks for nothing.
    insta::assert_snapshot!(refused(&project, &["ls", "alpha-*", "!betta-*"], 4), @"
    error: no target matches `!betta-*`
     |
     = help: did you mean `beta-fp4-h100-sglang`?
    ");
    insta::assert_snapshot!(refused(&project, &["ls", "alpha-*", "!alpha-*"], 4), @"
    error: what the patterns select, others of them take away
     |
     = help: `sweep ls` with fewer `!PATTERN` shows what there is
    ");
    for command in ["build", "plan", "graph", "results"] {
        let shown = refused(&project, &[command, "alpho-*"], 4);
        assert!(shown.contains("no target matches `alpho-*`"), "{shown}");
    }
    assert!(!project.path(".cache").exists());
}

#[test]
fn a_point_that_cannot_be_planned_is_listed_with_the_reason() {
    let project = Project::new();
    project.edit_config(ALPHA, "framework: sglang", "framework: sglng");
    let ran = project.sweep(&["ls", "alpha-*"]);
    assert_eq!(ran.code, 0, "{ran}");
    insta::assert_snapshot!(ran.stdout, @"
    alpha-fp8-h100-sglang/64_16/tp2/c1  # no recipe matches framework `sglng` (model `alpha`, precision `fp8`, runner `h100`)
    alpha-fp8-h100-sglang/64_16/tp2/c2  # no recipe matches framework `sglng` (model `alpha`, precision `fp8`, runner `h100`)
    alpha-fp8-h100-sglang/64_16/tp2/c4  # no recipe matches framework `sglng` (model `alpha`, precision `fp8`, runner `h100`)
    ");
    let listed = project.json(&["ls", "alpha-*", "--format", "json"]);
    assert_eq!(listed[0]["server"], Value::Null);
    assert!(listed[0]["problem"].as_str().unwrap().starts_with("no recipe"));
}
