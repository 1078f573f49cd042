//! `sweep clean`: forget what was measured of targets.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::cache::{CacheFolder, Chosen, unmatched};
use super::failure::Failure;
use super::ls::Format;
use super::print::{json, out};
use super::workspace::WorkspaceArgs;
use crate::cache::forget::{forget, told};
use crate::graph::SelectError;

/// Forget the results of targets, so that the next build makes them again.
///
/// Exactly the records that are here now are forgotten, wherever a copy of them turns up: importing an older archive
/// does not bring them back, and results made later or by others meanwhile are untouched. `sweep cache gc` frees the
/// room. To measure again and keep what there was, use `sweep build --rerun`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep clean 'dsr1-fp8-*'               all results of some configs
  sweep clean '**/c64' '!*-trt'          by id, without some
  sweep clean 'process:**'               only rows: traces stay, no server is started for new ones
  sweep clean '**' -n                    only tell what would be forgotten")]
pub(super) struct CleanArgs {
    /// Patterns of targets, matched with what is on record: targets that the project no longer has included.
    #[arg(required = true)]
    patterns: Vec<String>,
    /// Only tell what would be forgotten.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Fail at once when a build holds the cache, instead of waiting for it.
    #[arg(long)]
    no_wait: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &CleanArgs) -> Result<ExitCode, Failure> {
    let chosen = Chosen::parse(&args.patterns).map_err(SelectError::Pattern)?;
    let cache = CacheFolder::open(workspace)?;
    let now = SystemTime::now();
    let read = cache.read()?;
    let found = told(&read, now, |target, _| chosen.matches(target));
    if found.is_empty() {
        return Err(unmatched(&args.patterns));
    }
    drop(read);
    let forgotten: Vec<(String, usize)> = if args.dry_run {
        let count = |records: usize, places: &Vec<u32>| records + places.len();
        found
            .into_iter()
            .map(|one| (one.records.values().fold(0, count), one.target))
            .map(|(records, target)| (target, records))
            .collect()
    } else {
        forget(&mut cache.change(args.no_wait)?, now, |target| {
            chosen.matches(target)
        })?
    };
    match args.format {
        Format::Json => json(&forgotten),
        Format::Text => out(&text(&forgotten, args.dry_run)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(forgotten: &[(String, usize)], dry_run: bool) -> String {
    let mut text: String = forgotten
        .iter()
        .map(|(target, _)| format!("{target}\n"))
        .collect();
    let records: usize = forgotten.iter().map(|(_, records)| records).sum();
    let done = if dry_run {
        "would be forgotten"
    } else {
        "forgotten"
    };
    text.push_str(&format!(
        "{} targets {done}, {records} records\n",
        forgotten.len()
    ));
    text
}
