//! The plan: what is stale and why, and how it would run.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;

use super::dialect::{collect_inputs, summarize_inputs};
use super::estimate::Estimates;
use super::reason::Reason;
use super::session::{Session, sessions};
use super::state::{Judge, Policy, State};
use crate::cache::{FsError, Inputs, Store};
use crate::config::priority::{CiPriority, Facts};
use crate::config::project::Project;
use crate::config::sweepfile::Profile;
use crate::graph::pattern::Pattern;
use crate::graph::{Graph, Kind, Selection};
use crate::matrix::{Point, Topology};

/// What a build of the selection would do.
#[derive(Debug)]
pub struct Plan {
    pub states: BTreeMap<NodeIndex, State>,
    pub sessions: Vec<Session>,
    /// What was asked for beyond the keys.
    pub policy: Policy,
    /// The sweep's collection and summary, and the process targets whose rows they hold; none without rows.
    pub sweep: Option<Sweep>,
}

/// A sweep's last two targets.
#[derive(Debug, Clone)]
pub struct Sweep {
    pub name: String,
    pub collect: NodeIndex,
    pub summarize: NodeIndex,
    pub processes: Vec<NodeIndex>,
}

impl Plan {
    /// Judges the selection; adds its collection and summary to the graph.
    pub fn new(
        project: &Project,
        profile: &Profile,
        graph: &mut Graph,
        selection: &Selection,
        store: &Store,
        policy: Policy,
    ) -> Result<Self, FsError> {
        let rows: Vec<usize> = selection
            .points
            .iter()
            .copied()
            .filter(|p| {
                graph.chains[*p]
                    .as_ref()
                    .is_ok_and(|c| selection.targets.contains(&c.process))
            })
            .collect();
        let sweep = (!rows.is_empty()).then(|| {
            let (collect, summarize) = graph.add_sweep(&selection.name, &rows);
            let processes = rows
                .iter()
                .filter_map(|p| graph.chains[*p].as_ref().ok().map(|c| c.process));
            Sweep {
                name: selection.name.clone(),
                collect,
                summarize,
                processes: processes.collect(),
            }
        });
        let judge = Judge { graph, store, policy };
        let mut states = judge.states(selection)?;
        if let Some(sweep) = &sweep {
            judge.sweep(
                &sweep.name,
                sweep.collect,
                sweep.summarize,
                &sweep.processes,
                &mut states,
            )?;
        }
        let priorities = priorities(project);
        let estimates = Estimates::new(store.records());
        let sessions = sessions(project, profile, graph, selection, &states, &estimates, |point| {
            let id = point.id();
            let matching = priorities.iter().filter(|(pattern, _)| pattern.matches_name(&id));
            let number = matching.map(|(_, number)| *number).max().unwrap_or_default();
            match &project.ci_priority {
                Some(policy) => rank(number, score(policy, point)),
                None => number,
            }
        });
        Ok(Self {
            states,
            sessions,
            policy,
            sweep,
        })
    }

    /// Whether nothing at all is stale.
    pub fn is_fresh(&self) -> bool {
        !self.states.values().any(State::is_stale)
    }

    /// The inputs of the sweep's collection or summary; none where a row or the collection is not there yet.
    pub fn sweep_inputs(&self, graph: &Graph, kind: Kind) -> Option<Inputs> {
        let sweep = self.sweep.as_ref()?;
        let output = |node: &NodeIndex| self.states.get(node)?.output();
        if kind == Kind::Summarize {
            return output(&sweep.collect).map(|content| summarize_inputs(&sweep.name, content));
        }
        let rows: Option<Vec<_>> = sweep
            .processes
            .iter()
            .map(|node| Some((graph.dag[*node].id.to_string(), output(node)?)))
            .collect();
        Some(collect_inputs(rows?.iter().map(|(id, row)| (id.as_str(), *row))))
    }

    /// Why a target is stale, if it is.
    pub fn reason(&self, node: NodeIndex) -> Option<&Reason> {
        match self.states.get(&node) {
            Some(State::Stale(reason)) => Some(reason),
            _ => None,
        }
    }
}

/// A policy's score of a point.
fn score(policy: &CiPriority, point: &Point) -> f64 {
    policy.score(&Facts {
        multi_node: matches!(point.topology, Topology::Multi { .. }),
        agentic: point.agentic().is_some(),
        precision: &point.precision,
        spec_decoding: point.spec_decoding.name(),
        framework: &point.framework,
        model_prefix: &point.model_prefix,
    })
}

/// The Sweepfile's number first; among equal ones the policy's score, to a thousandth.
fn rank(number: i32, score: f64) -> i32 {
    const STEP: i32 = 100_000;
    let thousandths = (score * 1000.0).round().clamp(0.0, f64::from(STEP - 1)) as i32;
    number.saturating_mul(STEP).saturating_add(thousandths)
}

/// The Sweepfile's priorities; [`check_patterns`](crate::graph::check_patterns) has seen their patterns.
fn priorities(project: &Project) -> Vec<(Pattern, i32)> {
    let parsed = project.sweepfile.priorities.iter();
    parsed
        .filter_map(|(text, number)| Some((Pattern::parse(text).ok()?, *number)))
        .collect()
}
