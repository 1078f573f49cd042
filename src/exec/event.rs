//! What a run says while it happens: one line of JSON each in `runs/<id>/events.jsonl`, and the same to the terminal.
//!
//! A reader must pass over events and fields that it does not know; `v` rises when one changes its meaning.

use serde::{Deserialize, Serialize};

/// The version of the format.
pub const EVENT_VERSION: u32 = 1;

/// An event and when it was, by this host's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    pub v: u32,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// Targets are named by their ids. Times are in milliseconds by a clock that only goes forward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event {
    RunStarted {
        run: String,
        sweep_version: String,
        profile: String,
        /// The sweep's name: its folder under the results.
        sweep: String,
        /// What was asked for, as typed.
        words: Vec<String>,
        host: String,
        pid: u32,
    },
    /// There is no run, as nothing is stale, and not one file that users write was read to know it: all that an earlier
    /// build rested on looks as it did.
    PlanReused {
        /// Files and folders that were looked at: what users write, the record log, the results.
        inputs: usize,
        /// Blobs that were looked at.
        outputs: usize,
    },
    /// What the run is going to do.
    Planned {
        points: usize,
        fresh: usize,
        stale: usize,
        sessions: Vec<PlannedSession>,
        /// Of the whole build over all pools, from earlier records; null where a session has none.
        estimate_ms: Option<u64>,
    },
    ImageStarted {
        target: String,
    },
    /// A line of what making the image present prints.
    ImageProgress {
        target: String,
        line: String,
    },
    ImageReady {
        target: String,
        elapsed_ms: u64,
    },
    ImageFailed {
        target: String,
        reason: String,
    },
    /// A session got its place; its server is being started, or taken over from a run that was killed.
    ServerStarting {
        target: String,
        /// Index into `planned.sessions`.
        session: usize,
        pool: String,
        node: Vec<u32>,
        gpus: Vec<u32>,
        port: u16,
        /// From 1, counted over the session.
        attempt: u32,
        /// The attempt's folder, relative to the run's.
        folder: String,
        simulated: bool,
        /// The run that started it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adopted_from: Option<String>,
    },
    ServerReady {
        target: String,
        session: usize,
        elapsed_ms: u64,
    },
    /// It did not become ready, died, or could not be reset.
    ServerFailed {
        target: String,
        session: usize,
        reason: String,
        will_retry: bool,
    },
    ServerStopped {
        target: String,
        session: usize,
    },
    BenchStarted {
        target: String,
        session: usize,
        folder: String,
        requests: u32,
    },
    /// A session got its place; the combined script that measures this bench is started.
    ScriptStarted {
        target: String,
        session: usize,
        pool: String,
        node: Vec<u32>,
        gpus: Vec<u32>,
        /// What `PORT` says to the script.
        port: u16,
        folder: String,
    },
    /// Not kept in the file: how far a bench is.
    BenchProgress {
        target: String,
        session: usize,
        done: u32,
        failed: u32,
        requests: u32,
    },
    BenchPassed {
        target: String,
        session: usize,
        elapsed_ms: u64,
    },
    BenchFailed {
        target: String,
        session: usize,
        reason: String,
    },
    /// Never started: what it needs failed, or the run was interrupted.
    BenchSkipped {
        target: String,
        reason: String,
    },
    ProcessPassed {
        target: String,
    },
    ProcessFailed {
        target: String,
        reason: String,
    },
    /// A session ended and gave its place back.
    SessionEnded {
        session: usize,
        passed: usize,
        failed: usize,
        skipped: usize,
    },
    Collected {
        target: String,
        path: String,
        rows: usize,
        fresh: usize,
        cached: usize,
    },
    Summarized {
        target: String,
        path: String,
    },
    /// A signal, or in words what ended the run in its place: the first ends gracefully, the second at once.
    Interrupted {
        signal: String,
        now: bool,
    },
    /// A damaged blob, a torn log, a leftover of an earlier run: said once, already dealt with.
    Healed {
        what: String,
    },
    /// Results that other machines had measured were taken from the remote cache.
    RemoteFetched {
        results: usize,
        bytes: u64,
    },
    /// The remote cache does not do what it is asked. The build goes on without it.
    RemoteFailed {
        reason: String,
    },
    /// What became of this run's results, and of earlier ones that were left, on the way to the remote cache.
    RemoteSent {
        results: usize,
        bytes: u64,
        /// Left for the next build.
        unsent: usize,
    },
    RunFinished {
        passed: usize,
        fresh: usize,
        failed: usize,
        skipped: usize,
        servers_started: usize,
        elapsed_ms: u64,
    },
}

/// One server with its stale points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedSession {
    /// The server target.
    pub server: String,
    /// Bench targets, in the order in which they run.
    pub benches: Vec<String>,
    pub pools: Vec<String>,
    /// GPUs over all nodes.
    pub gpus: u32,
    pub estimate_ms: Option<u64>,
}

impl Event {
    /// Whether the event belongs in the file; progress is only for eyes.
    pub fn is_kept(&self) -> bool {
        !matches!(self, Self::BenchProgress { .. })
    }
}
