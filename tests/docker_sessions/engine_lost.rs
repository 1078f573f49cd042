//! The engine itself goes: that counts against no point, and what is finished stays.

use rustix::process::Signal;

use crate::containers::Dockerd;
use crate::lab::{Lab, Plan, SIMULATOR, SLOW_SIMULATOR};
use crate::project::{Ran, Running, Story};

fn slow() -> Plan<'static> {
    Plan {
        concurrencies: "[1, 2, 3, 4]",
        servers: &[("one", SLOW_SIMULATOR)],
        ..Plan::default()
    }
}

fn in_second_bench(story: &Story) -> bool {
    story.benches_passed().len() == 1 && story.benches_started().len() == 2
}

fn started(lab: &Lab) -> Running {
    let mut build = lab.start(&["build"]);
    build.wait_for("the second bench", in_second_bench);
    build
}

fn assert_measured_once(lab: &Lab, ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.story.failures().is_empty(), "{ran}");
    let passes = lab.passes();
    assert!(
        passes.len() == 4 && passes.values().all(|times| *times == 1),
        "{passes:?}"
    );
    lab.assert_nothing_left();
}

#[test]
fn an_engine_that_is_started_again_costs_a_session_another_start() {
    for signal in [Signal::KILL, Signal::TERM] {
        let Some(mut lab) = Lab::new(&slow()) else { return };
        let build = started(&lab);
        lab.dockerd.end(signal);
        lab.dockerd.start_again();
        let ran = build.wait();
        assert_measured_once(&lab, &ran);
        let failures = ran.story.server_failures();
        assert_eq!(failures.len(), 1, "{ran}");
        assert!(failures[0].0.contains("ended from outside"), "{ran}");
    }
}

#[test]
fn an_engine_that_stays_away_is_the_machinerys_failure() {
    // The later points take longer together than the engine may be away.
    let plan = Plan {
        prompts: "8 if conc == 1 else 100 * conc",
        ..slow()
    };
    let Some(mut lab) = Lab::new(&plan) else { return };
    let build = started(&lab);
    lab.dockerd.end(Signal::KILL);
    let ran = build.wait();
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.story.failures().is_empty(), "no point has failed: {ran}");
    assert!((1..4).contains(&lab.passes().len()), "{ran}");

    // Nothing is known of what may be left, so nothing is started.
    let blind = lab.sweep(&["build"]);
    assert_eq!(blind.code, 3, "{blind}");
    assert!(
        blind.stderr.contains("there is no container engine at"),
        "{blind}"
    );
    lab.dockerd.start_again();
    let rest = lab.sweep(&["build"]);
    assert_measured_once(&lab, &rest);
}

#[test]
fn an_engine_whose_disk_is_full_is_the_machinerys_failure() {
    // While an image is loaded, it is there twice.
    let program = std::fs::metadata(env!("CARGO_BIN_EXE_sweep")).unwrap().len();
    let Some(dockerd) = Dockerd::start_with_room(2 * program + (64 << 20)) else {
        return;
    };
    let plan = Plan {
        servers: &[("one", SLOW_SIMULATOR), ("two", SIMULATOR)],
        ..slow()
    };
    let lab = Lab::on(dockerd, &plan);
    let mut build = lab.start(&["build"]);
    build.wait_for("the second bench", in_second_bench);
    build.wait_for("its end", |story| {
        // Also what a container gives back.
        lab.dockerd.fill();
        story.finished()
    });
    let ran = build.wait();
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.story.failures().is_empty(), "no point has failed: {ran}");
    // What runs is measured to its end; it is the next server that cannot be started.
    assert_eq!(lab.passes().len(), 4, "{ran}");
    assert!(ran.stderr.contains("no space left on device"), "{ran}");

    lab.dockerd.make_room();
    let rest = lab.sweep(&["build"]);
    assert_eq!(rest.code, 0, "{rest}");
    let passes = lab.passes();
    assert!(
        passes.len() == 8 && passes.values().all(|times| *times == 1),
        "{passes:?}"
    );
    lab.assert_nothing_left();
}
