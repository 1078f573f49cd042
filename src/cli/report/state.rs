//! The parts of a build's present state.

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
    /// Requests.
    Running {
        done: u32,
        failed: u32,
        requests: u32,
    },
    Passed,
    Failed,
    Skipped,
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

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.running += other.running;
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}
