//! `sweep cache stats`.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::super::failure::Failure;
use super::super::ls::Format;
use super::super::print::{json, out};
use super::folder::CacheFolder;
use crate::cache::stats::{Stats, stats};
use crate::config::quantity::ShortSize;

/// Count what the cache holds: blobs, records by kind and verdict, runs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep cache stats                                      for people
  sweep cache stats --format json | jq .blob_bytes       for scripts")]
pub(super) struct StatsArgs {
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(cache: &CacheFolder, args: &StatsArgs) -> Result<ExitCode, Failure> {
    let store = cache.read()?;
    let stats = stats(&store)?;
    for damage in store.damage() {
        eprintln!("{damage}");
    }
    match args.format {
        Format::Json => json(&stats),
        Format::Text => out(&text(cache, &stats)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(cache: &CacheFolder, stats: &Stats) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // A `String` takes all that is written to it.
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("folder", cache.dir.display().to_string());
    line(
        "blobs",
        format!(
            "{} ({} of at most {})",
            stats.blobs,
            ShortSize(stats.blob_bytes),
            ShortSize(cache.max_bytes)
        ),
    );
    line(
        "records",
        format!(
            "{} of {} targets ({})",
            stats.records,
            stats.targets,
            ShortSize(stats.record_bytes)
        ),
    );
    for (kind, verdicts) in &stats.by_kind {
        line(
            &format!("  {kind}"),
            format!(
                "{} passed ({} simulated), {} failed",
                verdicts.passed, verdicts.simulated, verdicts.failed
            ),
        );
    }
    if stats.forgotten > 0 {
        line("forgotten", format!("{} targets", stats.forgotten));
    }
    let redundant = match stats.redundant_records {
        0 => String::new(),
        count => format!(" ({count} records in it are copies or forgotten)"),
    };
    line("log", format!("{} segments{redundant}", stats.log_segments));
    line("runs", stats.runs.to_string());
    line("images", stats.images.to_string());
    if let (Some(oldest), Some(newest)) = (stats.oldest_unix_ms, stats.newest_unix_ms) {
        line("measured", format!("{} to {}", time(oldest), time(newest)));
    }
    text
}

fn time(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms / 1000)
        .ok()
        .and_then(|s| Timestamp::from_second(s).ok());
    time.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
}
