//! What must not happen, row by row: builds that are killed, files that lie, disks that are full. After each of them
//! the next build is right, repeats nothing that was finished, and nobody repairs anything by hand.
//!
//! | what happens | test |
//! |---|---|
//! | the log is cut | `crash.rs` `a_torn_log_costs_what_was_torn` |
//! | garbage is appended to the log | `crash.rs` `a_torn_log_costs_what_was_torn` |
//! | `kill -9` of sweep, at ten moments | `crash.rs` `a_build_killed_ten_times_ends_as_if_it_had_not_been` |
//! | `kill -9` of sweep and a guard | `crash.rs` `a_killed_guard_leaves_nothing_either` |
//! | `kill -9` of sweep and all its children | `crash_matrix.rs` `a_build_killed_with_all_its_children_is_resumed` |
//! | `kill -9` of sweep, in containers | `docker_sessions/crash.rs` `a_build_that_is_killed_takes_its_container_with_it` |
//! | `kill -9` of sweep, guard and keeper, in containers | `docker_sessions/adoption.rs` `a_build_goes_on_with_the_server_that_a_killed_one_left` |
//! | `kill -9` of the container engine | `docker_sessions/engine_lost.rs` `an_engine_that_is_started_again_costs_a_session_another_start` |
//! | the container engine stays away | `docker_sessions/engine_lost.rs` `an_engine_that_stays_away_is_the_machinerys_failure` |
//! | the container engine's disk full | `docker_sessions/engine_lost.rs` `an_engine_whose_disk_is_full_is_the_machinerys_failure` |
//! | `kill -9` of sweep at each of its calls | `crash_calls.rs` `a_build_that_dies_at_any_call_is_resumed` |
//! | one call refused, each in turn | `crash_calls.rs` `a_call_that_is_refused_costs_no_finished_result` |
//! | no process can be started | `crash_calls.rs` `processes_that_cannot_be_started_are_failures_and_nothing_else` |
//! | SIGTERM, SIGINT to sweep alone | `crash.rs` `an_interrupted_build_keeps_what_is_finished` |
//! | SIGINT to the group | `crash_matrix.rs` `an_interrupt_of_the_whole_group_is_one_interrupt` |
//! | a second signal | `crash.rs` `a_second_signal_ends_at_once` |
//! | two builds at once | `crash_matrix.rs` `two_builds_take_turns` |
//! | an output changed, mtime kept | `cache_faults.rs` `outputs_that_were_changed_behind_its_back_are_made_again` |
//! | an output changed, mtime new | `crash.rs` `damaged_blobs_are_healed_by_the_next_builds` |
//! | a valid blob with other bytes | `crash_matrix.rs` `a_blob_that_holds_anothers_bytes_is_measured_again` |
//! | a valid archive with other bytes | `crash_matrix.rs` `an_archive_that_was_repacked_with_other_bytes_is_refused` |
//! | an archive that is cut | `cache_commands.rs` `a_damaged_archive_changes_nothing` |
//! | an input with a future mtime, an older one, touched | `cache_faults.rs` `an_input_is_judged_by_its_bytes_whatever_its_times_say` |
//! | an input changed, size and mtime kept | `cache_faults.rs` `an_input_is_judged_by_its_bytes_whatever_its_times_say` |
//! | an input edited while a bench runs | `cache_faults.rs` `an_input_that_is_edited_while_a_bench_runs_is_measured_as_it_is_then` |
//! | the disk full, in the log, in a blob, in a trace | `crash_matrix.rs` `on_a_full_disk_finished_results_stay_and_the_rest_heals` |
//! | the clock set back | `cache_faults.rs` `records_from_a_clock_that_was_ahead_spoil_nothing` |
//! | a cache that may not be written | `cache_faults.rs` `a_cache_that_may_not_be_written_can_be_read` |
//! | a cache of an older and of a newer format | `cache_faults.rs` `a_cache_of_a_later_sweep_is_left_to_it` |
//! | a folder where locking is refused | `crash_matrix.rs` `where_locking_is_refused_nothing_is_built_and_all_can_be_read` |
//! | a record without its blob | `cache_faults.rs` `a_record_without_its_blob_is_a_miss_and_verify_says_so` |
//! | another user's cache, with another umask, at another path | `crash_matrix.rs` `clones_of_other_users_restore_each_others_cache` |
//! | what was healed is said | `cache_commands.rs` `verify_tells_what_it_healed` |
//! | a failure is told, kept with its log, and tried again | `crash_matrix.rs` `a_failure_is_kept_with_its_log_and_tried_again` |

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;
mod requirement;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use project::{Project, Ran, Story, processes_in};

fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).unwrap()).unwrap()
}

/// The usual project, slow enough to be disturbed.
fn slow() -> Project {
    let project = Project::new();
    project.replace("Sweepfile", "time-scale: 100", "time-scale: 10");
    project
}

fn built() -> Project {
    let project = Project::new();
    let ran = project.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    project
}

/// Builds the rest, and then nothing: no bench passed twice, and every point has its row.
#[track_caller]
fn assert_completes(project: &Project, passed: &[Story]) {
    let rest = project.sweep(&["build"]);
    assert_eq!(rest.code, 0, "{rest}");
    let all = passed.iter().chain([&rest.story]);
    let times: Vec<String> = all
        .flat_map(|story| story.benches_passed())
        .map(str::to_owned)
        .collect();
    let once: BTreeSet<&String> = times.iter().collect();
    assert_eq!(once.len(), times.len(), "{times:#?}");
    assert_eq!(project.simulated_rows("all").len(), 10);
    let again = project.sweep(&["build"]);
    assert!(again.code == 0 && again.story.0.is_empty(), "{again}");
    project.assert_no_process_left();
}

#[test]
fn every_row_above_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let own = fs::read_to_string(root.join("crash_matrix.rs")).unwrap();
    let rows = own.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1);
    let mut count = 0;
    for row in rows {
        let place = row.split(" | ").nth(1).unwrap().trim_end_matches(" |");
        let names: Vec<&str> = place.split('`').collect();
        let (file, test) = (names[1], names[3]);
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(
            text.contains(&format!("#[test]\nfn {test}() {{")),
            "no {test} in {file}"
        );
        count += 1;
    }
    assert!(count >= 20, "{count} rows were found");
}

#[test]
fn a_build_killed_with_all_its_children_is_resumed() {
    let project = slow();
    let mut build = project.start(&["build"]);
    build.wait_for("a row and a bench", |story| {
        !story.processed().is_empty() && story.benches_started().len() > story.benches_passed().len()
    });
    let all = processes_in(project.root());
    assert!(all.len() >= 3, "sweep, a guard, a server: {all:?}");
    for process in all {
        // It may have ended by itself.
        let _ = kill_process(pid(process.pid), Signal::KILL);
    }
    let killed = build.wait();
    assert_eq!(killed.code, 137, "{killed}");
    assert_completes(&project, &[killed.story]);
}

#[test]
fn an_interrupt_of_the_whole_group_is_one_interrupt() {
    let project = slow();
    let mut command = project.command(&["build"]);
    command.process_group(0);
    let mut build = project.start_command(command);
    build.wait_for("a row and a bench", |story| {
        !story.processed().is_empty() && story.benches_started().len() > story.benches_passed().len()
    });
    kill_process_group(pid(build.pid()), Signal::INT).unwrap();
    let ran = build.wait();
    assert_eq!(ran.code, 130, "{ran}");
    assert_eq!(ran.story.interruptions(), 1, "{ran}");
    assert!(ran.story.finished() && ran.story.failures().is_empty(), "{ran}");
    assert!(processes_in(project.root()).is_empty(), "{ran}");
    assert_completes(&project, &[ran.story]);
}

