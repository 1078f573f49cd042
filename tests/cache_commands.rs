//! `sweep cache` and `sweep clean`, by running them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use sweep::cache::Store;

use project::{Project, Ran};

fn built() -> Project {
    let project = Project::new();
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    project
}

fn ok(project: &Project, words: &[&str]) -> Ran {
    let ran = project.sweep(words);
    assert_eq!(ran.code, 0, "{words:?}: {ran}");
    ran
}

fn stats(project: &Project) -> Value {
    project.json(&["cache", "stats", "--format", "json"])
}

/// A build that has nothing to do.
fn assert_all_fresh(project: &Project) {
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.story.0.is_empty(), "{ran}");
}

/// Changes a byte in the middle of a blob.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn two_clones_hand_their_results_to_each_other() {
    let first = built();
    let archive = first.beside("first.tar.zst");
    let archive = archive.to_str().unwrap();
    let said = ok(&first, &["cache", "export", archive]);
    assert!(said.stdout.starts_with("22 records, "), "{said}");

    let second = Project::new();
    let said = ok(&second, &["cache", "import", archive]);
    assert!(said.stdout.contains("22 new records"), "{said}");
    assert_all_fresh(&second);
    let again = ok(&second, &["cache", "import", archive]);
    assert!(
        again.stdout.contains("0 new records, 0 new blobs (0 B)"),
        "{again}"
    );
    // The same records are the same bytes, from wherever they come.
    let back = second.beside("back.tar.zst");
    ok(&second, &["cache", "export", back.to_str().unwrap()]);
    assert_eq!(fs::read(archive).unwrap(), fs::read(back).unwrap());

    // A folder as it lies does as well.
    let third = Project::new();
    ok(&third, &["cache", "import", first.root().to_str().unwrap()]);
    assert_all_fresh(&third);
}

#[test]
fn shards_that_measured_a_part_each_make_a_whole() {
    let collected = Project::new();
    let mut archives = Vec::new();
    for pattern in ["alpha-*", "beta-*", "{gamma,delta}-*"] {
        let shard = Project::new();
        assert_eq!(shard.sweep(&["build", pattern]).code, 0);
        let archive = collected.beside(&format!("{}.tar.zst", archives.len()));
        let archive = archive.to_str().unwrap().to_owned();
        ok(&shard, &["cache", "export", &archive]);
        archives.push(archive);
    }
    let words = ["cache", "import", &archives[2], &archives[0], &archives[1]];
    ok(&collected, &words);
    let ran = collected.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.story.benches_started().is_empty(), "{ran}");
    assert_eq!(collected.simulated_rows("all").len(), 10);
}

#[test]
fn an_export_chooses_by_pattern_and_by_run() {
    let project = Project::new();
    ok(&project, &["build", "alpha-*"]);
    let runs = project.files(".cache/runs");
    let run = runs
        .iter()
        .find(|path| path.ends_with("events.jsonl"))
        .unwrap()
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    ok(&project, &["build", "beta-*"]);
    let archive = project.beside("part.tar.zst");
    let archive = archive.to_str().unwrap();

    let said = ok(&project, &["cache", "export", archive, "bench:alpha-*", "!**/c1"]);
    assert!(said.stdout.starts_with("2 records, 2 blobs"), "{said}");
    let said = ok(
        &project,
        &["cache", "export", archive, "bench:**", "--since", &run],
    );
    assert!(said.stdout.starts_with("3 records, 3 blobs"), "{said}");
    let other = Project::new();
    ok(&other, &["cache", "import", archive]);
    let plan = other.sweep(&["build", "beta-*"]);
    assert!(plan.story.benches_started().is_empty(), "{plan}");

    let unmatched = project.sweep(&["cache", "export", archive, "nothing-*"]);
    assert_eq!(unmatched.code, 4, "{unmatched}");
    let unknown = project.sweep(&["cache", "export", archive, "--since", "20200101T000000Z-000000"]);
    assert_eq!(unknown.code, 4, "{unknown}");
}

#[test]
fn a_damaged_archive_changes_nothing() {
    let project = built();
    let archive = project.beside("a.tar.zst");
    ok(&project, &["cache", "export", archive.to_str().unwrap()]);
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
    let other = Project::new();
    let refused = other.sweep(&["cache", "import", archive.to_str().unwrap()]);
    assert_eq!(refused.code, 2, "{refused}");
    assert!(refused.stderr.contains("nothing was changed"), "{refused}");
    assert_eq!(stats(&other)["records"], 0);
    let absent = other.sweep(&["cache", "import", "absent.tar.zst"]);
    assert_eq!(absent.code, 2, "{absent}");
    let unpacked = other.sweep(&["cache", "import", archive.to_str().unwrap(), "--max-size", "1KB"]);
    assert_eq!(unpacked.code, 2, "{unpacked}");
}

