//! `sweep ls`: what there is.

use std::collections::BTreeSet;
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
  sweep ls 'dsr1-*' --evals only        the points whose accuracy is checked
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
    /// Whether it is to be measured; else only to be checked.
    measured: bool,
    /// The check of its accuracy, where it is chosen: planned, but not run by this version.
    eval: Option<&'a TargetId>,
    /// The server target; absent where the point cannot be planned.
    server: Option<&'a TargetId>,
    /// Why the point cannot be planned.
    problem: Option<&'a str>,
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &LsArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(workspace)?;
    let mut graph = workspace.graph();
    let mut selection = args.changed.select(&workspace, &graph, &args.patterns)?;
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
    let evals: BTreeSet<usize> = selection.evals(&graph).map(|(point, _)| point).collect();
    let mut points: BTreeSet<usize> = selection.points.union(&evals).copied().collect();
    points.extend(&selection.broken);
    let listed: Vec<Listed<'_>> = points
        .iter()
        .map(|i| {
            let point = &graph.points[*i];
            let chain = graph.chains[*i].as_ref();
            let eval = chain
                .ok()
                .and_then(|chain| chain.eval)
                .filter(|_| evals.contains(i));
            Listed {
                id: point.id(),
                point,
                gpus: point.topology.gpus(),
                measured: selection.points.contains(i),
                eval: eval.map(|eval| &graph.dag[eval].id),
                server: chain.ok().map(|chain| &graph.dag[chain.server].id),
                problem: chain.err().map(|diagnostic| diagnostic.message.as_str()),
            }
        })
        .collect();
    match args.format {
        Format::Json => json(&listed),
        Format::Text => {
            let lines = listed.iter().map(|l| match (l.problem, l.eval) {
                (Some(problem), _) => format!("{}  # {problem}\n", l.id),
                (None, Some(eval)) if !l.measured => format!("{eval}\n"),
                (None, _) => format!("{}\n", l.id),
            });
            out(&lines.collect::<String>());
            let servers = selection
                .targets
                .iter()
                .filter(|n| graph.dag[**n].id.kind == Kind::Server)
                .count();
            // The matrix as written; a point that stands in it twice is listed once.
            let twice = graph.duplicates.iter().filter(|i| points.contains(i)).count();
            let written = counted(listed.len() + twice, "point");
            let distinct = match twice {
                0 => String::new(),
                _ => format!(" ({} distinct)", listed.len()),
            };
            let evals = match evals.len() {
                0 => String::new(),
                evals => format!(", {}", counted(evals, "eval")),
            };
            eprintln!("{written}{distinct}, {}{evals}", counted(servers, "server"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
