//! `sweep ci`: a sweep over several CI jobs.

mod collect;
mod handed;
mod matrix;
mod plan;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub(super) use handed::{Handed, PlanFileArg};

use super::failure::Failure;
use super::workspace::WorkspaceArgs;

/// Measure a sweep in several CI jobs.
///
/// One plans, others measure a shard each, one collects. The plan is dealt out once. It travels to the other jobs in a file; there, a shard is what it was when it was
/// planned, whatever other shards have finished since.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep ci plan nightly --shards 8              one job: what is stale, dealt out to eight others
  sweep build --shard h200-2of8-1c9f02ab        each of those: its part
  sweep cache export out.tar.zst --shard h200-2of8-1c9f02ab
  sweep ci collect shards/*.tar.zst             the last: rows and tables, nothing measured

.github/workflows/sweep.yml does this on GitHub; docs/ci.md tells how.")]
pub(super) struct CiArgs {
    #[command(subcommand)]
    command: CiCommand,
}

#[derive(Debug, Subcommand)]
enum CiCommand {
    Plan(plan::CiPlanArgs),
    Collect(collect::CollectArgs),
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &CiArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        CiCommand::Plan(args) => plan::run(workspace, args),
        CiCommand::Collect(args) => collect::run(workspace, args),
    }
}