#[test]
fn two_builds_take_turns() {
    let project = slow();
    let mut first = project.start(&["build", "alpha-*"]);
    first.wait_for("a bench", |story| !story.benches_started().is_empty());
    let holder = format!("process {}", first.pid());

    let refused = project.sweep(&["build", "alpha-*", "--no-wait"]);
    assert_eq!(refused.code, 3, "{refused}");
    assert!(refused.stderr.contains(&holder), "{refused}");

    let second = project.start(&["build", "alpha-*"]);
    let second = second.wait();
    let first = first.wait();
    assert_eq!(first.code, 0, "{first}");
    assert_eq!(first.story.benches_passed().len(), 3, "{first}");
    assert_eq!(second.code, 0, "{second}");
    assert!(
        second.story.0.is_empty() && second.stderr.contains("; 0 servers started"),
        "{second}"
    );
    assert!(
        second
            .stderr
            .contains(&format!("waiting for the cache: {holder}")),
        "{second}"
    );
}

/// The files of the blobs that benches put out.
fn traces(project: &Project) -> Vec<PathBuf> {
    let store = sweep::cache::Store::open_read(project.path(".cache")).unwrap();
    let benches = store
        .records()
        .iter()
        .filter(|record| record.head().target.starts_with("bench:"));
    let traces = benches.map(|record| store.cas().path(&record.blobs().next().unwrap().0));
    traces.collect()
}

#[test]
fn a_blob_that_holds_anothers_bytes_is_measured_again() {
    let project = built();
    let rows = project.read("results/all/agg_bmk.simulated.json");
    // Each trace in the place of another: whole, and of another point.
    let files = traces(&project);
    let bytes: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for (file, bytes) in files.iter().zip(bytes.iter().cycle().skip(1)) {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(file, bytes).unwrap();
    }
    let verified = project.sweep(&["cache", "verify"]);
    assert_eq!(verified.code, 0, "{verified}");
    assert_eq!(
        verified.stdout.matches("healed: ").count(),
        files.len(),
        "{verified}"
    );
    assert_completes(&project, &[]);
    assert_ne!(
        project.read("results/all/agg_bmk.simulated.json"),
        rows,
        "they were measured anew"
    );
}

/// What is in an archive: names and contents.
fn unpacked(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let tar = zstd::decode_all(&*fs::read(archive).unwrap()).unwrap();
    let mut tar = tar::Archive::new(&*tar);
    let entry = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), bytes)
    };
    tar.entries().unwrap().map(entry).collect()
}

fn pack(entries: &[(String, Vec<u8>)], archive: &Path) {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o444);
        tar.append_data(&mut header, name, &**bytes).unwrap();
    }
    fs::write(archive, zstd::encode_all(&*tar.into_inner().unwrap(), 3).unwrap()).unwrap();
}

#[test]
fn an_archive_that_was_repacked_with_other_bytes_is_refused() {
    let project = built();
    let archive = project.beside("all.tar.zst");
    let words = ["cache", "export", archive.to_str().unwrap()];
    assert_eq!(project.sweep(&words).code, 0);
    let entries = unpacked(&archive);
    let blobs: Vec<usize> = (0..entries.len())
        .filter(|i| entries[*i].0.starts_with("cas/"))
        .collect();
    assert!(blobs.len() >= 20, "{}", entries.len());
    let other = Project::new();
    let import = || other.sweep(&["cache", "import", archive.to_str().unwrap()]);
    let refused = |what: &str| {
        let ran = import();
        assert_eq!(ran.code, 2, "{what}: {ran}");
        assert!(ran.stderr.contains("nothing was changed"), "{what}: {ran}");
        assert_eq!(
            other.json(&["cache", "stats", "--format", "json"])["records"],
            0,
            "{what}"
        );
        assert_eq!(other.sweep(&["ci", "plan", "--shards", "1"]).code, 0, "{what}");
    };
    for at in [blobs[0], blobs[blobs.len() / 2]] {
        let mut changed = entries.clone();
        changed[at].1[0] ^= 1;
        pack(&changed, &archive);
        refused("a bit of a blob");
    }
    let mut swapped = entries.clone();
    let bytes = swapped[blobs[0]].1.clone();
    swapped[blobs[0]].1 = std::mem::replace(&mut swapped[blobs[1]].1, bytes);
    pack(&swapped, &archive);
    refused("two blobs swapped");
    for name in ["manifest.json", "log/records.log"] {
        let mut changed = entries.clone();
        let of_name = changed.iter_mut().find(|entry| entry.0 == name).unwrap();
        let middle = of_name.1.len() / 2;
        of_name.1[middle] ^= 1;
        pack(&changed, &archive);
        refused(name);
    }
    // Packed again as it was, it is taken: nothing else was refused above.
    pack(&entries, &archive);
    let taken = import();
    assert_eq!(taken.code, 0, "{taken}");
    assert_completes(&other, &[]);
}

