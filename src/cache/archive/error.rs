//! Why an archive was not written or not taken.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::super::fs::FsError;
use super::super::log::LogError;
use super::super::run::RunId;
use super::super::store::StoreError;
use super::manifest::FORMAT;

/// Why an archive was not written, or not taken: then nothing was changed.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// This store's side.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive could not be written.
    #[error("could not write `{}`: {cause}", path.display())]
    Write {
        /// The archive.
        path: PathBuf,
        /// What the system or the compressor said.
        cause: io::Error,
    },
    /// No record of the run that was named.
    #[error(
        "there is no record of run `{0}` in this cache; `sweep status` and the names in `.cache/log` tell runs"
    )]
    UnknownRun(RunId),
    /// There is no such file.
    #[error("there is no archive `{}`", .0.display())]
    Absent(PathBuf),
    /// A later sweep wrote it.
    #[error("`{}` has format {found} and this sweep reads up to {FORMAT}: update sweep", path.display())]
    Newer {
        /// The archive.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// It would take more room than it may.
    #[error(
        "`{}` holds {bytes} bytes and at most {most} are taken: raise `cache.max-size` in the Sweepfile, or export a \
         part of it with patterns or `--since`",
        path.display()
    )]
    TooLarge {
        /// The archive.
        path: PathBuf,
        /// What it says that it holds.
        bytes: u64,
        /// What is taken.
        most: u64,
    },
    /// It is not what `sweep cache export` writes.
    #[error("`{}` is refused and nothing was changed: {reason}", path.display())]
    Refused {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<FsError> for ArchiveError {
    fn from(error: FsError) -> ArchiveError {
        ArchiveError::Store(error.into())
    }
}

impl From<LogError> for ArchiveError {
    fn from(error: LogError) -> ArchiveError {
        ArchiveError::Store(error.into())
    }
}
