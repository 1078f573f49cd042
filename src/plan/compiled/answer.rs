//! What a build with nothing to do says.

use std::path::PathBuf;

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
