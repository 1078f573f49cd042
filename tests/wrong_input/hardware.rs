//! Points and pools that do not go together.

use super::*;

#[test]
fn a_point_that_does_not_fit_a_node() {
    insta::assert_snapshot!(after_alpha("tp: 2", "tp: 16"), @"
    error: a single-node server of 16 GPUs does not fit a node of 8 (`h100`)
     --> configs/master.yaml:1:1
      |
    1 | alpha-fp8-h100-sglang:
      | ^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp16/c1`
      |
      = help: lower the config's `tp`, `pp` or `pcp-size`, or set the pool's `gpus` to what its nodes have
    ");
    // Sizes multiply; their product must not wrap round to something small.
    let shown = after_alpha("tp: 2", "tp: 65536, pp: 65536");
    assert!(shown.contains("does not fit a node"), "{shown}");
}

#[test]
fn two_pools_with_different_hardware_serve_one_label() {
    let pool =
        "      other: { executor: process, serves: [h100], gpu: h200, simulate: { time-scale: 100 } }\n";
    insta::assert_snapshot!(after_adding(SWEEPFILE, pool), @"
    error: pools `other` and `sim` of profile `default` both serve `h100` but differ in hardware: a number would depend on where it ran
     --> Sweepfile:8:41
      |
    8 |       sim: { executor: process, serves: [h100], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 100 } }
      |                                         ^ and this one
      |
     ::: Sweepfile:9:43
      |
    9 |       other: { executor: process, serves: [h100], gpu: h200, simulate: { time-scale: 100 } }
      |                                           - this one serves it
      |
      = help: make their `gpu`, `gpus`, `share`, `facts`, launcher's `env` and `container`, and `simulate` equal, or put them in two profiles
    ");
}

#[test]
fn what_the_simulated_engine_does_not_know() {
    insta::assert_snapshot!(after(SWEEPFILE, "gpu: h100", "gpu: h1000"), @"
    error: the simulated engine cannot stand in: unknown GPU `h1000`; the simulator knows h100, h200, b200, b300, gb200, gb300, mi300x, mi325x, mi355x, rtx6000pro
     --> Sweepfile:8:73
      |
    8 |       sim: { executor: process, serves: [h100], nodes: 2, gpus: 8, gpu: h1000, simulate: { time-scale: 100 } }
      |                                                                         ^^^^^ of this simulated pool
      |
      = help: leave its points out with `!PATTERN`, or run them on other pools with `--profile NAME`
    ");
    insta::assert_snapshot!(after_alpha("precision: fp8", "precision: fp7"), @"
    error: the simulated engine cannot stand in: it knows no precision `fp7`, only fp4, fp8, bf16, int4
     --> configs/master.yaml:1:1
      |
    1 | alpha-fp8-h100-sglang:
      | ^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: leave its points out with `!PATTERN`, or run them on other pools with `--profile NAME`
    ");
    insta::assert_snapshot!(after_alpha("model: meta-llama/Llama-3.1-8B-Instruct", "model: acme/wonder"), @"
    error: the simulated engine cannot stand in: it does not know the model `acme/wonder`, and the name tells no size as `-70B` would
     --> configs/master.yaml:1:1
      |
    1 | alpha-fp8-h100-sglang:
      | ^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: leave its points out with `!PATTERN`, or run them on other pools with `--profile NAME`
    ");
}

#[test]
fn a_simulated_pool_has_the_process_executor() {
    insta::assert_snapshot!(after(SWEEPFILE, "executor: process", "executor: slurm"), @"
    error: the simulated engine runs as a process
     --> Sweepfile:8:87
      |
    8 |       sim: { executor: slurm, serves: [h100], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 100 } }
      |                                                                                       ^ expected `executor: process` for this pool
    ");
}

#[test]
fn containers_that_contradict_themselves() {
    let project = Project::new();
    project.write(
        LAUNCHER,
        "\
executor: process
container:
  ipc: host
  shm-size: 16GiB
  mounts: [{ host: models, write: true }]
",
    );
    insta::assert_snapshot!(refused(&project, &["build"]), @"
    error: `container` says nothing to the process executor
     --> runners/local.yaml:3:3
      |
    3 |   ipc: host
      |   ^ expected `executor: docker` for this launcher

    error: `shm-size` has no effect beside `ipc: host`, whose shared memory is the host's
     --> runners/local.yaml:4:13
      |
    4 |   shm-size: 16GiB
      |             ^^^^^ expected one of the two

    error: `models` is no absolute path
     --> runners/local.yaml:5:11
      |
    5 |   mounts: [{ host: models, write: true }]
      |           ^ expected a path that begins with `/`
    ");
}
