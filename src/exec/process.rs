//! A process under guard, as `sweep` holds it: alive while this is held, gone soon after it is dropped.

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::ChildStderr;
use tokio::sync::watch;
use tokio::time::timeout;

use super::guard::{ExitFacts, Order, Report, Request};
use super::guards::{Guard, Guards, Home, Line};
use super::leftover::{LeftoverError, end_leftover};
use super::procfs::{self, Identity};

/// How long a guard may take to say that the program runs. It takes milliseconds; this is for a machine on its knees.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long what was killed may take to go: a driver may hold a process while it frees its GPU's memory.
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// The program that knows `sweep guard`.
#[derive(Clone, Debug)]
pub struct GuardBinary(pub(super) PathBuf);

impl GuardBinary {
    /// This very program, even when its file has been replaced or removed since it started.
    pub fn this_program() -> Self {
        Self(PathBuf::from("/proc/self/exe"))
    }

    /// The program at a path, for tests.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

/// What a run owns on its host, as its journal keeps it, so that a later run can end it: see [`end_leftover`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// The guard.
    pub guard: Identity,
    /// The program, leader of its process group: the group's id is its pid.
    pub leader: Identity,
    /// The boot in which the pids mean something.
    pub boot_id: String,
    /// The file that the program and its descendants write their output to, absolute; `None` when it is a pipe.
    pub log: Option<PathBuf>,
}

/// Why a process could not be put under guard.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The working folder is not there.
    #[error("start `{program}`: its working folder {} is no folder", cwd.display())]
    NoFolder { program: String, cwd: PathBuf },
    /// The log cannot be written.
    #[error("open the log {}: {source}", path.display())]
    Log { path: PathBuf, source: io::Error },
    /// The guard itself did not start or answer.
    #[error("start the guard of `{program}`: {source}")]
    Guard { program: String, source: io::Error },
    /// The operating system refused the program.
    #[error("start `{program}`: {reason}; it is looked up on the recipe's PATH, which is `{path}`")]
    Refused {
        program: String,
        reason: String,
        path: String,
    },
}

/// Where a guarded program's output goes.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// To the end of this file, made with its folders when it is not there.
    Log(&'a Path),
    /// To [`Guarded::take_output`].
    Piped,
}

/// What is known of a guarded program's life.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    exit: Option<ExitFacts>,
    /// The guard's last word: whether something had to be killed.
    ended: Option<bool>,
    /// The guard is gone.
    over: bool,
}

/// How a guarded program was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How the program itself went.
    pub exit: ExitFacts,
    /// Whether anything had to be killed after the grace.
    pub forced: bool,
}

/// A running program with its guard. Dropping it ends the program and its descendants, without waiting for that.
#[derive(Debug)]
pub struct Guarded {
    owned: Owned,
    output: Option<ChildStderr>,
    log_start: u64,
    line: Line,
    life: watch::Receiver<Life>,
}

impl Guarded {
    /// Starts a program under a guard of its own and returns once it runs.
    pub async fn spawn(guard: &GuardBinary, order: &Order, output: Output<'_>) -> Result<Self, SpawnError> {
        let fault = Fault::of(order)?;
        let (sink, log) = match output {
            Output::Piped => (Stdio::piped(), Log::default()),
            Output::Log(path) => {
                let (file, log) = open_log(path)?;
                (file.into(), log)
            }
        };
        let guard = Guard::start(&guard.0, sink).map_err(|error| fault.of_guard(error))?;
        let asked = guard.line().ask(&Request::Start { order, log: None });
        asked.map_err(|error| fault.of_guard(error))?;
        Self::started(guard, fault, log, None).await
    }

    /// Starts a program under one of these guards, which serves another one after it.
    pub async fn spawn_among(guards: &Guards, order: &Order, log: &Path) -> Result<Self, SpawnError> {
        let fault = Fault::of(order)?;
        let (_, log) = open_log(log)?;
        let request = Request::Start {
            order,
            log: log.path.as_deref(),
        };
        let guard = guards.ask(&request).map_err(|error| fault.of_guard(error))?;
        Self::started(guard, fault, log, Some(guards.home())).await
    }

    /// Waits until the guard says that it has started what it was asked to.
    async fn started(
        mut guard: Guard,
        fault: Fault<'_>,
        log: Log,
        home: Option<Home>,
    ) -> Result<Self, SpawnError> {
        let boot_id = procfs::boot_id().map_err(|error| fault.of_guard(error))?;
        let report = timeout(START_LIMIT, guard.report()).await;
        let report = report.map_err(|_| fault.of_guard(io::ErrorKind::TimedOut.into()))?;
        let leader = match report.map_err(|error| fault.of_guard(error))? {
            Some(Report::Started(leader)) => leader,
            Some(Report::Refused { reason }) => {
                // Where it has no home it ends as it is dropped.
                drop(home.map(|home| home.take_back(guard)));
                return Err(fault.refused(reason));
            }
            Some(Report::Exited(_) | Report::Ended { .. }) | None => {
                return Err(fault.of_guard(io::Error::other("it ended at once")));
            }
        };
        let owned = Owned {
            guard: guard.identity(),
            leader,
            boot_id,
            log: log.path,
        };
        let output = guard.take_output();
        let line = guard.line().clone();
        let (life, watched) = watch::channel(Life::default());
        tokio::spawn(follow(guard, life, home));
        Ok(Self {
            owned,
            output,
            log_start: log.start,
            line,
            life: watched,
        })
    }

