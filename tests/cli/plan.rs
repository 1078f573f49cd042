//! `sweep plan`.

use super::{ALPHA, Project, built, told, trimmed};

#[test]
fn before_and_after_a_build() {
    let project = Project::new();
    insta::assert_snapshot!(told(&project, &["plan"]), @"
    plan of `all` on profile `default` (SIMULATED pools: sim)

    config                 points  stale  fresh  servers  GPUs  pool  GPU time
    alpha-fp8-h100-sglang       3      3      0        1     2  sim   unknown
    beta-fp4-h100-sglang        3      3      0        1     2  sim   unknown
    gamma-fp8-h100-vllm         2      2      0        1     4  sim   unknown
    delta-fp4-h100-vllm         2      2      0        2     4  sim   unknown

    delta-fp4-h100-vllm: 2 servers, kept apart by MAX_NUM_SEQS

    10 points: 10 stale, 0 fresh; 5 servers to start

    why
      never built
        for 10 targets, bench:alpha-fp8-h100-sglang/64_16/tp2/c1 the first
      and 12 targets that need these

    time: unknown; 5 of 5 servers without an earlier record
    ");
    assert!(!project.path(".cache").exists());
    assert_eq!(told(&project, &["build", "-n"]), told(&project, &["plan"]));
    built(&project, &["gamma-*"]);
    insta::assert_snapshot!(told(&project, &["plan", "gamma-*", "delta-*"]), @"
    plan of `gamma-all+delta-all` on profile `default` (SIMULATED pools: sim)

    config               points  stale  fresh  servers  GPUs  pool  GPU time
    gamma-fp8-h100-vllm       2      0      2        0     4  sim   -
    delta-fp4-h100-vllm       2      2      0        2     4  sim   unknown

    delta-fp4-h100-vllm: 2 servers, kept apart by MAX_NUM_SEQS

    4 points: 2 stale, 2 fresh; 2 servers to start

    why
      never built
        for 2 targets, bench:delta-fp4-h100-vllm/64_16/tp4/c1 the first
      and 4 targets that need these

    time: unknown; 2 of 2 servers without an earlier record
    ");
    insta::assert_snapshot!(told(&project, &["plan", "gamma-*"]), @"
    plan of `gamma-all` on profile `default`

    config               points  stale  fresh  servers  GPUs  pool  GPU time
    gamma-fp8-h100-vllm       2      0      2        0     4  sim   -

    2 points: 0 stale, 2 fresh; 0 servers to start
    ");
    // An earlier record tells how long it takes.
    project.edit_config("gamma-fp8-h100-vllm", "v0.11.0", "v0.11.1");
    let text = told(&project, &["plan", "gamma-*"]);
    assert!(
        text.contains("image: vllm/vllm-openai:v0.11.0 → vllm/vllm-openai:v0.11.1\n"),
        "{text}"
    );
    assert!(
        text.contains("from earlier records; the critical path is\n  server:gamma-"),
        "{text}"
    );
    let plan = project.json(&["plan", "gamma-*", "--format", "json"]);
    assert!(plan["estimate"]["wall_ms"].as_u64().unwrap() > 0, "{plan}");
    assert_eq!(plan["roots"][0]["reason"]["changes"][0]["name"], "image");
}

#[test]
fn for_programs() {
    let project = Project::new();
    let plan = project.json(&["plan", "delta-*", "--format", "json"]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).unwrap(), @r#"
    {
      "blocked": [],
      "cascades": 4,
      "configs": [
        {
          "apart": [
            "MAX_NUM_SEQS"
          ],
          "config": "delta-fp4-h100-vllm",
          "estimate_ms": null,
          "fresh": 0,
          "gpus": [
            4,
            4
          ],
          "points": 2,
          "pools": [
            "sim"
          ],
          "servers": 2,
          "stale": 2
        }
      ],
      "estimate": {
        "critical_path": [],
        "known": 0,
        "sessions": 2,
        "wall_ms": null
      },
      "evals": [],
      "fresh": 0,
      "points": 2,
      "problems": {},
      "profile": "default",
      "roots": [
        {
          "reason": {
            "reason": "never-built"
          },
          "targets": [
            "bench:delta-fp4-h100-vllm/64_16/tp4/c1",
            "bench:delta-fp4-h100-vllm/64_16/tp4/c2"
          ]
        }
      ],
      "servers_to_start": 2,
      "simulated_pools": [
        "sim"
      ],
      "stale": 2,
      "sweep": "delta-all",
      "unpinned": [],
      "unrunnable": {},
      "version": 1
    }
    "#);
    assert_eq!(
        project.json(&["build", "delta-*", "-n", "--format", "json"]),
        plan
    );
}

#[test]
fn what_cannot_be_planned_is_in_the_plan_and_ends_it_as_it_would_a_build() {
    let project = Project::new();
    project.edit_config(ALPHA, "framework: sglang", "framework: sglng");
    for words in [
        ["plan", "alpha-*", "gamma-*"].as_slice(),
        &["build", "-n", "alpha-*", "gamma-*"],
    ] {
        let ran = project.sweep(words);
        assert_eq!(ran.code, 2, "{ran}");
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.stdout, @"
            plan of `alpha-all+gamma-all` on profile `default` (SIMULATED pools: sim)

            config               points  stale  fresh  servers  GPUs  pool  GPU time
            gamma-fp8-h100-vllm       2      2      0        1     4  sim   unknown

            2 points: 2 stale, 0 fresh; 1 server to start

            why
              never built
                for 2 targets, bench:gamma-fp8-h100-vllm/64_16/tp4/c1 the first
              and 4 targets that need these

            time: unknown; 1 of 1 server without an earlier record

            cannot plan 3 points (alpha-fp8-h100-sglang/64_16/tp2/c1 the first): no recipe matches framework `sglng` (model `alpha`, precision `fp8`, runner `h100`)
            ");
            insta::assert_snapshot!(trimmed(&ran.stderr), @"
            error: no recipe matches framework `sglng` (model `alpha`, precision `fp8`, runner `h100`)
             --> configs/master.yaml:1:1
              |
            1 | alpha-fp8-h100-sglang:
              | ^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
              |
              = help: did you mean `sglang`?
              = help: recipes are folders of `benchmarks` with a `recipe.yaml`
            ");
        }
    }
    assert_eq!(project.sweep(&["plan", "gamma-*"]).code, 0);
}

#[test]
fn what_no_pool_can_run_is_told() {
    let project = Project::new();
    let simulated =
        "executor: process, serves: [h100], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 100 }";
    project.replace(
        "Sweepfile",
        simulated,
        "executor: slurm, serves: [h100], gpu: h100",
    );
    let text = told(&project, &["plan", "gamma-*"]);
    insta::assert_snapshot!(text, @"
    plan of `gamma-all` on profile `default`

    config               points  stale  fresh  servers  GPUs  pool  GPU time
    gamma-fp8-h100-vllm       2      2      0        1     4  sim   unknown

    2 points: 2 stale, 0 fresh; 1 server to start

    why
      never built
        for 2 targets, bench:gamma-fp8-h100-vllm/64_16/tp4/c1 the first
      and 4 targets that need these

    time: unknown; 1 of 1 server without an earlier record

    1 image without a pin in `sweep.lock` (vllm/vllm-openai:v0.11.0 the first): a build pins it first, `sweep lock` does so now

    cannot run 1 server with 2 points: pool `sim` has the slurm executor, which this version of sweep plans for but cannot run (profiles: default)
    ");
    let ran = project.sweep(&["build", "gamma-*"]);
    assert_eq!(ran.code, 3, "{ran}");
    insta::assert_snapshot!(trimmed(&ran.stderr), @"
    error: 2 points cannot run: pool `sim` has the slurm executor, which this version of sweep plans for but cannot run (profiles: default)
     |
     = help: leave them out with `!PATTERN`, or run on other pools with `--profile NAME`
    ");
    assert!(!project.path(".cache").exists());
}

#[test]
fn ages_and_reruns() {
    let project = Project::new();
    built(&project, &["gamma-*"]);
    let dry = |words: &[&str]| told(&project, &[&["build", "-n", "gamma-*"], words].concat());
    assert!(dry(&["--max-age", "1d"]).contains("2 points: 0 stale, 2 fresh"));
    let rerun = dry(&["--rerun"]);
    assert!(rerun.contains("2 points: 2 stale, 0 fresh"), "{rerun}");
    assert!(rerun.contains("\n  --rerun\n"), "{rerun}");
    let old = dry(&["--max-age", "0ms"]);
    assert!(old.contains("above --max-age"), "{old}");
}
