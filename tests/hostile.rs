//! The readers against input that nobody means well with: no panic, no runaway time, no runaway memory.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sweep::config::project::Project;
use sweep::matrix::expand;

const SWEEPFILE: &str = "version: 1
configs: [master.yaml]
runners: runners.yaml
changelog: log.yaml
ci-priority: priority.yaml
profiles:
  default:
    pools:
      p: { executor: process, serves: [h200], gpu: h200 }
";

const MASTER: &str = "k-fp8-h200:
  image: i:1
  model: m
  model-prefix: m
  runner: cluster:h200
  precision: fp8
  framework: vllm
  multinode: false
  router: { name: r, version: v1 }
  scenarios:
    fixed-seq-len:
    - isl: 1024
      osl: 1024
      search-space:
      - { tp: [4, 8], ep: 2, dp-attn: yes, spec-decoding: mtp, conc-start: 4, conc-end: 64 }
    agentic-coding:
    - dram-utilization: 0.8
      search-space:
      - { tp: 8, kv-offloading: dram, kv-offload-backend: { name: hicache }, conc-list: [1, 2] }
old-fp8-h200:
  image: i:1
  model: m
  model-prefix: m
  runner: h200
  precision: fp8
  framework: dynamo-trt
  multinode: true
  disagg: true
  seq-len-configs:
  - isl: 8192
    osl: 1024
    search-space:
    - conc-list: [4, 8]
      prefill: { num-worker: 1, tp: 4, ep: 4, dp-attn: true, additional-settings: [A=b] }
      decode: { num-worker: 2, tp: 8, ep: 8, dp-attn: false }
";
const RUNNERS: &str = "labels:\n  h200: [h200_0]\n  cluster:h200: [h200_0]\nhardware:\n  cluster:h200: { available-cpu-dram-mib: 2_000_000, gpus-per-node: 8 }\n";
const LOG: &str =
    "- config-keys: [k-*]\n  description: [x]\n  pr-link: y\n  scenario-type: [fixed-seq-len]\n";
const PRIORITY: &str =
    "version: 1\nbase-score: 1.0\nadjustments: { multi-node: 1.25, precision: { fp8: 0.5 } }\n";

const RECIPE: &str = "match: { framework: vllm }\nserver:\n  command: serve {{ model }} --tp {{ tp }}\n  ready: { http: /health, within: 1m }\nbench: { prompts: 10 * conc, warmup: conc, range-ratio: 0.8 }\n";
const LAUNCHER: &str = "executor: process\ndescription: x\nenv: { A: b }\n";

const RECIPE_FILE: &str = "benchmarks/vllm/recipe.yaml";
const LAUNCHER_FILE: &str = "runners/local.yaml";

/// Every file that a user writes.
const FILES: [(&str, &str); 7] = [
    ("Sweepfile", SWEEPFILE),
    ("master.yaml", MASTER),
    ("runners.yaml", RUNNERS),
    ("log.yaml", LOG),
    ("priority.yaml", PRIORITY),
    (RECIPE_FILE, RECIPE),
    (LAUNCHER_FILE, LAUNCHER),
];

/// A project whose named file has this text.
fn project(file: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, usual) in FILES {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, if name == file { text } else { usual }).unwrap();
    }
    folder
}

/// Reads a project whose named file has this text, and expands it if it is valid.
fn read(file: &str, text: &str) -> Result<usize, String> {
    let folder = project(file, text);
    let started = Instant::now();
    let outcome = load(folder.path());
    assert!(started.elapsed() < LIMIT, "{file} took {:?}", started.elapsed());
    outcome
}

/// What a file of a mebibyte may take, with much to spare for a build without optimisation on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

fn load(root: &Path) -> Result<usize, String> {
    match Project::load(root) {
        Ok(project) => {
            let changelog = project.changelog().map_err(|d| d.to_string())?;
            let matrix = expand(&project.configs, &project.runners);
            Ok(matrix.points.len() + changelog.0.len())
        }
        Err(diagnostics) => {
            assert!(diagnostics.has_errors());
            let shown = diagnostics.to_string();
            assert!(shown.len() < 8 << 20, "{} bytes of messages", shown.len());
            Err(shown)
        }
    }
}

#[test]
fn the_sample_is_read_in_full() {
    // Two topologies of five concurrencies, two agentic points, two of the old form; one changelog entry.
    assert_eq!(read("master.yaml", MASTER), Ok(2 * 5 + 2 + 2 + 1));
}

/// Texts of a mebibyte that nobody writes.
fn bombs() -> Vec<String> {
    let mebibyte = |unit: &str| unit.repeat((1 << 20) / unit.len());
    vec![
        mebibyte("["),
        mebibyte("{a: "),
        mebibyte("- "),
        mebibyte("a: 1\n"),
        mebibyte("&a "),
        mebibyte("\u{0}"),
        mebibyte("x"),
        mebibyte("? "),
        mebibyte("'"),
        (0..90_000).map(|i| format!("k{i}: x\n")).collect(),
        (0..60_000).map(|i| format!("k{i}: {{}}\n")).collect(),
        format!("a: [{}]", mebibyte("1,")),
        format!("a: &a [{}]\nb: [{}]", "x,".repeat(1000), "*a,".repeat(5000)),
    ]
}

