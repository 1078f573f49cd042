//! Energy of a benchmark on one node, from samples that a monitor took beside it.

use std::path::Path;

use jiff::tz::TimeZone;

use super::super::pyvalue::{Dict, PyValue};
use super::telemetry::{self, Samples, Telemetry};
use super::window::{INTEGRATION_METHOD, MOST_GAP_S, Metrics, Window, energy_j, strings, window_or_null};

/// What is known of the energy of a benchmark on one node.
#[derive(Debug)]
pub(in crate::inferencex) struct PowerReport {
    /// Why there are no metrics, in the order of discovery; empty when there are.
    pub(in crate::inferencex) reasons: Vec<&'static str>,
    pub(in crate::inferencex) metrics: Metrics,
    window: Option<Window>,
    devices: Vec<Device>,
}

#[derive(Debug)]
struct Device {
    id: String,
    samples: usize,
    issue: Option<&'static str>,
    max_gap_s: Option<f64>,
    energy_j: Option<f64>,
}

/// Integrates the power that `csv` holds over the window of the raw result.
pub(in crate::inferencex) fn measure(
    raw: &PyValue,
    csv: &Path,
    expected_gpus: i64,
    zone: &TimeZone,
) -> PowerReport {
    let mut report = PowerReport {
        reasons: Vec::new(),
        metrics: Metrics::default(),
        window: None,
        devices: Vec::new(),
    };
    let Some(window) = Window::of(raw, &mut report.reasons) else {
        return report;
    };
    report.window = Some(window);
    if expected_gpus <= 0 {
        report.reasons.push("invalid_expected_gpu_count");
    }
    let (from, to) = (window.start_s - MOST_GAP_S, window.end_s + MOST_GAP_S);
    let Telemetry { devices, reasons } = telemetry::read(csv, from, to, zone);
    report.reasons.extend(reasons);
    if !devices.is_empty() && expected_gpus > 0 && devices.len() as i64 != expected_gpus {
        report.reasons.push("expected_gpu_count_mismatch");
    }
    for (id, samples) in devices {
        let device = Device::of(id, &samples, &window);
        if let Some(issue) = device.issue
            && !report.reasons.contains(&issue)
        {
            report.reasons.push(issue);
        }
        report.devices.push(device);
    }
    if report.reasons.is_empty() {
        let energy_j = report.devices.iter().filter_map(|device| device.energy_j).sum();
        report.metrics = Metrics::of_deployment(energy_j, report.devices.len(), &window);
    }
    report
}

impl Device {
    fn of(id: String, samples: &Samples, window: &Window) -> Self {
        let mut device = Self {
            id,
            samples: samples.len(),
            issue: None,
            max_gap_s: None,
            energy_j: None,
        };
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            device.issue = Some("insufficient_power_samples");
            return device;
        };
        if samples.len() < 2 {
            device.issue = Some("insufficient_power_samples");
        } else if first.0 > window.start_s || last.0 < window.end_s {
            device.issue = Some("benchmark_window_not_bracketed");
        } else {
            // From the last sample before the window to the first after it.
            let from = samples.partition_point(|(at, _)| *at <= window.start_s) - 1;
            let to = samples.partition_point(|(at, _)| *at < window.end_s);
            let gaps = samples[from..=to].windows(2).map(|pair| pair[1].0 - pair[0].0);
            let max_gap_s = gaps.fold(0.0, f64::max);
            device.max_gap_s = Some(max_gap_s);
            if max_gap_s > MOST_GAP_S {
                device.issue = Some("sampling_gap_exceeded");
            }
            device.energy_j = Some(energy_j(samples, window.start_s, window.end_s));
        }
        device
    }
}

impl PowerReport {
    pub(in crate::inferencex) fn is_valid(&self) -> bool {
        self.reasons.is_empty()
    }