/// A namespace of mounts of its own, which ends with the test, whatever is mounted in it.
struct Mounts {
    holder: Child,
}

impl Mounts {
    /// `None` where a namespace cannot be made or nothing be mounted in it.
    fn new() -> Option<Self> {
        let probe = [
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs tmpfs /mnt && nsenter --version",
        ];
        if !requirement::has_program("unshare", "unshare", &probe) {
            return None;
        }
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        holder.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        Some(Self { holder })
    }

    /// The command, to be run among these mounts.
    fn within(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .arg("--mount")
            .arg("--target")
            .arg(self.holder.id().to_string());
        if let Some(folder) = command.get_current_dir() {
            inside
                .arg(format!("--wd={}", folder.display()))
                .current_dir(folder);
        }
        inside
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        inside.stdin(Stdio::null()).env_remove("CI");
        inside
    }

    fn mount(&self, words: &[&str], folder: &Path) {
        let mut mount = Command::new("mount");
        mount.args(words).arg(folder);
        let mounted = self.within(&mount).status().unwrap();
        assert!(mounted.success(), "{words:?}");
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        // Without its input it ends, and the namespace with it.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

#[test]
fn on_a_full_disk_finished_results_stay_and_the_rest_heals() {
    // The log, blobs, and what attempts write, traces first of all.
    for (part, size) in [("log", "24k"), ("cas", "32k"), ("runs", "32k")] {
        let Some(mounts) = Mounts::new() else { return };
        let project = Project::new();
        // The trace of the first measurement is small enough, and larger than all else.
        project.replace("benchmarks/sglang/recipe.yaml", "4 * conc", "100 * conc");
        let folder = project.path(&format!(".cache/{part}"));
        fs::create_dir_all(&folder).unwrap();
        mounts.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], &folder);
        let sweep = |words: &[&str]| -> Ran { project.run(mounts.within(&project.command(words))) };
        let full = sweep(&["build", "--format", "json"]);
        assert_eq!(full.code, 3, "{part}: {full}");
        let said = format!("{}{}", full.stdout, full.stderr);
        assert!(said.contains("No space left on device"), "{part}: {full}");
        // What it said to have passed, it has kept.
        let kept = full.stdout.matches("\"event\":\"bench-passed\"").count();
        assert!(kept < 10, "{part}: {full}");
        // No server is started for what could not be kept: a measurement of one of the two sessions, or its row.
        let failed = full.stdout.matches("\"event\":\"bench-failed\"").count();
        let rows_failed = full.stdout.matches("\"event\":\"process-failed\"").count();
        let skipped = full.stdout.matches("\"event\":\"bench-skipped\"").count();
        assert!(
            failed <= 2 && failed + rows_failed > 0 && kept + failed + skipped == 10,
            "{part}: {full}"
        );
        // The administrator makes room.
        mounts.mount(&["-o", "remount,size=64m"], &folder);
        let rest = sweep(&["build", "--format", "json"]);
        assert_eq!(rest.code, 0, "{part}: {rest}");
        let measured = rest.stdout.matches("\"event\":\"bench-passed\"").count();
        assert_eq!(measured, 10 - kept, "{part}: {full}\n{rest}");
        assert_eq!(project.simulated_rows("all").len(), 10);
        let again = sweep(&["build"]);
        assert!(
            again.code == 0 && again.stderr.contains("0 measured, 10 from the cache"),
            "{part}: {again}"
        );
        let sound = sweep(&["cache", "verify"]);
        assert!(sound.stdout.contains("nothing is wrong"), "{part}: {sound}");
    }
}

