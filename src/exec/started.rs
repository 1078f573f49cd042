//! What was started under guard: a process of this host, or a container by the process that keeps it.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::docker::{Contained, Note, RemoveError};
use super::guard::{ExitFacts, Order};
use super::guards::Guards;
use super::leftover::LeftoverError;
use super::process::{Ended, GuardBinary, Guarded, Output, Owned, SpawnError};
use super::procfs::{self, Process};

/// How long the word of an end may take after connections broke.
const DEATH_IS_TOLD_WITHIN: Duration = Duration::from_secs(2);
/// How long an engine may take to be started again and asked, its keeper's patience included.
const ENGINE_IS_ASKED_WITHIN: Duration = Duration::from_secs(60);

/// What to start under guard.
#[derive(Clone, Debug)]
pub struct Launch {
    pub order: Order,
    /// The container that it keeps, if what was asked for runs in one.
    pub container: Option<Contained>,
}

/// How what was started ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its program ended.
    Exit(ExitFacts),
    /// The kernel ended it, as its container had used up its memory.
    OutOfMemory,
    /// It never ran: the container engine would not make what was asked for.
    Refused(String),
    /// What runs it failed; nothing is known of the program itself.
    Machinery(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(exit) => exit.fmt(f),
            Self::OutOfMemory => f.write_str("out of memory: the kernel killed it in its container"),
            Self::Refused(reason) | Self::Machinery(reason) => f.write_str(reason),
        }
    }
}

/// Why it is not known to be gone.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    #[error(transparent)]
    Left(#[from] LeftoverError),
    #[error(transparent)]
    Container(#[from] RemoveError),
}

/// Who may listen for what was started.
pub(super) enum Listeners {
    /// These processes.
    Processes(Vec<u32>),
    /// The container engine, which passes connections on.
    Engine,
    /// The container's keeper has not told yet that it runs.
    Unknown,
}

/// Something that was started. Dropping it ends it, without waiting for that.
#[derive(Debug)]
pub struct Started {
    process: Guarded,
    container: Option<Contained>,
}

impl Started {
    pub async fn spawn(guard: &GuardBinary, launch: Launch, output: Output<'_>) -> Result<Self, SpawnError> {
        let process = Guarded::spawn(guard, &launch.order, output).await?;
        Ok(Self {
            process,
            container: launch.container,
        })
    }

    /// The same under one of several guards that serve others after it.
    pub async fn spawn_among(guards: &Guards, launch: Launch, log: &Path) -> Result<Self, SpawnError> {
        let process = Guarded::spawn_among(guards, &launch.order, log).await?;
        Ok(Self {
            process,
            container: launch.container,
        })
    }

    /// What to journal.
    pub fn owned(&self) -> &Owned {
        self.process.owned()
    }

    /// Where its own output starts in its log, in bytes.
    pub fn log_start(&self) -> u64 {
        self.process.log_start()
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        Some(end(self.container.as_ref(), self.process.exit()?))
    }

    /// Waits for it to end by itself; it borrows nothing, so that it can stand in a `select!`.
    pub fn ended(&self) -> impl Future<Output = End> + Send + use<> {
        let (exited, container) = (self.process.exited(), self.container.clone());
        async move { end(container.as_ref(), exited.await) }
    }

    /// How it ended, where broken connections say that it has: the word of its end may come later than they do.
    pub async fn death(&self) -> Option<End> {
        if let Ok(end) = timeout(DEATH_IS_TOLD_WITHIN, self.ended()).await {
            return Some(end);
        }
        let is_unsure = |container: &Contained| container.told() == Some(Note::Unsure);
        if !self.container.as_ref().is_some_and(is_unsure) {
            return None;
        }
        timeout(ENGINE_IS_ASKED_WITHIN, self.ended()).await.ok()
    }

    /// Who may listen for it, of the processes of the table.
    pub(super) fn listeners(&self, table: &[Process]) -> Listeners {
        let Some(container) = &self.container else {
            return Listeners::Processes(descendants(self.owned().guard.pid, table));
        };
        match container.told() {
            Some(Note::Running { .. }) if container.is_published() => Listeners::Engine,
            // Whoever leaves its parent in a container becomes a child of the container's first process.
            Some(Note::Running { pid, .. }) => {
                let mut ours = descendants(pid.get(), table);
                ours.push(pid.get());
                Listeners::Processes(ours)
            }
            _ => Listeners::Unknown,
        }
    }

    /// TERM to all of it, KILL after the grace, back when nothing of it is left.
    ///
    /// May be dropped and called again; a second call can only shorten the grace.
    pub async fn stop(&mut self, grace: Duration) -> Result<Ended, EndError> {
        let ended = self.process.stop(grace).await?;
        if let Some(container) = &self.container {
            container.ensure_removed().await?;
        }
        Ok(ended)
    }
}

fn end(container: Option<&Contained>, exit: ExitFacts) -> End {
    match container {
        None => End::Exit(exit),
        Some(container) => container.end(exit),
    }
}

fn descendants(root: u32, table: &[Process]) -> Vec<u32> {
    let found = procfs::descendants(root, table);
    found.iter().map(|process| process.identity.pid).collect()
}
