//! The text of a file a user wrote, and places in it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file's text with the path it is shown under.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Relative to the project's root where the file lies below it.
    pub path: PathBuf,
    pub text: String,
}

/// Files are read whole; a larger one is refused before it is parsed.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why a file could not be read as text.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("`{}` does not exist", .path.display())]
    Missing { path: PathBuf },
    #[error("`{}` is {bytes} bytes; the limit for one file is {MAX_FILE_BYTES}", .path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("`{}` is not UTF-8 at byte {offset}", .path.display())]
    NotUtf8 { path: PathBuf, offset: usize },
    #[error("could not read `{}`: {error}", .path.display())]
    Io { path: PathBuf, error: std::io::Error },
}

impl Source {
    /// Reads `root/path`; messages show `path`.
    pub fn read(root: &Path, path: &Path) -> Result<Arc<Self>, SourceError> {
        let shown = path.to_path_buf();
        let io = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => SourceError::Missing { path: shown.clone() },
            _ => SourceError::Io {
                path: shown.clone(),
                error,
            },
        };
        let full = root.join(path);
        let bytes = full.metadata().map_err(io)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(SourceError::TooLarge { path: shown, bytes });
        }
        let bytes = std::fs::read(&full).map_err(io)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Arc::new(Self { path: shown, text })),
            Err(error) => Err(SourceError::NotUtf8 {
                path: shown,
                offset: error.utf8_error().valid_up_to(),
            }),
        }
    }

    /// The text of a span.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }
}

/// A place in a file: 1-based line and column in characters, and the byte range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub line: u32,
    pub column: u32,
    start: u32,
    end: u32,
}

impl Span {
    pub fn new(line: u32, column: u32, bytes: &Range<usize>) -> Self {
        // Files are limited to 16 MiB, far below u32::MAX.
        Self {
            line,
            column,
            start: bytes.start as u32,
            end: bytes.end as u32,
        }
    }

    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// `path:line:column`, as editors and terminals make it clickable.
pub struct At<'a>(pub &'a Source, pub Span);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.0.path.display(), self.1.line, self.1.column)
    }
}