    /// The validation file that stands beside a row.
    pub(in crate::inferencex) fn to_validation(&self, csv: &Path, raw: &Path, expected_gpus: i64) -> Dict {
        let mut validation = Dict::default();
        validation.set("schema_version", 1);
        validation.set("power_valid", self.is_valid());
        validation.set("reasons", strings(self.reasons.iter().copied()));
        validation.set("telemetry_source", csv.display().to_string());
        validation.set("benchmark_result", raw.display().to_string());
        validation.set("benchmark_window", window_or_null(self.window));
        validation.set("integration_method", INTEGRATION_METHOD);
        validation.set("expected_gpu_count", expected_gpus);
        validation.set("observed_gpu_count", self.devices.len() as i64);
        validation.set(
            "observed_gpu_ids",
            strings(self.devices.iter().map(|device| device.id.as_str())),
        );
        let by_device = |value: &dyn Fn(&Device) -> Option<PyValue>| -> Dict {
            let devices = self.devices.iter();
            devices
                .filter_map(|device| Some((device.id.clone(), value(device)?)))
                .collect()
        };
        validation.set(
            "per_gpu_sample_counts",
            by_device(&|device| Some(PyValue::Int(device.samples as i64))),
        );
        validation.set(
            "per_gpu_max_sample_gap_s",
            by_device(&|device| device.max_gap_s.map(PyValue::Float)),
        );
        validation.set(
            "per_gpu_energy_j",
            by_device(&|device| device.energy_j.map(PyValue::Float)),
        );
        validation.set(
            "device_issues",
            by_device(&|device| device.issue.map(|issue| strings([issue]))),
        );
        // Only amd-smi's energy counters are checked so, and only to advise.
        validation.set("accumulator_check", PyValue::None);
        validation.set("metrics", self.metrics.to_dict());
        validation
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::fmt::Write as _;

    use super::super::super::python_json::loads;
    use super::*;

    const RAW: &str = r#"{"benchmark_start_time_unix": 100.5, "benchmark_end_time_unix": 110.5, "duration": 10,
                          "completed": 4, "total_input_tokens": 100, "total_output_tokens": 50}"#;

    /// Two GPUs, sampled each second: one at 100 W, one that rises by 10 W a second from 0 W at 98 s.
    fn samples(skip: std::ops::Range<u32>) -> String {
        let mut text = "timestamp,index,power.draw [W]\n".to_owned();
        for at in (98..=113).filter(|at| !skip.contains(at)) {
            writeln!(text, "{at},0,100 W\n{at},1,{} W", (at - 98) * 10).unwrap();
        }
        text
    }

    fn report(csv: &str, raw: &str, gpus: i64) -> PowerReport {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gpu_metrics.csv");
        std::fs::write(&path, csv).unwrap();
        measure(&loads(raw).unwrap(), &path, gpus, &TimeZone::UTC)
    }

    #[test]
    fn energy_is_the_area_under_the_power() {
        let report = report(&samples(0..0), RAW, 2);
        assert_eq!(report.reasons, [""; 0]);
        let metric = |name: &str| {
            report
                .metrics
                .0
                .iter()
                .find(|(known, _)| *known == name)
                .unwrap()
                .1
        };
        // 100 W for 10 s, and 25 W to 125 W: 750 J.
        assert!((metric("total_gpu_energy_j") - 1750.0).abs() < 1e-9);
        assert!((metric("avg_power_w") - 87.5).abs() < 1e-9);
        assert!((metric("joules_per_successful_query") - 437.5).abs() < 1e-9);
        assert!((metric("joules_per_total_token") - 1750.0 / 150.0).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_trusted_is_named() {
        for (csv, raw, gpus, reasons) in [
            (
                samples(0..0),
                RAW.to_owned(),
                8,
                vec!["expected_gpu_count_mismatch"],
            ),
            (
                samples(102..106),
                RAW.to_owned(),
                2,
                vec!["sampling_gap_exceeded"],
            ),
            (
                samples(98..102),
                RAW.to_owned(),
                2,
                vec!["benchmark_window_not_bracketed"],
            ),
            (
                samples(98..113),
                RAW.to_owned(),
                2,
                vec!["insufficient_power_samples"],
            ),
            (String::new(), RAW.to_owned(), 2, vec!["telemetry_file_empty"]),
            (
                samples(0..0),
                RAW.replace("10,", "12,"),
                2,
                vec!["benchmark_duration_mismatch"],
            ),
            (
                samples(0..0),
                RAW.replace("110.5", "90"),
                2,
                vec!["invalid_benchmark_window"],
            ),
            (
                samples(0..0),
                RAW.replace(": 4", ": 0"),
                2,
                vec!["invalid_successful_query_count"],
            ),
            (
                samples(0..0),
                "[]".to_owned(),
                2,
                vec!["invalid_benchmark_result"],
            ),
        ] {
            let report = report(&csv, &raw, gpus);
            assert_eq!(report.reasons, reasons);
            assert!(report.metrics.0.is_empty());
        }
    }
}
