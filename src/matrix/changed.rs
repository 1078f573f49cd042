//! What the entries of a changelog ask for.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::evals::{EvalPolicy, marked};
use super::point::{Deployment, Point, Topology};
use crate::config::changelog::{Addition, Entry, ScenarioType};

/// Indices of points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// To be measured.
    pub measure: BTreeSet<usize>,
    /// To be checked for accuracy.
    pub evals: BTreeSet<usize>,
}

/// What the entries of one range ask for, out of `points`. `before` are the points at the range's beginning: an
/// append-only entry asks for those that were not among them.
///
/// Evals are marked as InferenceX does it: entries that check all come first, the first entry about a config's scenario
/// marks its points, and does so among the points of the configs that it names with it.
pub fn changed(points: &[Point], before: &[Point], additions: &[Addition], policy: EvalPolicy) -> Changed {
    let mut changed = Changed::default();
    let before: HashSet<_> = before.iter().map(identity).collect();
    let mut additions: Vec<&Addition> = additions.iter().collect();
    additions.sort_by_key(|addition| !addition.entry.all_evals);
    let mut seen = HashSet::new();
    for Addition { entry, configs } in additions {
        let named: HashSet<&str> = configs.iter().map(String::as_str).collect();
        let concerned = |i: &usize| {
            let point = &points[*i];
            named.contains(point.config.0.as_str()) && entry.concerns(point.scenario_type())
        };
        let concerned = (0..points.len()).filter(concerned);
        if entry.append_only {
            if policy != EvalPolicy::Only {
                changed
                    .measure
                    .extend(concerned.filter(|i| !before.contains(&identity(&points[*i]))));
            }
            continue;
        }
        if entry.measures() && policy != EvalPolicy::Only {
            changed.measure.extend(concerned);
        }
        let policy = match policy {
            EvalPolicy::None => EvalPolicy::None,
            EvalPolicy::All => EvalPolicy::All,
            EvalPolicy::Default | EvalPolicy::Only if entry.all_evals => EvalPolicy::All,
            EvalPolicy::Default | EvalPolicy::Only => EvalPolicy::Only,
        };
        for group in groups(points, entry, configs, &mut seen) {
            let wide = |i: &usize| match (&points[*i].topology, entry.eval_min_prefill_ep) {
                (Topology::Multi { prefill, .. }, Some(least)) => prefill.ep >= least,
                _ => true,
            };
            changed
                .evals
                .extend(marked(points, &group, policy).into_iter().filter(wide));
        }
    }
    changed
}

/// What tells a point from others, its mark aside: that follows from those beside it.
fn identity(point: &Point) -> (&str, Deployment<'_>, u32) {
    (&point.config.0, point.deployment(), point.conc)
}

/// The points of an entry's configs whose scenarios no entry before was about, those of configs with the same scenarios
/// left together, in the order in which it names them.
fn groups<'a>(
    points: &[Point],
    entry: &Entry,
    configs: &'a [String],
    seen: &mut HashSet<(&'a str, ScenarioType)>,
) -> Vec<Vec<usize>> {
    let mut groups: HashMap<Vec<ScenarioType>, Vec<&str>> = HashMap::new();
    for config in configs {
        let left: Vec<ScenarioType> = ScenarioType::ALL
            .into_iter()
            .filter(|kind| entry.concerns(*kind) && seen.insert((config, *kind)))
            .collect();
        groups.entry(left).or_default().push(config);
    }
    let of = |(kinds, configs): (Vec<ScenarioType>, Vec<&str>)| {
        let of_config = |config| (0..points.len()).filter(move |i| points[*i].config.0 == config);
        configs
            .into_iter()
            .flat_map(of_config)
            .filter(|i| kinds.contains(&points[*i].scenario_type()))
            .collect()
    };
    groups.into_iter().map(of).collect()
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