#[test]
fn where_locking_is_refused_nothing_is_built_and_all_can_be_read() {
    let project = built();
    // As a network file system without a lock daemon answers.
    let refusing = [
        "-f",
        "-qq",
        "-e",
        "trace=flock",
        "-e",
        "inject=flock:error=ENOLCK",
        "-o",
        "/dev/null",
    ];
    let probe = [&refusing[..], &["true"]].concat();
    if !requirement::has_program("strace", "strace", &probe) {
        return;
    }
    let refused = |words: &[&str]| {
        let plain = project.command(words);
        let mut command = Command::new("strace");
        command.args(refusing).arg(plain.get_program()).args(words);
        command.current_dir(project.root()).env_remove("CI");
        project.run(command)
    };
    for words in [
        &["build"][..],
        &["plan"],
        &["ls"],
        &["results"],
        &["cache", "verify"],
    ] {
        let ran = refused(words);
        assert_eq!(ran.code, 0, "{words:?}: {ran}");
    }
    project.edit_config("alpha-fp8-h100-sglang", "sglang:v0.5.1", "sglang:v0.5.2");
    for words in [&["build"][..], &["cache", "gc"], &["clean", "**"]] {
        let ran = refused(words);
        assert_eq!(ran.code, 3, "{words:?}: {ran}");
        for said in ["refuses locks", "put the cache folder on a local disk"] {
            assert!(ran.stderr.contains(said), "{words:?}: {ran}");
        }
        assert!(ran.story.0.is_empty(), "{words:?}: {ran}");
    }
    assert_completes(&project, &[]);
}

/// Runs a program as another user with a file mode mask.
fn as_user(user: u32, mask: &str, command: &Command) -> Command {
    let mut other = Command::new("setpriv");
    other.args([
        format!("--reuid={user}"),
        format!("--regid={user}"),
        "--clear-groups".to_owned(),
    ]);
    other.args(["--", "sh", "-c", &format!("umask {mask}; exec \"$@\""), "sh"]);
    other
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("CI");
    if let Some(folder) = command.get_current_dir() {
        other.current_dir(folder);
    }
    other
}

/// A clone that belongs to a user.
struct Clone {
    project: Project,
    user: u32,
    mask: &'static str,
}

impl Clone {
    fn of(user: u32, mask: &'static str) -> Self {
        let project = Project::new();
        let outer = project.root().parent().unwrap();
        fs::set_permissions(outer, fs::Permissions::from_mode(0o755)).unwrap();
        let mut chown = Command::new("chown");
        chown.args(["-R", &format!("{user}:{user}")]).arg(outer);
        assert!(chown.status().unwrap().success());
        Self { project, user, mask }
    }

    #[track_caller]
    fn sweep(&self, words: &[&str]) -> Ran {
        let ran = self
            .project
            .run(as_user(self.user, self.mask, &self.project.command(words)));
        assert_eq!(ran.code, 0, "{words:?}: {ran}");
        ran
    }

    /// What it has measured, in a file that anybody may read.
    fn exported(&self) -> PathBuf {
        let own = self.project.beside("own.tar.zst");
        self.sweep(&["cache", "export", own.to_str().unwrap()]);
        let carried = self.project.beside("carried.tar.zst");
        fs::write(&carried, fs::read(own).unwrap()).unwrap();
        carried
    }

