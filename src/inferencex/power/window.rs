//! What is measured of a benchmark's energy, and over which time.

use super::super::pyvalue::{Dict, PyValue};
use super::telemetry::Samples;

/// The longest time between two samples that counts as watching, in s.
pub(super) const MOST_GAP_S: f64 = 3.0;

pub(super) const INTEGRATION_METHOD: &str = "per_device_trapezoidal_with_linear_boundary_interpolation";

/// Energy fields of a valid measurement, by name: W, J and J per unit.
#[derive(Debug, Default)]
pub(in crate::inferencex) struct Metrics(pub(super) Vec<(&'static str, f64)>);

/// What a raw benchmark file says of when it ran and how much it did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub start_s: f64,
    pub end_s: f64,
    reported_duration_s: f64,
    completed: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
}

impl Window {
    pub(super) fn of(raw: &PyValue, reasons: &mut Vec<&'static str>) -> Option<Self> {
        let Some(raw) = raw.as_dict() else {
            reasons.push("invalid_benchmark_result");
            return None;
        };
        let number = |key: &str| raw.get(key).and_then(finite);
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
        if (reported - duration).abs() > tolerance_s(duration) {
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

    pub(super) fn duration_s(&self) -> f64 {
        self.end_s - self.start_s
    }

    fn to_dict(self) -> Dict {
        let mut window = Dict::default();
        window.set("start_time_unix", self.start_s);
        window.set("end_time_unix", self.end_s);
        window.set("reported_duration_s", self.reported_duration_s);
        window.set("integration_duration_s", self.duration_s());
        window.set("completed", self.completed);
        window.set("total_input_tokens", self.input_tokens);
        window.set("total_output_tokens", self.output_tokens);
        window
    }
}

/// How far two accounts of a duration may differ, in s.
pub(super) fn tolerance_s(duration_s: f64) -> f64 {
    (duration_s * 0.01).max(0.5)
}

/// A number that is finite and no boolean.
pub(super) fn finite(value: &PyValue) -> Option<f64> {
    match value {
        PyValue::Int(value) => Some(*value as f64),
        PyValue::Float(value) => Some(*value).filter(|value| value.is_finite()),
        _ => None,
    }
}

/// Trapezoids between samples, cut at the window's ends, in J.
pub(super) fn energy_j(samples: &Samples, start_s: f64, end_s: f64) -> f64 {
    let inside = samples
        .iter()
        .copied()
        .filter(|(at, _)| *at > start_s && *at < end_s);
    let edge = |at: f64| std::iter::once((at, power_at(samples, at)));
    let clipped: Samples = edge(start_s).chain(inside).chain(edge(end_s)).collect();
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

impl Metrics {
    /// Those of a whole deployment.
    pub(super) fn of_deployment(energy_j: f64, gpus: usize, window: &Window) -> Self {
        let power_w = energy_j / window.duration_s();
        let per = |count: i64| energy_j / count as f64;
        Self(vec![
            ("avg_power_w", power_w / gpus as f64),
            ("avg_total_gpu_power_w", power_w),
            ("total_gpu_energy_j", energy_j),
            ("joules_per_successful_query", per(window.completed)),
            ("joules_per_input_token", per(window.input_tokens)),
            ("joules_per_output_token", per(window.output_tokens)),
            (
                "joules_per_total_token",
                per(window.input_tokens + window.output_tokens),
            ),
        ])
    }

    /// As a row has them: W and J with three places, the rest with six.
    pub(in crate::inferencex) fn in_row(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.0.iter().map(|(name, value)| {
            let places = if name.ends_with("_w") || name.ends_with("_j") {
                3
            } else {
                6
            };
            (*name, rounded(*value, places))
        })
    }

    /// As a validation file has them.
    pub(super) fn to_dict(&self) -> Dict {
        self.0
            .iter()
            .map(|(name, value)| (*name, PyValue::Float(rounded(*value, 6))))
            .collect()
    }
}

/// Rounds as Python does: by the decimal text, halves to even where they are exact.
fn rounded(value: f64, places: usize) -> f64 {
    format!("{value:.places$}").parse().unwrap_or(value)
}

pub(super) fn window_or_null(window: Option<Window>) -> PyValue {
    window.map_or(PyValue::None, |window| window.to_dict().into())
}

pub(super) fn strings<'t>(texts: impl IntoIterator<Item = &'t str>) -> PyValue {
    PyValue::List(texts.into_iter().map(PyValue::from).collect())
}
