//! `sweep cache gc`, and the same at the end of a build.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::super::failure::{Failure, print_all};
use super::super::ls::Format;
use super::super::print::{json, out};
use super::folder::CacheFolder;
use crate::cache::gc::{Told, collect, garbage};
use crate::cache::{LockError, Wait};
use crate::config::diagnostic::Diagnostic;
use crate::config::quantity::{ShortSize, parse_size};

/// Shrink the cache to a size, the oldest results first, and tidy it.
///
/// Results are kept from the newest on as far as they fit. A blob that no record names stays for an hour, since a copy
/// may be under way. The folders of runs go when they are 30 days old and 20 newer ones are there; images, 30 days
/// after they were last used; the log's segments become one. What a running build uses is safe: gc waits for it.
///
/// A build does the same at its end when the cache has outgrown `cache.max-size` of the Sweepfile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep cache gc                          down to `cache.max-size` of the Sweepfile
  sweep cache gc --max-size 5GiB          down to this
  sweep cache gc --max-size 0B            forget everything that was measured
  sweep cache gc --dry-run                only tell what would go")]
pub(super) struct GcArgs {
    /// What records and blobs may take, as `20GiB` or `500MB`; `cache.max-size` of the Sweepfile without this.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Only tell what would go.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Fail at once when a build holds the cache, instead of waiting for it.
    #[arg(long)]
    no_wait: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(cache: &CacheFolder, args: &GcArgs) -> Result<ExitCode, Failure> {
    let max_bytes = args.max_size.unwrap_or(cache.max_bytes);
    let told = if args.dry_run || !cache.dir.is_dir() {
        garbage(&cache.read()?, max_bytes, SystemTime::now())?
            .told()
            .clone()
    } else {
        let mut store = cache.change(args.no_wait)?;
        let garbage = garbage(&store, max_bytes, SystemTime::now())?;
        collect(&mut store, &garbage)?
    };
    match args.format {
        Format::Json => json(&told),
        Format::Text => out(&text(&told, args.dry_run)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Collects what a build has left above the cap. Another build that came meanwhile will do it at its end; what goes
/// wrong is said and is no failure of the build.
pub(in super::super) fn after_build(cache: &CacheFolder) {
    let store = match cache.change_when(Wait::No) {
        Err(LockError::Held(_)) => return,
        Err(error) => Err(error.to_string()),
        Ok(opened) => opened.map_err(|error| error.to_string()),
    };
    let collected = store.and_then(|mut store| {
        let garbage =
            garbage(&store, cache.max_bytes, SystemTime::now()).map_err(|error| error.to_string())?;
        collect(&mut store, &garbage).map_err(|error| error.to_string())
    });
    match collected {
        Ok(told) if told.records_evicted > 0 => eprint!("cache: {}", text(&told, false)),
        Ok(_) => {}
        Err(error) => print_all(&[Diagnostic::warning(format!(
            "collect garbage in the cache: {error}"
        ))]),
    }
}

fn text(told: &Told, dry_run: bool) -> String {
    let removed = if dry_run { "to remove" } else { "removed" };
    format!(
        "{removed}: {} records, {} blobs ({}), {} runs, {} images; kept: {} records, {} blobs ({})\n",
        told.records_evicted,
        told.blobs_removed,
        ShortSize(told.bytes_removed),
        told.runs_removed,
        told.images_removed,
        told.records_kept,
        told.blobs_kept,
        ShortSize(told.bytes_kept),
    )
}
