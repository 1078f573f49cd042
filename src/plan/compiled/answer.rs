//! What a build with nothing to do says.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cache::take::{push_counted, take, take_counted};

/// The outcome of a build that found everything fresh, ready to be printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Points whose measurement is in the cache.
    pub fresh: usize,
    /// When the earliest of them started, by the clock of the host that measured, in ms since 1970.
    pub oldest_unix_ms: u64,
    /// Warnings about the project.
    pub warnings: String,
    /// The rows, as a table.
    pub table: String,
    /// What follows the table.
    pub closing: String,
    /// The summary's file.
    pub summary: PathBuf,
}

impl Answer {
    /// As it is kept: two u64, little-endian, then warnings, table, closing and summary, each with its length as u32 before
    /// it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256 + self.table.len());
        bytes.extend_from_slice(&(self.fresh as u64).to_le_bytes());
        bytes.extend_from_slice(&self.oldest_unix_ms.to_le_bytes());
        let texts = [&self.warnings, &self.table, &self.closing].map(String::as_bytes);
        for text in texts.into_iter().chain([self.summary.as_os_str().as_bytes()]) {
            push_counted(&mut bytes, text);
        }
        bytes
    }

    pub(super) fn from_bytes(mut rest: &[u8]) -> Option<Self> {
        let fresh = usize::try_from(u64::from_le_bytes(take(&mut rest)?)).ok()?;
        let oldest_unix_ms = u64::from_le_bytes(take(&mut rest)?);
        let mut text = || String::from_utf8(take_counted(&mut rest, 1)?.to_vec()).ok();
        let [warnings, table, closing] = [text()?, text()?, text()?];
        let summary = Path::new(OsStr::from_bytes(take_counted(&mut rest, 1)?)).to_path_buf();
        rest.is_empty().then_some(Self {
            fresh,
            oldest_unix_ms,
            warnings,
            table,
            closing,
            summary,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back_and_what_is_cut_does_not() {
        let answer = Answer {
            fresh: 48,
            oldest_unix_ms: 1_795_320_252_000,
            warnings: "warning: w\n".to_owned(),
            table: "Model\n".to_owned(),
            closing: "0 measured\n".to_owned(),
            summary: "/p/results/all/summary.md".into(),
        };
        let bytes = answer.to_bytes();
        assert_eq!(Answer::from_bytes(&bytes), Some(answer));
        for length in 0..bytes.len() {
            assert_eq!(Answer::from_bytes(&bytes[..length]), None);
        }
    }
}
