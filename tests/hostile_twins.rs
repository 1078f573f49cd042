//! The drop-in commands against damaged input: no panic, no runaway time.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use proptest::prelude::*;
use sweep::config::diagnostic::Diagnostics;
use sweep::config::source::Source;
use sweep::inferencex::{
    EvalOrder, Evals, Filters, Masters, Occasion, Policy, Runners, TestConfig, collect_evals, process_result,
    read_matrix, test_config,
};

const MASTER: &str = "a: {image: i, model: m, model-prefix: mp, runner: 'cluster:c', precision: fp8, framework: vllm, \
    multinode: false, scenarios: {fixed-seq-len: [{isl: 8192, osl: 1024, search-space: [{tp: 8, conc-start: 4, \
    conc-end: 64}]}], agentic-coding: [{dram-utilization: 0.8, search-space: [{tp: 4, kv-offloading: dram, \
    kv-offload-backend: {name: x}, conc-list: [1, 16]}]}]}}\n\
    b: {image: i, model: m, model-prefix: mp, runner: h, precision: fp8, framework: vllm, multinode: true, disagg: \
    true, kv-p2p-transfer: nixl, scenarios: {fixed-seq-len: [{isl: 8192, osl: 1024, search-space: [{conc-list: [16], \
    prefill: {num-worker: 1, tp: 4, ep: 4, dp-attn: true}, decode: {num-worker: 1, tp: 8, ep: 1, dp-attn: no}}]}]}}\n";
const RUNNERS: &str = "labels: {h: [h_0], 'cluster:c': [c_0]}\nhardware: {'cluster:c': {available-cpu-dram-mib: \
    2_000_000, gpus-per-node: 8}}\n";
const POLICY: &str = "version: 1\nbase-score: 1.0\nadjustments: {multi-node: 1.25, precision: {fp8: .75}, \
    framework-prefix: {vllm: .5}}\nlabels: {skip-queue: {name: s}, patchwork: {names: [p], score: 0.0}}\n";
const MATRIX: &str =
    r#"{"single_node": {"8k1k": [{"runner": "h", "framework": "vllm", "precision": "fp8", "conc": 4}]}}"#;
const RAW: &str = r#"{"model_id": "m", "max_concurrency": 4, "total_token_throughput": 900.5, "output_throughput": 100.5,
    "mean_tpot_ms": 10.0, "std_tpot_ms": 0.0, "benchmark_start_time_unix": 100.5, "benchmark_end_time_unix": 110.5,
    "duration": 10, "completed": 4, "total_input_tokens": 100, "total_output_tokens": 50}"#;
const CSV: &str = "timestamp, index, power.draw [W]\n2025/06/15 15:06:40.250, 0, 412.34 W\n1750000000.25, 1, 5\n\
    99, 0, 100 W\n112, 0, 100 W\n";
const META: &str = r#"{"hw": "h200", "tp": "4", "conc": 8.0, "eval_concs": [4, 8], "is_multinode": "true"}"#;
const EVAL: &str = r#"{"lm_eval_version": "1", "results": {"gsm8k": {"exact_match,strict-match": 0.9}}, "configs":
    {"gsm8k": {"metric_list": [{"metric": "exact_match"}], "filter_list": [{"name": "strict-match"}]}},
    "n-samples": {"gsm8k": {"effective": 10}}}"#;

/// A text with some of its words, marks and digits exchanged for others, or cut, or doubled.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    let words = [
        "",
        "null",
        "true",
        "-1",
        "0",
        "8.5",
        "1e400",
        "99999999999999999999",
        "[]",
        "{}",
        "\"\"",
        "[1]",
        "\"é\"",
        "{",
        "]",
        ",",
        ":",
        "\n",
        "1:30",
        "&a",
        "*a",
        "<<",
        "NaN",
        ".inf",
        "2026-01-01",
    ];
    let edit = (0..text.len(), 0..9usize, prop::sample::select(words.to_vec()));
    prop::collection::vec(edit, 1..5).prop_map(move |edits| {
        let mut damaged = text.to_owned();
        for (at, length, word) in edits {
            let from = damaged.floor_char_boundary(at.min(damaged.len()));
            let to = damaged.floor_char_boundary((from + length).min(damaged.len()));
            damaged.replace_range(from..to, word);
        }
        damaged
    })
}

