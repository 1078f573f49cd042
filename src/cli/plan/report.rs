//! A plan as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use petgraph::graph::NodeIndex;
use serde::Serialize;

use crate::cli::lock::unpinned;
use crate::cli::print::columns;
use crate::cli::report::counted;
use crate::cli::why::roots_text;
use crate::config::diagnostic::Severity;
use crate::config::quantity::Short;
use crate::config::sweepfile::Profile;
use crate::exec::foretell::foretell;
use crate::graph::spec::{Form, NO_EVALS};
use crate::graph::{Graph, Selection};
use crate::plan::compiled::{Part, Parts, Selected};
use crate::plan::explain::{Root, causes};
use crate::plan::{Plan, Session, differing_flags};

/// Of the JSON form.
const VERSION: u32 = 1;

/// A plan as it is told; durations in milliseconds.
#[derive(Debug, Serialize)]
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
            simulated_pools: Vec::new(),
            configs: Vec::new(),
            points: 0,
            stale: 0,
            fresh: 0,
            servers_to_start: 0,
            roots: Vec::new(),
            cascades: 0,
            estimate: EstimateReport::default(),
            unpinned: Vec::new(),
            blocked: Vec::new(),
            evals: Vec::new(),
            problems: BTreeMap::new(),
            unrunnable: BTreeMap::new(),
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

    pub(super) fn text(&self) -> String {
        let mut text = format!("plan of `{}` on profile `{}`", self.sweep, self.profile);
        if !self.simulated_pools.is_empty() {
            text.push_str(&format!(
                " (SIMULATED pools: {})",
                self.simulated_pools.join(", ")
            ));
        }
        text.push_str("\n\n");
        let mut rows = vec![
            [
                "config", "points", "stale", "fresh", "servers", "GPUs", "pool", "GPU time",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        for config in &self.configs {
            let gpus = match config.gpus {
                (least, most) if least == most => least.to_string(),
                (least, most) => format!("{least}-{most}"),
            };
            rows.push(vec![
                config.config.clone(),
                config.points.to_string(),
                config.stale.to_string(),
                config.fresh.to_string(),
                config.servers.to_string(),
                gpus,
                config.pools.join(","),
                match (config.stale, config.estimate_ms) {
                    (0, _) => "-".to_owned(),
                    (_, Some(ms)) => short(ms),
                    (_, None) => "unknown".to_owned(),
                },
            ]);
        }
        if !self.configs.is_empty() {
            text.push_str(&columns(&rows));
        }
        let mut apart = String::new();
        for config in self.configs.iter().filter(|c| c.servers > 1) {
            apart.push_str(&format!(
                "{}: {} servers, kept apart by {}\n",
                config.config,
                config.servers,
                config.apart.join(", ")
            ));
        }
        if !apart.is_empty() {
            text.push_str(&format!("\n{apart}"));
        }
        text.push_str(&format!(
            "\n{}: {} stale, {} fresh; {} to start\n",
            counted(self.points, "point"),
            self.stale,
            self.fresh,
            counted(self.servers_to_start, "server"),
        ));
        if !self.roots.is_empty() {
            text.push_str("\nwhy\n");
            text.push_str(&roots_text(&self.roots));
            if self.cascades > 0 {
                let cascades = counted(self.cascades, "target");
                text.push_str(&format!("  and {cascades} that need these\n"));
            }
        }
        text.push_str(&self.estimate_text());
        if let Some(first) = self.evals.first() {
            let evals = counted(self.evals.len(), "eval");
            text.push_str(&format!("\ncannot run {evals} ({first} the first): {NO_EVALS}\n"));
        }
        if let Some(first) = self.unpinned.first() {
            text.push_str(&format!(
                "\n{} without a pin in `sweep.lock` ({first} the first): a build pins it first, `sweep lock` does so now\n",
                counted(self.unpinned.len(), "image")
            ));
        }
        for (problem, points) in &self.problems {
            text.push_str(&format!(
                "\ncannot plan {} ({} the first): {problem}\n",
                counted(points.len(), "point"),
                points[0]
            ));
        }
        for (reason, points) in &self.unrunnable {
            text.push_str(&format!(
                "\ncannot run {} ({} the first): {reason}\n",
                counted(points.len(), "point"),
                points[0]
            ));
        }
        let mut by_reason = BTreeMap::<&str, (usize, usize)>::new();
        for blocked in &self.blocked {
            let counts = by_reason.entry(&blocked.reason).or_default();
            *counts = (counts.0 + 1, counts.1 + blocked.points);
        }
        for (reason, (servers, points)) in by_reason {
            text.push_str(&format!(
                "\ncannot run {} with {}: {reason}\n",
                counted(servers, "server"),
                counted(points, "point")
            ));
        }
        text
    }

    fn estimate_text(&self) -> String {
        let EstimateReport {
            sessions,
            known,
            wall_ms,
            critical_path,
        } = &self.estimate;
        if *sessions == 0 {
            return String::new();
        }
        let Some(wall_ms) = wall_ms else {
            return match sessions - known {
                0 => "\ntime: unknown; not every server can run\n".to_owned(),
                new => format!(
                    "\ntime: unknown; {new} of {} without an earlier record\n",
                    counted(*sessions, "server")
                ),
            };
        };
        let mut text = format!(
            "\ntime: about {}, from earlier records; the critical path is\n",
            short(*wall_ms)
        );
        for session in critical_path {
            text.push_str(&format!(
                "  {} on {}, {}\n",
                session.server,
                session.pool,
                short(session.estimate_ms)
            ));
        }
        text
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

fn short(ms: u64) -> String {
    Short(Duration::from_millis(ms)).to_string()
}
