//! Energy of a benchmark on one node: board power integrated over the benchmark's own window.

use std::path::Path;

use jiff::tz::TimeZone;

use super::pyvalue::{Dict, PyValue};
use super::telemetry::{self, Samples, Telemetry};

/// The longest time between two samples that counts as watching, in s.
const MOST_GAP_S: f64 = 3.0;

const INTEGRATION_METHOD: &str = "per_device_trapezoidal_with_linear_boundary_interpolation";

/// Energy fields of a valid measurement, by name: W, J and J per unit.
pub(super) type Metrics = Vec<(&'static str, f64)>;

/// What is known of the energy of a benchmark.
#[derive(Debug)]
pub(super) struct PowerReport {
    /// Why there are no metrics, in the order of discovery; empty when there are.
    pub reasons: Vec<&'static str>,
    pub metrics: Metrics,
    window: Option<Window>,
    devices: Vec<Device>,
}

/// What a raw benchmark file says of when it ran and how much it did.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    start_s: f64,
    end_s: f64,
    reported_duration_s: f64,
    completed: i64,
    input_tokens: i64,
    output_tokens: i64,
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
pub(super) fn measure(raw: &PyValue, csv: &Path, expected_gpus: i64, zone: &TimeZone) -> PowerReport {
    let mut report = PowerReport {
        reasons: Vec::new(),
        metrics: Vec::new(),
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
        report.metrics = metrics(&report.devices, &window);
    }
    report
}

impl Window {
    fn of(raw: &PyValue, reasons: &mut Vec<&'static str>) -> Option<Self> {
        let Some(raw) = raw.as_dict() else {
            reasons.push("invalid_benchmark_result");
            return None;
        };
        let number = |key: &str| match raw.get(key) {
            Some(PyValue::Int(value)) => Some(*value as f64),
            Some(PyValue::Float(value)) => Some(*value).filter(|value| value.is_finite()),
            _ => None,
        };
        let window = (
            number("benchmark_start_time_unix"),
            number("benchmark_end_time_unix"),
            number("duration"),
        );
        let (Some(start_s), Some(end_s), Some(reported)) = window else {
            reasons.push("invalid_benchmark_window");
            return None;
        };
        if end_s <= start_s || reported <= 0.0 {
            reasons.push("invalid_benchmark_window");
            return None;
        }
        let duration = end_s - start_s;
        if (reported - duration).abs() > (duration * 0.01).max(0.5) {
            reasons.push("benchmark_duration_mismatch");
        }
        let mut count = |key: &str, reason| match raw.get(key) {
            Some(PyValue::Int(count)) if *count > 0 => *count,
            _ => {
                reasons.push(reason);
                0
            }
        };
        Some(Self {
            start_s,
            end_s,
            reported_duration_s: reported,
            completed: count("completed", "invalid_successful_query_count"),
            input_tokens: count("total_input_tokens", "invalid_input_token_count"),
            output_tokens: count("total_output_tokens", "invalid_output_token_count"),
        })
    }

    fn to_dict(self) -> Dict {
        let mut window = Dict::default();
        window.set("start_time_unix", self.start_s);
        window.set("end_time_unix", self.end_s);
        window.set("reported_duration_s", self.reported_duration_s);
        window.set("integration_duration_s", self.end_s - self.start_s);
        window.set("completed", self.completed);
        window.set("total_input_tokens", self.input_tokens);
        window.set("total_output_tokens", self.output_tokens);
        window
    }
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
            device.energy_j = Some(energy_j(samples, window));
        }
        device
    }
}

/// Trapezoids between samples, cut at the window's ends.
fn energy_j(samples: &Samples, window: &Window) -> f64 {
    let (start, end) = (window.start_s, window.end_s);
    let inside = samples.iter().copied().filter(|(at, _)| *at > start && *at < end);
    let edge = |at: f64| std::iter::once((at, power_at(samples, at)));
    let clipped: Samples = edge(start).chain(inside).chain(edge(end)).collect();
    clipped
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0)
        .sum()
}

