//! `sweep cache verify`.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::super::failure::{Failure, MACHINERY};
use super::super::ls::Format;
use super::super::print::{json, out};
use super::folder::CacheFolder;
use crate::cache::verify::{Verified, verify};
use crate::cache::{Holder, LockError, Wait};
use crate::config::quantity::ShortSize;

/// Read all records and blobs, and heal what is damaged.
///
/// A damaged blob is removed, so that the next build makes it again; a torn log is cut at its last whole record, the
/// rest is set aside in `log/*.damaged`; a record that contradicts itself is forgotten. A build does the same for all
/// that it takes from the cache: verify only tells it now.
///
/// Ends with 0 when nothing is wrong any more and with 3 when something could not be healed, as in a cache folder that
/// may not be written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep cache verify                    everything; reads at the speed of the disk
  sweep cache verify --sample 1000      all records, and a thousand blobs drawn at random
  sweep cache verify --format json      what was found, for scripts")]
pub(super) struct VerifyArgs {
    /// Read only this many blobs, drawn at random.
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Fail at once when a build holds the cache, instead of waiting for it.
    #[arg(long)]
    no_wait: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(cache: &CacheFolder, args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let mut store = if cache.dir.is_dir() {
        let mut say = |holder: &Holder| eprintln!("waiting for the cache: {holder}");
        let wait = if args.no_wait {
            Wait::No
        } else {
            Wait::Block(&mut say)
        };
        match cache.change_when(wait) {
            Ok(Ok(store)) => store,
            Ok(Err(error)) => return Err(error.into()),
            Err(held @ LockError::Held(_)) => return Err(held.into()),
            // It can still be read.
            Err(error) => {
                eprintln!("nothing will be healed: {error}");
                cache.read()?
            }
        }
    } else {
        cache.read()?
    };
    let verified = verify(&mut store, args.sample, SystemTime::now())?;
    match args.format {
        Format::Json => json(&verified),
        Format::Text => out(&text(&verified)),
    }
    Ok(if verified.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(MACHINERY)
    })
}

fn text(verified: &Verified) -> String {
    let mut text = String::new();
    for finding in &verified.findings {
        let state = if finding.healed { "healed" } else { "NOT HEALED" };
        text.push_str(&format!("{state}: {}\n", finding.what));
    }
    for target in &verified.to_make_again {
        text.push_str(&format!(
            "`{target}` lacks an output: the next build makes it again\n"
        ));
    }
    let not_read = match verified.not_read {
        0 => String::new(),
        count => format!(" ({count} more were not read)"),
    };
    let found = match verified.findings.len() {
        0 => "nothing is wrong".to_owned(),
        1 => "1 thing was wrong".to_owned(),
        count => format!("{count} things were wrong"),
    };
    text.push_str(&format!(
        "{} records, {} blobs, {}{not_read}: {found}\n",
        verified.records,
        verified.blobs,
        ShortSize(verified.bytes)
    ));
    text
}
