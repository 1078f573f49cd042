//! Files that lie about themselves, folders that cannot be written, clocks that go back: never a wrong result, never a
//! finished target again.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;
mod requirement;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use sweep::cache::{Digest, Holder, Output, RunId, Source, Store, Wait, lock};

use project::{Project, Ran};
use requirement::skip;

fn built() -> Project {
    let project = Project::new();
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    project
}

fn benches(project: &Project) -> usize {
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    ran.story.benches_passed().len()
}

/// A file that is an input of four benches, `gamma`'s and `delta`'s.
const SCRIPT: &str = "benchmarks/vllm/serve.sh";

fn set_mtime(path: &Path, to: SystemTime) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(to).unwrap();
}

#[test]
fn an_input_is_judged_by_its_bytes_whatever_its_times_say() {
    let project = built();
    let script = project.path(SCRIPT);
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 60 * 60);

    set_mtime(&script, now);
    assert_eq!(benches(&project), 0, "touched");
    set_mtime(&script, now + 365 * day);
    for round in 0..3 {
        assert_eq!(benches(&project), 0, "from the future, build {round}");
    }
    project.replace(SCRIPT, "#!/usr/bin/env bash", "#!/usr/bin/env  bash");
    set_mtime(&script, now - 365 * day);
    assert_eq!(benches(&project), 4, "changed, with an older time");
    assert_eq!(benches(&project), 0);

    let before = fs::metadata(&script).unwrap();
    project.replace(SCRIPT, "#!/usr/bin/env  bash", "#!/usr/bin/env bash ");
    set_mtime(&script, before.modified().unwrap());
    let after = fs::metadata(&script).unwrap();
    assert_eq!(
        (before.len(), before.modified().unwrap()),
        (after.len(), after.modified().unwrap())
    );
    assert_eq!(benches(&project), 4, "changed, size and time kept");
    // What was measured of the first bytes is still known.
    project.replace(SCRIPT, "#!/usr/bin/env bash ", "#!/usr/bin/env bash");
    assert_eq!(benches(&project), 0, "changed back");
}

#[test]
fn outputs_that_were_changed_behind_its_back_are_made_again() {
    let project = built();
    for blob in project.files(".cache/cas") {
        let modified = fs::metadata(&blob).unwrap().modified().unwrap();
        let mut bytes = fs::read(&blob).unwrap();
        bytes[0] ^= 1;
        fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&blob, bytes).unwrap();
        set_mtime(&blob, modified);
    }
    let rows = project.simulated_rows("all").len();
    assert_eq!(benches(&project), 10);
    assert_eq!(project.simulated_rows("all").len(), rows);
    assert_eq!(benches(&project), 0);
    // The user's copy of the results is written anew.
    let results = project.path("results/all/agg_bmk.simulated.json");
    let good = fs::read(&results).unwrap();
    fs::write(&results, "junk").unwrap();
    assert_eq!(benches(&project), 0);
    assert_eq!(fs::read(&results).unwrap(), good);
}

#[test]
fn an_input_that_is_edited_while_a_bench_runs_is_measured_as_it_is_then() {
    let project = Project::new();
    project.replace("Sweepfile", "time-scale: 100", "time-scale: 20");
    let mut build = project.start(&["build", "gamma-*"]);
    build.wait_for("a bench", |story| !story.benches_started().is_empty());
    project.replace(SCRIPT, "#!/usr/bin/env bash", "#!/usr/bin/env -S bash");
    let ran = build.wait();
    assert_eq!(ran.code, 0, "{ran}");
    // What was measured belongs to the bytes that were there when it was planned, and to no others.
    let gamma = |project: &Project| {
        let ran = project.sweep(&["build", "gamma-*"]);
        assert_eq!(ran.code, 0, "{ran}");
        ran.story.benches_passed().len()
    };
    assert_eq!(gamma(&project), 2);
    assert_eq!(gamma(&project), 0);
    project.replace(SCRIPT, "#!/usr/bin/env -S bash", "#!/usr/bin/env bash");
    assert_eq!(gamma(&project), 0);
}

fn open(project: &Project, run: &str) -> Store {
    let cache = project.path(".cache");
    let lock = lock::acquire(&cache, Wait::No, &Holder::this_process()).unwrap();
    Store::open_write(cache, run.parse().unwrap(), lock, SystemTime::now()).unwrap()
}

#[test]
fn records_from_a_clock_that_was_ahead_spoil_nothing() {
    let project = built();
    // A run of the year 2099 measured everything once more; then its clock was set right.
    let mut store = open(&project, "20990101T000000Z-0a1b2c");
    let bench: Vec<_> = store
        .records()
        .iter()
        .map(|record| record.decode().unwrap())
        .filter(|record| record.kind() == "bench")
        .collect();
    assert_eq!(bench.len(), 10);
    for mut record in bench {
        record.provenance.run = "20990101T000000Z-0a1b2c".to_owned();
        record.provenance.started_unix_ms = 4_070_908_800_000;
        store.publish(&record, &[]).unwrap();
    }
    drop(store);
    assert_eq!(benches(&project), 0);
    let again = project.sweep(&["build", "--rerun"]);
    assert_eq!(again.story.benches_passed().len(), 10, "{again}");
    // The later run counts, whatever the clocks said.
    let store = Store::open_read(project.path(".cache")).unwrap();
    for record in store.records().iter() {
        let latest = store.records().latest(record.head().target).unwrap();
        assert!(latest.head().started_unix_ms < 4_070_908_800_000);
    }
    drop(store);
    assert_eq!(project.sweep(&["cache", "gc"]).code, 0);
    assert_eq!(benches(&project), 0);
    let old = project.sweep(&["build", "--max-age", "1h"]);
    assert_eq!(old.story.benches_passed().len(), 0, "{old}");
}