/// The power at a time that samples bracket, interpolated, in W.
fn power_at(samples: &Samples, at: f64) -> f64 {
    let right = samples
        .partition_point(|(time, _)| *time < at)
        .min(samples.len() - 1);
    let (right_time, right_power) = samples[right];
    if (right_time - at).abs() <= 1e-9 || right == 0 {
        return right_power;
    }
    let (left_time, left_power) = samples[right - 1];
    left_power + (at - left_time) / (right_time - left_time) * (right_power - left_power)
}

fn metrics(devices: &[Device], window: &Window) -> Metrics {
    let energy_j: f64 = devices.iter().filter_map(|device| device.energy_j).sum();
    let power_w = energy_j / (window.end_s - window.start_s);
    let per = |count: i64| energy_j / count as f64;
    vec![
        ("avg_power_w", power_w / devices.len() as f64),
        ("avg_total_gpu_power_w", power_w),
        ("total_gpu_energy_j", energy_j),
        ("joules_per_successful_query", per(window.completed)),
        ("joules_per_input_token", per(window.input_tokens)),
        ("joules_per_output_token", per(window.output_tokens)),
        (
            "joules_per_total_token",
            per(window.input_tokens + window.output_tokens),
        ),
    ]
}

/// Rounds as Python does: by the decimal text, halves to even where they are exact.
pub(super) fn rounded(value: f64, places: usize) -> f64 {
    format!("{value:.places$}").parse().unwrap_or(value)
}

impl PowerReport {
    pub(super) fn is_valid(&self) -> bool {
        self.reasons.is_empty()
    }

    /// The validation file that stands beside a row.
    pub(super) fn to_validation(&self, csv: &Path, raw: &Path, expected_gpus: i64) -> Dict {
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
            by_device(&|device| device.issue.map(|issue| strings([issue].into_iter()))),
        );
        // Only amd-smi's energy counters are checked so, and only to advise.
        validation.set("accumulator_check", PyValue::None);
        validation.set("metrics", six_places(&self.metrics));
        validation
    }
}

/// The validation file of a multi-node benchmark, whose power is not measured here.
pub(super) fn unmeasured_validation(
    raw: &PyValue,
    result: &Path,
    folder: &Path,
    failure: &str,
    reason: &str,
) -> Dict {
    let window = Window::of(raw, &mut Vec::new());
    let mut producer = Dict::default();
    for key in [
        "producer_git_commit",
        "expected_producer_git_commit",
        "exporter_image_sha256",
        "stored_publication_valid",
        "recomputed_publication_valid",
    ] {
        producer.set(key, PyValue::None);
    }
    let mut validation = Dict::default();
    validation.set("schema_version", 1);
    validation.set("power_valid", false);
    validation.set("reasons", strings([reason].into_iter()));
    validation.set("failures", strings([failure].into_iter()));
    validation.set("telemetry_source", folder.display().to_string());
    validation.set("benchmark_result", result.display().to_string());
    validation.set("benchmark_window", window_or_null(window));
    validation.set("selected_window", PyValue::None);
    validation.set("integration_method", INTEGRATION_METHOD);
    validation.set("producer", producer);
    validation.set("expected_gpu_count", 0);
    validation.set("observed_gpu_count", 0);
    for key in [
        "per_gpu_role",
        "per_gpu_max_sample_gap_s",
        "per_gpu_energy_j",
        "metrics",
    ] {
        validation.set(key, Dict::default());
    }
    validation
}

fn window_or_null(window: Option<Window>) -> PyValue {
    window.map_or(PyValue::None, |window| window.to_dict().into())
}

fn strings<'t>(texts: impl Iterator<Item = &'t str>) -> PyValue {
    PyValue::List(texts.map(PyValue::from).collect())
}

fn six_places(metrics: &Metrics) -> Dict {
    metrics
        .iter()
        .map(|(name, value)| (*name, PyValue::Float(rounded(*value, 6))))
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::fmt::Write as _;

    use super::super::python_json::loads;
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
        let metric = |name: &str| report.metrics.iter().find(|(known, _)| *known == name).unwrap().1;
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
            assert!(report.metrics.is_empty());
        }
    }
}
