//! Readiness: our process answers, or it died, or the limit passed, whichever first.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::time::{Instant, sleep, sleep_until};

use super::http::{self, HttpError};
use super::log_tail;
use super::port;
use super::procfs;
use super::started::{End, Listeners, Started};

/// How long is waited between two looks, at first; grown by half each time up to [`POLL_MAX`].
const POLL_MIN: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_secs(1);
/// How long one look may take: some servers accept connections long before they answer them.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// How many of the log's last lines a message quotes.
const QUOTED_LINES: usize = 20;

/// Where readiness is asked, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Readiness<'a> {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The path whose 200 means ready; any other answer means not yet.
    pub path: &'a str,
    /// The limit.
    pub within: Duration,
    /// The server's log, for the message.
    pub log: &'a Path,
}

/// Why a server is not ready.
#[derive(Debug, thiserror::Error)]
pub enum ReadyError {
    /// It ended.
    #[error("the server died before it was ready: {end}{}", log_tail::quote(last_lines))]
    Died { end: End, last_lines: Vec<String> },
    /// It took too long.
    #[error(
        "the server was not ready within {within:?}: {last_answer}{}",
        log_tail::quote(last_lines)
    )]
    Late {
        within: Duration,
        last_answer: String,
        last_lines: Vec<String>,
    },
    /// Something that sweep did not start answers on the server's port.
    #[error(
        "port {port} is answered by {}, which sweep did not start; end it, or let sweep choose the port",
        Answerer { pid: *pid, name: name.as_deref() }
    )]
    Foreign {
        port: u16,
        pid: Option<u32>,
        name: Option<String>,
    },
}

struct Answerer<'a> {
    pid: Option<u32>,
    name: Option<&'a str>,
}

impl fmt::Display for Answerer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, self.name) {
            (Some(pid), Some(name)) => write!(f, "pid {pid} ({name})"),
            (Some(pid), None) => write!(f, "pid {pid}"),
            (None, _) => write!(f, "a process of another user or container"),
        }
    }
}

/// Waits until the server is ready.
pub async fn wait_ready(server: &Started, readiness: Readiness<'_>) -> Result<(), ReadyError> {
    let deadline = Instant::now() + readiness.within;
    let mut last_answer = "it never listened".to_owned();
    let mut pause = POLL_MIN;
    let last_lines = || log_tail::last_lines(readiness.log, server.log_start(), QUOTED_LINES);
    let died = |end| ReadyError::Died {
        end,
        last_lines: last_lines(),
    };
    let mut exited = std::pin::pin!(server.ended());
    loop {
        let answer = tokio::select! {
            biased;
            end = &mut exited => return Err(died(end)),
            () = sleep_until(deadline) => break,
            answer = http::request(Method::GET, readiness.port, readiness.path, LOOK_LIMIT) => answer,
        };
        match answer {
            Err(HttpError::Connect { .. }) => {}
            answer => match responder(server, readiness.port) {
                Responder::Ours => match answer {
                    Ok(answer) if answer.status == StatusCode::OK => return Ok(()),
                    Ok(answer) => last_answer = format!("{} answers {}", readiness.path, answer.status),
                    Err(error) => last_answer = format!("{} gives no answer: {error}", readiness.path),
                },
                Responder::Nobody => {
                    last_answer =
                        "it answered, but nothing shows who listens there, so it may be anyone".to_owned();
                }
                Responder::Foreign { pid, name } => {
                    return Err(ReadyError::Foreign {
                        port: readiness.port,
                        pid,
                        name,
                    });
                }
            },
        }
        tokio::select! {
            biased;
            end = &mut exited => return Err(died(end)),
            () = sleep_until(deadline) => break,
            () = sleep(pause) => pause = (pause * 3 / 2).min(POLL_MAX),
        }
    }
    Err(ReadyError::Late {
        within: readiness.within,
        last_answer,
        last_lines: last_lines(),
    })
}

enum Responder {
    Ours,
    Nobody,
    Foreign { pid: Option<u32>, name: Option<String> },
}

/// Who listens where we were answered. Every listener that loopback can reach must be ours: two sockets may share a
/// port, and the next request may reach the other one.
fn responder(server: &Started, port: u16) -> Responder {
    let table = procfs::all();
    let ours = match server.listeners(&table) {
        Listeners::Processes(pids) => pids,
        // It bound the port for our container, which runs; nobody else could.
        Listeners::Engine => return Responder::Ours,
        Listeners::Unknown => return Responder::Nobody,
    };
    let mut sockets = port::listeners(port);
    sockets.retain(port::Listener::answers_loopback);
    if sockets.is_empty() {
        return Responder::Nobody;
    }
    let foreign = sockets
        .iter()
        .find(|socket| port::owners(std::slice::from_ref(socket), ours.iter().copied()).is_empty());
    let Some(foreign) = foreign else {
        return Responder::Ours;
    };
    let pids = table.iter().map(|process| process.identity.pid);
    let pid = port::owners(std::slice::from_ref(foreign), pids).first().copied();
    if pid.is_none() && !port::listeners(port).contains(foreign) {
        return Responder::Nobody; // it closed while we looked
    }
    Responder::Foreign {
        pid,
        name: pid.and_then(procfs::read).map(|process| process.name),
    }
}
