//! What the entries of a changelog ask for.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::evals::{EvalPolicy, marked};
use super::point::{Point, Topology};
use crate::config::changelog::Addition;

/// Indices of points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// To be measured.
    pub measure: BTreeSet<usize>,
    /// To be checked for accuracy.
    pub evals: BTreeSet<usize>,
}

/// The union of what the entries ask for. An append-only entry asks for all points of its configs: those that have a
/// result are fresh.
pub fn changed(points: &[Point], additions: &[Addition]) -> Changed {
    let mut changed = Changed::default();
    for Addition { entry, configs } in additions {
        let configs: HashSet<&str> = configs.iter().map(String::as_str).collect();
        let concerned = |point: &Point| {
            configs.contains(point.config.0.as_str()) && entry.concerns(point.scenario_type())
        };
        let chosen: BTreeSet<usize> = (0..points.len()).filter(|i| concerned(&points[*i])).collect();
        let policy = match (entry.append_only, entry.all_evals) {
            (true, _) => EvalPolicy::None,
            (false, true) => EvalPolicy::All,
            (false, false) => EvalPolicy::Only,
        };
        let wide = |i: &usize| match (&points[*i].topology, entry.eval_min_prefill_ep) {
            (Topology::Multi { prefill, .. }, Some(least)) => prefill.ep >= least,
            _ => true,
        };
        changed
            .evals
            .extend(marked(points, &chosen, policy).into_iter().filter(wide));
        if entry.measures() {
            changed.measure.extend(chosen);
        }
    }
    changed
}

/// Of the points that differ in their concurrency only, the one of the lowest.
pub fn lowest(points: &[Point], chosen: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut lowest = HashMap::<String, usize>::new();
    for i in chosen {
        let best = lowest.entry(points[*i].curve()).or_insert(*i);
        if points[*i].conc < points[*best].conc {
            *best = *i;
        }
    }
    lowest.into_values().collect()
}