#[test]
fn verify_tells_what_it_healed() {
    let project = built();
    let sound = ok(&project, &["cache", "verify"]);
    assert!(sound.stdout.contains("nothing is wrong"), "{sound}");
    let store = Store::open_read(project.path(".cache")).unwrap();
    let bench = store
        .records()
        .iter()
        .find(|record| record.head().target.starts_with("bench:"));
    let (trace, _) = bench.unwrap().blobs().next().unwrap();
    flip(&store.cas().path(&trace));
    let segment = project.files(".cache/log").remove(0);
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, [whole.as_slice(), b"\x07\0\0\0torn"].concat()).unwrap();

    let healed = ok(&project, &["cache", "verify"]);
    for said in [
        "healed: the last 8 bytes of",
        "it is removed",
        "the next build makes it again",
        "2 things were wrong",
    ] {
        assert!(healed.stdout.contains(said), "{said}: {healed}");
    }
    let again = ok(&project, &["cache", "verify", "--sample", "3"]);
    assert!(
        again.stdout.contains("nothing is wrong") && again.stdout.contains(" more were not read"),
        "{again}"
    );
    let rebuilt = project.sweep(&["build"]);
    assert_eq!(rebuilt.story.benches_passed().len(), 1, "{rebuilt}");
    assert_all_fresh(&project);
}

#[test]
fn clean_forgets_for_good() {
    let project = built();
    let archive = project.beside("before.tar.zst");
    let archive = archive.to_str().unwrap();
    ok(&project, &["cache", "export", archive]);
    let told = ok(&project, &["clean", "alpha-*", "!**/c1", "-n"]);
    assert!(
        told.stdout.contains("4 targets would be forgotten, 4 records"),
        "{told}"
    );
    assert_all_fresh(&project);
    let cleaned = ok(&project, &["clean", "alpha-*", "!**/c1"]);
    assert!(
        cleaned.stdout.contains("4 targets forgotten, 4 records"),
        "{cleaned}"
    );
    let nothing = project.sweep(&["clean", "alpha-*", "!**/c1"]);
    assert_eq!(nothing.code, 4, "{nothing}");
    // An archive from before does not bring it back.
    ok(&project, &["cache", "import", archive]);
    ok(&project, &["cache", "gc"]);
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.story.benches_passed().len(), 2, "{ran}");
    assert_all_fresh(&project);
    ok(&project, &["cache", "import", archive]);
    assert_all_fresh(&project);
}

#[test]
fn gc_keeps_the_newest_and_a_build_collects_by_itself() {
    let project = Project::new();
    ok(&project, &["build", "alpha-*"]);
    ok(&project, &["build", "beta-*"]);
    let all = stats(&project);
    let bytes = |name: &str| all[name].as_u64().unwrap();
    let half = (bytes("blob_bytes") + bytes("record_bytes")) * 3 / 4;
    let half = format!("{half}B");
    let dry = ok(&project, &["cache", "gc", "--max-size", &half, "--dry-run"]);
    assert!(dry.stdout.starts_with("to remove: "), "{dry}");
    assert_eq!(stats(&project), all);
    ok(&project, &["cache", "gc", "--max-size", &half]);
    let kept = stats(&project);
    assert!(kept["blob_bytes"].as_u64() < all["blob_bytes"].as_u64(), "{kept}");
    assert_eq!(kept["log_segments"], 1);
    let newest = project.sweep(&["build", "beta-*"]);
    assert!(newest.story.benches_started().is_empty(), "{newest}");

    project.replace("Sweepfile", "configs: [", "cache: { max-size: 2KiB }\nconfigs: [");
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("cache: removed: "), "{ran}");
    assert!(stats(&project)["blob_bytes"].as_u64().unwrap() <= 2048);
    ok(&project, &["cache", "gc", "--max-size", "0B"]);
    assert_eq!(stats(&project)["records"], 0);
}

#[test]
fn what_a_running_build_uses_is_left_alone() {
    let project = Project::new();
    project.replace("Sweepfile", "time-scale: 100", "time-scale: 20");
    let mut build = project.start(&["build"]);
    build.wait_for("a result", |story| !story.benches_passed().is_empty());
    for words in [
        &["cache", "gc", "--max-size", "0B", "--no-wait"][..],
        &["cache", "verify", "--no-wait"],
        &["clean", "**", "--no-wait"],
        &["cache", "import", "--no-wait", "."],
    ] {
        let refused = project.run(project.command(words));
        assert_eq!(refused.code, 3, "{words:?}: {refused}");
        assert!(refused.stderr.contains("sweep build"), "{words:?}: {refused}");
    }
    let ran = build.wait();
    assert_eq!(ran.code, 0, "{ran}");
    assert_all_fresh(&project);
}

#[test]
fn every_command_teaches_with_examples() {
    let project = Project::new();
    for words in [
        &["cache"][..],
        &["cache", "stats"],
        &["cache", "verify"],
        &["cache", "gc"],
        &["cache", "export"],
        &["cache", "import"],
        &["clean"],
    ] {
        let help = ok(&project, &[words, &["--help"]].concat());
        assert!(help.stdout.contains("Examples:"), "{help}");
    }
}