fn source(path: &str, text: String) -> Arc<Source> {
    Arc::new(Source {
        path: path.into(),
        text,
    })
}

/// Asserts that reading small files ends at once, with much to spare for a busy machine.
fn soon(read: impl FnOnce()) {
    let began = Instant::now();
    read();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

fn single_node(name: &str) -> Option<String> {
    let value = match name {
        "RESULT_FILENAME" => "res",
        "ISL" | "OSL" => "1024",
        "DISAGG" => "false",
        "TP" => "2",
        "EP_SIZE" => "1",
        "RUNNER_TYPE" | "FRAMEWORK" | "PRECISION" | "SPEC_DECODING" | "MODEL_PREFIX" | "IMAGE"
        | "DP_ATTENTION" => "x",
        _ => return None,
    };
    Some(value.to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn matrices_are_made_or_refused(master in damaged(MASTER), runners in damaged(RUNNERS)) {
        soon(|| {
            let mut notes = Diagnostics::default();
            let usual = |text: &str| source("x.yaml", text.to_owned());
            let pairs = [(master.clone(), usual(RUNNERS)), (MASTER.to_owned(), source("r.yaml", runners))];
            for (master, runners) in pairs {
                let masters = Masters::of(&[source("m.yaml", master)], &mut notes);
                let (Ok(masters), Ok(runners)) = (masters, Runners::of(&runners, &mut notes)) else {
                    continue;
                };
                for evals in [Evals::Marked, Evals::All] {
                    let filters = Filters { evals, ..Filters::default() };
                    let all = TestConfig { config_keys: vec!["*".to_owned()], concs: Vec::new() };
                    let _ = test_config(&masters, &runners, &filters, &all);
                }
            }
        });
    }

    #[test]
    fn priorities_are_told_or_refused(policy in damaged(POLICY), matrix in damaged(MATRIX)) {
        let folder = tempfile::tempdir().unwrap();
        soon(|| {
            for (policy, matrix) in [(policy.as_str(), MATRIX), (POLICY, matrix.as_str())] {
                std::fs::write(folder.path().join("p.yaml"), policy).unwrap();
                let read = (Policy::read(&folder.path().join("p.yaml")), read_matrix("x", matrix));
                if let (Ok(policy), Ok(matrix)) = read {
                    let _ = policy.annotate(&matrix, &Occasion::default());
                }
            }
        });
    }

    #[test]
    fn results_are_made_or_refused(raw in damaged(RAW), csv in damaged(CSV)) {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        soon(|| {
            for (raw, csv) in [(raw.as_str(), CSV), (RAW, csv.as_str())] {
                put("res.json", raw);
                put("gpu_metrics.csv", csv);
                let _ = process_result(folder.path(), &single_node, &TimeZone::UTC);
            }
        });
    }

    #[test]
    fn evals_are_collected_whatever_they_say(meta in damaged(META), eval in damaged(EVAL)) {
        let folder = tempfile::tempdir().unwrap();
        soon(|| {
            for (meta, eval) in [(meta.as_str(), EVAL), (META, eval.as_str())] {
                std::fs::create_dir_all(folder.path().join("r/a")).unwrap();
                std::fs::write(folder.path().join("r/a/meta_env.json"), meta).unwrap();
                std::fs::write(folder.path().join("r/a/results_conc8.json"), eval).unwrap();
                collect_evals(folder.path(), Path::new("r"), "all", EvalOrder::Hardware).unwrap();
            }
        });
    }
}
