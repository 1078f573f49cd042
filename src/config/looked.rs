//! What reading a project looked at. As long as all of it is as it was, reading it again gives the same project.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::source::Source;

/// A path that was looked at, and what was found there.
#[derive(Debug, Clone)]
pub struct Looked {
    /// Relative to the project's root, or absolute where the Sweepfile names it so.
    pub path: PathBuf,
    pub found: Found,
}

/// What a path led to.
#[derive(Debug, Clone)]
pub enum Found {
    /// A file that was read.
    Text(Arc<Source>),
    /// A plain file that was not read.
    File,
    /// A folder with these names in it, sorted.
    Names(Vec<String>),
    Nothing,
    /// Neither a plain file nor a folder that could be listed.
    Odd,
}

impl Looked {
    /// Whether there is a plain file, without reading it.
    pub fn probe(root: &Path, path: &Path) -> Self {
        let found = match root.join(path).metadata() {
            Ok(found) if found.is_file() => Found::File,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Nothing,
            Ok(_) | Err(_) => Found::Odd,
        };
        let path = path.to_path_buf();
        Self { path, found }
    }
}

impl Found {
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File | Self::Text(_))
    }
}
