//! `sweep doctor`: whether this host can do what the project asks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::failure::{FRESH, Failure, MACHINERY};
use super::ls::Format;
use super::print::{columns, json, out};
use super::report::counted;
use super::workspace::{Workspace, WorkspaceArgs};
use crate::config::diagnostic::Diagnostic;
use crate::config::sweepfile::{Executor, Pool, Profile};
use crate::exec::docker::connect::{Endpoint, chosen};
use crate::exec::doctor::{Finding, Level, engine, gpus, host, limits, mounts};
use crate::exec::gpu::Vendor;
use crate::graph::Graph;
use crate::graph::hardware::CPU;
use crate::graph::spec::{Image, Server};

/// Look at this host: cache, disk, limits, clock, container engine, GPUs, registries, pins.
///
/// Each line says ok, warn or wrong, and what mends it. What the chosen profile does not need is not asked for.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep doctor                       for the default profile
  sweep doctor --profile docker      engine, GPUs, registries and pins too
  sweep doctor --profile docker --pool h200
  sweep doctor --format json | jq '.findings[] | select(.level != \"ok\")'

Exit codes: 0 nothing is wrong, warnings or not; 2 the profile has no such pool; 3 something is wrong.")]
pub(super) struct DoctorArgs {
    /// Look only for what this pool of the profile needs; may be given several times.
    #[arg(long = "pool", value_name = "NAME")]
    pub pools: Vec<String>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Serialize)]
struct Report {
    version: u32,
    profile: String,
    findings: Vec<Finding>,
}

pub(super) fn run(arguments: &WorkspaceArgs, args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(arguments)?;
    let pools = pools(workspace.profile(), &args.pools)?;
    let graph = workspace.graph();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::machinery(format!("start the runtime: {e}")))?;
    let report = Report {
        version: 1,
        profile: graph.profile.clone(),
        findings: runtime.block_on(findings(&workspace, &graph, &pools)),
    };
    let worst = report.findings.iter().map(|finding| finding.level).max();
    match args.format {
        Format::Json => json(&report),
        Format::Text => out(&text(&report)),
    }
    Ok(ExitCode::from(if worst == Some(Level::Wrong) {
        MACHINERY
    } else {
        FRESH
    }))
}

/// The named pools of a profile; all without names.
fn pools<'a>(
    (name, profile): (&str, &'a Profile),
    asked: &[String],
) -> Result<BTreeMap<&'a String, &'a Pool>, Diagnostic> {
    if let Some(unknown) = asked.iter().find(|pool| !profile.pools.contains_key(*pool)) {
        let wrong = Diagnostic::error(format!("profile `{name}` has no pool `{unknown}`"));
        return Err(wrong.nearest(unknown, profile.pools.keys().map(String::as_str)));
    }
    let is_asked = |pool: &String| asked.is_empty() || asked.contains(pool);
    Ok(profile.pools.iter().filter(|(pool, _)| is_asked(pool)).collect())
}

