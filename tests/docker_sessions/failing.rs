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

#[test]
fn limits_that_the_engine_may_not_give_are_foretold() {
    for (limits, is_high) in [("memlock: -1", true), ("memlock: 65536", false)] {
        let plan = Plan {
            container: &format!("{{ ulimits: {{ {limits} }} }}"),
            concurrencies: "[1]",
            ..Plan::default()
        };
        let Some(lab) = Lab::new(&plan) else { return };
        let built = lab.sweep(&["build"]);
        let doctor = lab.sweep(&["doctor", "--format", "json"]);
        let told: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap();
        let mut findings = told["findings"].as_array().unwrap().iter();
        let finding = findings
            .find(|finding| finding["check"] == "limits of lab")
            .unwrap_or_else(|| panic!("{doctor}"));
        // Whether the engine may raise it is the machine's; what the doctor says of it is what happens.
        let expected = if built.code == 0 { "ok" } else { "wrong" };
        assert_eq!(finding["level"], expected, "{finding}: {built}");
        assert!(is_high || built.code == 0, "{built}");
        lab.assert_nothing_left();
    }
}
