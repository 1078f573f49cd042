//! `sweep cache export` and `sweep cache import`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::super::ci::{Handed, PlanFileArg};
use super::super::failure::Failure;
use super::super::ls::Format;
use super::super::print::{json, out};
use super::folder::{CacheFolder, Chosen};
use crate::cache::archive::{self, ArchiveError, Choice, Exported, Limits};
use crate::cache::merge::{MergeError, Merged, merge_folder};
use crate::cache::{RunId, Store};
use crate::config::diagnostic::Diagnostic;
use crate::config::quantity::{ShortSize, parse_size};
use crate::graph::SelectError;

/// Write results into a file that `sweep cache import` takes.
///
/// The file holds the records of the chosen targets and the blobs that they name, each verified while it is read. The
/// same results give the same bytes on every machine. Logs of servers and images are not in it. Where the Sweepfile has
/// `cache.sign-with`, the file is signed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep cache export all.tar.zst                                    everything on record
  sweep cache export dsr1.tar.zst 'dsr1-*' '!**/c64'                some of it
  sweep cache export new.tar.zst --since 20261122T040412Z-0a1b2c    what was recorded after this run
  sweep cache export ci.tar.zst --shard h200-2of8-1c9f02ab          what one CI job was given to measure

Patterns choose by what is on record, so results of configs that are gone can be chosen as well.")]
pub(super) struct ExportArgs {
    /// The archive to write; one that is there is replaced once the new one is whole.
    #[arg(value_name = "FILE.tar.zst")]
    file: PathBuf,
    /// Patterns of targets; everything without any.
    patterns: Vec<String>,
    /// The targets of a shard of `sweep ci plan`, in the place of those that patterns choose.
    #[arg(long, value_name = "ID", conflicts_with = "patterns")]
    shard: Option<String>,
    #[command(flatten)]
    plan_file: PlanFileArg,
    /// Only what was recorded by runs that had seen this run's results.
    #[arg(long, value_name = "RUN")]
    since: Option<RunId>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Take results of other machines into this cache.
///
/// An archive is verified to its last byte before anything changes. One that is damaged, cut short, holds a link, a
/// path of its own or more than it tells is refused; so is one that is not signed where the Sweepfile has
/// `cache.sign-with`. Of a cache folder, whatever is whole is taken. What is here
/// already stays, so the same may be imported twice, and in any order.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep cache import shard-*.tar.zst       what CI jobs have measured
  sweep cache import ../other              another checkout's cache
  sweep cache import /mnt/backup/.cache    a cache folder as it lies")]
pub(super) struct ImportArgs {
    /// Archives of `sweep cache export`, cache folders, or folders with a `.cache`.
    #[arg(value_name = "FILE|DIR", required = true)]
    sources: Vec<PathBuf>,
    /// The most that an archive may hold, unpacked; `cache.max-size` of the Sweepfile without this.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Fail at once when a build holds the cache, instead of waiting for it.
    #[arg(long)]
    no_wait: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn export(cache: &CacheFolder, args: &ExportArgs) -> Result<ExitCode, Failure> {
    let chosen = Chosen::parse(&args.patterns).map_err(SelectError::Pattern)?;
    let key = cache.key()?;
    let of_shard = match &args.shard {
        Some(id) => {
            let handed = Handed::read(&cache.dir, &args.plan_file)?;
            Some(handed.shard(id)?.targets())
        }
        None => None,
    };
    let store = cache.read()?;
    let choice = Choice {
        target: &|target| match &of_shard {
            Some(targets) => targets.contains(target),
            None => chosen.matches(target),
        },
        since: args.since.clone(),
        key: key.as_ref(),
    };
    let nothing = !args.patterns.is_empty()
        && !store
            .records()
            .iter()
            .any(|record| chosen.matches(record.head().target));
    if nothing {
        return Err(unmatched(&args.patterns));
    }
    let exported = archive::export(&store, &choice, &args.file)?;
    for reason in &exported.left_out {
        eprintln!("left out: {reason}");
    }
    match args.format {
        Format::Json => json(&exported),
        Format::Text => out(&exported_line(&exported, &args.file)),
    }
    Ok(ExitCode::SUCCESS)
}

/// What an archive holds.
pub(in super::super) fn exported_line(exported: &Exported, file: &Path) -> String {
    format!(
        "{} records, {} blobs, {} in {}\n",
        exported.records,
        exported.blobs,
        ShortSize(exported.bytes),
        file.display()
    )
}

pub(super) fn import(cache: &CacheFolder, args: &ImportArgs) -> Result<ExitCode, Failure> {
    let key = cache.key()?;
    let mut store = cache.change(args.no_wait)?;
    let limits = Limits {
        most: args.max_size.unwrap_or(cache.max_bytes),
        key: key.as_ref(),
    };
    let all = import_all(&mut store, &args.sources, limits, |line| {
        if args.format == Format::Text {
            out(line);
        }
    })?;
    if args.format == Format::Json {
        json(&all);
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes archives and folders, one after another, and says a line of each. Nothing is taken where a folder is among them
/// and only what is signed counts.
pub(in super::super) fn import_all(
    store: &mut Store,
    sources: &[PathBuf],
    limits: Limits<'_>,
    say: impl Fn(&str),
) -> Result<Vec<Merged>, Failure> {
    if let (Some(_), Some(folder)) = (limits.key, sources.iter().find(|source| source.is_dir())) {
        return Err(unsigned(folder));
    }
    let mut all = Vec::new();
    for source in sources {
        let merged = if source.is_dir() {
            merge_folder(store, source)?
        } else {
            archive::import(store, source, limits)?
        };
        for reason in &merged.left_out {
            eprintln!("left out: {reason}");
        }
        say(&line(source, &merged));
        all.push(merged);
    }
    Ok(all)
}

/// What lies in a folder carries no signatures.
fn unsigned(folder: &Path) -> Failure {
    let message = format!(
        "`{}` is a folder, and only what is signed is taken here, as `cache.sign-with` says",
        folder.display()
    );
    let help =
        "`sweep cache export` signs what it writes, where the Sweepfile and the environment have the key";
    Failure::Wrong(Diagnostic::error(message).help(help).into())
}

fn line(source: &Path, merged: &Merged) -> String {
    let forgotten = match merged.forgotten {
        0 => String::new(),
        count => format!(", {count} targets forgotten"),
    };
    format!(
        "{}: {} new records, {} new blobs ({}){forgotten}\n",
        source.display(),
        merged.records,
        merged.blobs,
        ShortSize(merged.bytes)
    )
}

/// No record is of such a target.
pub(in super::super) fn unmatched(patterns: &[String]) -> Failure {
    let patterns: Vec<String> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
    Failure::Unmatched(
        Diagnostic::error(format!("no target on record matches {}", patterns.join(" or ")))
            .help("`sweep cache stats` tells what is on record, `sweep ls` the points there are"),
    )
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Absent(_)
            | ArchiveError::Refused { .. }
            | ArchiveError::TooLarge { .. }
            | ArchiveError::Newer { .. } => Self::wrong(error),
            ArchiveError::UnknownRun(_) => Self::Unmatched(Diagnostic::error(error.to_string())),
            ArchiveError::Store(_) | ArchiveError::Write { .. } => Self::machinery(error),
        }
    }
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Self {
        match error {
            MergeError::Store(error) => error.into(),
            error @ (MergeError::NoCache(_) | MergeError::Itself(_) | MergeError::Forged { .. }) => {
                Self::wrong(error)
            }
        }
    }
}
