//! The parts of a build's present state.

use std::fmt;
use std::ops::AddAssign;

use serde::Serialize;

/// Which run it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub id: String,
    pub profile: String,
    pub sweep: String,
    pub words: Vec<String>,
    pub host: String,
    pub pid: u32,
    pub unix_ms: u64,
}

/// What the run was going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub points: usize,
    pub fresh: usize,
    pub estimate_ms: Option<u64>,
    pub unix_ms: u64,
}

/// One server and its stale points.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Session {
    /// The server target; empty when its plan is lost.
    pub server: String,
    /// The pools that may take it.
    pub pools: Vec<String>,
    /// Where it runs or last ran.
    pub place: Option<Place>,
    pub stage: Stage,
    /// Of its points.
    pub counts: Counts,
}

/// Where a session is.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub pool: String,
    pub node: Vec<u32>,
    pub gpus: Vec<u32>,
    pub simulated: bool,
    /// The run that started the server, where that was killed.
    pub adopted_from: Option<String>,
}

/// How far a session is.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Stage {
    /// For a place, for the first time or after its server failed.
    #[default]
    Waiting,
    Starting {
        unix_ms: u64,
    },
    /// The server answers; no point is being measured.
    Ready,
    Measuring {
        bench: String,
    },
    Ended,
}

/// A stale point's state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bench {
    Waiting,
    Running {
        /// Unknown where a script sends them.
        requests: Option<u32>,
        /// Unknown until it is told, and always in a journal, which keeps no progress.
        progress: Option<Progress>,
    },
    Passed,
    Failed,
    Skipped,
}

/// How many of a point's requests have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub done: u32,
    pub failed: u32,
}

/// Points by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub waiting: usize,
    pub running: usize,
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

/// A target that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub target: String,
    pub reason: String,
}

/// What a run said at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finished {
    pub passed: usize,
    pub fresh: usize,
    pub failed: usize,
    pub skipped: usize,
    pub servers_started: usize,
    pub elapsed_ms: u64,
    pub unix_ms: u64,
}

impl Counts {
    pub fn total(&self) -> usize {
        self.waiting + self.running + self.settled()
    }

    /// The same once the run is gone: what was running waits for the next one.
    pub fn at_rest(self) -> Self {
        Self {
            waiting: self.waiting + self.running,
            running: 0,
            ..self
        }
    }

    /// Those whose outcome is known.
    pub fn settled(&self) -> usize {
        self.passed + self.failed + self.skipped
    }

    pub(super) fn of(&mut self, bench: Bench) -> &mut usize {
        match bench {
            Bench::Waiting => &mut self.waiting,
            Bench::Running { .. } => &mut self.running,
            Bench::Passed => &mut self.passed,
            Bench::Failed => &mut self.failed,
            Bench::Skipped => &mut self.skipped,
        }
    }
}

/// `12 done, 1 failed, 5 waiting`: done and waiting always, the others where there are any.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} done", self.passed)?;
        let others = [
            (self.failed, "failed"),
            (self.skipped, "skipped"),
            (self.running, "running"),
        ];
        for (count, word) in others.iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {word}")?;
        }
        write!(f, ", {} waiting", self.waiting)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.running += other.running;
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}
