//! `sweep inferencex full-sweep`, `test-config` and their flags, by running the program.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const MASTER: &str = r#"
m1-fp8-h200-vllm:
  image: "img:1"
  model: org/M1
  model-prefix: m1
  runner: h200
  precision: fp8
  framework: vllm
  multinode: false
  scenarios:
    fixed-seq-len:
    - isl: 8192
      osl: 1024
      search-space:
      - { tp: "8", conc-start: 4, conc-end: 100 }
      - { tp: 4, dp-attn: yes, conc-list: [64, 16] }
m1-fp4-c-agentic:
  image: "img:2"
  model: org/M1
  model-prefix: m1
  runner: cluster:c
  precision: fp4
  framework: sglang
  multinode: false
  scenarios:
    agentic-coding:
    - dram-utilization: 0.8
      search-space:
      - { tp: 4, kv-offloading: dram, kv-offload-backend: { name: hicache }, conc-list: [1, 8] }
"#;

const RUNNERS: &str = "labels: { h200: [h200_0, h200_1], 'cluster:c': [c_0] }\n\
                       hardware: { 'cluster:c': { available-cpu-dram-mib: 2_000_000, gpus-per-node: 8 } }\n";

fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.yaml"), MASTER).unwrap();
    std::fs::write(folder.path().join("r.yaml"), RUNNERS).unwrap();
    folder
}

