//! Files of earlier forms and of forks: read as today's, each with one note, and printed in today's form by
//! `sweep migrate` with the same points.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use proptest::prelude::*;
use sweep::config::project::Project;
use sweep::matrix::expand;

const NAMES: &str = "image: i:1, model: m, model-prefix: m, precision: fp8, framework: vllm";

const RUNNERS: &str = "labels: { h200: [h200_0], 'cluster:h200': [h200_0] }\n\
                       hardware: { 'cluster:h200': { available-cpu-dram-mib: 2_000_000, gpus-per-node: 8 } }\n";

/// The points of a project of these two files, and what was noted while they were read.
fn read(master: &str, runners: &str) -> Result<(Vec<String>, Vec<String>), String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "Sweepfile",
        "version: 1\nconfigs: [master.yaml]\nrunners: runners.yaml\nprofiles: { default: { pools: { p: \
         { executor: process, serves: [h200, 'cluster:h200'], gpu: h200 } } } }\n",
    );
    write("master.yaml", master);
    write("runners.yaml", runners);
    let project = Project::load(folder.path()).map_err(|wrong| wrong.to_string())?;
    let matrix = expand(&project.configs, &project.runners);
    let points = matrix.points.iter().map(|point| format!("{point:?}")).collect();
    let notes = project.warnings.0.iter().map(|note| note.message.clone());
    Ok((points, notes.collect()))
}

