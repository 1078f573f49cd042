//! How a command ends when it does not end well: the one place that decides exit codes.

use std::io::IsTerminal;
use std::process::ExitCode;

use crate::cache::remote::RemoteError;
use crate::cache::{FsError, LockError, StoreError};
use crate::config::diagnostic::{Diagnostic, Diagnostics, Place};
use crate::exec::build::BuildError;
use crate::graph::SelectError;

/// All asked for is fresh.
pub const FRESH: u8 = 0;
/// Some targets failed; the rest was built.
pub const SOME_FAILED: u8 = 1;
/// What the user wrote is wrong.
pub const WRONG_INPUT: u8 = 2;
/// The machinery failed: an executor, the cache, the disk.
pub const MACHINERY: u8 = 3;
/// Nothing matches.
pub const NOTHING_MATCHES: u8 = 4;

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// Something that the user wrote, with its places.
    Wrong(Diagnostics),
    /// A pattern that nothing matches.
    Unmatched(Diagnostic),
    /// The machinery, and what to do about it.
    Machinery(Diagnostics),
}

impl Failure {
    pub fn machinery(error: impl std::fmt::Display) -> Self {
        Self::Machinery(Diagnostic::error(error.to_string()).into())
    }

    pub fn wrong(error: impl std::fmt::Display) -> Self {
        Self::Wrong(Diagnostic::error(error.to_string()).into())
    }

    /// Prints the message on standard error and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let (diagnostics, code): (&[Diagnostic], u8) = match self {
            Self::Wrong(diagnostics) => (&diagnostics.0, WRONG_INPUT),
            Self::Machinery(diagnostics) => (&diagnostics.0, MACHINERY),
            Self::Unmatched(diagnostic) => (std::slice::from_ref(diagnostic), NOTHING_MATCHES),
        };
        print_all(diagnostics);
        ExitCode::from(code)
    }
}

/// How many messages are shown of one kind; a thousand would hide the first.
const MOST_SHOWN: usize = 50;

/// Prints messages on standard error.
pub fn print_all(diagnostics: &[Diagnostic]) {
    eprint!("{}", rendered(diagnostics));
}

/// The same as a text.
pub(super) fn rendered(diagnostics: &[Diagnostic]) -> String {
    let color = wants_color(&std::io::stderr());
    let shown = diagnostics.iter().take(MOST_SHOWN);
    let mut text: String = shown
        .map(|diagnostic| format!("{}\n\n", diagnostic.render(color)))
        .collect();
    if diagnostics.len() > MOST_SHOWN {
        text.push_str(&format!("… and {} more\n", diagnostics.len() - MOST_SHOWN));
    }
    text
}

/// Whether a stream is a terminal that shows colours.
pub fn wants_color(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Wrong(diagnostics)
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Wrong(diagnostic.into())
    }
}

impl From<SelectError> for Failure {
    fn from(error: SelectError) -> Self {
        match error {
            SelectError::Pattern(error) => {
                Self::Wrong(Diagnostic::error(error.to_string()).help(PATTERN_HELP).into())
            }
            SelectError::Sweepfile(diagnostic) => Self::Wrong((*diagnostic).into()),
            SelectError::Empty => Self::Unmatched(
                Diagnostic::error(error.to_string())
                    .help("`sweep ls` with fewer `!PATTERN` shows what there is"),
            ),
            SelectError::Unmatched { pattern, near, place } => {
                let message = Diagnostic::error(format!("no target matches `{pattern}`"));
                let message = match place.map(|place| *place) {
                    Some(Place { source, span, label }) => message.at(&source, span, label),
                    None => message,
                };
                let near = near
                    .iter()
                    .map(|n| format!("`{n}`"))
                    .collect::<Vec<_>>()
                    .join(", ");
                Self::Unmatched(if near.is_empty() {
                    message.help("`sweep ls` lists what there is").help(PATTERN_HELP)
                } else {
                    message.help(format!("did you mean {near}?"))
                })
            }
        }
    }
}

const PATTERN_HELP: &str = "a pattern is a config key (`dsr1-fp8-*`), an id (`**/c64`), a kind and an id (`bench:*/8k1k/*/c64`), or `!pattern`";

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        Self::machinery(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::machinery(error)
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::machinery(error)
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::machinery(error)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::machinery(error)
    }
}
