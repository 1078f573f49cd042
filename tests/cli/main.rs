//! The commands that read: one file each, by running the program.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../project/mod.rs"]
mod project;

mod changed;
mod check;
mod completions;
mod evals;
mod graph;
mod help;
mod ls;
mod output;
mod plan;
mod results;
mod schema;
mod show;
mod status;
mod why;

use project::{Project, Ran};

const ALPHA: &str = "alpha-fp8-h100-sglang";

/// Standard output of a command that must succeed.
fn told(project: &Project, words: &[&str]) -> String {
    let ran = project.sweep(words);
    assert_eq!(ran.code, 0, "{ran}");
    ran.stdout
}

/// Standard error of a command that must end with this code and print nothing.
fn refused(project: &Project, words: &[&str], code: i32) -> String {
    let ran = project.sweep(words);
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{ran}");
    trimmed(&ran.stderr)
}

fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim().to_owned()
}

/// A build that must succeed.
fn built(project: &Project, words: &[&str]) -> Ran {
    let ran = project.sweep(&[&["build"], words].concat());
    assert_eq!(ran.code, 0, "{ran}");
    ran
}

/// The id of the newest run, and what this machine calls itself: what snapshots cannot know.
fn newest_run(project: &Project) -> (String, String) {
    let status = project.json(&["status", "--format", "json"]);
    let text = |field: &str| status[field].as_str().unwrap().to_owned();
    (text("run"), text("host"))
}

/// A text with what differs from run to run replaced.
fn steady(project: &Project, text: &str) -> String {
    let (run, host) = newest_run(project);
    let text = text
        .replace(&run, "RUN")
        .replace(&format!(" on {host}"), " on HOST");
    // `2026-11-22 05:38:29 UTC` stands at the end of a line.
    let lines = text.lines().map(|line| match line.strip_suffix(" UTC") {
        Some(dated) => format!("{}, WHEN", dated.rsplit_once(", ").unwrap().0),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
