//! Which points are checked for accuracy: InferenceX's choice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

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
        groups
            .entry(sizes_apart(point))
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

/// A number for the points that a point competes with for the checks of [`EvalPolicy::Default`]; none for one that is
/// never checked. The same in every run of one program.
pub fn default_group(point: &Point) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    match point.topology {
        Topology::Single(_) => sizes_apart(point).hash(&mut hasher),
        Topology::Multi { .. } => point.deployment().hash(&mut hasher),
    }
    can_be_checked(point).then(|| hasher.finish())
}

/// What is equal for points of one node that differ in sizes and concurrency only.
fn sizes_apart(point: &Point) -> impl Hash + Eq + use<'_> {
    let dp_attn = matches!(point.topology, Topology::Single(p) if p.dp_attn);
    (fleet(point), point.lengths(), point.spec_decoding, dp_attn)
}

fn fleet(point: &Point) -> [&str; 4] {
    [&point.model, &point.runner, &point.framework, &point.precision].map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::super::point::{ConfigKey, Parallel, Scenario};
    use super::*;
    use crate::config::master::SpecDecoding;

    fn point(config: &str, tp: u32, conc: u32) -> Point {
        Point {
            config: ConfigKey(config.to_owned()),
            image: "i".to_owned(),
            model: "m".to_owned(),
            model_prefix: "m".to_owned(),
            precision: "fp8".to_owned(),
            framework: "sglang".to_owned(),
            runner: "h200".to_owned(),
            scenario: Scenario::FixedSeqLen { isl: 8192, osl: 1024 },
            topology: Topology::Single(Parallel { tp, ..Parallel::ONE }),
            spec_decoding: SpecDecoding::None,
            conc,
            router: None,
            kv_p2p_transfer: None,
            mark: String::new(),
        }
    }

    fn concs(points: &[Point], policy: EvalPolicy) -> Vec<(u32, u32)> {
        let all: Vec<usize> = (0..points.len()).collect();
        let of = |i: usize| match points[i].topology {
            Topology::Single(parallel) => (parallel.tp, points[i].conc),
            Topology::Multi { .. } => panic!("of one node"),
        };
        marked(points, &all, policy).into_iter().map(of).collect()
    }

    #[test]
    fn of_one_node_the_highest_and_the_upper_middle_of_all_sizes_together() {
        let points =
            [(8, 4), (8, 16), (8, 32), (8, 64), (4, 64), (4, 128)].map(|(tp, conc)| point("a", tp, conc));
        let expected = [(8, 64), (4, 64), (4, 128)];
        assert_eq!(concs(&points, EvalPolicy::Default), expected);
        assert_eq!(concs(&points, EvalPolicy::Only), expected);
        assert_eq!(concs(&points, EvalPolicy::All).len(), 6);
        assert!(concs(&points, EvalPolicy::None).is_empty());
    }

    #[test]
    fn configs_of_one_model_and_label_are_one_group_and_other_settings_are_not() {
        let mut points = [point("a", 8, 16), point("b", 8, 32), point("b", 8, 64)];
        assert_eq!(concs(&points, EvalPolicy::Default), [(8, 32), (8, 64)]);
        points[0].spec_decoding = SpecDecoding::Mtp;
        assert_eq!(concs(&points, EvalPolicy::Default), [(8, 16), (8, 64)]);
    }

    #[test]
    fn other_lengths_are_never_checked() {
        let mut other = point("a", 8, 64);
        other.scenario = Scenario::FixedSeqLen { isl: 1024, osl: 1024 };
        assert!(!can_be_checked(&other));
        assert!(concs(&[other], EvalPolicy::All).is_empty());
    }
}
