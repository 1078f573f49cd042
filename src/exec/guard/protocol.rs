//! What `sweep` and its guard say to each other: JSON, one value a line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exec::procfs::Identity;

/// What to start, and how gently to end it when nobody says otherwise.
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

/// An input line of the guard, as `sweep` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Request<'a> {
    /// Start this. Only to a guard that has nothing running: as its first line, or after [`Report::Ended`].
    Start {
        order: &'a Order,
        /// Where its output goes, to the end of a file that is there; by default to the guard's standard error.
        log: Option<&'a Path>,
    },
    /// End everything: TERM now, KILL after the grace. A second one can only shorten the first one's grace. What comes
    /// when all has ended already is about nothing.
    Stop {
        /// From TERM to KILL, in ms.
        grace_ms: u64,
    },
}

/// The same as the guard reads it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Received {
    Start { order: Order, log: Option<PathBuf> },
    Stop { grace_ms: u64 },
}

/// An output line of the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The program runs; it leads a process group of its own, whose id is its pid.
    Started(Identity),
    /// The program could not be started; the guard takes another.
    Refused {
        /// The operating system's words.
        reason: String,
    },
    /// The program itself ended; what it left is being ended.
    Exited(ExitFacts),
    /// The program and all its descendants are gone; the guard takes another.
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
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let order = Order {
            argv: vec!["serve".to_owned()],
            env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            cwd: "/tmp".into(),
            grace_ms: 7,
        };
        let read = |request: &Request<'_>| {
            let line = serde_json::to_string(request).unwrap();
            serde_json::from_str::<Received>(&line).unwrap()
        };
        let log = Some(PathBuf::from("/tmp/log"));
        let start = Request::Start {
            order: &order,
            log: log.as_deref(),
        };
        assert_eq!(
            read(&start),
            Received::Start {
                order: order.clone(),
                log
            }
        );
        assert_eq!(
            read(&Request::Stop { grace_ms: 5 }),
            Received::Stop { grace_ms: 5 }
        );
    }
}
