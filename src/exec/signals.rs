//! Interruption: the first signal ends the run gracefully, the second at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How far a run has been interrupted; it only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interrupt {
    /// Not at all.
    #[default]
    None,
    /// Start nothing new, keep what is finished, stop servers with their grace.
    Graceful,
    /// Stop servers without grace.
    Now,
}

/// Which signal interrupted the run first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGINT, as by ^C.
    Int,
    /// SIGTERM.
    Term,
    /// SIGHUP, the end of the terminal.
    Hangup,
}

impl Cause {
    /// 128 and the signal's number, as shells have it; a terminal that is gone ends a run as SIGTERM does.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Int => 130,
            Self::Term | Self::Hangup => 143,
        }
    }

    /// The signal's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "SIGINT",
            Self::Term => "SIGTERM",
            Self::Hangup => "SIGHUP",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    level: Interrupt,
    cause: Option<Cause>,
}

/// Where interruptions come from: the process's signals, or a test.
#[derive(Debug)]
pub struct Interrupter(watch::Sender<State>);

impl Interrupter {
    /// One interruption: graceful the first time, at once from the second on.
    pub fn interrupt(&self, cause: Cause) {
        self.0.send_modify(|state| {
            state.cause.get_or_insert(cause);
            state.level = match state.level {
                Interrupt::None => Interrupt::Graceful,
                Interrupt::Graceful | Interrupt::Now => Interrupt::Now,
            };
        });
    }
}

/// A view of the interruptions, cheap to clone.
#[derive(Clone, Debug)]
pub struct Interrupts(watch::Receiver<State>);

impl Interrupts {
    /// Takes over SIGINT, SIGTERM and SIGHUP of this process; inside a tokio runtime with I/O.
    pub fn listen() -> io::Result<Self> {
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (source, interrupts) = Self::by_hand();
        tokio::spawn(async move {
            loop {
                let cause = tokio::select! {
                    _ = int.recv() => Cause::Int,
                    _ = term.recv() => Cause::Term,
                    _ = hangup.recv() => Cause::Hangup,
                };
                source.interrupt(cause);
            }
        });
        Ok(interrupts)
    }

    /// Interruptions without signals, for tests.
    pub fn by_hand() -> (Interrupter, Self) {
        let (sender, receiver) = watch::channel(State::default());
        (Interrupter(sender), Self(receiver))
    }

    /// How far the run has been interrupted.
    pub fn level(&self) -> Interrupt {
        self.0.borrow().level
    }

    /// What interrupted the run first; `None` when nothing did.
    pub fn cause(&self) -> Option<Cause> {
        self.0.borrow().cause
    }

    /// The exit code of an interrupted run; `None` when it was not interrupted.
    pub fn exit_code(&self) -> Option<u8> {
        self.cause().map(Cause::exit_code)
    }

    /// Waits until the run has been interrupted this far; for ever when nothing can interrupt it any more.
    pub async fn reached(&self, level: Interrupt) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|state| state.level >= level).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[tokio::test]
    async fn the_second_one_means_now_and_the_first_one_names_the_exit_code() {
        let (source, interrupts) = Interrupts::by_hand();
        assert_eq!(
            (interrupts.level(), interrupts.exit_code()),
            (Interrupt::None, None)
        );
        source.interrupt(Cause::Int);
        interrupts.reached(Interrupt::Graceful).await;
        assert_eq!(
            (interrupts.level(), interrupts.exit_code()),
            (Interrupt::Graceful, Some(130))
        );
        source.interrupt(Cause::Term);
        interrupts.reached(Interrupt::Now).await;
        source.interrupt(Cause::Term);
        assert_eq!(
            (interrupts.level(), interrupts.exit_code()),
            (Interrupt::Now, Some(130))
        );
    }

    #[tokio::test]
    async fn a_signal_of_this_process_is_an_interruption() {
        let interrupts = Interrupts::listen().unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
        interrupts.reached(Interrupt::Graceful).await;
        assert_eq!(interrupts.exit_code(), Some(143));
        assert_eq!(interrupts.cause().map(Cause::name), Some("SIGHUP"));
    }
}
