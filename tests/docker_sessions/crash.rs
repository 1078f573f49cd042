//! Builds that are killed: the next one finds no container in its way, and leaves none.

use rustix::process::Signal;

use crate::lab::{Lab, Plan, SLOW_SIMULATOR};
use crate::project::{Story, wait_until};

const CONCURRENCIES: &str = "[1, 2, 3, 4]";

fn slow() -> Plan<'static> {
    Plan {
        concurrencies: CONCURRENCIES,
        servers: &[("one", SLOW_SIMULATOR)],
        ..Plan::default()
    }
}

fn in_second_bench(story: &Story) -> bool {
    story.benches_passed().len() == 1 && story.benches_started().len() == 2
}

/// Builds to the end, and checks that each of the four points was measured once over all runs.
fn assert_completed(lab: &Lab) {
    let next = lab.sweep(&["build"]);
    assert_eq!(next.code, 0, "{next}");
    assert_eq!(lab.project.simulated_rows("all").len(), 4, "{next}");
    let passes = lab.passes();
    assert!(
        passes.len() == 4 && passes.values().all(|times| *times == 1),
        "{passes:?}"
    );
}

#[test]
fn a_build_that_is_killed_takes_its_container_with_it() {
    let Some(lab) = Lab::new(&slow()) else { return };
    let mut build = lab.start(&["build"]);
    build.wait_for("the second bench", in_second_bench);
    assert_eq!(lab.names().len(), 1);
    assert_eq!(build.kill().code, 137);
    wait_until("the container to go", || lab.names().is_empty().then_some(()));
    assert_completed(&lab);
    lab.assert_nothing_left();
}

#[test]
fn an_interrupted_build_stops_its_container() {
    for (signals, code) in [(1, 130), (2, 130)] {
        let Some(lab) = Lab::new(&slow()) else { return };
        let mut build = lab.start(&["build"]);
        build.wait_for("the second bench", in_second_bench);
        for already in 0..signals {
            build.signal(Signal::INT);
            if already + 1 < signals {
                build.wait_for("the interruption", |story| story.interruptions() > already);
            }
        }
        let ran = build.wait();
        assert_eq!(ran.code, code, "{ran}");
        lab.assert_nothing_left();
    }
}