    /// What to journal.
    pub fn owned(&self) -> &Owned {
        &self.owned
    }

    /// The program's output, once, when it was started with [`Output::Piped`].
    pub fn take_output(&mut self) -> Option<ChildStderr> {
        self.output.take()
    }

    /// Where in its log this program's output starts, in bytes.
    pub fn log_start(&self) -> u64 {
        self.log_start
    }

    /// How the program ended, as soon as it has; `None` while it runs.
    pub fn exit(&self) -> Option<ExitFacts> {
        self.life.borrow().exit
    }

    /// Waits for the program itself to end; it borrows nothing, so that it can stand in a `select!`.
    pub fn exited(&self) -> impl Future<Output = ExitFacts> + Send + use<> {
        let mut life = self.life.clone();
        async move {
            let life = life.wait_for(|life| life.exit.is_some()).await;
            life.ok().and_then(|life| life.exit).unwrap_or(ExitFacts::Unseen)
        }
    }

    /// TERM to the group and every descendant, KILL after the grace, back when all are gone.
    ///
    /// May be dropped and called again; a second call can only shorten the grace.
    pub async fn stop(&mut self, grace: Duration) -> Result<Ended, LeftoverError> {
        if !self.life.borrow().over {
            let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            // A guard that does not read has ended, or was killed; both show below.
            let _ = self.line.ask(&Request::Stop { grace_ms });
        }
        let _ = timeout(grace + KILL_LIMIT, self.life.wait_for(|life| life.over)).await;
        let life = *self.life.borrow();
        let exit = life.exit.unwrap_or(ExitFacts::Unseen);
        if let Some(forced) = life.ended {
            return Ok(Ended { exit, forced });
        }
        // The guard was killed, or does not get it done.
        let owned = self.owned.clone();
        let swept = tokio::task::spawn_blocking(move || end_leftover(&owned, KILL_LIMIT)).await;
        swept
            .expect("ending a leftover does not panic")
            .map(|_| Ended { exit, forced: true })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.line.close();
    }
}

/// Follows the guard's reports until all has ended. Then the guard goes home, where it has one; otherwise it ends, and is
/// reaped.
async fn follow(mut guard: Guard, told: watch::Sender<Life>, home: Option<Home>) {
    let mut life = Life::default();
    while life.ended.is_none() {
        match guard.report().await {
            Ok(Some(Report::Exited(exit))) => life.exit = Some(exit),
            Ok(Some(Report::Ended { forced })) => life.ended = Some(forced),
            Ok(Some(Report::Started(_) | Report::Refused { .. })) => {}
            Ok(None) | Err(_) => break,
        }
        // Of what came at once the last word counts.
        if !guard.has_more() && life.ended.is_none() {
            told.send_replace(life);
        }
    }
    let is_over = life.ended.is_some();
    let left = match home.filter(|_| is_over) {
        Some(home) => home.take_back(guard),
        None => Some(guard),
    };
    if let Some(guard) = left {
        guard.end().await;
    }
    life.exit.get_or_insert(ExitFacts::Unseen);
    life.over = true;
    told.send_replace(life);
}

/// What a program's output goes to.
#[derive(Debug, Default)]
struct Log {
    /// Absolute; `None` when it is a pipe.
    path: Option<PathBuf>,
    /// Its length so far, in bytes.
    start: u64,
}

fn open_log(path: &Path) -> Result<(File, Log), SpawnError> {
    let open = || -> io::Result<(File, Log)> {
        let options = || File::options().create(true).append(true).open(path);
        let file = match (options(), path.parent()) {
            (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(folder)?;
                options()?
            }
            (opened, _) => opened?,
        };
        let log = Log {
            path: Some(procfs::path_of(&file).or_else(|_| path.canonicalize())?),
            start: file.metadata()?.len(),
        };
        Ok((file, log))
    };
    open().map_err(|source| SpawnError::Log {
        path: path.to_owned(),
        source,
    })
}

/// What is said when the program of an order cannot be started.
struct Fault<'a> {
    program: &'a str,
    path: &'a str,
}

impl<'a> Fault<'a> {
    fn of(order: &'a Order) -> Result<Self, SpawnError> {
        let program = order.argv.first().map(String::as_str).unwrap_or_default();
        if !order.cwd.is_dir() {
            return Err(SpawnError::NoFolder {
                program: program.to_owned(),
                cwd: order.cwd.clone(),
            });
        }
        let path = order.env.get("PATH").map(String::as_str).unwrap_or_default();
        Ok(Self { program, path })
    }

    fn of_guard(&self, source: io::Error) -> SpawnError {
        SpawnError::Guard {
            program: self.program.to_owned(),
            source,
        }
    }

    fn refused(&self, reason: String) -> SpawnError {
        SpawnError::Refused {
            program: self.program.to_owned(),
            reason,
            path: self.path.to_owned(),
        }
    }
}
