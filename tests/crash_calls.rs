//! A whole build with one of its system calls refused, or with the program killed at it: each `fsync`, `fdatasync`,
//! `rename`, `mkdir`, `fchmod` and `write` of each thread in turn, and the start of each process.
//!
//! strace counts the calls of each thread for itself, so that the n-th call is refused in every thread that comes so
//! far: more than one fault, where there are several. What a write that is refused does is told by the small disks of
//! `crash_matrix.rs` and, call by call, by the cache's own tests: here it would also strike pipes and wake-ups.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;
mod requirement;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use sweep::cache::Store;

use project::{Project, Ran};

/// Two points on one server.
const WORDS: [&str; 2] = ["build", "gamma-*"];

/// How many builds run at a time: most of one is waiting.
const AT_A_TIME: usize = 4;

/// `sweep` under strace with these injections, which are as `strace -e inject=` takes them.
fn disturbed(project: &Project, inject: &str) -> Ran {
    disturbed_at(project, inject, None)
}

/// The same, only of calls that name this path.
fn disturbed_at(project: &Project, inject: &str, path: Option<&str>) -> Ran {
    let words = [&WORDS[..], &["--format", "json"]].concat();
    let plain = project.command(&words);
    let calls = inject.split(':').next().unwrap();
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o", "/dev/null"])
        .arg(format!("--trace={calls}"))
        .arg(format!("--inject={inject}"));
    if let Some(path) = path {
        command.arg(format!("--trace-path={path}"));
    }
    command.arg(plain.get_program()).args(&words);
    command.current_dir(project.root()).env_remove("CI");
    project.run(command)
}

fn has_strace() -> bool {
    let probe = ["-f", "-qq", "-o", "/dev/null", "--trace=flock", "true"];
    requirement::has_program("strace", "strace", &probe)
}

/// The benches that a build said to have passed.
fn told(ran: &Ran) -> BTreeSet<String> {
    let events = ran
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["event"] == "bench-passed")
        .map(|event| event["target"].as_str().unwrap().to_owned())
        .collect()
}

/// The benches of which there is a result, each only once.
fn kept(project: &Project, fault: &str) -> BTreeSet<String> {
    let store = Store::open_read(project.path(".cache")).unwrap();
    let passed = store.records().iter().filter(|record| {
        let head = record.head();
        head.passed && head.target.starts_with("bench:") && store.lookup(&head.key).unwrap().is_some()
    });
    let mut kept = BTreeSet::new();
    for record in passed {
        assert!(
            kept.insert(record.head().target.to_owned()),
            "{fault}: measured twice"
        );
    }
    kept
}

/// What must hold after a fault, whatever it was.
fn judge(project: &Project, fault: &str, ran: &Ran) {
    assert!(!ran.stderr.contains("panicked at"), "{fault}: {ran}");
    let before = kept(project, fault);
    assert!(told(ran).is_subset(&before), "{fault} lost what was told: {ran}");
    let rest = project.sweep(&[&WORDS[..], &["--format", "json"]].concat());
    assert_eq!(rest.code, 0, "{fault}: {rest}");
    assert!(told(&rest).is_disjoint(&before), "{fault} repeats: {rest}");
    assert_eq!(kept(project, fault).len(), 2, "{fault}: {rest}");
    let rows = project.json(&["results", "gamma-*", "--format", "json"]);
    assert_eq!(rows.as_array().unwrap().len(), 2, "{fault}: {rest}");
    let fresh = project.sweep(&WORDS);
    assert!(fresh.code == 0 && fresh.story.0.is_empty(), "{fault}: {fresh}");
    let sound = project.sweep(&["cache", "verify"]);
    assert!(sound.stdout.contains("nothing is wrong"), "{fault}: {sound}");
    project.assert_no_process_left();
}

/// Tries each of these in a project of its own, some at a time; the exit codes of the disturbed builds.
fn each(faults: &[String], judge: impl Fn(&Project, &str, &Ran) + Sync) -> Vec<i32> {
    let next = AtomicUsize::new(0);
    let codes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let project = Project::new();
                    let ran = disturbed(&project, fault);
                    judge(&project, fault, &ran);
                    codes.lock().unwrap().push(ran.code);
                }
            });
        }
    });
    codes.into_inner().unwrap()
}

/// Most of the faults must have struck: a build that makes fewer calls wants this file looked at.
fn assert_struck(codes: &[i32], is_struck: impl Fn(i32) -> bool) {
    let struck = codes.iter().filter(|code| is_struck(**code)).count();
    assert!(
        struck * 2 > codes.len(),
        "{struck} of {} faults struck: {codes:?}",
        codes.len()
    );
}

/// Up to which call of a thread a build of the project goes, at least.
const CALLS: [(&str, usize); 5] = [
    ("fsync", 20),
    ("fdatasync", 3),
    ("rename", 6),
    ("mkdir", 9),
    ("fchmod", 6),
];

#[test]
fn a_call_that_is_refused_costs_no_finished_result() {
    if !has_strace() {
        return;
    }
    let faults: Vec<String> = CALLS
        .iter()
        .flat_map(|(call, times)| (1..=*times).map(move |n| format!("{call}:error=EIO:when={n}")))
        .collect();
    let codes = each(&faults, |project, fault, ran| {
        assert!(matches!(ran.code, 0 | 1 | 3), "{fault}: {ran}");
        judge(project, fault, ran);
    });
    assert_struck(&codes, |code| code != 0);
}

#[test]
fn a_build_that_dies_at_any_call_is_resumed() {
    if !has_strace() {
        return;
    }
    let calls = [
        ("write", 28, 2),
        ("fsync", 20, 2),
        ("fdatasync", 3, 1),
        ("rename", 6, 1),
    ];
    let faults: Vec<String> = calls
        .iter()
        .flat_map(|(call, times, step)| {
            (1..=*times)
                .step_by(*step)
                .map(move |n| format!("{call}:signal=KILL:when={n}"))
        })
        .collect();
    assert_struck(&each(&faults, judge), |code| code == 137);
}

#[test]
fn processes_that_cannot_be_started_are_failures_and_nothing_else() {
    if !has_strace() {
        return;
    }
    let project = Project::new();
    // A server is started by the program itself under this name, and by none other.
    let ran = disturbed_at(&project, "execve:error=EAGAIN", Some("/proc/self/exe"));
    assert_eq!(ran.code, 1, "{ran}");
    assert!(told(&ran).is_empty(), "{ran}");
    assert_eq!(ran.story.failures().len(), 2, "{ran}");
    judge(&project, "execve", &ran);
}
