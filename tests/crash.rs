//! Builds that are killed, interrupted, and caches that are damaged: the same command again makes it whole.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use project::{Project, Story};

/// A project whose points are measured one after another, two dozen of them on four servers.
fn one_by_one() -> Project {
    let project = Project::new();
    project.replace("Sweepfile", "nodes: 2", "nodes: 1");
    project.replace("Sweepfile", "time-scale: 100", "time-scale: 20");
    project.edit_config("alpha-fp8-h100-sglang", "[1, 2, 4]", "[1, 2, 3, 4, 5, 6, 7, 8]");
    project.edit_config("beta-fp4-h100-sglang", "[1, 2, 4]", "[1, 2, 3, 4, 5, 6, 7, 8]");
    project.edit_config("gamma-fp8-h100-vllm", "[1, 2]", "[1, 2, 3, 4, 5, 6]");
    project
}

const POINTS: usize = 24;

/// The points that have a row.
fn points(project: &Project) -> BTreeSet<String> {
    let rows = project.simulated_rows("all");
    let targets = rows
        .iter()
        .map(|row| row["provenance"]["target"].as_str().unwrap().to_owned());
    targets.collect()
}

/// How often each bench passed, over all runs.
fn passes(stories: &[Story]) -> BTreeMap<&str, usize> {
    let mut passes = BTreeMap::new();
    for target in stories.iter().flat_map(Story::benches_passed) {
        *passes.entry(target).or_default() += 1;
    }
    passes
}

/// When a build is killed, counted in what it has said.
type Moment = fn(&Story) -> bool;

#[test]
fn a_build_killed_ten_times_ends_as_if_it_had_not_been() {
    let moments: [(&str, Moment); 10] = [
        ("nothing planned yet", |_| true),
        ("the plan", |story| !story.0.is_empty()),
        ("a server starts", |story| !story.servers().is_empty()),
        ("the first bench", |story| story.benches_started().len() == 1),
        ("a bench has passed", |story| !story.benches_passed().is_empty()),
        ("a row is computed", |story| !story.processed().is_empty()),
        ("the second bench", |story| story.benches_started().len() >= 2),
        ("the third bench", |story| story.benches_started().len() >= 3),
        ("two rows", |story| story.processed().len() >= 2),
        ("the fourth bench", |story| story.benches_started().len() >= 4),
    ];
    let undisturbed = one_by_one();
    assert_eq!(undisturbed.sweep(&["build"]).code, 0);

    let project = one_by_one();
    for (round, (what, moment)) in moments.into_iter().enumerate() {
        let mut build = project.start(&["build"]);
        build.wait_for(what, moment);
        let killed = build.kill();
        assert_eq!(killed.code, 137, "{what}: {killed}");
        assert!(!killed.story.finished(), "{what}: {killed}");
        // Now and then the next build comes while the servers of the last are still being ended.
        if round % 2 == 0 {
            project.assert_no_process_left();
        }
    }
    let last = project.sweep(&["build"]);
    assert_eq!(last.code, 0, "{last}");
    project.assert_no_process_left();
    assert_eq!(points(&project), points(&undisturbed));
    assert_eq!(points(&project).len(), POINTS);
    let stories = project.stories();
    assert!(stories.len() >= 9, "each that had said something is a run");
    let passes = passes(&stories);
    assert!(passes.values().all(|times| *times == 1), "{passes:#?}");
    let again = project.sweep(&["build"]);
    assert!(again.story.0.is_empty() && again.code == 0, "{again}");
}

