//! `sweep ls`: what there is.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::changed::ChangedArgs;
use super::failure::Failure;
use super::print::{json, out};
use super::report::counted;
use super::workspace::{Workspace, WorkspaceArgs};
use crate::graph::{Kind, TargetId};
use crate::matrix::Point;

/// List points, or targets of a kind.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep ls                              every point
  sweep ls 'dsr1-fp8-*'                 the points of some configs
  sweep ls '**/c64' '!*-trt'            by id, without some
  sweep ls 'dsr1-*' --kind server       the servers that they need
  sweep ls --changed origin/main..HEAD  what new changelog entries ask for
  sweep ls --format json | jq length")]
pub(super) struct LsArgs {
    /// Patterns or names of sweeps; everything without any.
    pub patterns: Vec<String>,
    /// Targets of this kind instead of points.
    #[arg(long)]
    pub kind: Option<Kind>,
    #[command(flatten)]
    pub changed: ChangedArgs,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

#[derive(Serialize)]
struct Listed<'a> {
    id: String,
    #[serde(flatten)]
    point: &'a Point,
    gpus: u32,
    /// The server target; absent where the point cannot be planned.
    server: Option<&'a TargetId>,
    /// Why the point cannot be planned.
    problem: Option<&'a str>,
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &LsArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(workspace)?;
    let mut graph = workspace.graph();
    let mut selection = args.changed.select(&workspace, &graph, &args.patterns)?.selection;
    if let Some(kind) = args.kind {
        let points: Vec<usize> = selection.points.iter().copied().collect();
        let (collect, summarize) = graph.add_sweep(&selection.name, &points);
        selection.targets.extend([collect, summarize]);
        let ids: Vec<&TargetId> = selection
            .targets
            .iter()
            .map(|n| &graph.dag[*n].id)
            .filter(|id| id.kind == kind)
            .collect();
        match args.format {
            Format::Json => json(&ids),
            Format::Text => out(&ids.iter().map(|id| format!("{id}\n")).collect::<String>()),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut points: Vec<usize> = selection.points.iter().copied().chain(selection.broken).collect();
    points.sort_unstable();
    points.dedup();
    let listed: Vec<Listed<'_>> = points
        .iter()
        .map(|i| {
            let point = &graph.points[*i];
            let chain = graph.chains[*i].as_ref();
            Listed {
                id: point.id(),
                point,
                gpus: point.topology.gpus(),
                server: chain.ok().map(|chain| &graph.dag[chain.server].id),
                problem: chain.err().map(|diagnostic| diagnostic.message.as_str()),
            }
        })
        .collect();
    match args.format {
        Format::Json => json(&listed),
        Format::Text => {
            let lines = listed.iter().map(|l| match l.problem {
                None => format!("{}\n", l.id),
                Some(problem) => format!("{}  # {problem}\n", l.id),
            });
            out(&lines.collect::<String>());
            let servers = selection
                .targets
                .iter()
                .filter(|n| graph.dag[**n].id.kind == Kind::Server)
                .count();
            // The matrix as written; a point that stands in it twice is listed once.
            let twice = graph
                .duplicates
                .iter()
                .filter(|i| points.binary_search(i).is_ok())
                .count();
            let written = counted(listed.len() + twice, "point");
            let distinct = match twice {
                0 => String::new(),
                _ => format!(" ({} distinct)", listed.len()),
            };
            eprintln!("{written}{distinct}, {}", counted(servers, "server"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
