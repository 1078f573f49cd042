//! A plan as it is told.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use petgraph::graph::NodeIndex;
use serde::Serialize;

use crate::cli::lock::unpinned;
use crate::config::diagnostic::Severity;
use crate::config::sweepfile::Profile;
use crate::exec::foretell::foretell;
use crate::graph::spec::Form;
use crate::graph::{Graph, Selection};
use crate::plan::compiled::{Part, Parts, Selected};
use crate::plan::explain::{Root, causes};
use crate::plan::{Plan, Session, differing_flags};

/// Of the JSON form.
const VERSION: u32 = 1;

/// A plan as it is told; durations in milliseconds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    version: u32,
    sweep: String,
    profile: String,
    simulated_pools: Vec<String>,
    configs: Vec<ConfigReport>,
    points: usize,
    stale: usize,
    fresh: usize,
    servers_to_start: usize,
    roots: Vec<Root>,
    /// Targets that are stale only because of others.
    cascades: usize,
    estimate: EstimateReport,
    /// Images that need a pin in `sweep.lock` and have none.
    unpinned: Vec<String>,
    /// Sessions that no pool of the profile can run.
    blocked: Vec<Blocked>,
    /// Checks of accuracy: planned, but not run by this version.
    evals: Vec<String>,
    /// Points that cannot be planned, and why.
    problems: BTreeMap<String, Vec<String>>,
    /// Points that are right as they are written and still cannot run, and why.
    unrunnable: BTreeMap<String, Vec<String>>,
}

/// One config key's part.
#[derive(Debug, Serialize)]
struct ConfigReport {
    config: String,
    points: usize,
    stale: usize,
    fresh: usize,
    /// Servers that its stale points start.
    servers: usize,
    /// What keeps those servers apart: flags, or names of other inputs.
    apart: Vec<String>,
    /// GPUs of a server: the least and the most.
    gpus: (u32, u32),
    pools: Vec<String>,
    /// GPU time of earlier records; absent where one is missing.
    estimate_ms: Option<u64>,
}