/// The files that a bomb is put into: the masters, and two of the others by turns.
fn tried_as(bomb: usize) -> [&'static str; 3] {
    let other = |at: usize| FILES[(bomb + at) % FILES.len()].0;
    ["master.yaml", other(0), other(3)]
}

#[test]
fn a_mebibyte_of_malice_is_refused_in_time() {
    for (i, bomb) in bombs().iter().enumerate() {
        for file in tried_as(i) {
            let outcome = read(file, bomb);
            assert!(
                outcome.is_err() || file == "runners.yaml",
                "bomb {i} was accepted as {file}"
            );
        }
    }
}

#[test]
fn a_search_space_beyond_a_million_points_is_refused_with_its_size() {
    let sizes = (1..=32).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let search = format!("      - {{ tp: [{sizes}], ep: [{sizes}], conc-start: 1, conc-end: 4294967295 }}\n");
    let old =
        "      - { tp: [4, 8], ep: 2, dp-attn: yes, spec-decoding: mtp, conc-start: 4, conc-end: 64 }\n";
    let shown = read("master.yaml", &MASTER.replace(old, &search.repeat(40))).unwrap_err();
    assert!(
        shown.contains("expand to 1351684 points") && shown.contains("master.yaml:1:1"),
        "{shown}"
    );
    let shown = read("master.yaml", &MASTER.replace(old, &search.repeat(400))).unwrap_err();
    assert!(shown.contains("more than 100000 topologies"), "{shown}");
}

/// `sweep` with 200 MiB to live in.
fn in_200_mib(folder: &Path, words: &str) -> Output {
    Command::new("sh")
        .args([
            "-c",
            "ulimit -v 204800; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_sweep"),
        ])
        .args(words.split(' '))
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

/// Asserts that a program ended by itself, and for no want of memory.
fn ended(output: &Output, what: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0..=4)),
        "{what}: {}\n{told}",
        output.status
    );
    assert!(
        !told.contains("panicked") && !told.contains("memory"),
        "{what}: {told}"
    );
}

#[test]
fn a_mebibyte_of_malice_takes_less_than_200_mebibytes() {
    for (i, bomb) in bombs().iter().enumerate() {
        let file = tried_as(i)[i % 3];
        ended(
            &in_200_mib(project(file, bomb).path(), "check"),
            &format!("bomb {i} as {file}"),
        );
        let folder = project("master.yaml", bomb);
        ended(
            &in_200_mib(
                folder.path(),
                "inferencex full-sweep --config-files master.yaml --runner-config runners.yaml",
            ),
            &format!("bomb {i} for full-sweep"),
        );
    }
}

#[test]
fn a_matrix_beyond_the_size_of_its_file_is_refused_with_its_config() {
    let old =
        "      - { tp: [4, 8], ep: 2, dp-attn: yes, spec-decoding: mtp, conc-start: 4, conc-end: 64 }\n";
    let one = MASTER.split("old-fp8-h200").next().unwrap();
    let entry = "      - { tp: 8, conc-start: 1, conc-end: 4294967295 }\n";
    for space in [
        entry.repeat((1 << 20) / entry.len()),
        format!("      - {{ tp: 8, conc-list: [{}] }}\n", "1,".repeat(200_000)),
    ] {
        let folder = project("master.yaml", &one.replace(old, &space));
        let output = in_200_mib(
            folder.path(),
            "inferencex full-sweep --config-files master.yaml --runner-config runners.yaml",
        );
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains("expand to more than") && told.contains("`k-fp8-h200`"),
            "{told}"
        );
        assert!(output.stdout.is_empty());
    }
}

/// A text with some places overwritten, cut or doubled.
fn mutated(text: &'static str) -> impl Strategy<Value = String> {
    let patches = [
        "",
        " ",
        "\n",
        ":",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "&a ",
        "*a",
        "!!int ",
        "~",
        "99999999999",
        "-1",
        "\t",
        "#",
        "|",
        "é",
    ];
    let edit = (0..text.len(), 0..12usize, prop::sample::select(patches.to_vec()));
    prop::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, length, patch) in edits {
            let at = at.min(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, patch.bytes());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damaged_files_are_read_or_refused(
        damaged in (
            mutated(SWEEPFILE), mutated(MASTER), mutated(RUNNERS), mutated(LOG), mutated(PRIORITY), mutated(RECIPE),
            mutated(LAUNCHER),
        )
    ) {
        let texts: [String; 7] = damaged.into();
        for ((file, _), text) in FILES.iter().zip(&texts) {
            let _ = read(file, text);
        }
    }

    #[test]
    fn noise_is_refused(noise in "[ -~\n]{0,400}") {
        let _ = read("master.yaml", &noise);
        let _ = read("log.yaml", &noise);
    }
}
