//! A server's life on this host: started, ready, reset between points, stopped.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use hyper::{Method, StatusCode};

use super::docker::Contained;
use super::guard::Order;
use super::http::{self, HttpError};
use super::log_tail;
use super::port::{self, PortError};
use super::process::{Ended, GuardBinary, Output, Owned, SpawnError};
use super::ready::{Readiness, ReadyError, wait_ready};
use super::started::{End, EndError, Launch, Started};

/// How long the kernel may take to free the port of a process that is gone.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);
/// How long a server may take to give up requests whose client is gone.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to drop its caches.
const RESET_LIMIT: Duration = Duration::from_secs(60);

/// A server to start. Its environment is exactly `env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    /// The program, looked up on `env`'s `PATH`, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The working folder.
    pub cwd: PathBuf,
    /// Where it will listen.
    pub port: u16,
    /// The path whose 200 means ready.
    pub ready_path: String,
    /// How long it may take to be ready.
    pub ready_within: Duration,
    /// From TERM to KILL when it is stopped.
    pub stop_grace: Duration,
    /// Where its output is appended.
    pub log_path: PathBuf,
    /// The container that the program keeps, where the server runs in one.
    pub container: Option<Contained>,
}

/// Why a server does not stand.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Ready(#[from] ReadyError),
    /// It was not ready, and then could not be ended either.
    #[error("{ready}; then failed to {stop}")]
    Stuck { ready: ReadyError, stop: StopError },
}

/// Why a server was not stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error(transparent)]
    Left(#[from] EndError),
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Why a reset does not count.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    #[error("reset the server by {request}: {source}")]
    NoAnswer { request: String, source: HttpError },
    #[error("reset the server by {request}: it answered {status} {body}")]
    Refused {
        request: String,
        status: StatusCode,
        body: String,
    },
}

/// A server under guard. Dropping it ends it, without waiting for that.
#[derive(Debug)]
pub struct Server {
    spec: ServerSpec,
    started: Started,
}

impl Server {
    /// Starts a server and waits until it is ready; one that does not become ready is stopped first.
    ///
    /// `on_owned` is called as soon as the process runs: journal it there. May be dropped at any time, which ends it.
    pub async fn start(
        guard: &GuardBinary,
        spec: ServerSpec,
        on_owned: impl FnOnce(Owned),
    ) -> Result<Self, StartError> {
        let mut server = Self::spawn(guard, spec).await?;
        on_owned(server.owned().clone());
        match server.ready().await {
            Ok(()) => Ok(server),
            Err(ready @ ReadyError::Foreign { .. }) => {
                // The port is the other's, so only our process is waited for.
                match server.started.stop(server.spec.stop_grace).await {
                    Ok(_) => Err(ready.into()),
                    Err(stop) => Err(StartError::Stuck {
                        ready,
                        stop: stop.into(),
                    }),
                }
            }
            Err(ready) => match server.stop().await {
                Ok(_) => Err(ready.into()),
                Err(stop) => Err(StartError::Stuck { ready, stop }),
            },
        }
    }

    /// Starts a server without waiting for readiness; an occupied port is refused, unless by the very server.
    pub async fn spawn(guard: &GuardBinary, spec: ServerSpec) -> Result<Self, StartError> {
        if !spec.container.as_ref().is_some_and(Contained::is_adopted) {
            port::ensure_free(spec.port)?;
        }
        let order = Order {
            argv: spec.argv.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            grace_ms: u64::try_from(spec.stop_grace.as_millis()).unwrap_or(u64::MAX),
        };
        let launch = Launch {
            order,
            container: spec.container.clone(),
        };
        let started = Started::spawn(guard, launch, Output::Log(&spec.log_path)).await?;
        Ok(Self { spec, started })
    }

    /// Waits until it is ready, or has died, or `ready_within` has passed since this call.
    pub async fn ready(&self) -> Result<(), ReadyError> {
        let readiness = Readiness {
            port: self.spec.port,
            path: &self.spec.ready_path,
            within: self.spec.ready_within,
            log: &self.spec.log_path,
        };
        wait_ready(&self.started, readiness).await
    }

    /// Waits until it serves nobody any more, who may have been a client that is gone; whether that came within a minute.
    pub async fn idle(&self) -> bool {
        port::wait_unused(self.spec.port, IDLE_LIMIT).await
    }

    /// What it was started from.
    pub fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// What to journal.
    pub fn owned(&self) -> &Owned {
        self.started.owned()
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.started.end()
    }

    /// Waits for it to end by itself; it borrows nothing, so that it can stand in a `select!`.
    pub fn ended(&self) -> impl Future<Output = End> + Send + use<> {
        self.started.ended()
    }

    /// How it ended, where broken connections say that it has: the word of its end may come later than they do.
    pub async fn death(&self) -> Option<End> {
        self.started.death().await
    }

    /// Sends the recipe's reset; only a 2xx answer counts.
    pub async fn reset(&self, method: Method, path: &str) -> Result<(), ResetError> {
        let request = format!("{method} {path}");
        match http::request(method, self.spec.port, path, RESET_LIMIT).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => {
                let body = log_tail::shown(answer.body.lines().next().unwrap_or_default());
                Err(ResetError::Refused {
                    request,
                    status: answer.status,
                    body,
                })
            }
            Err(source) => Err(ResetError::NoAnswer { request, source }),
        }
    }

    /// The last lines that it logged since this start, joined; empty when it logged nothing.
    pub fn last_words(&self, lines: usize) -> String {
        log_tail::last_lines(&self.spec.log_path, self.started.log_start(), lines).join("\n")
    }

    /// Ends it: TERM, KILL after the grace, back when every process of it is gone and its port is released.
    ///
    /// May be dropped and followed by [`Server::kill`].
    pub async fn stop(&mut self) -> Result<Ended, StopError> {
        self.end_within(self.spec.stop_grace).await
    }

    /// Ends it without grace.
    pub async fn kill(&mut self) -> Result<Ended, StopError> {
        self.end_within(Duration::ZERO).await
    }

    async fn end_within(&mut self, grace: Duration) -> Result<Ended, StopError> {
        let ended = self.started.stop(grace).await?;
        port::wait_released(self.spec.port, RELEASE_LIMIT).await?;
        Ok(ended)
    }
}
