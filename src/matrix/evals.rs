//! Which points are checked for accuracy: InferenceX's choice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::point::{ConfigKey, Point, Scenario, Topology};
use crate::config::changelog::ScenarioType;

/// What is checked beside, or in the place of, being measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum EvalPolicy {
    /// The chosen fixed-length points.
    #[default]
    Default,
    /// The chosen points of all scenarios.
    Only,
    /// Every point that can be checked.
    All,
    /// No point.
    None,
}

/// Fewer requests at a time leave an engine too idle to show what load does to its answers.
const LEAST_CONC: u32 = 16;

/// The lengths that are checked, in tokens.
const LENGTHS: (u32, u32) = (8192, 1024);

/// Indices of the points among `chosen` that the policy checks.
///
/// One node: of the points that differ in sizes and concurrency only, those of the highest and of the middle
/// concurrency. Several nodes: of each deployment the highest concurrency. Agentic on one node: the first point of the
/// highest concurrency of each model, label, engine and precision.
pub fn marked(points: &[Point], chosen: &BTreeSet<usize>, policy: EvalPolicy) -> BTreeSet<usize> {
    let of = |multi: bool, scenario: ScenarioType| {
        chosen.iter().copied().filter(move |i| {
            let point = &points[*i];
            matches!(point.topology, Topology::Multi { .. }) == multi && point.scenario_type() == scenario
        })
    };
    let fixed =
        |multi: bool| of(multi, ScenarioType::FixedSeqLen).filter(|i| points[*i].lengths() == Some(LENGTHS));
    let loaded = |i: &usize| points[*i].conc >= LEAST_CONC;
    let agentic = |multi: bool| of(multi, ScenarioType::AgenticCoding);
    let mut marked = BTreeSet::new();
    match policy {
        EvalPolicy::None => {}
        EvalPolicy::Default | EvalPolicy::Only => {
            marked.extend(highest_and_middle(points, fixed(false).filter(loaded)));
            marked.extend(highest(points, fixed(true).filter(loaded), deployment));
            if policy == EvalPolicy::Only {
                marked.extend(highest(points, agentic(false), fleet));
                marked.extend(highest(points, agentic(true).filter(loaded), deployment));
            }
        }
        EvalPolicy::All => {
            marked.extend(fixed(false).chain(fixed(true)).chain(agentic(false)));
            marked.extend(highest(points, agentic(true), deployment));
        }
    }
    marked
}

fn highest_and_middle(points: &[Point], eligible: impl Iterator<Item = usize>) -> BTreeSet<usize> {
    let mut groups = HashMap::<_, BTreeMap<u32, Vec<usize>>>::new();
    for i in eligible {
        let point = &points[i];
        let dp_attn = matches!(point.topology, Topology::Single(p) if p.dp_attn);
        let group = (fleet(point), point.lengths(), point.spec_decoding.name(), dp_attn);
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
fn highest(
    points: &[Point],
    eligible: impl Iterator<Item = usize>,
    group: fn(&Point) -> String,
) -> BTreeSet<usize> {
    let mut best = HashMap::<String, usize>::new();
    for i in eligible {
        let best = best.entry(group(&points[i])).or_insert(i);
        if points[i].conc > points[*best].conc {
            *best = i;
        }
    }
    best.into_values().collect()
}

fn fleet(point: &Point) -> String {
    [&point.model, &point.runner, &point.framework, &point.precision]
        .map(String::as_str)
        .join("\n")
}

/// All that makes the deployment, whatever the config is called.
fn deployment(point: &Point) -> String {
    let nameless = Point {
        config: ConfigKey(String::new()),
        mark: String::new(),
        conc: 0,
        ..point.clone()
    };
    serde_json::to_string(&nameless).expect("a point is plain data")
}

impl Point {
    /// The type of its scenario.
    pub fn scenario_type(&self) -> ScenarioType {
        match self.scenario {
            Scenario::FixedSeqLen { .. } => ScenarioType::FixedSeqLen,
            Scenario::AgenticCoding(_) => ScenarioType::AgenticCoding,
        }
    }
}
