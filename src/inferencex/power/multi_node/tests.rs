//! Artifacts of a run, whole and harmed.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::fs;

use super::super::super::python_json::loads;
use super::*;

const RAW: &str = r#"{"max_concurrency": 16, "benchmark_start_time_unix": 100.5, "benchmark_end_time_unix": 110.5,
    "duration": 10.0, "completed": 4, "total_input_tokens": 100, "total_output_tokens": 50}"#;

const WINDOW: &str = r#"{"schema_version": 1, "clock_source": "head_node_unix_clock", "status": "completed",
    "benchmark_type": "sa-bench", "concurrency": 16, "benchmark_start_time_unix": 100.5,
    "benchmark_end_time_unix": 110.5, "duration": 10.0, "reason": null, "result_path": "sa/c16.json"}"#;

/// Its host, its index there, its role, its power in W.
type Gpu = (&'static str, i64, &'static str, f64);

/// One prefill GPU at 100 W and two decode GPUs at 200 W and 300 W, sampled each second.
const GPUS: [Gpu; 3] = [
    ("a", 0, "prefill", 100.0),
    ("b", 0, "decode", 200.0),
    ("b", 1, "decode", 300.0),
];

/// The artifacts of a run that went well.
struct Run {
    folder: tempfile::TempDir,
    manifest: Dict,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut samples =
            "schema_version,timestamp_unix,scrape_seq,hostname,gpu_index,gpu_uuid,power_w\n".to_owned();
        for scrape in 0..14 {
            for (host, gpu, _, watts) in GPUS {
                let at = 98.5 + f64::from(scrape);
                writeln!(samples, "1,{at},{scrape},{host},{gpu},u-{host}{gpu},{watts}").unwrap();
            }
        }
        let devices = |entry: &dyn Fn(&Gpu) -> String| -> String {
            GPUS.iter().map(entry).collect::<Vec<_>>().join(", ")
        };
        let expected = devices(&|(host, gpu, role, _)| {
            format!(
                r#"{{"hostname": "{host}", "gpu_index": {gpu}, "assignments": [{{"worker_role": "{role}",
                    "worker_index": 0, "worker_process": 0, "het_group": null}}]}}"#
            )
        });
        let observed = devices(&|(host, gpu, ..)| {
            format!(
                r#"{{"hostname": "{host}", "gpu_index": {gpu}, "gpu_uuids": ["u-{host}{gpu}"],
                    "first_sample_time_unix": 98.5, "last_sample_time_unix": 111.5}}"#
            )
        });
        let gaps = devices(&|(host, gpu, ..)| format!(r#""{host}/u-{host}{gpu}": 1.0"#));
        let manifest = format!(
            r#"{{"schema_version": 1, "producer": "srt-slurm.dcgm-power", "source_metric": "DCGM_FI_DEV_POWER_USAGE",
                "unit": "W", "power_scope": "gpu_device_board_as_reported_by_dcgm",
                "timestamp_source": "head_node_unix_clock", "status": "complete", "started_at_unix": 98,
                "stopped_at_unix": 112, "sample_interval_seconds": 1.0, "request_timeout_seconds": 2,
                "scrape_count": 14, "sample_row_count": 42, "required": true, "reason_codes": [],
                "dcgm_exporter": {{"container_image_resolved": "x", "container_image_sha256": "abc"}},
                "publication_valid": true, "producer_git_commit": "sha", "artifact_errors": [],
                "expected_windows": [{{"benchmark_type": "sa-bench", "concurrency": 16}}],
                "expected_devices": [{expected}], "observed_devices": [{observed}],
                "window_validations": [{{"benchmark_type": "sa-bench", "concurrency": 16,
                    "window_file": "windows/c16.json", "power_coverage_valid": true, "reason_codes": [],
                    "per_device_max_sample_gap_seconds": {{{gaps}}}}}]}}"#
        );
        let run = Self {
            folder,
            manifest: loads(&manifest).unwrap().as_dict().cloned().unwrap(),
        };
        run.put("LOGS/power/samples.csv", &samples);
        run.put("LOGS/power/windows/c16.json", WINDOW);
        run.put("LOGS/sa/c16.json", RAW);
        run
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn edit(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.folder.path().join(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from}");
        self.put(path, &text.replace(from, to));
    }

    fn report(&self) -> MultiNodeReport {
        self.report_of([1, 2], Some("sha"), RAW)
    }

    fn report_of(&self, gpus: [u32; 2], producer: Option<&str>, raw: &str) -> MultiNodeReport {
        self.put(
            "LOGS/power/manifest.json",
            &dumps(&self.manifest.clone().into(), Layout::Line),
        );
        let source = MultiNodeSource {
            folder: self.folder.path(),
            artifacts: Path::new("LOGS/power"),
            logs: Path::new("LOGS"),
            producer,
            prefill_gpus: gpus[0],
            decode_gpus: gpus[1],
        };
        let report = measure(&source, &loads(raw).unwrap());
        let validation = report.to_validation(&source, Path::new("res.json"));
        assert_eq!(
            validation.get("power_valid"),
            Some(&PyValue::Bool(report.reasons.is_empty()))
        );
        assert_eq!(
            report.metrics.0.is_empty(),
            !report.is_valid(),
            "{:?}",
            report.reasons
        );
        report
    }
}

