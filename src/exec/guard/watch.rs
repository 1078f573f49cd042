//! The guard process itself: start, watch, end everything, report; and once more, as long as it is asked.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep_until};

use super::input::{Requests, Signalled, Signals};
use super::protocol::{ExitFacts, Order, Received, Report};
use super::start::Starter;
use crate::exec::procfs::{self, Identity};

/// How soon what survived a KILL is looked for again, at first; doubled each time up to [`KILL_AGAIN_MAX`].
const KILL_AGAIN: Duration = Duration::from_millis(10);
const KILL_AGAIN_MAX: Duration = Duration::from_millis(500);

/// Runs as the guard: takes requests from standard input, starts what they order, and returns when `sweep` is gone or a
/// signal came, and nothing that was started is left.
pub fn run() -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(guard())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sweep guard: {error}");
            ExitCode::from(3)
        }
    }
}

async fn guard() -> io::Result<()> {
    // The guard is started through /proc/self/exe; without this it would be named `exe` in process lists.
    let _ = std::fs::write("/proc/self/comm", "sweep-guard");
    // Handlers first: from here on a signal stops the guard in order, whatever it has started by then.
    let mut signals = Signals::install()?;
    let mut requests = Requests::of_stdin()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut starter = Starter::default();
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            signalled = signals.next() => match signalled {
                // Of a program that has been reaped.
                Signalled::Child => continue,
                Signalled::Stop => return Ok(()),
            },
        };
        match request {
            None => return Ok(()),
            // It came when all had ended already.
            Some(Received::Stop { .. }) => {}
            Some(Received::Start { order, log }) => match starter.start(&order, log.as_deref()) {
                Err(error) => report(&[Report::Refused {
                    reason: error.to_string(),
                }]),
                Ok(leader) => {
                    report(&[Report::Started(leader)]);
                    if !Watch::new(&order, leader).run(&mut requests, &mut signals).await {
                        return Ok(());
                    }
                }
            },
        }
    }
}

/// A program with its descendants, watched until nothing is left of them.
struct Watch {
    leader: Identity,
    /// Until `sweep` was told.
    exit: Option<ExitFacts>,
    default_grace: Duration,
    kill_at: Option<Instant>,
    pause: Duration,
    /// Whether something had to be killed.
    forced: bool,
    /// `sweep` is there.
    is_asked: bool,
    /// The guard is to end itself.
    is_last: bool,
}

impl Watch {
    fn new(order: &Order, leader: Identity) -> Self {
        Self {
            leader,
            exit: None,
            default_grace: Duration::from_millis(order.grace_ms),
            kill_at: None,
            pause: KILL_AGAIN,
            forced: false,
            is_asked: true,
            is_last: false,
        }
    }

    /// One thing after the other until nothing is left; whether the guard is to take another program.
    async fn run(mut self, requests: &mut Requests, signals: &mut Signals) -> bool {
        loop {
            let kill_at = self.kill_at;
            tokio::select! {
                request = requests.next(), if self.is_asked => match request {
                    Some(Received::Stop { grace_ms }) => self.stop(Duration::from_millis(grace_ms)),
                    Some(Received::Start { .. }) => eprintln!("sweep guard: it has a program already"),
                    None => {
                        self.is_asked = false;
                        self.stop_for_good();
                    }
                },
                signalled = signals.next() => match signalled {
                    Signalled::Stop => self.stop_for_good(),
                    Signalled::Child if self.reap() => {
                        let exit = self.exit.take().map(Report::Exited);
                        let ended = Report::Ended { forced: self.forced };
                        report(&exit.into_iter().chain([ended]).collect::<Vec<_>>());
                        return !self.is_last;
                    }
                    Signalled::Child => {
                        if let Some(exit) = self.exit.take() {
                            report(&[Report::Exited(exit)]);
                            self.stop(self.default_grace);
                        }
                    }
                },
                () = sleep_until(kill_at.unwrap_or_else(Instant::now)), if kill_at.is_some() => self.kill(),
            }
        }
    }

    /// TERM now, KILL after the grace, which a later call can only shorten.
    fn stop(&mut self, grace: Duration) {
        if self.kill_at.is_none() {
            signal_all(self.leader.pid, Signal::TERM);
        }
        let at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn stop_for_good(&mut self) {
        self.is_last = true;
        self.stop(self.default_grace);
    }

    fn kill(&mut self) {
        self.forced |= signal_all(self.leader.pid, Signal::KILL);
        self.kill_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(KILL_AGAIN_MAX);
    }

    /// Reaps every descendant that has reached this process; true when none is left. With a subreaper, no child left
    /// means no descendant left.
    fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid.as_raw_nonzero().get().cast_unsigned() == self.leader.pid {
                        self.exit = Some(facts(status));
                    }
                }
                Ok(None) => return false,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return true,
            }
        }
    }
}

/// Signals the group at once, then each descendant outside it; true when there was something to signal.
fn signal_all(group: u32, what: Signal) -> bool {
    let descendants = procfs::descendants(std::process::id(), &procfs::all());
    let living = || descendants.iter().filter(|process| !process.is_dead());
    // While one of ours is in the group, its number cannot belong to anyone else.
    if living().any(|process| process.group == group)
        && let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw)
    {
        let _ = rustix::process::kill_process_group(group, what);
    }
    for stray in living().filter(|process| process.group != group) {
        let _ = procfs::signal(stray.identity, what);
    }
    living().next().is_some()
}

fn facts(status: WaitStatus) -> ExitFacts {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitFacts::Code(code),
        (None, Some(signal)) => ExitFacts::Signal(signal),
        (None, None) => ExitFacts::Unseen,
    }
}

/// Tells `sweep`, in one write.
fn report(reports: &[Report]) {
    let mut lines = String::new();
    for report in reports {
        lines += &serde_json::to_string(report).expect("a report is plain data");
        lines.push('\n');
    }
    // Nobody reads when sweep is gone; the guard's work goes on.
    let _ = io::stdout()
        .write_all(lines.as_bytes())
        .and_then(|()| io::stdout().flush());
}
