//! How often benchmarks succeed on each kind of hardware, by what was measured here.

use std::collections::BTreeMap;

use crate::cache::Store;

use super::pyvalue::{Dict, PyValue};

/// Attempts of a runner label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    pub succeeded: i64,
    pub total: i64,
}

/// Counts the benchmark attempts that the records hold, by the label that `runner_of` finds for a point's id. A point
/// that was measured again counts again.
pub fn success_rates(
    store: &Store,
    runner_of: &dyn Fn(&str) -> Option<String>,
) -> BTreeMap<String, Attempts> {
    let mut rates: BTreeMap<String, Attempts> = BTreeMap::new();
    for record in store.records().iter() {
        let head = record.head();
        let runner = head.target.strip_prefix("bench:").and_then(runner_of);
        if let Some(runner) = runner {
            // A fleet's label and its hardware have one name.
            let hardware = runner.strip_prefix("cluster:").unwrap_or(&runner);
            let attempts = rates.entry(hardware.to_owned()).or_default();
            attempts.total += 1;
            attempts.succeeded += i64::from(head.passed);
        }
    }
    rates
}

/// The rates as `run_stats.json` holds them.
pub fn run_stats(rates: &BTreeMap<String, Attempts>) -> PyValue {
    let stats: Dict = rates
        .iter()
        .map(|(runner, attempts)| {
            let mut entry = Dict::default();
            entry.set("n_success", attempts.succeeded);
            entry.set("total", attempts.total);
            (runner.clone(), PyValue::from(entry))
        })
        .collect();
    stats.into()
}
