//! `sweep cache`: what is kept, and how it moves.

mod archive;
mod folder;
mod gc;
mod remote;
mod stats;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub(super) use archive::{exported_line, import_all, unmatched};
pub(super) use folder::{CacheFolder, Chosen};
pub(super) use gc::after_build;

use super::failure::Failure;
use super::workspace::WorkspaceArgs;

/// Look after what has been measured: check it, count it, shrink it, carry it to another machine.
///
/// None of it is ever needed for a right result. A build checks what it takes from the cache, heals what is damaged by
/// measuring it again, and collects garbage when the cache has grown beyond `cache.max-size` of the Sweepfile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep cache stats                             how much there is, of what
  sweep cache verify                            read everything, heal what is damaged
  sweep cache gc --max-size 5GiB                shrink it, the oldest results first
  sweep cache export ci.tar.zst 'dsr1-*'        one machine's results in a file …
  sweep cache import ci.tar.zst                 … become another's
  sweep cache push 'dsr1-*'                     to the cache that `cache.remote` of the Sweepfile names …
  sweep cache pull 'dsr1-*'                     … and from it

Two caches merge into one in any order: `sweep cache import ../other/.cache` takes a folder as it lies.")]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    Stats(stats::StatsArgs),
    Verify(verify::VerifyArgs),
    Gc(gc::GcArgs),
    Export(archive::ExportArgs),
    Import(archive::ImportArgs),
    Push(remote::PushArgs),
    Pull(remote::PullArgs),
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &CacheArgs) -> Result<ExitCode, Failure> {
    let cache = || CacheFolder::open(workspace);
    match &args.command {
        CacheCommand::Stats(args) => stats::run(&cache()?, args),
        CacheCommand::Verify(args) => verify::run(&cache()?, args),
        CacheCommand::Gc(args) => gc::run(&cache()?, args),
        CacheCommand::Export(args) => archive::export(&cache()?, args),
        CacheCommand::Import(args) => archive::import(&cache()?, args),
        CacheCommand::Push(args) => remote::send(&cache()?, args),
        CacheCommand::Pull(args) => remote::take(workspace, args),
    }
}
