//! The one door, and what it says when a call fails.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A kind of file-system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Open or create a file.
    Open,
    /// Create a folder.
    CreateDir,
    /// List a folder.
    List,
    /// Read bytes or metadata.
    Read,
    /// Write bytes.
    Write,
    /// Cut a file.
    Cut,
    /// Flush a file or a folder to the disk.
    Flush,
    /// Change a file's mode.
    SetMode,
    /// Rename into place.
    Rename,
    /// Lock a file.
    Lock,
    /// Remove a file.
    Remove,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Open => "open",
            Op::CreateDir => "create the folder",
            Op::List => "list",
            Op::Read => "read",
            Op::Write => "write",
            Op::Cut => "cut",
            Op::Flush => "flush",
            Op::SetMode => "change the mode of",
            Op::Rename => "rename into place",
            Op::Lock => "lock",
            Op::Remove => "remove",
        })
    }
}

/// A file-system call that failed.
#[derive(Debug, Error)]
#[error("could not {op} `{}`: {}", path.display(), plain(cause))]
pub struct FsError {
    /// What was tried.
    pub op: Op,
    /// On which file or folder.
    pub path: PathBuf,
    /// What the system answered.
    pub cause: io::Error,
}

impl FsError {
    /// Whether the next try will fail as well: the disk or a quota is full, or the file system reads only.
    pub fn is_lasting(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        matches!(
            self.cause.kind(),
            StorageFull | QuotaExceeded | ReadOnlyFilesystem
        )
    }
}

/// The system's words without the number that Rust appends.
fn plain(cause: &io::Error) -> String {
    let text = cause.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// The one door: every call passes here, so a fault can be put at any of them.
pub(super) fn pass<T>(op: Op, path: &Path, call: impl FnOnce() -> io::Result<T>) -> Result<T, FsError> {
    let fail = |cause| FsError {
        op,
        path: path.to_owned(),
        cause,
    };
    #[cfg(test)]
    super::fault::pass(op).map_err(fail)?;
    call().map_err(fail)
}
