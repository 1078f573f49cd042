//! A build from its plan to its outcome.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use super::compute::ComputeError;
use super::conclude::conclude;
use super::dispatch::run_sessions;
use super::event::Event;
use super::image::VenvMaker;
use super::run::Run;
use super::signals::{Cause, Interrupt};
use super::view::View;
use crate::cache::FsError;
use crate::config::sweepfile::Profile;
use crate::graph::{Graph, Selection};
use crate::plan::Plan;
use crate::results::{Absent, Collection};

/// What a build works on.
pub struct Build<'a> {
    pub graph: &'a Graph,
    pub selection: &'a Selection,
    pub plan: &'a Plan,
    pub profile: &'a Profile,
    /// `results/<sweep>`.
    pub results: PathBuf,
    /// Runs that were killed may have left containers.
    pub left_containers: bool,
}

/// How a build ended.
#[derive(Debug, Default)]
pub struct Outcome {
    pub passed: usize,
    pub fresh: usize,
    pub failed: usize,
    pub skipped: usize,
    pub servers_started: usize,
    pub interrupted: bool,
    /// Why points have no result that the machinery kept from being measured.
    pub machinery: Option<String>,
    pub collection: Collection,
    pub view: Option<View>,
    pub absent: Vec<Absent>,
}

/// A build that the machinery kept from ending well; what was measured is kept all the same.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(transparent)]
    Compute(#[from] ComputeError),
    #[error("start the thread that keeps results: {0}")]
    Thread(#[from] std::io::Error),
}

/// Runs the plan's sessions, then computes rows, the collection and the summary.
pub async fn build(run: &Arc<Run>, build: &Build<'_>, maker: VenvMaker) -> Result<Outcome, BuildError> {
    let mut endings = BTreeMap::new();
    let mut servers_started = 0;
    let mut machinery = None;
    let sessions = tokio::select! {
        biased;
        never = tell_interruptions(run) => match never {},
        sessions = run_sessions(run, build, maker) => sessions,
    };
    run.guards.dismiss().await;
    for done in sessions? {
        endings.extend(done.endings);
        servers_started += done.servers_started;
        machinery = machinery.or(done.machinery);
    }
    let interrupted = run.interrupts.level() != Interrupt::None;
    let mut outcome = conclude(run, build, &endings, interrupted)?;
    // What an interrupted one has not sent is noted for the next.
    tokio::select! {
        biased;
        () = run.interrupts.reached(Interrupt::Graceful) => {}
        () = run.finish_sending() => {}
    }
    outcome.servers_started = servers_started;
    outcome.interrupted = interrupted;
    outcome.machinery = machinery;
    run.say(Event::RunFinished {
        passed: outcome.passed,
        fresh: outcome.fresh,
        failed: outcome.failed,
        skipped: outcome.skipped,
        servers_started,
        elapsed_ms: run.elapsed_ms(),
    });
    Ok(outcome)
}

/// Says that a signal came, and that a second one did. Never ends.
async fn tell_interruptions(run: &Run) -> Infallible {
    for (level, now) in [(Interrupt::Graceful, false), (Interrupt::Now, true)] {
        run.interrupts.reached(level).await;
        let signal = run.interrupts.cause().map_or("a signal", Cause::name).to_owned();
        run.say(Event::Interrupted { signal, now });
    }
    std::future::pending().await
}
