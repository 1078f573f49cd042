//! Builds that are killed with all their processes: the next one goes on with the server that they left where it would
//! start the same, and ends it where not.

use std::collections::{BTreeSet, HashMap};

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, EventsOptions};
use futures_util::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use sweep::exec::event::Event;

use crate::lab::{IMAGE, Lab, Plan, SCRIPT, SIMULATOR, SLOW_SIMULATOR};
use crate::project::{Project, Ran, Story, processes_in};

const RECIPE: &str = "benchmarks/one/recipe.yaml";

fn slow() -> Plan<'static> {
    Plan {
        concurrencies: "[1, 2, 3, 4]",
        servers: &[("one", SLOW_SIMULATOR)],
        ..Plan::default()
    }
}

/// What a killed build left.
pub(crate) struct Killed {
    pub(crate) run: String,
    container: String,
}

/// Builds until `is_far_enough`, then kills sweep, guard and keeper, none of which may notice that another is gone.
pub(crate) fn killed(
    lab: &Lab,
    project: &Project,
    words: &[&str],
    is_far_enough: impl Fn(&Story) -> bool,
) -> Killed {
    let mut build = lab.start_in(project, words);
    build.wait_for("what it is killed at", is_far_enough);
    for signal in [Signal::STOP, Signal::KILL] {
        let mut processes = processes_in(project.root());
        // Children first: the kernel wakes who is stopped and loses its parent, and tells it by a signal.
        processes.sort_by_key(|process| {
            let roles = [" container", " guard"];
            roles
                .iter()
                .position(|role| process.command.ends_with(role))
                .unwrap_or(2)
        });
        for process in processes {
            let pid = Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap();
            let _ = kill_process(pid, signal);
        }
    }
    let ran = build.wait();
    assert_eq!(ran.code, 137, "{ran}");
    let [container] = containers_of(lab, project).try_into().unwrap();
    Killed {
        run: run_of(&ran),
        container,
    }
}

/// The names of the containers that a project's builds have started.
fn containers_of(lab: &Lab, project: &Project) -> Vec<String> {
    let mut containers = lab.dockerd.containers();
    let root = project.root().to_str().unwrap();
    containers.retain(|container| {
        let labels = container.config.as_ref().unwrap().labels.as_ref().unwrap();
        labels
            .get("sweep.cache")
            .is_some_and(|cache| cache.starts_with(root))
    });
    let names = containers.into_iter().map(|container| container.name.unwrap());
    names
        .map(|name| name.trim_start_matches('/').to_owned())
        .collect()
}

pub(crate) fn in_second_bench(story: &Story) -> bool {
    story.benches_passed().len() == 1 && story.benches_started().len() == 2
}

fn run_of(ran: &Ran) -> String {
    let run = ran.story.0.iter().find_map(|event| match event {
        Event::RunStarted { run, .. } => Some(run.clone()),
        _ => None,
    });
    run.unwrap()
}

/// The runs that the servers of a build were adopted from, and nothing for those that it started.
pub(crate) fn adopted_from(ran: &Ran) -> Vec<Option<&str>> {
    let starts = ran.story.0.iter().filter_map(|event| match event {
        Event::ServerStarting { adopted_from, .. } => Some(adopted_from.as_deref()),
        _ => None,
    });
    starts.collect()
}

/// How many containers the engine has made so far.
fn created(lab: &Lab) -> usize {
    let now = jiff::Timestamp::now();
    let now = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond());
    lab.dockerd.ask(async |client| {
        let options = EventsOptions {
            since: Some("0".to_owned()),
            until: Some(now),
            filters: Some(HashMap::from([("event".to_owned(), vec!["create".to_owned()])])),
        };
        client.events(Some(options)).count().await
    })
}

fn assert_each_measured_once(lab: &Lab, points: usize) {
    let passes = lab.passes();
    assert!(
        passes.len() == points && passes.values().all(|times| *times == 1),
        "{passes:?}"
    );
}

