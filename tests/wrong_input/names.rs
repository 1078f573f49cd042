//! Names: unknown, twice, of what is not there, in a circle.

use super::*;

const ALPHA: &str = "alpha-fp8-h100-sglang";

#[test]
fn unknown_names_are_told_with_the_nearest() {
    let sweeps = "sweeps: { nightly: { include: [smok] }, smoke: { select: ['*'] } }\n";
    insta::assert_snapshot!(after_adding(SWEEPFILE, sweeps), @"
    error: there is no sweep `smok`
     --> Sweepfile:9:32
      |
    9 | sweeps: { nightly: { include: [smok] }, smoke: { select: ['*'] } }
      |                                ^^^^ included here
      |
      = help: did you mean `smoke`?
    ");
    insta::assert_snapshot!(after_adding(SWEEPFILE, "defaults: { profile: defualt }\n"), @"
    error: there is no profile `defualt`
     --> Sweepfile:9:22
      |
    9 | defaults: { profile: defualt }
      |                      ^^^^^^^ the default profile
      |
      = help: did you mean `default`?
    ");
    insta::assert_snapshot!(after(SWEEPFILE, "serves: [h100]", "serves: [h10]"), @"
    error: no runner has the label `h10`
     --> Sweepfile:8:42
      |
    8 |       sim: { executor: process, serves: [h10], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 100 } }
      |                                          ^^^ served here
      |
      = help: did you mean `h100`?
      = help: labels are listed in `configs/runners.yaml`
    ");
    insta::assert_snapshot!(after_alpha("runner: h100", "runner: h10"), @"
    error: no pool of profile `default` serves the runner label `h10`
     --> configs/master.yaml:1:1
      |
    1 | alpha-fp8-h100-sglang:
      | ^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: did you mean `runner: h100`?
      = help: add the label to a pool's `serves` in the Sweepfile, or choose another `--profile`
    ");
    let project = Project::new();
    project.write(LAUNCHER, "executor: process\n");
    project.replace(
        SWEEPFILE,
        "executor: process,",
        "executor: process, launcher: locl,",
    );
    insta::assert_snapshot!(refused(&project, &["build"]), @"
    error: there is no launcher `locl`
     --> Sweepfile:8:43
      |
    8 |       sim: { executor: process, launcher: locl, serves: [h100], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 100 } }
      |                                           ^^^^ named here
      |
      = help: did you mean `local`?
    ");
    insta::assert_snapshot!(refused(&Project::new(), &["plan", "--profile", "slurm"]), @"
    error: there is no profile `slurm`
     |
     = help: valid here: `default`
    ");
}

#[test]
fn a_file_that_is_not_there_is_told_where_it_is_named() {
    insta::assert_snapshot!(after(SWEEPFILE, "[configs/master.yaml]", "[configs/masters.yaml]"), @"
    error: `configs/masters.yaml` does not exist
     --> Sweepfile:2:11
      |
    2 | configs: [configs/masters.yaml]
      |           ^^^^^^^^^^^^^^^^^^^^ named here
    ");
    insta::assert_snapshot!(after_adding(SWEEPFILE, "changelog: log.yaml\n"), @"
    error: `log.yaml` does not exist
     --> Sweepfile:9:12
      |
    9 | changelog: log.yaml
      |            ^^^^^^^^ named here
    ");
    insta::assert_snapshot!(after_adding(SWEEPFILE, "recipes: recipes\n"), @"
    error: the folder `recipes` does not exist
     --> Sweepfile:9:10
      |
    9 | recipes: recipes
      |          ^^^^^^^ named here
    ");
    insta::assert_snapshot!(after("benchmarks/vllm/recipe.yaml", "serve.sh", "server.sh"), @"
    error: `benchmarks/vllm/server.sh` does not exist
     --> benchmarks/vllm/recipe.yaml:3:8
      |
    3 |   run: server.sh
      |        ^^^^^^^^^ named here
    ");
    insta::assert_snapshot!(after_alpha("image: lmsysorg/sglang:v0.5.1", "image: pypi:requirements.txt"), @"
    error: could not read `requirements.txt`: there is no such file
     --> configs/master.yaml:1:1
      |
    1 | alpha-fp8-h100-sglang:
      | ^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
    ");
}

#[test]
fn a_config_key_in_two_files_names_both() {
    let project = Project::new();
    project.write("configs/more.yaml", &project.read(MASTER));
    project.replace(
        SWEEPFILE,
        "[configs/master.yaml]",
        "[configs/master.yaml, configs/more.yaml]",
    );
    let shown = refused(&project, &["build"]);
    assert_eq!(shown.matches("stands in two files").count(), 4, "{shown}");
    insta::assert_snapshot!(shown.split("\n\n").next().unwrap(), @"
    error: config key `alpha-fp8-h100-sglang` stands in two files
     --> configs/more.yaml:1:1
      |
    1 | alpha-fp8-h100-sglang:
      | ^^^^^^^^^^^^^^^^^^^^^ a second time here
      |
     ::: configs/master.yaml:1:1
      |
    1 | alpha-fp8-h100-sglang:
      | --------------------- first here
      |
      = help: rename one of the two
    ");
}

#[test]
fn a_config_key_twice_in_one_file_is_a_warning_that_names_both_lines() {
    let project = Project::new();
    let text = project.read(MASTER);
    let delta = &text[text.find("delta-").unwrap()..];
    project.write(MASTER, &format!("{text}{delta}"));
    let ran = project.sweep(&["ls"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.stdout.lines().count(), 10, "{ran}");
    insta::assert_snapshot!(trimmed(&ran.stderr), @"
    warning: `delta-fp4-h100-vllm` stands twice in one mapping
      --> configs/master.yaml:45:1
       |
    45 | delta-fp4-h100-vllm:
       | ^^^^^^^^^^^^^^^^^^^ line 45 counts
       |
      ::: configs/master.yaml:34:1
       |
    34 | delta-fp4-h100-vllm:
       | ------------------- line 34 is ignored
       |
       = help: remove one of the two

    10 points, 5 servers
    ");
}

#[test]
fn a_config_key_is_fit_for_ids_patterns_and_folders() {
    insta::assert_snapshot!(after(MASTER, ALPHA, "alpha/fp8"), @"
    error: `alpha/fp8` cannot be a config key: ids, patterns and folders are made of it
     --> configs/master.yaml:1:1
      |
    1 | alpha/fp8:
      | ^^^^^^^^^ expected a letter or digit, then letters, digits and `-`, `_`, `.`, `+`, `@`
    ");
    for key in ["\"..\"", "\"a*\"", "\"a b\"", "\"\"", "'!a'", "\"a[\""] {
        let shown = after(MASTER, ALPHA, key);
        assert!(shown.contains("cannot be a config key"), "{shown}");
    }
}

#[test]
fn sweeps_that_include_one_another_are_told_once_with_the_way_round() {
    let sweeps = "\
sweeps:
  a: { include: [b] }
  b: { include: [c, c] }
  c: { select: ['*'], include: [d, a] }
  d: { select: ['*'] }
  into: { include: [a] }
  self: { include: [self] }
  empty: {}
";
    insta::assert_snapshot!(after_adding(SWEEPFILE, sweeps), @"
    error: sweep `empty` selects nothing
      --> Sweepfile:16:10
       |
    16 |   empty: {}
       |          ^ expected `select` or `include`

    error: sweep `a` includes itself: a -> b -> c -> a
      --> Sweepfile:10:18
       |
    10 |   a: { include: [b] }
       |                  ^ the cycle goes on from here
       |
       = help: take one of these includes out

    error: sweep `self` includes itself: self -> self
      --> Sweepfile:15:21
       |
    15 |   self: { include: [self] }
       |                     ^^^^ the cycle goes on from here
       |
       = help: take one of these includes out
    ");
}

#[test]
fn sweeps_that_share_includes_are_no_cycle_and_multiply_nothing() {
    let project = Project::new();
    let mut text = project.read(SWEEPFILE) + "sweeps:\n";
    for i in 0..60 {
        text.push_str(&format!("  s{i}: {{ include: [s{}, s{}] }}\n", i + 1, i + 1));
    }
    text.push_str("  s60: { select: ['alpha-*'] }\n");
    project.write(SWEEPFILE, &text);
    let ran = project.sweep(&["ls", "s0"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 3), "{ran}");
    assert!(ran.elapsed < SOON, "{ran}");
}
