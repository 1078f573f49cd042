//! Interruption: the first signal ends the run gracefully, the second at once. A full disk does what a first signal does.

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

/// What interrupted the run first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGINT, as by ^C.
    Int,
    /// SIGTERM.
    Term,
    /// SIGHUP, the end of the terminal.
    Hangup,
    /// No signal: what is measured cannot be kept.
    DiskFull,
}

impl Cause {
    /// 128 and the signal's number, as shells have it; a terminal that is gone ends a run as SIGTERM does. 3 for a disk.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Int => 130,
            Self::Term | Self::Hangup => 143,
            Self::DiskFull => 3,
        }
    }

    /// The signal's name, or what happened in its place.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "SIGINT",
            Self::Term => "SIGTERM",
            Self::Hangup => "SIGHUP",
            Self::DiskFull => "nothing can be written any more",
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

/// The interruptions of a run, cheap to clone.
#[derive(Clone, Debug)]
pub struct Interrupts(watch::Sender<State>);

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
        let (sender, _) = watch::channel(State::default());
        (Interrupter(sender.clone()), Self(sender))
    }

    /// Ends the run gracefully, unless it ends already.
    pub fn give_up(&self, cause: Cause) {
        self.0.send_if_modified(|state| {
            let first = state.level == Interrupt::None;
            if first {
                *state = State {
                    level: Interrupt::Graceful,
                    cause: Some(cause),
                };
            }
            first
        });
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

    /// Waits until the run has been interrupted this far.
    pub async fn reached(&self, level: Interrupt) {
        let mut receiver = self.0.subscribe();
        let reached = receiver.wait_for(|state| state.level >= level).await;
        reached.expect("the sender is there as long as this");
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
    async fn a_full_disk_ends_a_run_as_a_first_signal_does_and_no_further() {
        let (source, interrupts) = Interrupts::by_hand();
        for _ in 0..2 {
            interrupts.give_up(Cause::DiskFull);
            interrupts.reached(Interrupt::Graceful).await;
            assert_eq!(
                (interrupts.level(), interrupts.exit_code()),
                (Interrupt::Graceful, Some(3))
            );
        }
        source.interrupt(Cause::Int);
        assert_eq!(interrupts.level(), Interrupt::Now);
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
