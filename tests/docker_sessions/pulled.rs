//! From a registry to a row: what a container pool runs is pinned, pulled by its digest, and measured.

use sweep::exec::event::Event;

use crate::containers::Registry;
use crate::lab::{Lab, Plan, sweep_and_bash};

#[test]
fn an_image_is_pinned_pulled_by_digest_and_measured() {
    let Some(registry) = Registry::start() else { return };
    let digest = registry.push("acme/sim", "1", &sweep_and_bash());
    let reference = format!("{}/acme/sim:1", registry.host());
    let plan = Plan {
        image: &reference,
        ..Plan::default()
    };
    let Some(lab) = Lab::new(&plan) else { return };
    let ran = lab.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.story.benches_passed().len(), 2, "{ran}");
    assert_eq!(lab.project.simulated_rows("all").len(), 2);
    assert!(lab.project.read("sweep.lock").contains(&digest), "{digest}");
    let ready = |event: &&Event| matches!(event, Event::ImageReady { .. });
    assert_eq!(ran.story.0.iter().filter(ready).count(), 1, "{ran}");
    lab.assert_nothing_left();

    // Neither the engine nor the registry is asked for what is there.
    drop(registry);
    let again = lab.sweep(&["build"]);
    assert_eq!(again.code, 0, "{again}");
    assert!(again.story.0.is_empty(), "{again}");
}
