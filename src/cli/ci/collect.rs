//! `sweep ci collect`: rows and tables of what the shards have measured.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::asked::Asked;
use super::super::build::{How, run_asked};
use super::super::cache::{CacheFolder, exported_line, import_all};
use super::super::failure::Failure;
use super::super::report::Format;
use super::super::workspace::{Workspace, WorkspaceArgs};
use super::handed::{Handed, PlanFileArg};
use crate::cache::archive::{self, Choice, Limits};

/// Import what the shards have measured, and build the sweep's rows and tables. Nothing is measured.
///
/// Ends with 1 when points have no row, as those of a shard that failed or has not reported; they are listed. Measure
/// that shard again and collect again: what is there stays.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep ci collect shards/*.tar.zst        what `sweep cache export --shard` wrote
  sweep ci collect                         what the cache has already
  sweep ci collect shards/*.tar.zst --export results.tar.zst   for another workflow run to import")]
pub(super) struct CollectArgs {
    /// Archives or cache folders, as `sweep cache import` takes them.
    #[arg(value_name = "FILE|DIR")]
    sources: Vec<PathBuf>,
    /// Then write all results of the sweep into an archive, as `sweep cache export` does.
    #[arg(long, value_name = "FILE.tar.zst")]
    export: Option<PathBuf>,
    #[command(flatten)]
    file: PlanFileArg,
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

pub(super) fn run(arguments: &WorkspaceArgs, args: &CollectArgs) -> Result<ExitCode, Failure> {
    let mut workspace = Workspace::open(arguments)?;
    let handed = Handed::read(&workspace.cache, &args.file)?;
    let arguments = handed.enter(&mut workspace, arguments)?;
    // Refused before anything is imported.
    handed.refuse_other_project(&workspace.graph(), &handed.handover.shards)?;
    let cache = CacheFolder::of(&workspace);
    let key = cache.key()?;
    if !args.sources.is_empty() {
        let mut store = cache.change(false)?;
        let limits = Limits {
            most: cache.max_bytes,
            key: key.as_ref(),
        };
        import_all(&mut store, &args.sources, limits, |line| eprint!("{line}"))?;
    }
    let how = How {
        dry_run: false,
        locked: false,
        no_wait: false,
        format: args.format,
    };
    let asked = Asked::Rows { handed: &handed };
    let ended = run_asked(&arguments, &workspace, &asked, how, None)?;
    if let Some(file) = &args.export {
        let targets = handed.handover.targets();
        let choice = Choice {
            target: &|target| targets.contains(target),
            since: None,
            key: key.as_ref(),
        };
        let exported = archive::export(&workspace.store()?, &choice, file)?;
        eprint!("{}", exported_line(&exported, file));
    }
    Ok(ended)
}
