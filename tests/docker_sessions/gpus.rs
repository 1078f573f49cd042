//! Which GPUs a container gets. NVIDIA's hook is stood in for; the engine's own part is real.

use std::collections::BTreeSet;

use sweep::exec::event::Event;

use crate::lab::{Lab, Plan, SCRIPT};

/// Tells which GPUs it sees, then serves.
const SCRIPT_TEXT: &str = "\
echo \"visible=$NVIDIA_VISIBLE_DEVICES given=$SWEEP_GPUS cuda=${CUDA_VISIBLE_DEVICES-none}\"
exec sweep sim --port $PORT --gpu h100 --tp 1 --model $MODEL --time-scale 50
";

/// What follows `name=` in a log.
fn told<'a>(log: &'a str, name: &str) -> &'a str {
    let start = log
        .find(&format!("{name}="))
        .unwrap_or_else(|| panic!("no {name} in {log}"));
    log[start + name.len() + 1..].split_whitespace().next().unwrap()
}

#[test]
fn sessions_that_share_a_node_see_gpus_of_their_own() {
    let servers = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| (name, SCRIPT));
    let plan = Plan {
        pool: "gpu: h100, gpus: 8, share: gpu",
        concurrencies: "[1]",
        servers: &servers,
        script: SCRIPT_TEXT,
        ..Plan::default()
    };
    let Some(lab) = Lab::new(&plan) else { return };
    let ran = lab.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.story.benches_passed().len(), 8, "{ran}");
    let logs = lab.server_logs();
    let visible: BTreeSet<&str> = logs.iter().map(|log| told(log, "visible")).collect();
    assert_eq!(visible, BTreeSet::from(["0", "1", "2", "3", "4", "5", "6", "7"]));
    for log in &logs {
        assert_eq!(told(log, "given"), told(log, "visible"), "{log}");
        // In the container they are counted from 0.
        assert_eq!(told(log, "cuda"), "none", "{log}");
    }
    // All of them had their place before the first gave its back.
    let first_end = ran
        .story
        .0
        .iter()
        .position(|event| matches!(event, Event::SessionEnded { .. }));
    let before = &ran.story.0[..first_end.unwrap()];
    let starts = before
        .iter()
        .filter(|event| matches!(event, Event::ServerStarting { .. }));
    assert_eq!(starts.count(), 8, "{ran}");
    lab.assert_nothing_left();
}

#[test]
fn an_exclusive_node_has_one_session_at_a_time() {
    let plan = Plan {
        pool: "gpu: h100, gpus: 8",
        concurrencies: "[1]",
        servers: &[("a", SCRIPT), ("b", SCRIPT)],
        script: SCRIPT_TEXT,
        ..Plan::default()
    };
    let Some(lab) = Lab::new(&plan) else { return };
    let ran = lab.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    let places: Vec<&str> = ran
        .story
        .0
        .iter()
        .filter_map(|event| match event {
            Event::ServerStarting { .. } => Some("start"),
            Event::SessionEnded { .. } => Some("end"),
            _ => None,
        })
        .collect();
    assert_eq!(places, ["start", "end", "start", "end"], "{ran}");
    lab.assert_nothing_left();
}