fn migrate(folder: &Path, file: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sweep"))
        .args(["migrate", file])
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

/// What `sweep migrate` prints of a file.
fn migrated(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("old.yaml"), text).unwrap();
    let output = migrate(folder.path(), "old.yaml");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{told}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts that a master config of an earlier form has so many points, one note, and the same points in today's form.
fn reads_as_today(form: &str, master: &str, count: usize) {
    let (points, notes) = read(master, RUNNERS).unwrap_or_else(|wrong| panic!("{form}\n{master}\n{wrong}"));
    assert_eq!(points.len(), count, "{form}\n{master}");
    assert_eq!(
        notes,
        ["`master.yaml` has an earlier form, which is read as today's"],
        "{form}"
    );
    is_kept_by_migrating(form, master, &points);
}

fn is_kept_by_migrating(form: &str, master: &str, points: &[String]) {
    let today = migrated(master);
    let again = read(&today, RUNNERS).unwrap_or_else(|wrong| panic!("{form}\n{today}\n{wrong}"));
    assert_eq!(again, (points.to_vec(), Vec::new()), "{form}\n{today}");
    assert_eq!(migrated(&today), today, "{form}");
}

const WORKERS: &str = "prefill: { num-worker: 1, tp: 4, ep: 4, dp-attn: true }, \
                       decode: { num-worker: 2, tp: 8, ep: 8, dp-attn: false }";

#[test]
fn every_earlier_master_config_is_read_as_todays() {
    reads_as_today(
        "v0, with its first name of the search space",
        &format!(
            "k: {{ {NAMES}, runner: h200, seq-len-configs: [{{ isl: 1024, osl: 1024, bmk-space: \
             [{{ tp: 8, conc-start: 4, conc-end: 64 }}] }}, {{ isl: 8192, osl: 1024, search-space: \
             [{{ tp: 4, ep: 4, dp-attn: true, conc-start: 4, conc-end: 4 }}] }}] }}\n"
        ),
        6,
    );
    reads_as_today(
        "v1, one node and several",
        &format!(
            "a: {{ {NAMES}, runner: h200, multinode: false, seq-len-configs: [{{ isl: 1024, osl: 1024, search-space: \
             [{{ tp: 8, spec-decoding: mtp, conc-list: [1, 2] }}] }}] }}\n\
             b: {{ {NAMES}, runner: h200, multinode: true, disagg: true, seq-len-configs: [{{ isl: 8192, osl: 1024, \
             search-space: [{{ conc-list: [8, 16], {WORKERS} }}] }}] }}\n"
        ),
        4,
    );
    reads_as_today(
        "v2, agentic entries before AgentX",
        &format!(
            "k: {{ {NAMES}, runner: 'cluster:h200', multinode: false, scenarios: {{ agentic-coding: [{{ duration: 1800, \
             search-space: [{{ tp: 8, offloading: none, conc-list: [1, 2] }}, {{ tp: 4, offloading: cpu, \
             conc-start: 4, conc-end: 8 }}] }}] }} }}\n"
        ),
        4,
    );
    reads_as_today(
        "v3, scenarios without transfers, components as names",
        &format!(
            "k: {{ {NAMES}, runner: h200, multinode: true, disagg: true, router: dynamo-router, scenarios: \
             {{ fixed-seq-len: [{{ isl: 8192, osl: 1024, search-space: [{{ conc-list: [8], {WORKERS} }}] }}] }} }}\n\
             l: {{ {NAMES}, runner: 'cluster:h200', multinode: false, scenarios: {{ agentic-coding: \
             [{{ dram-utilization: 0.5, search-space: [{{ tp: 8, kv-offloading: dram, kv-offload-backend: hicache, \
             conc-list: [1] }}] }}] }} }}\n"
        ),
        2,
    );
}

#[test]
fn flat_runners_are_read_as_labels() {
    let master = format!(
        "k: {{ {NAMES}, runner: h200, multinode: false, scenarios: {{ fixed-seq-len: [{{ isl: 1, osl: 1, search-space: \
         [{{ tp: 1, conc-list: [1] }}] }}] }} }}\n"
    );
    let flat = "h200: [h200_0, h200_1]\n'cluster:h200': [h200_0]\n";
    let (points, notes) = read(&master, flat).unwrap();
    assert_eq!(points.len(), 1);
    assert_eq!(
        notes,
        ["`runners.yaml` has an earlier form, which is read as today's"]
    );
    let today = migrated(flat);
    assert_eq!(
        today,
        "labels:\n  h200: [h200_0, h200_1]\n  cluster:h200: [h200_0]\n"
    );
    assert_eq!(read(&master, &today).unwrap(), (points, Vec::new()));
}

#[test]
fn lists_of_topology_values_are_the_product_that_their_authors_meant() {
    let master = format!(
        "k: {{ {NAMES}, runner: h200, multinode: false, scenarios: {{ fixed-seq-len: [{{ isl: 1, osl: 1, search-space: \
         [{{ tp: [4, 8], spec-decoding: [none, mtp], conc-list: [1, 2] }}] }}] }} }}\n"
    );
    let (points, notes) = read(&master, RUNNERS).unwrap();
    assert_eq!((points.len(), notes), (8, Vec::new()));
    is_kept_by_migrating("lists", &master, &points);
}

#[test]
fn configs_of_old_forks_are_found_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join(".github/configs")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let old = format!(
        "k: {{ {NAMES}, runner: h200, seq-len-configs: [{{ isl: 1, osl: 1, search-space: [{{ tp: 1, \
         conc-list: [1] }}] }}] }}\n"
    );
    write(".github/configs/nvidia-master.yaml", &old);
    write(".github/configs/runners.yaml", "h200: [h200_0]\n");
    let sweepfile = |configs: &str| {
        format!(
            "version: 1\nconfigs: [{configs}/nvidia-master.yaml]\nrunners: {configs}/runners.yaml\nprofiles: {{ default: \
             {{ pools: {{ p: {{ executor: process, serves: [h200], gpu: h200 }} }} }} }}\n"
        )
    };
    write("Sweepfile", &sweepfile("configs"));
    let told = Project::load(folder.path()).unwrap_err().to_string();
    for file in ["nvidia-master.yaml", "runners.yaml"] {
        assert!(
            told.contains(&format!("there is `.github/configs/{file}`")),
            "{told}"
        );
    }
    write("Sweepfile", &sweepfile(".github/configs"));
    let project = Project::load(folder.path()).unwrap();
    assert_eq!(expand(&project.configs, &project.runners).points.len(), 1);
    assert_eq!(project.warnings.0.len(), 2, "{}", project.warnings);
}

