//! A process under guard, as `sweep` holds it: alive while this is held, gone soon after it is dropped.

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::guard::{ExitFacts, Order, Report, Request};
use super::leftover::{LeftoverError, end_leftover};
use super::procfs::{self, Identity};

/// How long a guard may take to say that the program runs. It takes milliseconds; this is for a machine on its knees.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long what was killed may take to go: a driver may hold a process while it frees its GPU's memory.
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// The program that knows `sweep guard`.
#[derive(Clone, Debug)]
pub struct GuardBinary(PathBuf);

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
    requests: Option<ChildStdin>,
    output: Option<ChildStderr>,
    log_start: u64,
    life: watch::Receiver<Life>,
}

impl Guarded {
    /// Starts a program under guard and returns once it runs.
    pub async fn spawn(guard: &GuardBinary, order: &Order, output: Output<'_>) -> Result<Self, SpawnError> {
        let program = order.argv.first().cloned().unwrap_or_default();
        let failed = |source| SpawnError::Guard {
            program: program.clone(),
            source,
        };
        if !order.cwd.is_dir() {
            return Err(SpawnError::NoFolder {
                program,
                cwd: order.cwd.clone(),
            });
        }
        let (sink, log, log_start) = open_output(output)?;
        let boot_id = procfs::boot_id().map_err(failed)?;
        let mut child = Command::new(&guard.0)
            .arg0("sweep")
            .arg("guard")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(sink)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let pid = child.id().unwrap_or_default();
        let guard = procfs::read(pid).map(|process| process.identity);
        let guard = guard.ok_or_else(|| failed(io::Error::other("/proc does not show it")))?;
        let mut requests = child.stdin.take().expect("its stdin is piped");
        let mut reports = BufReader::new(child.stdout.take().expect("its stdout is piped")).lines();
        let output = child.stderr.take();

        let first = timeout(START_LIMIT, async {
            send(&mut requests, order).await?;
            reports.next_line().await
        });
        let line = first
            .await
            .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        let report = line.map(|line| serde_json::from_str(&line)).transpose();
        let leader = match report.map_err(|error| failed(error.into()))? {
            Some(Report::Started(leader)) => leader,
            Some(Report::Refused { reason }) => {
                let path = order.env.get("PATH").cloned().unwrap_or_default();
                return Err(SpawnError::Refused {
                    program,
                    reason,
                    path,
                });
            }
            Some(Report::Exited(_) | Report::Ended { .. }) | None => {
                return Err(failed(io::Error::other("it ended at once")));
            }
        };
        let (life, watched) = watch::channel(Life::default());
        tokio::spawn(follow(child, reports, life));
        Ok(Self {
            owned: Owned {
                guard,
                leader,
                boot_id,
                log,
            },
            requests: Some(requests),
            output,
            log_start,
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
        if let Some(requests) = &mut self.requests {
            let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            // A guard that does not read has ended, or was killed; both show below.
            let _ = send(requests, &Request::Stop { grace_ms }).await;
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

/// Follows the guard's reports to its end, and reaps it.
async fn follow(mut child: Child, mut reports: Lines<BufReader<ChildStdout>>, life: watch::Sender<Life>) {
    while let Ok(Some(line)) = reports.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Report::Exited(exit)) => life.send_modify(|life| life.exit = Some(exit)),
            Ok(Report::Ended { forced }) => life.send_modify(|life| life.ended = Some(forced)),
            Ok(Report::Started(_) | Report::Refused { .. }) | Err(_) => {}
        }
    }
    let _ = child.wait().await;
    life.send_modify(|life| {
        life.exit.get_or_insert(ExitFacts::Unseen);
        life.over = true;
    });
}

/// The guard's standard error, which is the program's output, with the log's absolute path and its length so far.
fn open_output(output: Output<'_>) -> Result<(Stdio, Option<PathBuf>, u64), SpawnError> {
    let Output::Log(path) = output else {
        return Ok((Stdio::piped(), None, 0));
    };
    let open = || -> io::Result<(Stdio, Option<PathBuf>, u64)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = File::options().create(true).append(true).open(path)?;
        let length = file.metadata()?.len();
        Ok((file.into(), Some(path.canonicalize()?), length))
    };
    open().map_err(|source| SpawnError::Log {
        path: path.to_owned(),
        source,
    })
}

async fn send(pipe: &mut ChildStdin, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    pipe.write_all(&line).await?;
    pipe.flush().await
}
