//! Builds that are killed: the next one finds no container in its way, and leaves none.

use std::collections::{BTreeSet, HashMap};

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::CreateContainerOptions;
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{IMAGE, Lab, Plan, SLOW_SIMULATOR};
use crate::project::{Story, processes_in, wait_until};

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
fn a_build_that_is_killed_with_all_its_processes_leaves_a_container_that_the_next_one_ends() {
    let Some(lab) = Lab::new(&slow()) else { return };
    // Two that are not ours: somebody's, and that of a build in another folder.
    let others = BTreeSet::from(["other", "sweep-other"].map(str::to_owned));
    let elsewhere = ("sweep.cache".to_owned(), "/elsewhere/.cache#1".to_owned());
    let labels = [HashMap::new(), HashMap::from([elsewhere])];
    for (name, labels) in others.iter().zip(labels) {
        create(&lab, name, labels);
    }

    let mut build = lab.start(&["build"]);
    build.wait_for("the second bench", in_second_bench);
    for process in processes_in(lab.project.root()) {
        let pid = Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::KILL);
    }
    assert_eq!(build.wait().code, 137);
    let left: Vec<String> = lab.names().difference(&others).cloned().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    let next = lab.sweep(&["build", "one-fp8/**/c3"]);
    assert_eq!(next.code, 0, "{next}");
    let healed = next.story.healed().join("\n");
    assert!(
        healed.contains(&format!("its container `{}` was ended", left[0])),
        "{healed}"
    );
    assert_eq!(lab.names(), others);
    assert_completed(&lab);
    assert_eq!(lab.names(), others);
}

/// A container that runs until it is told to end.
fn create(lab: &Lab, name: &str, labels: HashMap<String, String>) {
    let words = "/bin/sweep sim --port 8000 --gpu h100 --tp 1 --model meta-llama/Llama-3.1-8B-Instruct";
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        entrypoint: Some(words.split(' ').map(str::to_owned).collect()),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptions {
        name: Some(name.to_owned()),
        ..CreateContainerOptions::default()
    };
    lab.dockerd.ask(async |client| {
        client.create_container(Some(options), body).await.unwrap();
        client.start_container(name, None).await.unwrap();
    });
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