#[test]
fn a_build_goes_on_with_the_server_that_a_killed_one_left() {
    let Some(lab) = Lab::new(&slow()) else { return };
    let first = killed(&lab, &lab.project, &["build"], in_second_bench);
    // One that is killed in the same way has left the same server.
    let second = killed(&lab, &lab.project, &["build"], |story| {
        story.benches_passed().len() == 1 && story.benches_started().len() == 2
    });
    assert_eq!(second.container, first.container);

    let next = lab.sweep(&["build"]);
    assert_eq!(next.code, 0, "{next}");
    assert_eq!(adopted_from(&next), [Some(first.run.as_str())], "{next}");
    assert!(next.story.server_failures().is_empty(), "{next}");
    assert!(
        next.story.healed().iter().all(|what| !what.contains("was ended")),
        "{next}"
    );
    assert!(next.stderr.contains("0 servers started"), "{next}");
    assert_eq!(lab.project.simulated_rows("all").len(), 4, "{next}");
    assert_each_measured_once(&lab, 4);
    assert_eq!(created(&lab), 1);
    lab.assert_nothing_left();

    // Its log is there from the beginning, and each result says on what it was measured.
    let log = lab.sweep(&["log", "server:one-fp8/64_16/tp1/c1"]);
    assert!(log.stdout.contains("listening on http:"), "{log}");
    let from = format!("adopted from run {}", first.run);
    assert!(log.stdout.contains(&from), "{log}");
    let shown = lab
        .project
        .json(&["show", "one-fp8/64_16/tp1/c4", "--format", "json"]);
    assert_eq!(
        shown["last"]["facts"]["adopted_from"],
        first.run.as_str(),
        "{shown}"
    );
    let shown = lab
        .project
        .json(&["show", "one-fp8/64_16/tp1/c1", "--format", "json"]);
    assert_eq!(
        shown["last"]["facts"]["adopted_from"],
        serde_json::Value::Null,
        "{shown}"
    );
}

#[test]
fn a_server_that_would_be_started_otherwise_now_is_ended() {
    let Some(lab) = Lab::new(&slow()) else { return };
    let left = killed(&lab, &lab.project, &["build"], in_second_bench);
    lab.project.replace(RECIPE, "--time-scale 1", "--time-scale 50");
    let next = lab.sweep(&["build"]);
    assert_eq!(next.code, 0, "{next}");
    assert_eq!(adopted_from(&next), [None], "{next}");
    assert_ended(&next, &left);
    assert_eq!(next.story.benches_passed().len(), 4, "{next}");
    assert_eq!(created(&lab), 2);
    lab.assert_nothing_left();
}

fn assert_ended(ran: &Ran, left: &Killed) {
    let healed = ran.story.healed().join("\n");
    let told = format!(
        "run {} was killed; its container `{}` was ended",
        left.run, left.container
    );
    assert!(healed.contains(&told), "{healed}");
}

#[test]
fn a_start_that_is_equal_to_the_key_alone_is_another_start() {
    let Some(lab) = Lab::new(&slow()) else { return };
    killed(&lab, &lab.project, &["build"], in_second_bench);
    // What is mounted is in no key.
    let launcher = format!(
        "container: {{ mounts: [{{ host: {} }}] }}",
        lab.project.root().display()
    );
    lab.project
        .replace("runners/lab.yaml", "container: {}", &launcher);
    let next = lab.sweep(&["build"]);
    assert_eq!(next.code, 0, "{next}");
    assert_eq!(adopted_from(&next).last(), Some(&None), "{next}");
    let failures = next.story.server_failures();
    assert!(
        failures[0].0.contains("it is not what would be started now"),
        "{next}"
    );
    assert_eq!((failures.len(), next.story.failures().len()), (1, 0), "{next}");
    assert_each_measured_once(&lab, 4);
    assert_eq!(created(&lab), 2);
    lab.assert_nothing_left();
}

#[test]
fn a_server_that_cannot_be_reset_is_not_gone_on_with() {
    let Some(lab) = Lab::new(&slow()) else { return };
    killed(&lab, &lab.project, &["build"], in_second_bench);
    lab.project
        .replace(RECIPE, "POST /reset_prefix_cache", "POST /no_such_path");
    let next = lab.sweep(&["build", "one-fp8/**/c3"]);
    assert_eq!(next.code, 0, "{next}");
    let starts = adopted_from(&next);
    assert!(matches!(starts[..], [Some(_), None]), "{next}");
    let failures = next.story.server_failures();
    assert!(failures[0].0.contains("could not be reset"), "{next}");
    lab.assert_nothing_left();
}

#[test]
fn a_server_of_another_cache_folder_is_neither_used_nor_ended() {
    let Some(lab) = Lab::new(&slow()) else { return };
    let foreign = "sweep-of-somebody";
    create_foreign(&lab, foreign);
    let left = killed(&lab, &lab.project, &["build"], in_second_bench);
    let other = lab.another_project(&slow());
    let elsewhere = lab.start_in(&other, &["build"]).wait();
    assert_eq!(elsewhere.code, 0, "{elsewhere}");
    assert_eq!(adopted_from(&elsewhere), [None], "{elsewhere}");
    assert_eq!(lab.names(), BTreeSet::from([foreign.to_owned(), left.container]));

    let next = lab.sweep(&["build"]);
    assert_eq!(adopted_from(&next), [Some(left.run.as_str())], "{next}");
    assert_each_measured_once(&lab, 4);
    assert_eq!(lab.names(), BTreeSet::from([foreign.to_owned()]));
}