#[test]
fn a_killed_guard_leaves_nothing_either() {
    let project = one_by_one();
    let mut build = project.start(&["build", "alpha-*"]);
    build.wait_for("a bench", |story| !story.benches_started().is_empty());
    let guards: Vec<_> = project::processes_in(project.root())
        .into_iter()
        .filter(|process| process.command.ends_with(" guard"))
        .collect();
    assert_eq!(guards.len(), 1, "{guards:?}");
    for pid in [build.pid(), guards[0].pid] {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
    assert_eq!(build.wait().code, 137);
    let next = project.sweep(&["build", "alpha-*"]);
    assert_eq!(next.code, 0, "{next}");
    project.assert_no_process_left();
}

/// Interrupts a build in mid-bench by each of `signals` and gives back how it ended.
fn interrupted(project: &Project, signals: &[Signal]) -> project::Ran {
    let mut build = project.start(&["build"]);
    build.wait_for("a second bench", |story| story.benches_started().len() == 2);
    for (already, signal) in signals.iter().enumerate() {
        build.signal(*signal);
        let said = |story: &Story| story.interruptions() > already;
        if already + 1 < signals.len() {
            build.wait_for("the interruption", said);
        }
    }
    build.wait()
}

#[test]
fn an_interrupted_build_keeps_what_is_finished() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let project = one_by_one();
        let ran = interrupted(&project, &[signal]);
        assert_eq!(ran.code, code, "{ran}");
        assert!(ran.elapsed < Duration::from_secs(20), "{ran}");
        assert!(project::processes_in(project.root()).is_empty(), "{ran}");
        assert!(ran.story.finished(), "{ran}");
        assert!(
            ran.story.failures().is_empty(),
            "an interruption is no failure: {ran}"
        );
        let kept = ran.story.benches_passed().len();
        let rest = project.sweep(&["build"]);
        assert_eq!(rest.code, 0, "{rest}");
        assert_eq!(rest.story.benches_passed().len(), POINTS - kept, "{rest}");
        assert_eq!(points(&project).len(), POINTS);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    // A server that does not end when it is asked to.
    let recipe = "\
match: { framework: stubborn }
server:
  run: serve.sh
  contract: [MODEL]
  ready: { http: /health, within: 1m }
  reset: { http: POST /reset_prefix_cache }
  stop: { grace: 10m }
";
    let project = Project::of_recipes(&[("stubborn", recipe.to_owned())]);
    let script = format!(
        "\
trap '' TERM
{} sim --port $PORT --gpu h100 --tp 1 --time-scale 1 --model $MODEL &
while :; do wait; done
",
        env!("CARGO_BIN_EXE_sweep")
    );
    project.write("benchmarks/stubborn/serve.sh", &script);
    let mut build = project.start(&["build"]);
    build.wait_for("a bench", |story| !story.benches_started().is_empty());
    build.signal(Signal::INT);
    build.wait_for("the interruption", |story| story.interruptions() == 1);
    build.signal(Signal::INT);
    let ran = build.wait();
    assert_eq!(ran.code, 130, "{ran}");
    project.assert_no_process_left();
}

fn newest(files: Vec<PathBuf>) -> PathBuf {
    let by_age = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    files.into_iter().max_by_key(by_age).unwrap()
}

#[test]
fn a_torn_log_costs_what_was_torn() {
    let project = Project::new();
    assert_eq!(project.sweep(&["build"]).code, 0);
    let segment = newest(project.files(".cache/log"));
    let whole = fs::read(&segment).unwrap();

    // Garbage after the last record hides nothing, and is said.
    let mut file = fs::OpenOptions::new().append(true).open(&segment).unwrap();
    file.write_all(b"\x7f\0\0\0garbage that a crash left").unwrap();
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.story.benches_started().is_empty(), "{ran}");

    for cut in [1, 100, whole.len() / 2] {
        let segment = newest(project.files(".cache/log"));
        let bytes = fs::read(&segment).unwrap();
        let kept = bytes.len().saturating_sub(cut);
        fs::write(&segment, &bytes[..kept]).unwrap();
        let ran = project.sweep(&["build"]);
        assert_eq!(ran.code, 0, "cut {cut}: {ran}");
        assert_eq!(points(&project).len(), 10, "cut {cut}: {ran}");
        let again = project.sweep(&["build"]);
        assert!(again.code == 0 && again.story.0.is_empty(), "cut {cut}: {again}");
    }
}

/// Changes a byte in the middle of a read-only file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_blobs_are_healed_by_the_next_builds() {
    let project = Project::new();
    assert_eq!(project.sweep(&["build"]).code, 0);
    let blobs = project.files(".cache/cas");
    assert!(blobs.len() >= 20, "a trace and a row of each point: {blobs:#?}");
    for blob in &blobs {
        flip(blob);
    }
    let healing = project.sweep(&["build"]);
    assert_eq!(healing.code, 0, "{healing}");
    assert_eq!(healing.story.benches_passed().len(), 10, "{healing}");
    assert_eq!(healing.story.healed().len(), 20, "{healing}");
    assert_eq!(points(&project).len(), 10);
    let after = project.sweep(&["build"]);
    assert!(after.code == 0 && after.story.0.is_empty(), "{after}");
}
