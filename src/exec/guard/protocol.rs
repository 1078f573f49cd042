//! What `sweep` and its guard say to each other: JSON, one value a line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exec::procfs::Identity;

/// The guard's first input line: what to start, and how gently to end it when nobody says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The program, looked up on `env`'s `PATH`, and its arguments; never empty.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// The working folder.
    pub cwd: PathBuf,
    /// From TERM to KILL when `sweep` is gone, the guard is signalled or the program ended by itself, in ms.
    pub grace_ms: u64,
}

/// A later input line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// End everything: TERM now, KILL after the grace. A second one can only shorten the first one's grace.
    Stop {
        /// From TERM to KILL, in ms.
        grace_ms: u64,
    },
}

/// An output line of the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The program runs; it leads a process group of its own, whose id is its pid.
    Started(Identity),
    /// The program could not be started; the guard ends.
    Refused {
        /// The operating system's words.
        reason: String,
    },
    /// The program itself ended; what it left is being ended.
    Exited(ExitFacts),
    /// The program and all its descendants are gone; the guard's last line.
    Ended {
        /// Whether something had to be killed after the grace.
        forced: bool,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitFacts {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// Its guard was lost first, so nobody saw.
    Unseen,
}

impl fmt::Display for ExitFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(9) => write!(f, "signal 9, often the kernel out of memory"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unseen => write!(f, "its guard was killed"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn lines_are_stable() {
        let line = |report: &Report| serde_json::to_string(report).unwrap();
        let identity = Identity {
            pid: 7,
            start_ticks: 99,
        };
        assert_eq!(
            line(&Report::Started(identity)),
            r#"{"started":{"pid":7,"start_ticks":99}}"#
        );
        assert_eq!(
            line(&Report::Exited(ExitFacts::Code(3))),
            r#"{"exited":{"code":3}}"#
        );
        assert_eq!(line(&Report::Exited(ExitFacts::Unseen)), r#"{"exited":"unseen"}"#);
        assert_eq!(
            serde_json::from_str::<Request>(r#"{"stop":{"grace_ms":5}}"#).unwrap(),
            Request::Stop { grace_ms: 5 }
        );
    }
}