#[test]
fn roles_have_the_energy_of_their_gpus() {
    let report = Run::new().report();
    assert_eq!(report.failures, [""; 0]);
    let metric = |name: &str| {
        report
            .metrics
            .0
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap()
            .1
    };
    for (name, value) in [
        ("total_gpu_energy_j", 6000.0),
        ("avg_total_gpu_power_w", 600.0),
        ("avg_power_w", 200.0),
        ("joules_per_successful_query", 1500.0),
        ("prefill_gpu_energy_j", 1000.0),
        ("prefill_avg_power_w", 100.0),
        ("prefill_joules_per_input_token", 10.0),
        ("decode_gpu_energy_j", 5000.0),
        ("decode_avg_power_w", 250.0),
        ("decode_joules_per_output_token", 100.0),
    ] {
        assert!((metric(name) - value).abs() < 1e-9, "{name}: {}", metric(name));
    }
    assert_eq!(report.gaps_s.len(), 3);
    assert_eq!(report.roles[0], ("a/u-a0".to_owned(), "prefill".to_owned()));
}

#[test]
fn workers_that_do_both_are_prefill_workers() {
    let mut run = Run::new();
    let devices = dumps(run.manifest.get("expected_devices").unwrap(), Layout::Line);
    run.manifest.set(
        "expected_devices",
        loads(&devices.replace("decode", "prefill")).unwrap(),
    );
    let report = run.report_of([3, 0], Some("sha"), RAW);
    assert_eq!(report.failures, [""; 0]);
    let names: Vec<_> = report.metrics.0.iter().map(|(name, _)| *name).collect();
    assert!(names.contains(&"prefill_gpu_energy_j") && !names.contains(&"decode_gpu_energy_j"));
}

#[test]
fn what_is_not_borne_out_is_not_published() {
    type Harm = fn(&mut Run);
    let harms: [(&str, Harm); 14] = [
        ("manifest_malformed", |run| {
            run.manifest.set("expected_devices", vec![PyValue::Int(1)]);
        }),
        ("package_recompute_invalid", |run| {
            run.manifest.set("status", "failed");
        }),
        ("package_recompute_invalid", |run| {
            run.manifest.set("sample_row_count", 41);
        }),
        ("package_recompute_invalid", |run| {
            run.manifest.set("observed_devices", Vec::new());
        }),
        ("package_recompute_invalid", |run| {
            run.manifest
                .set("reason_codes", vec![PyValue::from("exporter_exited")]);
        }),
        ("package_recompute_invalid", |run| {
            run.edit("LOGS/power/samples.csv", "1,104.5", "1,104.6");
        }),
        ("package_recompute_invalid", |run| {
            run.edit("LOGS/power/samples.csv", "u-b1", "u-b0");
        }),
        ("package_recompute_invalid", |run| {
            run.put("LOGS/power/windows/other.json", "{}");
        }),
        ("package_recompute_invalid", |run| {
            run.edit("LOGS/power/windows/c16.json", "sa/c16.json", "../sa/c16.json");
        }),
        ("package_recompute_invalid", |run| {
            run.edit("LOGS/power/windows/c16.json", "completed", "running");
        }),
        ("producer_verdict_mismatch", |run| {
            run.manifest.set("publication_valid", false);
        }),
        ("producer_commit_mismatch", |run| {
            run.manifest.set("producer_git_commit", "other");
        }),
        ("result_content_mismatch", |run| {
            run.edit("LOGS/sa/c16.json", "\"completed\": 4", "\"completed\": 5");
        }),
        ("window_for_result_missing", |run| {
            run.edit(
                "LOGS/power/windows/c16.json",
                "\"concurrency\": 16",
                "\"concurrency\": 8",
            );
        }),
    ];
    for (reason, harm) in harms {
        let mut run = Run::new();
        harm(&mut run);
        let report = run.report();
        assert!(report.reasons.contains(&reason), "{reason}: {:?}", report.reasons);
    }
    let run = Run::new();
    for (reason, report) in [
        ("producer_pin_missing", run.report_of([1, 2], None, RAW)),
        ("topology_env_mismatch", run.report_of([2, 1], Some("sha"), RAW)),
        ("topology_env_mismatch", run.report_of([0, 0], Some("sha"), RAW)),
        (
            "invalid_benchmark_window",
            run.report_of([1, 2], Some("sha"), "{}"),
        ),
    ] {
        assert!(report.reasons.contains(&reason), "{reason}: {:?}", report.reasons);
    }
    fs::remove_dir_all(run.folder.path().join("LOGS")).unwrap();
    fs::create_dir_all(run.folder.path().join("LOGS/power")).unwrap();
    let source = MultiNodeSource {
        folder: run.folder.path(),
        artifacts: Path::new("LOGS/power"),
        logs: Path::new("LOGS"),
        producer: Some("sha"),
        prefill_gpus: 1,
        decode_gpus: 2,
    };
    assert_eq!(
        measure(&source, &loads(RAW).unwrap()).reasons,
        ["manifest_missing"]
    );
}

#[test]
fn roles_of_a_heterogeneous_job_have_groups_of_their_own() {
    let with_groups = |of_decode: &str| {
        let mut run = Run::new();
        let devices = dumps(run.manifest.get("expected_devices").unwrap(), Layout::Line);
        let (prefill, decode) = devices.split_once("}]}").unwrap();
        let devices = format!(
            "{}}}]}}{}",
            prefill.replace("null", "0"),
            decode.replace("null", of_decode)
        );
        run.manifest.set("expected_devices", loads(&devices).unwrap());
        run.report().reasons
    };
    assert_eq!(with_groups("1"), [""; 0]);
    assert_eq!(with_groups("0"), ["topology_env_mismatch"]);
    assert_eq!(with_groups("null"), ["topology_env_mismatch"]);
}
