//! `sweep plan`: what would run, why, on what, how long. Nothing is touched.

pub(super) mod edited;
mod report;

use std::process::ExitCode;

use clap::Args;

use super::changed::ChangedArgs;
use super::failure::Failure;
use super::lock::{refuse_unpinned, unpinned};
use super::ls::Format;
use super::print::{json, out};
use super::workspace::{Workspace, WorkspaceArgs, refuse_broken};
use crate::config::sweepfile::Profile;
use crate::graph::{Graph, Selection};
use crate::plan::{Plan, Policy};
use report::Report;

/// Show what a build would run, why, on which pools and how long. Nothing is touched.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep plan                         the whole project
  sweep plan 'dsr1-*'                what is stale, servers to start, what keeps them apart
  sweep plan --profile slurm         the same on another set of pools
  sweep plan --profile docker --locked   fail where an image has no pin
  sweep plan nightly --format json | jq '.configs[].stale'

`sweep build -n` is the same.")]
pub(super) struct PlanArgs {
    /// Patterns or names of sweeps; everything without any.
    pub patterns: Vec<String>,
    #[command(flatten)]
    pub changed: ChangedArgs,
    /// Fail where an image has no pin in `sweep.lock`.
    #[arg(long)]
    pub locked: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

impl PlanArgs {
    /// What these words mean without an option.
    pub(super) fn plain(patterns: Vec<String>) -> Self {
        Self {
            patterns,
            changed: ChangedArgs::default(),
            locked: false,
            format: Format::Text,
        }
    }
}

pub(super) fn run(arguments: &WorkspaceArgs, args: &PlanArgs) -> Result<ExitCode, Failure> {
    if print_of_edited(arguments, &args.patterns, &args.changed, args.locked, args.format) {
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::open(arguments)?;
    let mut graph = workspace.graph();
    let store = workspace.store()?;
    let selection = args.changed.select(&workspace, &graph, &args.patterns)?;
    let plan = workspace.plan(&mut graph, &selection, &store, Policy::default())?;
    if args.locked {
        refuse_unpinned(&unpinned(&graph, &selection))?;
    }
    print(&graph, &selection, &plan, workspace.profile().1, args.format);
    refuse_broken(&graph, &selection)?;
    // The process ends here. Giving all this back piece by piece would take a tenth of its time.
    std::mem::forget((graph, selection, plan, store, workspace));
    Ok(ExitCode::SUCCESS)
}

/// Prints a plan of which only what was edited has to be read, if this is one.
pub(super) fn print_of_edited(
    arguments: &WorkspaceArgs,
    patterns: &[String],
    changed: &ChangedArgs,
    locked: bool,
    format: Format,
) -> bool {
    let report = edited::report(arguments, patterns, changed, locked);
    report.is_some_and(|report| {
        print_report(&report, format);
        true
    })
}

/// Prints a plan.
pub(super) fn print(graph: &Graph, selection: &Selection, plan: &Plan, profile: &Profile, format: Format) {
    print_report(&Report::of(graph, selection, plan, profile), format);
}

fn print_report(report: &Report, format: Format) {
    match format {
        Format::Json => json(report),
        Format::Text => out(&report.text()),
    }
}