#[test]
fn a_build_without_containers_ends_what_is_left_too() {
    let Some(lab) = Lab::new(&slow()) else { return };
    let left = killed(&lab, &lab.project, &["build"], in_second_bench);
    lab.project.replace(
        "Sweepfile",
        "executor: docker, launcher: lab",
        "executor: process",
    );
    lab.project.replace("configs/master.yaml", IMAGE, "builtin:sim");
    let next = lab.sweep(&["build", "one-fp8/**/c1"]);
    assert_eq!(next.code, 0, "{next}");
    assert_ended(&next, &left);
    lab.assert_nothing_left();
}

/// A container of somebody's, with no labels.
fn create_foreign(lab: &Lab, name: &str) {
    let words = "/bin/sweep sim --port 8000 --gpu h100 --tp 1 --model meta-llama/Llama-3.1-8B-Instruct";
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        entrypoint: Some(words.split(' ').map(str::to_owned).collect()),
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
fn a_server_that_is_still_starting_is_waited_for() {
    let plan = Plan {
        concurrencies: "[1]",
        servers: &[("one", SCRIPT)],
        script: "until [ -e /attempt/weights ]; do :; done\n\
                 exec sweep sim --port $PORT --gpu h100 --tp 1 --model $MODEL --time-scale 50\n",
        ..Plan::default()
    };
    let Some(lab) = Lab::new(&plan) else { return };
    let runs = || {
        let containers = lab.dockerd.containers();
        let state = containers.first().and_then(|container| container.state.clone());
        state.is_some_and(|state| state.running == Some(true))
    };
    let left = killed(&lab, &lab.project, &["build"], |_| runs());
    let mut next = lab.start(&["build"]);
    next.wait_for("the adoption", |story| !story.servers().is_empty());
    let home = format!(
        ".cache/runs/{}/attempts/0001-server_one-fp8_64_16_tp1_c1/home",
        left.run
    );
    lab.project.write(&format!("{home}/weights"), "");
    let next = next.wait();
    assert_eq!(next.code, 0, "{next}");
    assert_eq!(adopted_from(&next), [Some(left.run.as_str())], "{next}");
    assert_each_measured_once(&lab, 1);
    lab.assert_nothing_left();
}

#[test]
fn servers_that_share_a_node_keep_their_gpus() {
    let plan = Plan {
        pool: "gpu: h100, gpus: 2, share: gpu",
        servers: &[("a", SIMULATOR), ("b", SLOW_SIMULATOR)],
        ..Plan::default()
    };
    let Some(lab) = Lab::new(&plan) else { return };
    // The one on the first GPU has ended; what is left has the second.
    let left = killed(&lab, &lab.project, &["build"], |story| {
        let ended = |event: &&Event| matches!(event, Event::SessionEnded { .. });
        story.0.iter().filter(ended).count() == 1
    });
    lab.project
        .replace("benchmarks/a/recipe.yaml", "--time-scale 50", "--time-scale 40");
    let next = lab.sweep(&["build"]);
    assert_eq!(next.code, 0, "{next}");
    let mut starts = adopted_from(&next);
    starts.sort_unstable();
    assert_eq!(starts, [None, Some(left.run.as_str())], "{next}");
    assert!(next.story.server_failures().is_empty(), "{next}");
    lab.assert_nothing_left();
}

#[test]
fn what_a_combined_script_had_begun_is_ended() {
    let script = "trap '' TERM\nwhile :; do read -rt 1 <> <(:) || :; done\n";
    let Some(lab) = Lab::new(&Plan {
        concurrencies: "[1]",
        script,
        ..Plan::default()
    }) else {
        return;
    };
    lab.project
        .write(RECIPE, "match: { framework: one }\nrun: serve.sh\nwithin: 2m\n");
    let left = killed(&lab, &lab.project, &["build"], |_| !lab.names().is_empty());
    lab.project.write("benchmarks/one/serve.sh", "exit 3\n");
    let next = lab.sweep(&["build"]);
    assert_eq!(next.code, 1, "{next}");
    assert_ended(&next, &left);
    lab.assert_nothing_left();
}
