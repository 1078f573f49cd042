//! The little that is asked of git.

use std::io;
use std::path::Path;
use std::process::Command;

/// Why git gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("could not run git: {0}; install it, or put it on PATH")]
    Spawn(io::Error),
    #[error("`git {command}` failed: {message}")]
    Failed { command: String, message: String },
    #[error("`git {command}` did not print UTF-8")]
    NotUtf8 { command: String },
}

/// A repository's folder, or one inside it; empty for the current one.
#[derive(Debug, Clone, Copy)]
pub struct Git<'a>(pub &'a Path);

impl Git<'_> {
    /// The unified diff of a file over `revisions`: a range, or two of them.
    pub fn diff(self, revisions: &[&str], file: &Path) -> Result<String, GitError> {
        let file = file.to_string_lossy();
        // What a user's configuration adds to a diff is not in the text that is read here.
        let options = [
            "diff",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            "--src-prefix=a/",
            "--dst-prefix=b/",
            "--unified=3",
        ];
        self.run(&[&options, revisions, &["--", &file]].concat())
    }

    /// A file as it was at a revision.
    pub fn show(self, revision: &str, file: &Path) -> Result<String, GitError> {
        self.run(&["show", &format!("{revision}:./{}", file.display())])
    }

    /// Where the histories of two revisions part.
    pub fn merge_base(self, one: &str, other: &str) -> Result<String, GitError> {
        Ok(self.run(&["merge-base", one, other])?.trim().to_owned())
    }

    fn run(self, words: &[&str]) -> Result<String, GitError> {
        let command = words.join(" ");
        let output = Command::new("git")
            .args(words)
            .current_dir(Path::new(".").join(self.0))
            .output()
            .map_err(GitError::Spawn)?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(GitError::Failed { command, message });
        }
        String::from_utf8(output.stdout).map_err(|_| GitError::NotUtf8 { command })
    }
}
