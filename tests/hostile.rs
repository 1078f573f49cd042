//! The readers against input that nobody means well with: no panic, no runaway time, no runaway memory.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
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

/// Reads a project whose named file has this text, and expands it if it is valid.
fn read(file: &str, text: &str) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    for (name, text) in [
        ("Sweepfile", SWEEPFILE),
        ("master.yaml", MASTER),
        ("runners.yaml", RUNNERS),
        ("log.yaml", LOG),
        ("priority.yaml", PRIORITY),
    ] {
        write(name, text);
    }
    write(file, text);
    for folder_name in ["benchmarks", "runners"] {
        std::fs::create_dir(folder.path().join(folder_name)).unwrap();
    }
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

#[test]
fn a_mebibyte_of_malice_is_refused_in_time() {
    let mebibyte = |unit: &str| unit.repeat((1 << 20) / unit.len());
    let bombs = [
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
    ];
    for (i, bomb) in bombs.iter().enumerate() {
        for file in [
            "master.yaml",
            "runners.yaml",
            "log.yaml",
            "priority.yaml",
            "Sweepfile",
        ] {
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
        master in mutated(MASTER), runners in mutated(RUNNERS), log in mutated(LOG), priority in mutated(PRIORITY)
    ) {
        let _ = read("master.yaml", &master);
        let _ = read("runners.yaml", &runners);
        let _ = read("log.yaml", &log);
        let _ = read("priority.yaml", &priority);
    }

    #[test]
    fn noise_is_refused(noise in "[ -~\n]{0,400}") {
        let _ = read("master.yaml", &noise);
        let _ = read("log.yaml", &noise);
    }
}
