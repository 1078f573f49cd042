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
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Why a file could not be read as text.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("`{}` does not exist", .path.display())]
    Missing { path: PathBuf },
    #[error("`{}` is {bytes} bytes; the limit for one file is {MAX_FILE_BYTES}", .path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("`{}` is not UTF-8 text: line {line} holds other bytes, at byte {offset} of the file", .path.display())]
    NotUtf8 {
        path: PathBuf,
        line: usize,
        offset: usize,
    },
    #[error("`{}` is no file", .path.display())]
    NoFile { path: PathBuf },
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
        let metadata = full.metadata().map_err(io)?;
        // A pipe would keep us waiting, a device might never end.
        if !metadata.is_file() {
            return Err(SourceError::NoFile { path: shown });
        }
        let bytes = metadata.len();
        if bytes > MAX_FILE_BYTES {
            return Err(SourceError::TooLarge { path: shown, bytes });
        }
        let bytes = std::fs::read(&full).map_err(io)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Arc::new(Self { path: shown, text })),
            Err(error) => {
                let offset = error.utf8_error().valid_up_to();
                let before = &error.as_bytes()[..offset];
                Err(SourceError::NotUtf8 {
                    path: shown,
                    line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
                    offset,
                })
            }
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
        // Files are limited to 64 MiB, far below u32::MAX.
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

    /// The one character at a line and column, both from 1; the end of the line where the column is beyond it.
    pub fn at(text: &str, line: u32, column: u32) -> Self {
        let mut start = 0;
        for _ in 1..line.max(1) {
            start = text[start..].find('\n').map_or(text.len(), |i| start + i + 1);
        }
        let rest = text[start..].lines().next().unwrap_or_default();
        let mut chars = rest.char_indices().skip(column.max(1) as usize - 1);
        let (offset, width) = chars.next().map_or((rest.len(), 0), |(i, c)| (i, c.len_utf8()));
        let start = start + offset;
        Self::new(line.max(1), column.max(1), &(start..start + width))
    }

    /// The first place within this span where `word` stands by itself; the whole span where it does not.
    pub fn narrowed_to(self, text: &str, word: &str) -> Self {
        let within = text.get(self.range()).unwrap_or_default();
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let alone =
            |at: &usize| !within[..*at].ends_with(is_part) && !within[at + word.len()..].starts_with(is_part);
        let found = within.match_indices(word).map(|(at, _)| at).find(alone);
        let Some(at) = found.filter(|_| !word.is_empty()) else {
            return self;
        };
        let start = self.range().start + at;
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line = self.line + within[..at].matches('\n').count() as u32;
        let column = text[line_start..start].chars().count() as u32 + 1;
        Self::new(line, column, &(start..start + word.len()))
    }
}

/// `path:line:column`, as editors and terminals make it clickable.
pub struct At<'a>(pub &'a Source, pub Span);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.0.path.display(), self.1.line, self.1.column)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_found_by_line_and_column() {
        let text = "a: 1\r\nbé: x\n";
        let at = |line, column| &text[Span::at(text, line, column).range()];
        assert_eq!(
            (at(1, 1), at(2, 2), at(2, 5), at(2, 9), at(9, 1)),
            ("a", "é", "x", "", "")
        );
    }

    #[test]
    fn a_span_narrows_to_a_word_of_its_own() {
        let text = "x: tp\ncommand: --tpp {{ tpp2 }}\n  --tp {{ tp }}\n";
        let whole = Span::new(2, 10, &(15..text.len()));
        let tp = whole.narrowed_to(text, "tp");
        assert_eq!((tp.line, tp.column, &text[tp.range()]), (3, 5, "tp"));
        assert_eq!(whole.narrowed_to(text, "absent"), whole);
        assert_eq!(whole.narrowed_to(text, ""), whole);
    }

    #[test]
    fn what_is_no_text_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| Source::read(dir.path(), Path::new(name)).unwrap_err().to_string();
        assert_eq!(read("absent.yaml"), "`absent.yaml` does not exist");
        assert_eq!(read("."), "`.` is no file");
        assert_eq!(read("/dev/zero"), "`/dev/zero` is no file");
        std::fs::write(dir.path().join("latin1.yaml"), b"a: 1\nb: caf\xe9\n").unwrap();
        assert_eq!(
            read("latin1.yaml"),
            "`latin1.yaml` is not UTF-8 text: line 2 holds other bytes, at byte 11 of the file"
        );
        let large = std::fs::File::create(dir.path().join("large.yaml")).unwrap();
        large.set_len(MAX_FILE_BYTES + 1).unwrap();
        assert_eq!(
            read("large.yaml"),
            "`large.yaml` is 67108865 bytes; the limit for one file is 67108864"
        );
    }

    proptest! {
        #[test]
        fn any_place_is_within_the_text(text in "[a\u{e9}\n\r]{0,20}", line in 0u32..9, column in 0u32..9, word in "[a\u{e9}]{0,2}") {
            let span = Span::at(&text, line, column);
            prop_assert!(text.get(span.range()).is_some());
            let whole = Span::new(1, 1, &(0..text.len()));
            prop_assert!(text.get(whole.narrowed_to(&text, &word).range()).is_some());
        }
    }
}