async fn findings(workspace: &Workspace, graph: &Graph, pools: &BTreeMap<&String, &Pool>) -> Vec<Finding> {
    let concurrency = graph
        .points
        .iter()
        .map(|point| point.conc)
        .max()
        .unwrap_or_default();
    let mut findings = vec![
        host::cache(&workspace.cache),
        host::disk(&workspace.cache),
        host::open_files(concurrency),
    ];
    let real: Vec<(&String, &Pool)> = pools
        .iter()
        .filter(|(_, pool)| pool.simulate.is_none())
        .map(|(name, pool)| (*name, *pool))
        .collect();
    let has_gpus = |pool: &Pool| pool.gpu != CPU;
    let docker = || real.iter().filter(|(_, pool)| pool.executor == Executor::Docker);
    findings.extend(
        engine::engine(
            docker().count() > 0,
            docker().any(|(_, pool)| Vendor::of(&pool.gpu) == Some(Vendor::Nvidia)),
        )
        .await,
    );
    let asked = docker().map(|(name, pool)| (*name, workspace.project.container(pool).ulimits));
    findings.extend(limits_of_containers(asked));
    let launchers: BTreeSet<&String> = docker().filter_map(|(_, pool)| pool.launcher.as_ref()).collect();
    findings.extend(launchers.into_iter().flat_map(|name| mounts_of(workspace, name)));
    // What jobs of a cluster find on its nodes is not to be seen from here.
    let here = real
        .iter()
        .filter(|(_, pool)| pool.executor != Executor::Slurm && has_gpus(pool));
    let processes = here
        .clone()
        .filter(|(_, pool)| pool.executor == Executor::Process);
    findings.extend(processes.map(|(name, _)| limits::of_processes(name)));
    let visible = gpus::visible();
    let among_others = here.clone().count() > 1;
    findings.extend(here.map(|(name, pool)| gpus::of_pool(name, pool, &visible, among_others)));
    let (asked, clock) = engine::registries(registries(graph, pools)).await;
    findings.extend(asked);
    findings.push(host::clock(Timestamp::now(), clock, &workspace.cache));
    findings.extend(pins(graph, pools));
    findings
}

fn mounts_of(workspace: &Workspace, launcher: &str) -> Vec<Finding> {
    let project = &workspace.project;
    let file = project.sweepfile.launchers.join(format!("{launcher}.yaml"));
    let container = project.launchers.get(launcher).and_then(|l| l.container.as_ref());
    container.map_or_else(Vec::new, |container| {
        mounts::of_launcher(launcher, &file, &container.mounts)
    })
}

/// Of pools and what their launchers ask for. Without an engine, or one that hides what it may give, there are none.
fn limits_of_containers<'a>(
    asked: impl Iterator<Item = (&'a String, BTreeMap<String, i64>)>,
) -> Vec<Finding> {
    let Ok(Endpoint(socket)) = chosen(&|name| std::env::var(name).ok()) else {
        return Vec::new();
    };
    let Some(engine) = limits::Limits::of_engine(&socket) else {
        return Vec::new();
    };
    asked
        .filter_map(|(pool, asked)| limits::of_containers(pool, &asked, &engine))
        .collect()
}

/// The servers that any of these pools may run.
fn servers<'a>(graph: &'a Graph, pools: &'a BTreeMap<&String, &Pool>) -> impl Iterator<Item = &'a Server> {
    let chains = graph.chains.iter().filter_map(|chain| chain.as_ref().ok());
    let servers = chains.map(|chain| &**graph.server(chain.server));
    servers.filter(|server| server.pools.iter().any(|pool| pools.contains_key(pool)))
}

/// The registries of the images that the pools run.
fn registries(graph: &Graph, pools: &BTreeMap<&String, &Pool>) -> BTreeSet<String> {
    let servers = servers(graph, pools).filter(|server| !server.is_simulated());
    let registries = servers.filter_map(|server| match &server.image {
        Image::Container { reference, .. } => Some(reference.registry().to_owned()),
        _ => None,
    });
    registries.collect()
}

fn pins(graph: &Graph, pools: &BTreeMap<&String, &Pool>) -> Option<Finding> {
    let unpinned: BTreeSet<_> = servers(graph, pools)
        .filter_map(|server| server.unpinned())
        .collect();
    let first = unpinned.first()?;
    let found = format!(
        "{} without a pin in `sweep.lock`, `{first}` the first",
        counted(unpinned.len(), "image")
    );
    Some(Finding::warn("pins", found, "sweep lock"))
}

fn text(report: &Report) -> String {
    let rows = report.findings.iter().map(|finding| {
        let level = finding.level.name().to_owned();
        vec![level, finding.check.clone(), finding.found.clone()]
    });
    let table = columns(&rows.collect::<Vec<_>>());
    let mut text = String::new();
    for (line, finding) in table.lines().zip(&report.findings) {
        text.push_str(line.trim_end());
        text.push('\n');
        if let Some(mend) = &finding.mend {
            text.push_str(&format!("       mend: {mend}\n"));
        }
    }
    text
}
