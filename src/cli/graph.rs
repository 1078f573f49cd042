//! `sweep graph`: the DAG for other programs and for eyes.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::print::{json, out};
use super::workspace::{Workspace, WorkspaceArgs};
use crate::graph::export;

/// Print the graph of targets.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep graph smoke --format mermaid    for a fenced block in Markdown
  sweep graph 'dsr1-fp8-*' | dot -Tsvg -o graph.svg
  sweep graph --format json | jq '.targets | length'")]
pub(super) struct GraphArgs {
    /// Patterns or names of sweeps; everything without any.
    pub patterns: Vec<String>,
    #[arg(long, value_enum, default_value_t = Format::Dot)]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Graphviz.
    Dot,
    Mermaid,
    Json,
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &GraphArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(workspace)?;
    let mut graph = workspace.graph();
    let mut selection = workspace.select(&graph, &args.patterns)?;
    let points: Vec<usize> = selection.points.iter().copied().collect();
    let (collect, summarize) = graph.add_sweep(&selection.name, &points);
    selection.targets.extend([collect, summarize]);
    match args.format {
        Format::Dot => out(&export::to_dot(&graph, &selection.targets)),
        Format::Mermaid => out(&export::to_mermaid(&graph, &selection.targets)),
        Format::Json => json(&export::to_json(&graph, &selection.targets)),
    }
    Ok(ExitCode::SUCCESS)
}
