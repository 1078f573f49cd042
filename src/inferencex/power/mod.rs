//! Energy of a benchmark: board power integrated over the benchmark's own window, on one node or several.

mod manifest;
mod multi_node;
mod samples;
mod single_node;
mod telemetry;
mod window;
mod windows;

use std::path::Path;

use jiff::tz::TimeZone;

pub(in crate::inferencex) use multi_node::{MultiNodeSource, measure as measure_multi_node};
pub(in crate::inferencex) use single_node::measure as measure_single_node;
pub(in crate::inferencex) use window::Metrics;

/// The energy fields of a row by name: W, J, and J per unit, of a benchmark on one node with so many GPUs. `raw` is its
/// result file, `csv` what a monitor of the GPUs wrote beside it, with local times of `zone`.
///
/// The error is why there are none, in the words of a validation file.
pub fn gpu_power(
    raw: &[u8],
    csv: &Path,
    gpus: u32,
    zone: &TimeZone,
) -> Result<Vec<(&'static str, f64)>, Vec<&'static str>> {
    let raw = serde_json::from_slice(raw).map_err(|_| vec!["invalid_benchmark_result"])?;
    let report = measure_single_node(&raw, csv, i64::from(gpus), zone);
    if report.is_valid() {
        Ok(report.metrics.in_row().collect())
    } else {
        Err(report.reasons)
    }
}
