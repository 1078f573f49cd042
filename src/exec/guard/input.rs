//! What reaches a guard beside its children: requests, and signals.

use std::io;
use std::os::fd::AsFd;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::protocol::Received;

/// The requests of `sweep`, from standard input, which is a pipe.
pub(super) struct Requests(Lines<BufReader<Receiver>>);

impl Requests {
    pub(super) fn of_stdin() -> io::Result<Self> {
        let pipe = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self(BufReader::new(Receiver::from_owned_fd(pipe)?).lines()))
    }

    /// The next one; `None` when `sweep` is gone. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Option<Received> {
        loop {
            let line = self.0.next_line().await.ok().flatten()?;
            match serde_json::from_str(&line) {
                Ok(request) => return Some(request),
                Err(error) => eprintln!("sweep guard: {error}"),
            }
        }
    }
}

/// TERM, INT and HUP, which all mean the same, and the ends of children.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    child: Signal,
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }

    /// What has come.
    pub(super) async fn next(&mut self) -> Signalled {
        tokio::select! {
            _ = self.child.recv() => Signalled::Child,
            _ = self.terminate.recv() => Signalled::Stop,
            _ = self.interrupt.recv() => Signalled::Stop,
            _ = self.hangup.recv() => Signalled::Stop,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signalled {
    /// One or several children have ended.
    Child,
    /// The guard is to end all and itself.
    Stop,
}
