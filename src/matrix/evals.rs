//! Which points are checked for accuracy: InferenceX's choice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use super::point::{Point, Topology};
use crate::config::changelog::ScenarioType;

/// Which points are checked for accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum EvalPolicy {
    /// Of fixed lengths the chosen few, beside the measurements.
    #[default]
    Default,
    /// Of all scenarios the chosen few, and no measurements.
    Only,
    /// All that can be, beside the measurements.
    All,
    /// None.
    None,
}

/// Fewer requests at a time leave an engine too idle to show what load does to its answers.
const LEAST_CONC: u32 = 16;

/// The lengths that are checked, in tokens.
const LENGTHS: (u32, u32) = (8192, 1024);

/// Whether there is a policy under which the point is checked.
pub fn can_be_checked(point: &Point) -> bool {
    point.lengths().is_none_or(|lengths| lengths == LENGTHS)
}

/// Indices of the points among `chosen` that the policy checks; where several would do, the one that comes first there.
///
/// One node: of the points that differ in sizes and concurrency only, those of the highest and of the middle
/// concurrency. Several nodes: of each deployment the highest concurrency. Agentic on one node: the first point of the
/// highest concurrency of each model, label, engine and precision.
pub fn marked(points: &[Point], chosen: &[usize], policy: EvalPolicy) -> BTreeSet<usize> {
    let of = |multi: bool, scenario: ScenarioType| {
        chosen.iter().copied().filter(move |i| {
            let point = &points[*i];
            matches!(point.topology, Topology::Multi { .. }) == multi
                && point.scenario_type() == scenario
                && can_be_checked(point)
        })
    };
    let fixed = |multi: bool| of(multi, ScenarioType::FixedSeqLen);
    let loaded = |i: &usize| points[*i].conc >= LEAST_CONC;
    let agentic = |multi: bool| of(multi, ScenarioType::AgenticCoding);
    let mut marked = BTreeSet::new();
    match policy {
        EvalPolicy::None => {}
        EvalPolicy::Default | EvalPolicy::Only => {
            marked.extend(highest_and_middle(points, fixed(false).filter(loaded)));
            marked.extend(highest(points, fixed(true).filter(loaded), Point::deployment));
            if policy == EvalPolicy::Only {
                marked.extend(highest(points, agentic(false), fleet));
                marked.extend(highest(points, agentic(true).filter(loaded), Point::deployment));
            }
        }
        EvalPolicy::All => {
            marked.extend(fixed(false).chain(fixed(true)).chain(agentic(false)));
            marked.extend(highest(points, agentic(true), Point::deployment));
        }
    }
    marked
}

fn highest_and_middle(points: &[Point], eligible: impl Iterator<Item = usize>) -> BTreeSet<usize> {
    let mut groups = HashMap::<_, BTreeMap<u32, Vec<usize>>>::new();
    for i in eligible {
        let point = &points[i];
        let dp_attn = matches!(point.topology, Topology::Single(p) if p.dp_attn);
        let group = (fleet(point), point.lengths(), point.spec_decoding, dp_attn);
        groups
            .entry(group)
            .or_default()
            .entry(point.conc)
            .or_default()
            .push(i);
    }
    let mut marked = BTreeSet::new();
    for by_conc in groups.into_values() {
        // The upper one of two middles, as InferenceX's.
        let middle = by_conc.values().nth(by_conc.len() / 2);
        marked.extend(middle.into_iter().chain(by_conc.values().next_back()).flatten());
    }
    marked
}

/// The first point of the highest concurrency in each group.
fn highest<'a, G: Hash + Eq>(
    points: &'a [Point],
    eligible: impl Iterator<Item = usize>,
    group: fn(&'a Point) -> G,
) -> BTreeSet<usize> {
    let mut best = HashMap::<G, usize>::new();
    for i in eligible {
        let best = best.entry(group(&points[i])).or_insert(i);
        if points[i].conc > points[*best].conc {
            *best = i;
        }
    }
    best.into_values().collect()
}

fn fleet(point: &Point) -> [&str; 4] {
    [&point.model, &point.runner, &point.framework, &point.precision].map(String::as_str)
}
