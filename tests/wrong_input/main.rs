//! What users can write that is wrong: exit 2 within seconds, a message with file, line and remedy on standard error,
//! nothing on standard output, nothing built, no panic.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../project/mod.rs"]
mod project;

mod concurrencies;
mod fields;
mod files;
mod hardware;
mod names;
mod patterns;
mod recipes;

use std::time::Duration;

use project::{Project, Ran};

const SWEEPFILE: &str = "Sweepfile";
const MASTER: &str = "configs/master.yaml";
const RUNNERS: &str = "configs/runners.yaml";
const RECIPE: &str = "benchmarks/sglang/recipe.yaml";
const LAUNCHER: &str = "runners/local.yaml";

/// What a debug build may take on a busy machine; a release build takes a tenth.
const SOON: Duration = Duration::from_secs(20);

/// The messages of a command that must be refused as wrong input.
fn refused(project: &Project, words: &[&str]) -> String {
    let ran = project.sweep(words);
    assert_refused(&ran);
    assert!(!project.path(".cache").exists(), "{ran}");
    assert!(!project.path("results").exists(), "{ran}");
    trimmed(&ran.stderr)
}

fn assert_refused(ran: &Ran) {
    assert_eq!(ran.code, 2, "{ran}");
    assert_eq!(ran.stdout, "", "{ran}");
    assert!(ran.elapsed < SOON, "{ran}");
    for word in ["panicked", "RUST_BACKTRACE", "budget"] {
        assert!(!ran.stderr.contains(word), "{ran}");
    }
}

fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim().to_owned()
}

/// The usual project with one text of one file replaced, built.
fn after(file: &str, old: &str, new: &str) -> String {
    let project = Project::new();
    project.replace(file, old, new);
    refused(&project, &["build"])
}

/// The same in the entry of `alpha`.
fn after_alpha(old: &str, new: &str) -> String {
    let project = Project::new();
    project.edit_config("alpha-fp8-h100-sglang", old, new);
    refused(&project, &["build"])
}

/// The usual project with a line added to a file, built.
fn after_adding(file: &str, text: &str) -> String {
    let project = Project::new();
    let before = project.read(file);
    project.write(file, &format!("{before}{text}"));
    refused(&project, &["build"])
}

/// The usual project with a file of these bytes, built.
fn with_file(file: &str, bytes: &[u8]) -> String {
    let project = Project::new();
    let path = project.path(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    refused(&project, &["build"])
}