#[test]
fn forms_that_never_were_are_refused_with_the_right_one() {
    let wrong = read(
        &format!("k: {{ {NAMES}, runner: h200, multinode: true, multi-node-configs: [] }}\n"),
        RUNNERS,
    );
    let told = wrong.unwrap_err();
    assert!(
        told.contains("write `multinode: true` and put `prefill` and `decode`"),
        "{told}"
    );
    let diff = |entry: &str| format!("--- a/log.yaml\n+++ b/log.yaml\n@@ -0,0 +1,4 @@\n{entry}");
    let additions = |entry: &str| {
        let read = sweep::config::changelog::additions(Path::new("log.yaml"), &diff(entry), &["k"]);
        read.unwrap_err().to_string()
    };
    let told = additions("+- config-keys: [k]\n+  date: 2026-01-01\n+  description: one\n+  pr-link: l\n");
    for hint in ["git knows when the entry was added", "write a list, a line each"] {
        assert!(told.contains(hint), "{hint}: {told}");
    }
}

/// A master config of an earlier form: lengths, topologies, concurrencies, with or without lists.
fn earlier() -> impl Strategy<Value = String> {
    let sizes = prop::sample::select(vec!["1", "2", "[2, 4]", "8", "\"4\""]);
    let concs = prop_oneof![
        (1u32..64, 0u32..200)
            .prop_map(|(from, more)| format!("conc-start: {from}, conc-end: {}", from + more)),
        prop::collection::vec(1u32..512, 1..4).prop_map(|list| format!("conc-list: {list:?}")),
    ];
    let specs = prop::sample::select(vec!["none", "mtp", "[none, mtp]"]);
    let single =
        (sizes.clone(), sizes, specs, any::<bool>(), concs.clone()).prop_map(|(tp, ep, spec, dpa, concs)| {
            format!("{{ tp: {tp}, ep: {ep}, spec-decoding: {spec}, dp-attn: {dpa}, {concs} }}")
        });
    let multi = concs
        .clone()
        .prop_map(|concs| format!("{{ {concs}, {WORKERS} }}"));
    let agentic = (prop::sample::select(vec!["none", "cpu"]), concs)
        .prop_map(|(offloading, concs)| format!("{{ tp: 4, offloading: {offloading}, {concs} }}"));
    let spaces = (
        prop::collection::vec(single, 1..3),
        prop::collection::vec(multi, 1..3),
        prop::collection::vec(agentic, 1..3),
        prop::sample::select(vec!["search-space", "bmk-space"]),
    );
    spaces.prop_map(|(single, multi, agentic, space)| {
        let mut text = String::new();
        let mut put = |key: &str, fields: &str, spaces: &[String], field: &str| {
            let spaces = spaces.join(", ");
            let lengths = format!("[{{ isl: 8192, osl: 1024, {field}: [{spaces}] }}]");
            let value = if field == "agentic" {
                format!("scenarios: {{ agentic-coding: [{{ duration: 60, search-space: [{spaces}] }}] }}")
            } else {
                format!("seq-len-configs: {lengths}")
            };
            writeln!(text, "{key}: {{ {NAMES}, {fields}, {value} }}").unwrap();
        };
        put("a", "runner: h200", &single, space);
        put("b", "runner: h200, multinode: true, disagg: true", &multi, space);
        put(
            "c",
            "runner: 'cluster:h200', multinode: false",
            &agentic,
            "agentic",
        );
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn migrating_keeps_every_point(master in earlier()) {
        let (points, notes) = read(&master, RUNNERS).map_err(TestCaseError::fail)?;
        prop_assert_eq!(notes.len(), 1, "{:?}", notes);
        let again = read(&migrated(&master), RUNNERS).map_err(TestCaseError::fail)?;
        prop_assert_eq!(again, (points, Vec::new()));
    }
}
