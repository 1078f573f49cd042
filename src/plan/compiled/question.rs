//! What is asked, as one digest.

use std::path::{Path, PathBuf};

use super::{CACHE, FOLDER};
use crate::cache::{Digest, fs};

/// Everything outside the project that decides what a build says. Equal questions have equal answers as long as the
/// project, its cache and its results are as they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub(super) root: PathBuf,
    pub(super) digest: Digest,
}

impl Question {
    /// What `parts` ask of the project in `root`, which is absolute. `None` where this program cannot tell which one it is.
    pub fn new<'a>(root: &'a Path, parts: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let program = fs::seen(Path::new("/proc/self/exe")).ok()??;
        let mut bytes = program.to_bytes().to_vec();
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        let root_path = root.as_os_str().as_encoded_bytes();
        for part in [version, root_path].into_iter().chain(parts) {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Some(Self {
            root: root.to_path_buf(),
            digest: Digest::of(&bytes),
        })
    }

    /// The folder of the cache that the plan speaks of.
    pub(super) fn cache(&self) -> PathBuf {
        self.root.join(CACHE)
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.cache().join(FOLDER)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder().join(self.digest.to_string())
    }
}
