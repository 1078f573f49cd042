//! From a registry to a row: what a container pool runs is pinned, pulled by its digest, and measured.

use sweep::exec::event::Event;

use crate::containers::Registry;
use crate::lab::{Lab, Plan, sweep_and_bash};

#[test]
fn an_image_is_pinned_pulled_by_digest_and_measured() {
    let Some(registry) = Registry::start() else { return };
    let digest = registry.push("acme/sim", "1", &sweep_and_bash("/bin/false"));
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

#[test]
fn a_moved_tag_changes_nothing_until_its_pin_is_moved_too() {
    let Some(registry) = Registry::start() else { return };
    let first = registry.push("acme/sim", "1", &sweep_and_bash("/bin/false"));
    let reference = format!("{}/acme/sim:1", registry.host());
    let plan = Plan {
        image: &reference,
        ..Plan::default()
    };
    let Some(lab) = Lab::new(&plan) else { return };
    let built = lab.sweep(&["build"]);
    assert_eq!(built.code, 0, "{built}");
    let target = built.story.benches_passed()[0].to_owned();

    let second = registry.push("acme/sim", "1", &sweep_and_bash("/bin/true"));
    assert_ne!(first, second);
    let locked = lab.sweep(&["lock"]);
    assert_eq!(locked.code, 0, "{locked}");
    let again = lab.sweep(&["build"]);
    assert!(again.code == 0 && again.story.0.is_empty(), "{again}");

    let moved = lab.sweep(&["lock", "--update"]);
    assert_eq!(moved.code, 0, "{moved}");
    let planned = lab.project.json(&["plan", "--format", "json"]);
    assert_eq!(
        (&planned["stale"], &planned["fresh"]),
        (&2.into(), &0.into()),
        "{planned}"
    );
    // A digest is shown by its first digits.
    let why = lab.sweep(&["why", &target]);
    for digest in [&first, &second] {
        let digits = &digest["sha256:".len()..][..12];
        assert!(why.stdout.contains(digits), "{digits}: {why}");
    }
    let rebuilt = lab.sweep(&["build"]);
    assert_eq!(rebuilt.code, 0, "{rebuilt}");
    assert_eq!(rebuilt.story.benches_passed().len(), 2, "{rebuilt}");
    lab.assert_nothing_left();
}