fn tool(folder: &Path, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sweep"))
        .arg("inferencex")
        .args(words.split(' '))
        .args(["--config-files", "m.yaml", "--runner-config", "r.yaml"])
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn rows(words: &str) -> Vec<Value> {
    let output = tool(project().path(), words);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn concs(rows: &[Value]) -> Vec<i64> {
    rows.iter().map(|row| row["conc"].as_i64().unwrap()).collect()
}

#[test]
fn a_row_has_its_keys_in_order_and_its_values_as_written() {
    let output = tool(project().path(), "full-sweep --max-conc 4 --precision fp8");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.split("}, ").next().unwrap(),
        r#"[{"image": "img:1", "model": "org/M1", "model-prefix": "m1", "precision": "fp8", "framework": "vllm", "runner": "h200", "isl": 8192, "osl": 1024, "tp": "8", "pp": 1, "dcp-size": 1, "pcp-size": 1, "conc": 4, "max-model-len": 9472, "ep": 1, "dp-attn": false, "spec-decoding": "none", "exp-name": "m1_8k1k", "disagg": false, "run-eval": false"#
    );
    assert!(text.ends_with("]\n"));
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(rows[1]["dp-attn"], true);
}

#[test]
fn limits_cut_ranges_lists_and_agentic_points_each_in_their_way() {
    assert_eq!(concs(&rows("full-sweep")), [4, 8, 16, 32, 64, 100, 64, 16, 1, 8]);
    assert_eq!(concs(&rows("full-sweep --min-conc 30")), [30, 60, 100, 64]);
    assert_eq!(concs(&rows("full-sweep --max-conc 6")), [4, 6, 6, 1]);
    assert_eq!(
        concs(&rows("full-sweep --step-size 5 --max-tp 4")),
        [64, 16, 1, 8]
    );
    assert_eq!(
        concs(&rows("test-config --config-keys *agentic m1-* --conc 8 64")),
        [8, 8, 64, 64]
    );
}

#[test]
fn agentic_rows_have_their_share_of_memory() {
    let rows = rows("full-sweep --scenario-type agentic-coding --no-evals");
    assert_eq!(rows[0]["total-cpu-dram-gb"], 838);
    assert_eq!(rows[0]["exp-name"], "m1_tp4_conc1_kvdram-hicache");
    assert_eq!(rows[0].get("run-eval"), None);
}

#[test]
fn evals_are_marked_or_alone() {
    let marked = |words: &str| rows(words).iter().filter(|row| row["run-eval"] == true).count();
    assert_eq!((rows("full-sweep").len(), marked("full-sweep")), (10, 3));
    assert_eq!(
        (
            rows("full-sweep --evals-only").len(),
            marked("full-sweep --evals-only")
        ),
        (4, 4)
    );
    assert_eq!(rows("full-sweep --all-evals").len(), 10);
    assert!(
        rows("full-sweep --all-evals")
            .iter()
            .all(|row| row["eval-only"] == true)
    );
}

#[test]
fn nodes_are_rows_of_their_own() {
    let of = |words: &str| {
        rows(words)
            .iter()
            .map(|row| row["runner"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("full-sweep --runner-node-filter h200 --max-conc 4 --max-tp 4"),
        ["h200_0", "h200_1"]
    );
    assert_eq!(
        of("test-config --config-keys m1-fp8-h200-vllm --conc 100 --runner-node-filter h200"),
        ["h200", "h200_0", "h200_1"]
    );
}

#[test]
fn flags_may_be_abbreviated_while_they_are_unambiguous() {
    assert_eq!(rows("full-sweep --p fp4 --runner-ty cluster:c").len(), 2);
    for (words, part) in [
        (
            "test-config --config x",
            "could match --config-files, --config-keys",
        ),
        ("full-sweep --step-size 1", "--step-size must be greater than 1"),
        ("full-sweep --step-size 2.5", "--step-size"),
        (
            "full-sweep --min-conc 9 --max-conc 8",
            "--min-conc must be less than or equal to --max-conc",
        ),
        (
            "full-sweep --no-evals --all-evals",
            "--all-evals cannot be combined with --no-evals",
        ),
        ("full-sweep --seq-lens 1k8k", "--seq-lens"),
        (
            "full-sweep --runner-type b2000",
            "Invalid runner type(s): {'b2000'}. Valid runner types are: cluster:c, h200",
        ),
        (
            "test-config --config-keys m1-fp8",
            "did you mean `m1-fp8-h200-vllm`?",
        ),
        (
            "test-config --config-keys zz*",
            "Pattern 'zz*' matched no config keys.",
        ),
    ] {
        let output = tool(project().path(), words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{words}");
        assert!(told.contains(part), "{words}: {told}");
    }
}

#[test]
fn hostile_files_are_refused_and_nothing_panics() {
    let folder = project();
    for text in [
        "",
        "a",
        "- 1\n",
        "a: &a [*a]\n",
        "a: {scenarios: {fixed-seq-len: [[]]}}\n",
        "a: {multinode: {b: 1}}\n",
        "1: 2\n",
        "a: {? [x] : 1}\n",
        "\u{0}\u{1}",
    ] {
        std::fs::write(folder.path().join("m.yaml"), text).unwrap();
        let output = tool(folder.path(), "full-sweep");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text:?}: {told}");
        assert!(
            output.stdout.is_empty() && !told.contains("panicked"),
            "{text:?}: {told}"
        );
    }
}

/// CPU time of reading and expanding so many copies of the master, in s.
fn expansion_s(copies: usize) -> f64 {
    use sweep::inferencex::{Evals, Filters, FullSweep, Masters, Runners, full_sweep};
    let cpu_s = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let source = |text: String| {
        std::sync::Arc::new(sweep::config::source::Source {
            path: "x.yaml".into(),
            text,
        })
    };
    let copy = |i: usize| {
        MASTER
            .replace("vllm:\n", &format!("vllm-{i}:\n"))
            .replace("agentic:\n", &format!("agentic-{i}:\n"))
    };
    let master = source((0..copies).map(copy).collect());
    let sweep = FullSweep {
        model_prefixes: Vec::new(),
        precisions: Vec::new(),
        frameworks: Vec::new(),
        runner_types: Vec::new(),
        step_size: 2,
        min_conc: None,
        max_conc: None,
        max_tp: None,
        max_ep: None,
        single_node: true,
        multi_node: true,
    };
    let filters = Filters {
        evals: Evals::All,
        ..Filters::default()
    };
    let mut notes = sweep::config::diagnostic::Diagnostics::default();
    let began = cpu_s();
    let masters = Masters::of(&[master], &mut notes).unwrap();
    let runners = Runners::of(&source(RUNNERS.to_owned()), &mut notes).unwrap();
    let rows = full_sweep(&masters, &runners, &filters, &sweep).unwrap();
    assert_eq!(rows.len(), 8 * copies + 2 * copies);
    cpu_s() - began
}

#[test]
fn a_master_sixteen_times_as_large_takes_about_sixteen_times_as_long() {
    expansion_s(20);
    let (small, large) = (expansion_s(50), expansion_s(800));
    assert!(large < 32.0 * small, "{small} s for 50, {large} s for 800");
}
