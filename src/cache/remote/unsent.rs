//! What a remote is still to get: `unsent/<key>` in the cache folder, an empty file for each.
//!
//! A note is made before its result is kept and removed once the remote has it, so a build that is killed in between
//! leaves a note too many, never one too few. What a note is about is looked up in the log; where nothing is, there is
//! nothing to send.

use std::path::{Path, PathBuf};

use super::super::Key;
use super::super::fs::{self, FsError};

/// The notes of a cache folder.
#[derive(Debug, Clone)]
pub struct Unsent(PathBuf);

impl Unsent {
    /// Those of the cache folder `dir`.
    pub fn of(dir: &Path) -> Unsent {
        Unsent(dir.join("unsent"))
    }

    /// Notes that the result of this key is to be sent. It may get lost in a power loss, not otherwise.
    pub fn note(&self, key: &Key) -> Result<(), FsError> {
        fs::create_dir_durable(&self.0)?;
        fs::open_append(&self.0.join(key.to_string())).map(drop)
    }

    /// The remote has it.
    pub fn settle(&self, key: &Key) -> Result<(), FsError> {
        fs::remove(&self.0.join(key.to_string()))
    }

    /// Whether there is nothing to be sent.
    pub fn is_empty(&self) -> Result<bool, FsError> {
        Ok(fs::metadata(&self.0)?.is_none() || self.keys()?.is_empty())
    }

    /// What is still to be sent, in the order of the keys.
    pub fn keys(&self) -> Result<Vec<Key>, FsError> {
        let names = fs::list(&self.0)?.into_iter();
        Ok(names.filter_map(|(name, _)| name.parse().ok()).collect())
    }
}
