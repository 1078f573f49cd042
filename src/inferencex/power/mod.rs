//! Energy of a benchmark: board power integrated over the benchmark's own window, on one node or several.

mod manifest;
mod multi_node;
mod samples;
mod single_node;
mod telemetry;
mod window;
mod windows;

pub(in crate::inferencex) use multi_node::{MultiNodeSource, measure as measure_multi_node};
pub(in crate::inferencex) use single_node::measure as measure_single_node;
pub(in crate::inferencex) use window::Metrics;