    /// Unpacks folders of another over its own, as `actions/cache` does.
    fn unpack(&self, other: &Self, folders: &str) {
        let run = |script: &str, clone: &Self, input: Stdio| -> Child {
            let mut tar = Command::new("sh");
            tar.args(["-c", script]).current_dir(clone.project.root());
            let mut tar = as_user(clone.user, clone.mask, &tar);
            tar.stdin(input).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut from = run(&format!("tar -cf - {folders}"), other, Stdio::null());
        let mut into = run("tar -xf -", self, from.stdout.take().unwrap().into());
        assert!(into.wait().unwrap().success() && from.wait().unwrap().success());
    }

    #[track_caller]
    fn assert_all_fresh(&self) {
        let ran = self.sweep(&["build"]);
        assert!(ran.story.benches_started().is_empty(), "{ran}");
        assert_eq!(self.project.simulated_rows("all").len(), 10);
        let verified = self.sweep(&["cache", "verify"]);
        assert!(verified.stdout.contains("nothing is wrong"), "{verified}");
    }
}

#[test]
fn clones_of_other_users_restore_each_others_cache() {
    let program = env!("CARGO_BIN_EXE_sweep");
    let probe = [
        "--reuid=1001",
        "--regid=1001",
        "--clear-groups",
        "--",
        program,
        "--version",
    ];
    if !requirement::has_program("setpriv", "setpriv", &probe) {
        return;
    }
    let closed = Clone::of(1001, "077");
    let open = Clone::of(1002, "002");
    closed.sweep(&["build", "alpha-*", "beta-*"]);
    open.sweep(&["build", "gamma-*", "delta-*"]);
    let (of_closed, of_open) = (closed.exported(), open.exported());

    // By archives of sweep, each the other's …
    open.sweep(&["cache", "import", of_closed.to_str().unwrap()]);
    open.assert_all_fresh();
    closed.sweep(&["cache", "import", of_open.to_str().unwrap()]);
    closed.assert_all_fresh();
    // … and by copies of the folder, one over the other.
    let third = Clone::of(1003, "022");
    third.unpack(&closed, ".cache/cas .cache/log");
    third.unpack(&open, ".cache");
    third.assert_all_fresh();
    // It is as good as its own: it can be built in, and forgotten.
    let again = third.sweep(&["build", "--rerun", "alpha-*"]);
    assert_eq!(again.story.benches_passed().len(), 3, "{again}");
    third.sweep(&["clean", "beta-*"]);
    third.sweep(&["cache", "gc"]);
}

#[test]
fn a_failure_is_kept_with_its_log_and_tried_again() {
    let recipe = "\
match: { framework: frail }
server:
  run: serve.sh
  contract: [MODEL]
  ready: { http: /health, within: 1m }
  reset: { http: POST /reset_prefix_cache }
bench: { prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
";
    let project = Project::of_recipes(&[("frail", recipe.to_owned())]);
    let broken = project.beside("broken");
    let script = format!(
        "[ ! -e {} ] || {{ echo 'CUDA error: out of memory'; exit 9; }}\nexec {} sim --port $PORT --gpu h100 --tp 1 --time-scale 100 --model $MODEL\n",
        broken.display(),
        env!("CARGO_BIN_EXE_sweep")
    );
    project.write("benchmarks/frail/serve.sh", &script);
    fs::write(&broken, "").unwrap();
    for round in 0..2 {
        let failed = project.sweep(&["build"]);
        assert_eq!(failed.code, 1, "{round}: {failed}");
        assert_eq!(failed.story.failures().len(), 2, "{round}: {failed}");
        assert!(
            !failed.story.servers().is_empty(),
            "{round}: it is tried again: {failed}"
        );
    }
    let point = "frail-fp8/64_16/tp1/c1";
    let why = project.sweep(&["why", point]);
    assert!(why.stdout.contains("out of memory"), "{why}");
    let said = project.sweep(&["log", &format!("server:{point}")]);
    assert!(said.stdout.contains("CUDA error: out of memory"), "{said}");
    // The reason travels with the cache.
    let archive = project.beside("all.tar.zst");
    assert_eq!(
        project
            .sweep(&["cache", "export", archive.to_str().unwrap()])
            .code,
        0
    );
    fs::remove_dir_all(project.path(".cache")).unwrap();
    assert_eq!(
        project
            .sweep(&["cache", "import", archive.to_str().unwrap()])
            .code,
        0
    );
    let why = project.sweep(&["why", point]);
    assert!(why.stdout.contains("out of memory"), "{why}");

    fs::remove_file(broken).unwrap();
    let mended = project.sweep(&["build"]);
    assert_eq!(
        (mended.code, mended.story.benches_passed().len()),
        (0, 2),
        "{mended}"
    );
}
