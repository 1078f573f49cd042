//! `sweep inferencex process-changelog`, `validate-changelog` and `ci-priority`, in a repository of their own.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const ENTRY: &str = "- config-keys: ['m-*']\n  description: [more]\n  pr-link: https://example.com/1\n";

fn master(key: &str, concs: &str) -> String {
    format!(
        "{key}: {{image: i, model: {key}, model-prefix: mp, runner: r, precision: fp8, framework: vllm, multinode: false, \
         scenarios: {{fixed-seq-len: [{{isl: 8192, osl: 1024, search-space: [{{tp: '8', conc-list: {concs}}}]}}]}}}}\n"
    )
}

/// A checkout whose `HEAD~1` has one point and no entry, and whose `HEAD` has two and this one.
fn repository(entry: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir(root.join("configs")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    write("configs/amd-master.yaml", &master("m-amd", "[4]"));
    write("configs/nvidia-master.yaml", &master("m-nvidia", "[16]"));
    write("configs/runners.yaml", "labels: {r: [r_0]}\n");
    write("perf-changelog.yaml", "# the log\n");
    git(root, &["init", "-q", "."]);
    commit(root);
    write("configs/nvidia-master.yaml", &master("m-nvidia", "[64, 16]"));
    write("perf-changelog.yaml", &format!("# the log\n{entry}"));
    commit(root);
    folder
}

fn git(root: &Path, words: &[&str]) {
    let status = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(words)
        .current_dir(root)
        .status()
        .unwrap();
    assert!(status.success());
}

fn commit(root: &Path) {
    git(root, &["add", "-A"]);
    git(root, &["commit", "-qm", "a change"]);
}

fn tool(root: &Path, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sweep"))
        .arg("inferencex")
        .args(words.split(' '))
        .current_dir(root)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

const PROCESS: &str =
    "process-changelog --base-ref HEAD~1 --head-ref HEAD --changelog-file perf-changelog.yaml";

fn jobs(entry: &str, flags: &str) -> Value {
    let folder = repository(entry);
    let output = tool(folder.path(), &format!("{PROCESS}{flags}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn points(jobs: &Value) -> Vec<String> {
    let rows = jobs["single_node"]["8k1k"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    rows.iter().map(|row| row["conc"].to_string()).collect()
}

#[test]
fn added_entries_are_swept_amd_first() {
    let jobs = jobs(ENTRY, "");
    assert_eq!(points(&jobs), ["4", "64", "16"]);
    assert_eq!(jobs["single_node"]["8k1k"][0]["tp"], 8);
    assert_eq!(jobs["evals"].as_array().unwrap().len(), 1);
    assert_eq!(jobs["evals"][0].get("recipe-fingerprint"), None);
    let fingerprints: Vec<_> = (0..3)
        .map(|i| &jobs["single_node"]["8k1k"][i]["recipe-fingerprint"])
        .collect();
    assert_eq!(fingerprints[1], fingerprints[2]);
    assert_eq!(jobs["changelog_metadata"]["entries"][0]["append-only"], false);
}

#[test]
fn flags_and_entries_select() {
    assert_eq!(points(&jobs(ENTRY, " --trim-conc")), ["4", "16"]);
    assert!(points(&jobs(ENTRY, " --evals-only")).is_empty());
    let all = jobs(ENTRY, " --all-evals");
    assert_eq!(
        (points(&all).len(), all["evals"].as_array().unwrap().len()),
        (3, 3)
    );
    assert!(points(&jobs(&format!("{ENTRY}  evals-only: true\n"), "")).is_empty());
    let agentic = jobs(&format!("{ENTRY}  scenario-type: [agentic-coding]\n"), "");
    assert_eq!(agentic["single_node"], serde_json::json!({}));
    let nvidia = ENTRY.replace("m-*", "m-nvidia");
    let append_only = jobs(&format!("{nvidia}  append-only: true\n"), "");
    assert_eq!(points(&append_only), ["64"]);
    assert!(append_only["evals"].as_array().unwrap().is_empty());
}

#[test]
fn what_cannot_be_swept_is_refused() {
    for (entry, flags, part) in [
        ("", "", "No additions found"),
        ("- a\n", "", "valid dictionary"),
        (
            &*ENTRY.replace("m-*", "x-*"),
            "",
            "No config keys matched the wildcard pattern 'x-*'",
        ),
        (&*ENTRY.replace("m-*", "x"), "", "Config key 'x' not found"),
        (
            &*format!("{ENTRY}  append-only: true\n"),
            " --evals-only",
            "cannot use all-evals or evals-only",
        ),
        (
            &*format!("{ENTRY}  append-only: true\n{ENTRY}"),
            "",
            "cannot share a sweep",
        ),
        (
            &*format!("{}  append-only: true\n", ENTRY.replace("m-*", "m-amd")),
            "",
            "changed configs not selected by its changelog entry: ['m-nvidia']",
        ),
    ] {
        let folder = repository(entry);
        if entry.is_empty() {
            git(folder.path(), &["commit", "-q", "--allow-empty", "-m", "nothing"]);
        }
        let output = tool(folder.path(), &format!("{PROCESS}{flags}"));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(told.contains(part), "{told}");
    }
    let folder = repository(ENTRY);
    let reversed = tool(
        folder.path(),
        "process-changelog --base-ref HEAD --head-ref HEAD~1 --changelog-file perf-changelog.yaml",
    );
    let told = String::from_utf8_lossy(&reversed.stderr);
    assert!(told.contains("Found deleted line: - config-keys"), "{told}");
}

#[test]
fn a_changelog_is_validated() {
    let validate = |entry: &str| {
        let folder = repository(entry);
        let output = tool(
            folder.path(),
            "validate-changelog --base-ref HEAD~1 --head-ref HEAD",
        );
        let texts = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(texts).unwrap())
    };
    let (code, told) = validate(ENTRY);
    assert_eq!(
        (code, told.starts_with("Validated perf-changelog.yaml")),
        (Some(0), true)
    );
    let (code, told) = validate(ENTRY.trim_end());
    assert_eq!(code, Some(1));
    assert!(
        told.starts_with("ERROR: perf-changelog.yaml at HEAD does not end with a newline"),
        "{told}"
    );
    let (code, told) = validate("- a\n");
    assert!(code == Some(1) && told.contains("rejected the diff"), "{told}");
}

#[test]
fn jobs_get_priorities_and_tokens() {
    let folder = repository(ENTRY);
    let root = folder.path();
    std::fs::write(root.join("jobs.json"), tool(root, PROCESS).stdout).unwrap();
    let policy = "version: 1\nbase-score: 1.0\nadjustments: {precision: {fp8: 0.5}}\n\
                  labels: {skip-queue: {name: skip}, patchwork: {names: [patch], score: 0.0}}\n";
    std::fs::write(root.join("policy.yaml"), policy).unwrap();
    let output = tool(
        root,
        r#"ci-priority --policy policy.yaml --input jobs.json --labels-json ["skip"] --pr-number 7"#,
    );
    let annotated: Value = serde_json::from_slice(&output.stdout).unwrap();
    let job = &annotated["single_node"]["8k1k"][0];
    assert_eq!(
        (&job["priority"], &job["skip-queue-pr"]),
        (&"1.500".into(), &7.into())
    );
    assert_eq!(job["queue-token"].as_str().unwrap().len(), 32);
    assert_ne!(
        job["queue-token"],
        annotated["single_node"]["8k1k"][1]["queue-token"]
    );
}
