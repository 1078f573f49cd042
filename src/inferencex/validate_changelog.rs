//! Whether a changelog may be merged: its end, and that its additions make a matrix.

use std::path::Path;

use crate::config::diagnostic::Diagnostics;

use super::changelog::{ChangelogSweep, process};
use crate::config::git::{Git, GitError};

/// Why a changelog may not be merged.
#[derive(Debug, thiserror::Error)]
pub enum InvalidChangelog {
    #[error("{path} at {revision} does not end with a newline")]
    NoFinalNewline { path: String, revision: String },
    #[error("could not read {path} at {revision}: {reason}")]
    Unreadable {
        path: String,
        revision: String,
        reason: String,
    },
    #[error("process-changelog rejected the diff:\n{0}")]
    Rejected(Diagnostics),
}

/// Checks the changelog at the head revision and what was added since the base.
pub fn validate(root: &Path, sweep: &ChangelogSweep) -> Result<(), InvalidChangelog> {
    let path = sweep.changelog.display().to_string();
    let revision = sweep.head_ref.clone();
    let text = Git(root)
        .show(&revision, &sweep.changelog)
        .map_err(|error: GitError| InvalidChangelog::Unreadable {
            path: path.clone(),
            revision: revision.clone(),
            reason: error.to_string(),
        })?;
    if !text.ends_with('\n') {
        return Err(InvalidChangelog::NoFinalNewline { path, revision });
    }
    process(root, sweep, &mut Diagnostics::default())
        .map(|_| ())
        .map_err(InvalidChangelog::Rejected)
}