impl ConfigReport {
    /// Of a config in which nothing is stale.
    fn fresh(part: &Part, selected: &Selected) -> Self {
        Self {
            config: part.key.clone(),
            points: selected.points,
            stale: 0,
            fresh: selected.points,
            servers: 0,
            apart: Vec::new(),
            gpus: selected.gpus,
            pools: selected.pools.iter().cloned().collect(),
            estimate_ms: Some(0),
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct EstimateReport {
    sessions: usize,
    /// Sessions of which an earlier record tells how long they take.
    known: usize,
    /// The build's length over all pools; only when every session is known.
    wall_ms: Option<u64>,
    /// Sessions that follow one another and so decide that length, by their servers.
    critical_path: Vec<CriticalSession>,
}

#[derive(Debug, Serialize)]
struct CriticalSession {
    server: String,
    pool: String,
    estimate_ms: u64,
}

#[derive(Debug, Serialize)]
struct Blocked {
    server: String,
    points: usize,
    reason: String,
}

impl Report {
    pub(super) fn of(graph: &Graph, selection: &Selection, plan: &Plan, profile: &Profile) -> Self {
        let stale_points: BTreeSet<usize> = plan
            .sessions
            .iter()
            .flat_map(|session| session.points.iter().copied())
            .collect();
        let (roots, cascades) = causes(graph, plan, plan.states.keys().copied());
        let (mut problems, mut unrunnable) = (BTreeMap::new(), BTreeMap::new());
        for point in &selection.broken {
            if let Err(diagnostic) = &graph.chains[*point] {
                let list: &mut BTreeMap<String, Vec<String>> = match diagnostic.severity {
                    Severity::Error => &mut problems,
                    Severity::Warning | Severity::Info => &mut unrunnable,
                };
                list.entry(diagnostic.message.clone())
                    .or_default()
                    .push(graph.points[*point].id());
            }
        }
        let used: BTreeSet<&String> = plan
            .sessions
            .iter()
            .flat_map(|s| &graph.server(s.server).pools)
            .collect();
        let simulated = used.iter().filter(|name| {
            profile
                .pools
                .get(**name)
                .is_some_and(|pool| pool.simulate.is_some())
        });
        Self {
            version: VERSION,
            sweep: selection.name.clone(),
            profile: graph.profile.clone(),
            simulated_pools: simulated.map(|name| (*name).clone()).collect(),
            configs: configs(graph, selection, plan, &stale_points),
            points: selection.points.len(),
            stale: stale_points.len(),
            fresh: selection.points.len() - stale_points.len(),
            servers_to_start: plan.sessions.len(),
            roots,
            cascades: cascades.len(),
            estimate: estimate(graph, plan, profile),
            unpinned: unpinned(graph, selection)
                .iter()
                .map(ToString::to_string)
                .collect(),
            blocked: blocked(graph, plan),
            evals: selection
                .evals(graph)
                .map(|(_, eval)| graph.dag[eval].id.to_string())
                .collect(),
            problems,
            unrunnable,
        }
    }

    /// What is told where nothing was edited since all was found fresh.
    pub(super) fn of_kept(parts: &Parts) -> Self {
        let nothing = Self {
            version: VERSION,
            sweep: parts.sweep.clone(),
            profile: parts.profile.clone(),
            ..Self::default()
        };
        nothing.joined(parts)
    }

    /// A report of what was edited, with all that was not: of `parts` what this one does not speak of is fresh.
    pub(super) fn joined(self, parts: &Parts) -> Self {
        let mut own: BTreeMap<String, ConfigReport> = self
            .configs
            .into_iter()
            .map(|config| (config.config.clone(), config))
            .collect();
        let selected = || {
            parts
                .configs()
                .filter_map(|part| Some((part, part.selected.as_ref()?)))
        };
        let with_points = selected().filter(|(_, selected)| selected.points > 0);
        let configs: Vec<ConfigReport> = with_points
            .map(|(part, selected)| {
                let edited = own.remove(&part.key);
                edited.unwrap_or_else(|| ConfigReport::fresh(part, selected))
            })
            .collect();
        let points = configs.iter().map(|config| config.points).sum();
        Self {
            points,
            fresh: points - self.stale,
            configs,
            evals: selected()
                .flat_map(|(_, selected)| selected.evals.iter().cloned())
                .collect(),
            ..self
        }
    }
}

fn configs(
    graph: &Graph,
    selection: &Selection,
    plan: &Plan,
    stale_points: &BTreeSet<usize>,
) -> Vec<ConfigReport> {
    let mut order = Vec::<&str>::new();
    let mut points = BTreeMap::<&str, Vec<usize>>::new();
    for point in &selection.points {
        let config = graph.points[*point].config.0.as_str();
        points.entry(config).or_insert_with(|| {
            order.push(config);
            Vec::new()
        });
        points.entry(config).or_default().push(*point);
    }
    // One server may measure for several configs.
    let mut sessions_of = BTreeMap::<&str, Vec<&Session>>::new();
    for session in &plan.sessions {
        let configs: BTreeSet<&str> = session
            .points
            .iter()
            .map(|point| graph.points[*point].config.0.as_str())
            .collect();
        for config in configs {
            sessions_of.entry(config).or_default().push(session);
        }
    }
    let report = |config: &str| {
        let points = &points[config];
        let sessions = sessions_of.get(config).map_or(&[][..], Vec::as_slice);
        let servers: Vec<NodeIndex> = points
            .iter()
            .filter_map(|p| graph.chains[*p].as_ref().ok().map(|c| c.server))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let gpus = servers
            .iter()
            .map(|s| graph.server(*s).gpus * graph.server(*s).nodes);
        let pools: BTreeSet<String> = servers
            .iter()
            .flat_map(|s| graph.server(*s).pools.clone())
            .collect();
        let gpu_time: Option<Duration> = sessions.iter().map(|s| s.estimate.known()).sum();
        let stale = points.iter().filter(|p| stale_points.contains(p)).count();
        ConfigReport {
            config: config.to_owned(),
            points: points.len(),
            stale,
            fresh: points.len() - stale,
            servers: sessions.len(),
            apart: apart(graph, sessions),
            gpus: (
                gpus.clone().min().unwrap_or_default(),
                gpus.max().unwrap_or_default(),
            ),
            pools: pools.into_iter().collect(),
            estimate_ms: gpu_time.map(|d| d.as_millis() as u64),
        }
    };
    order.into_iter().map(report).collect()
}

/// What differs between the servers of a config: flags of the command, or other inputs by name.
fn apart(graph: &Graph, sessions: &[&Session]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for pair in sessions.windows(2) {
        let (a, b) = (graph.server(pair[0].server), graph.server(pair[1].server));
        if a.form == Form::Combined && !a.is_simulated() {
            names.insert("its script, which starts one for each point".to_owned());
            continue;
        }
        if pair[0].server == pair[1].server {
            names.insert("its recipe has no reset between points".to_owned());
            continue;
        }
        for change in crate::cache::Inputs::diff(&a.inputs(), &b.inputs()) {
            match change.name.as_str() {
                "server command" => names.extend(differing_flags(&a.command, &b.command)),
                // It follows from the others.
                "simulated" => {}
                name => {
                    let variable = name.strip_prefix("server env ");
                    let variable = variable.or_else(|| name.strip_prefix("script env "));
                    names.insert(variable.unwrap_or(name).to_owned());
                }
            }
        }
    }
    if names.is_empty() && sessions.len() > 1 {
        names.insert("the parallelism that the simulated engine is told".to_owned());
    }
    names.into_iter().collect()
}

fn estimate(graph: &Graph, plan: &Plan, profile: &Profile) -> EstimateReport {
    let known = plan
        .sessions
        .iter()
        .filter(|s| s.estimate.known().is_some())
        .count();
    let mut report = EstimateReport {
        sessions: plan.sessions.len(),
        known,
        wall_ms: None,
        critical_path: Vec::new(),
    };
    if let Some(schedule) = foretell(graph, &plan.sessions, profile).filter(|_| !plan.sessions.is_empty()) {
        report.wall_ms = Some(schedule.makespan.as_millis() as u64);
        report.critical_path = schedule
            .critical
            .iter()
            .filter_map(|i| schedule.placed.iter().find(|placed| placed.session == *i))
            .map(|placed| CriticalSession {
                server: graph.dag[plan.sessions[placed.session].server].id.to_string(),
                pool: placed.placement.pool.clone(),
                estimate_ms: (placed.end - placed.start).as_millis() as u64,
            })
            .collect();
    }
    report
}

fn blocked(graph: &Graph, plan: &Plan) -> Vec<Blocked> {
    let blocked = plan.sessions.iter().filter_map(|session| {
        Some(Blocked {
            server: graph.dag[session.server].id.to_string(),
            points: session.points.len(),
            reason: session.blocked.clone()?,
        })
    });
    blocked.collect()
}
