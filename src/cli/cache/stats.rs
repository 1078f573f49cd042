//! `sweep cache stats`.

use std::fmt::{self, Write};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::ls::Format;
use super::super::print::{json, out};
use super::super::remote::open;
use super::super::report::counted;
use super::folder::CacheFolder;
use crate::cache::remote::unsent::Unsent;
use crate::cache::stats::{Stats, stats};
use crate::config::quantity::ShortSize;

/// Count what the cache holds: blobs, records by kind and verdict, runs; and ask the remote one whether it answers.
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
    let remote = Remote::look(cache)?;
    match args.format {
        Format::Json => json(&All {
            local: &stats,
            remote: remote.as_ref(),
        }),
        Format::Text => {
            let remote = remote.iter().map(|remote| format!("{:<12}{remote}\n", "remote"));
            out(&(text(cache, &stats) + &remote.collect::<String>()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All there is to tell.
#[derive(Serialize)]
struct All<'a> {
    #[serde(flatten)]
    local: &'a Stats,
    remote: Option<&'a Remote>,
}

/// The cache that other machines share, as it answers now.
#[derive(Serialize)]
struct Remote {
    url: String,
    read_only: bool,
    signed: bool,
    /// Results that it is still to get.
    unsent: usize,
    /// How long it took to answer, in ms.
    answers_ms: Option<u64>,
    /// Why it did not.
    trouble: Option<String>,
}

impl Remote {
    fn look(cache: &CacheFolder) -> Result<Option<Self>, Failure> {
        let Some(client) = open(&cache.settings)? else {
            return Ok(None);
        };
        let answer = client.probe();
        let settings = client.settings();
        Ok(Some(Self {
            url: settings.url.clone(),
            read_only: settings.read_only,
            signed: settings.key.is_some(),
            unsent: Unsent::of(&cache.dir).keys()?.len(),
            answers_ms: answer.as_ref().ok().map(|took| took.as_millis() as u64),
            trouble: answer.err().map(|error| error.to_string()),
        }))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)?;
        if self.read_only {
            f.write_str(", read only")?;
        }
        if self.signed {
            f.write_str(", signed")?;
        }
        if let Some(ms) = self.answers_ms {
            write!(f, ", answers in {ms} ms")?;
        }
        if let Some(trouble) = &self.trouble {
            write!(f, ", DOES NOT ANSWER: {trouble}")?;
        }
        match self.unsent {
            0 => Ok(()),
            unsent => write!(f, "; {} still to be sent", counted(unsent, "result")),
        }
    }
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
