//! What was started under guard: a process of this host, or a container by the process that keeps it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::docker::{Contained, Note, RemoveError};
use super::guard::{ExitFacts, Order};
use super::leftover::LeftoverError;
use super::process::{Ended, GuardBinary, Guarded, Output, Owned, SpawnError};
use super::procfs::{self, Process};

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

    /// Its processes among those of the table; `None` where a container engine listens for it.
    pub(super) fn processes(&self, table: &[Process]) -> Option<Vec<u32>> {
        let Some(container) = &self.container else {
            return Some(descendants(self.owned().guard.pid, table));
        };
        match container.told() {
            Some(Note::Running { .. }) if container.is_published() => None,
            // Whoever leaves its parent in a container becomes a child of the container's first process.
            Some(Note::Running { pid, .. }) => {
                let mut ours = descendants(pid, table);
                ours.push(pid);
                Some(ours)
            }
            _ => Some(Vec::new()),
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
