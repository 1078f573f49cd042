//! Why a target is stale, in a form that the plan, the log and reports share.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::command_diff::command_changes;
use crate::cache::{Change, Digest, Input};

/// Why a target cannot be taken from the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Reason {
    /// There is no record of a target of this name.
    NeverBuilt,
    /// Inputs differ from those of its last record: a root cause.
    InputsChanged { changes: Vec<Change> },
    /// The last attempt with these very inputs failed; it is tried again.
    LastFailed { why: String },
    /// A record is there, its output is not, or is not what it was.
    OutputLost { digest: Digest },
    /// `--max-age`: the record is older.
    TooOld { age_s: u64, max_age_s: u64 },
    /// `--rerun`.
    Forced,
    /// What it needs is stale: a cascade.
    Needs { target: String },
}

impl Reason {
    /// Whether the target is stale by itself and not because of another.
    pub fn is_root(&self) -> bool {
        !matches!(self, Self::Needs { .. })
    }

    /// One line for each thing that changed, or one for the reason.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::InputsChanged { changes } => {
                // Digests of what was computed before say nothing to a reader one by one.
                let (contents, named): (Vec<_>, Vec<_>) = changes.iter().partition(|c| is_content(c));
                let mut lines: Vec<String> = named.into_iter().flat_map(change_lines).collect();
                match contents.as_slice() {
                    [] => {}
                    [one] => lines.extend(change_lines(one)),
                    [first, ..] => {
                        lines.push(format!(
                            "the content of {} inputs, {} the first",
                            contents.len(),
                            first.name
                        ));
                    }
                }
                lines
            }
            other => vec![other.to_string()],
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverBuilt => f.write_str("never built"),
            Self::InputsChanged { .. } => f.write_str(&self.lines().join("; ")),
            Self::LastFailed { why } => write!(f, "the last attempt failed: {why}"),
            Self::OutputLost { digest } => write!(f, "its output {} is gone from the cache", digest.short()),
            Self::TooOld { age_s, max_age_s } => {
                write!(f, "its result is {age_s} s old, above --max-age of {max_age_s} s")
            }
            Self::Forced => f.write_str("--rerun"),
            Self::Needs { target } => write!(f, "needs {target}"),
        }
    }
}

fn is_content(change: &Change) -> bool {
    let content = |input: &Option<Input>| matches!(input, None | Some(Input::Content(_)));
    content(&change.old) && content(&change.new)
}

/// A change in words: `image: a → b`. Of a command only the words that differ.
pub fn change_lines(change: &Change) -> Vec<String> {
    let side = |input: &Option<Input>| {
        input
            .as_ref()
            .map_or_else(|| "(none)".to_owned(), ToString::to_string)
    };
    if let (Some(Input::Text(old)), Some(Input::Text(new))) = (&change.old, &change.new)
        && matches!(change.name.as_str(), "server command" | "simulated")
    {
        return command_changes(old, new)
            .into_iter()
            .map(|line| format!("{}: {line}", change.name))
            .collect();
    }
    vec![format!(
        "{}: {} → {}",
        change.name,
        side(&change.old),
        side(&change.new)
    )]
}