/// The bytes of an empty segment with this format.
fn segment(format: u32) -> Vec<u8> {
    let mut bytes = b"sweeplog".to_vec();
    bytes.extend(format.to_le_bytes());
    bytes.extend(7_u64.to_le_bytes());
    let sum = Digest::of(&bytes);
    bytes.extend(&sum.0[..8]);
    bytes
}

#[test]
fn a_cache_of_a_later_sweep_is_left_to_it() {
    let project = built();
    let file = project.path(".cache/log/20990101T000000Z-0a1b2c.00000000.log");
    fs::write(&file, segment(99)).unwrap();
    let before = project.files(".cache");
    for words in [
        &["build"][..],
        &["plan"],
        &["cache", "gc"],
        &["cache", "stats"],
        &["clean", "**"],
    ] {
        let refused = project.sweep(words);
        assert_eq!(refused.code, 3, "{words:?}: {refused}");
        assert!(
            refused.stderr.contains("has format 99") && refused.stderr.contains("update sweep"),
            "{words:?}: {refused}"
        );
    }
    assert_eq!(project.files(".cache"), before);
    // One of the first format is as good as ever.
    fs::write(&file, segment(1)).unwrap();
    assert_eq!(benches(&project), 0);
}

/// `sweep` as a user who may not write here.
fn as_nobody(project: &Project, words: &[&str]) -> Option<Ran> {
    let plain = project.command(words);
    if !rustix::process::geteuid().is_root() {
        return Some(project.run(plain));
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(plain.get_program())
        .args(words)
        .current_dir(project.root())
        .env_remove("CI");
    let may = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(plain.get_program())
        .arg("--version")
        .output();
    if may.is_ok_and(|may| may.status.success()) {
        Some(project.run(command))
    } else {
        skip("setpriv", "this program cannot be run as another user");
        None
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_cache_that_may_not_be_written_can_be_read() {
    let project = built();
    chmod(project.root().parent().unwrap(), 0o755);
    let results = project.path("results");
    fs::remove_dir_all(&results).unwrap();
    fs::create_dir(&results).unwrap();
    chmod(&results, 0o777);
    let mut folders: Vec<PathBuf> = vec![project.path(".cache")];
    for file in project.files(".cache") {
        folders.extend(file.parent().map(Path::to_owned));
    }
    folders.iter().for_each(|folder| chmod(folder, 0o555));
    chmod(&project.path(".cache/lock"), 0o444);

    let Some(fresh) = as_nobody(&project, &["build"]) else {
        return;
    };
    assert_eq!(fresh.code, 0, "{fresh}");
    assert_eq!(project.simulated_rows("all").len(), 10);
    for words in [
        &["plan"][..],
        &["ls"],
        &["why", "gamma-fp8-h100-vllm/64_16/tp4/c1"],
        &["results"],
        &["show", "collect:all"],
        &["cache", "stats"],
        &["cache", "verify"],
    ] {
        let ran = as_nobody(&project, words).unwrap();
        assert_eq!(ran.code, 0, "{words:?}: {ran}");
    }
    // What has to be measured has nowhere to go: said before anything is started.
    project.replace(SCRIPT, "#!/usr/bin/env bash", "#!/usr/bin/env  bash");
    let stale = as_nobody(&project, &["build"]).unwrap();
    assert_eq!(stale.code, 3, "{stale}");
    assert!(stale.stderr.contains("Permission denied"), "{stale}");
    assert!(stale.story.0.is_empty(), "{stale}");
    folders.iter().for_each(|folder| chmod(folder, 0o755));
    chmod(&project.path(".cache/lock"), 0o644);
    assert_eq!(benches(&project), 4);
}

#[test]
fn a_record_without_its_blob_is_a_miss_and_verify_says_so() {
    let project = built();
    let mut store = open(&project, &RunId::generate().to_string());
    let record = store
        .records()
        .iter()
        .map(|record| record.decode().unwrap())
        .find(|record| record.kind() == "bench")
        .unwrap();
    let mut lost = record.clone();
    let bytes = b"a trace that will be lost";
    lost.outputs = vec![Output {
        name: "trace".to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }];
    store.publish(&lost, &[Source::Bytes(bytes)]).unwrap();
    let blob = store.cas().path(&Digest::of(bytes));
    drop(store);
    fs::remove_file(blob).unwrap();
    let sound = project.sweep(&["cache", "verify"]);
    assert_eq!(sound.code, 0, "{sound}");
    assert_eq!(benches(&project), 0, "the record before it still has its own");
}
