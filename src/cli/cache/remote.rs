//! `sweep cache push` and `sweep cache pull`.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::failure::{Failure, MACHINERY, print_all};
use super::super::ls::Format;
use super::super::print::{json, out};
use super::super::remote::missing;
use super::super::report::counted;
use super::super::workspace::{Workspace, WorkspaceArgs};
use super::archive::unmatched;
use super::folder::{CacheFolder, Chosen};
use crate::cache::remote::{fetch, push};
use crate::config::diagnostic::Diagnostic;
use crate::config::quantity::ShortSize;
use crate::graph::{Kind, SelectError};
use crate::plan::Policy;

/// Send what has been measured to the remote cache.
///
/// A build does this by itself for what it measures. By hand it is for what was there before the remote was, or came
/// out of an archive. What the remote has is not sent again. Rows and summaries are not sent: they are computed anew.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep cache push                     every measurement on record
  sweep cache push 'dsr1-*' '!**/c64'  some of them")]
pub(super) struct PushArgs {
    /// Patterns of targets on record; everything without any.
    patterns: Vec<String>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Take what others have measured from the remote cache.
///
/// A build does this by itself for what it is about to measure. By hand it is for working without a network later, or
/// for looking at results that this machine could not measure.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep cache pull                     of every point of the project that is not here
  sweep cache pull 'dsr1-fp8-*'        of some
  sweep cache pull nightly             of a sweep of the Sweepfile")]
pub(super) struct PullArgs {
    /// Patterns or names of sweeps; everything without any.
    patterns: Vec<String>,
    /// Fail at once when a build holds the cache, instead of waiting for it.
    #[arg(long)]
    no_wait: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn send(cache: &CacheFolder, args: &PushArgs) -> Result<ExitCode, Failure> {
    let chosen = Chosen::parse(&args.patterns).map_err(SelectError::Pattern)?;
    let client = cache.remote()?;
    if client.settings().read_only {
        let message = Diagnostic::error("the remote cache is read only");
        let help = "`cache.remote.read-only` in the Sweepfile or `SWEEP_CACHE_REMOTE_READ_ONLY` says so";
        return Err(Failure::Wrong(message.help(help).into()));
    }
    let store = cache.read()?;
    let is_meant = |target: &str| {
        let kind = target.split_once(':').and_then(|(kind, _)| Kind::named(kind));
        kind.is_some_and(Kind::is_measured) && chosen.matches(target)
    };
    if !args.patterns.is_empty()
        && !store
            .records()
            .iter()
            .any(|record| is_meant(record.head().target))
    {
        return Err(unmatched(&args.patterns));
    }
    let pushed = push(&client, &store, is_meant)?;
    if pushed.incomplete > 0 {
        let results = counted(pushed.incomplete, "result");
        eprintln!("left out: {results} whose outputs are damaged or gone here");
    }
    match args.format {
        Format::Json => json(&pushed),
        Format::Text => out(&format!(
            "{} sent ({}), {} there already\n",
            counted(pushed.sent, "result"),
            ShortSize(pushed.bytes),
            pushed.there
        )),
    }
    Ok(match &pushed.trouble {
        None => ExitCode::SUCCESS,
        Some(reason) => {
            let results = counted(pushed.failed, "result");
            let message = format!(
                "{results} could not be sent to `{}`: {reason}",
                client.settings().url
            );
            print_all(&[Diagnostic::error(message)]);
            ExitCode::from(MACHINERY)
        }
    })
}

/// What was taken.
#[derive(Serialize)]
struct Pulled<'a> {
    /// Measurements that were not here.
    asked: usize,
    taken: usize,
    bytes: u64,
    trouble: &'a [String],
}

pub(super) fn take(arguments: &WorkspaceArgs, args: &PullArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(arguments)?;
    let cache = CacheFolder::of(&workspace);
    let client = cache.remote()?;
    let mut graph = workspace.graph();
    let selection = workspace.select(&graph, &args.patterns)?;
    let mut store = cache.change(args.no_wait)?;
    let policy = Policy::default();
    let plan = workspace.plan(&mut graph, &selection, &store, policy)?;
    let keys = missing(&graph, &store, &plan);
    let fetched = fetch(&client, &mut store, &keys)?;
    match args.format {
        Format::Json => json(&Pulled {
            asked: keys.len(),
            taken: fetched.results,
            bytes: fetched.bytes,
            trouble: &fetched.trouble,
        }),
        Format::Text => out(&format!(
            "{} taken ({}) of {} that were not here\n",
            counted(fetched.results, "result"),
            ShortSize(fetched.bytes),
            keys.len()
        )),
    }
    let trouble = fetched.trouble.iter();
    let trouble: Vec<Diagnostic> = trouble
        .map(|reason| Diagnostic::error(format!("the remote cache `{}`: {reason}", client.settings().url)))
        .collect();
    print_all(&trouble);
    Ok(match trouble.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(MACHINERY),
    })
}
