//! Containers that fail: each a failed target with its reason, and nothing is left.

use crate::lab::{Lab, Plan, SCRIPT, SIMULATOR};

/// Builds, expects both points to have failed, and gives the first one's reason.
fn reason_of_failure(plan: &Plan<'_>) -> Option<String> {
    let lab = Lab::new(plan)?;
    let ran = lab.sweep(&["build"]);
    assert_eq!(ran.code, 1, "{ran}");
    lab.assert_nothing_left();
    let failures = ran.story.failures();
    assert_eq!(failures.len(), 2, "{ran}");
    Some(failures["bench:one-fp8/64_16/tp1/c1"].to_owned())
}

#[test]
fn a_server_that_exits_is_quoted() {
    let plan = Plan {
        servers: &[("one", SCRIPT)],
        script: "echo \"no such model: $MODEL\"\nexit 7\n",
        ..Plan::default()
    };
    let Some(reason) = reason_of_failure(&plan) else {
        return;
    };
    assert!(
        reason.contains("died before it was ready: exit code 7"),
        "{reason}"
    );
    assert!(
        reason.contains("no such model: meta-llama/Llama-3.1-8B-Instruct"),
        "{reason}"
    );
}

#[test]
fn a_server_that_takes_too_much_memory_is_told_from_one_that_is_killed() {
    let plan = Plan {
        container: "{ memory: 64MiB }",
        servers: &[("one", SCRIPT)],
        script: "weights=0123456789abcdef\nwhile :; do weights=$weights$weights; done\n",
        ..Plan::default()
    };
    let Some(reason) = reason_of_failure(&plan) else {
        return;
    };
    assert!(reason.contains("out of memory"), "{reason}");
}

#[test]
fn a_server_that_dies_in_mid_bench_fails_the_point_at_once() {
    let dying = format!("{SIMULATOR} --fault die-after=6");
    let plan = Plan {
        servers: &[("one", &dying)],
        ..Plan::default()
    };
    let Some(reason) = reason_of_failure(&plan) else {
        return;
    };
    assert!(reason.contains("died during the bench (exit code"), "{reason}");
}

#[test]
fn what_the_engine_refuses_is_told_in_its_words() {
    let plan = Plan {
        container: "{ capabilities: [NO_SUCH_RIGHT] }",
        ..Plan::default()
    };
    let Some(reason) = reason_of_failure(&plan) else {
        return;
    };
    assert!(
        reason.contains("the engine did not create the container"),
        "{reason}"
    );
    assert!(reason.contains("NO_SUCH_RIGHT"), "{reason}");
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let plan = Plan {
        container: "{ mounts: [{ host: /no/such/weights }] }",
        ..Plan::default()
    };
    let Some(reason) = reason_of_failure(&plan) else {
        return;
    };
    assert!(
        reason.contains("pool `lab` mounts `/no/such/weights`"),
        "{reason}"
    );
    assert!(!std::path::Path::new("/no/such").exists());
}
