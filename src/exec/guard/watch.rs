//! The guard process itself: start, watch, end everything, report.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use super::protocol::{ExitFacts, Order, Report, Request};
use crate::exec::procfs::{self, Identity};

/// How soon what survived a KILL is looked for again, at first; doubled each time up to [`KILL_AGAIN_MAX`].
const KILL_AGAIN: Duration = Duration::from_millis(10);
const KILL_AGAIN_MAX: Duration = Duration::from_millis(500);

enum Event {
    /// End everything, after this grace or the order's.
    Stop(Option<Duration>),
    /// A descendant ended and was reaped.
    Reaped(u32, ExitFacts),
    /// No descendant is left.
    AllGone,
}

/// Runs as the guard: reads an [`Order`] from standard input, starts it with its output on this process's standard
/// error, and returns when the program and all its descendants are gone.
pub fn run() -> ExitCode {
    match guard() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sweep guard: {error}");
            ExitCode::from(3)
        }
    }
}

fn guard() -> io::Result<()> {
    // The guard is started through /proc/self/exe; without this it would be named `exe` in process lists.
    let _ = std::fs::write("/proc/self/comm", "sweep-guard");
    let mut input = BufReader::new(io::stdin());
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(()); // sweep died before it gave its order
    }
    let order: Order = serde_json::from_str(&line)?;

    let (events, inbox) = mpsc::channel();
    // Handlers first: from here on a signal stops the guard in order, whatever it has started by then.
    let signals = Signals::install()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let leader = match start(&order) {
        Ok(leader) => leader,
        Err(error) => {
            report(&Report::Refused {
                reason: error.to_string(),
            });
            return Ok(());
        }
    };
    report(&Report::Started(leader));
    thread::spawn({
        let events = events.clone();
        move || forward_requests(input, &events)
    });
    thread::spawn({
        let events = events.clone();
        move || signals.forward(&events)
    });
    thread::spawn(move || reap(&events));
    let forced = watch(&inbox, leader, Duration::from_millis(order.grace_ms));
    report(&Report::Ended { forced });
    Ok(())
}

/// Starts the program in a process group of its own, with an empty standard input.
fn start(order: &Order) -> io::Result<Identity> {
    let (program, arguments) = order
        .argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
    let log = || io::stderr().as_fd().try_clone_to_owned().map(Stdio::from);
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&order.env)
        .current_dir(&order.cwd)
        .stdin(Stdio::null())
        .stdout(log()?)
        .stderr(log()?)
        .process_group(0)
        .spawn()?;
    // Readable even when it has ended already: nothing has reaped it yet.
    procfs::read(child.id())
        .map(|process| process.identity)
        .ok_or_else(|| io::Error::other("/proc does not show the process just started"))
}

/// The guard's life: one event after the other until nothing is left; true when something had to be killed.
fn watch(inbox: &Receiver<Event>, leader: Identity, default_grace: Duration) -> bool {
    let mut kill_at: Option<Instant> = None;
    let mut pause = KILL_AGAIN;
    let mut forced = false;
    loop {
        let event = match kill_at {
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        let grace = match event {
            Ok(Event::AllGone) | Err(RecvTimeoutError::Disconnected) => return forced,
            Ok(Event::Reaped(pid, exit)) if pid == leader.pid => {
                report(&Report::Exited(exit));
                default_grace
            }
            Ok(Event::Reaped(..)) => continue,
            Ok(Event::Stop(grace)) => grace.unwrap_or(default_grace),
            Err(RecvTimeoutError::Timeout) => {
                forced |= signal_all(leader.pid, Signal::KILL);
                kill_at = Some(Instant::now() + pause);
                pause = (pause * 2).min(KILL_AGAIN_MAX);
                continue;
            }
        };
        if kill_at.is_none() {
            signal_all(leader.pid, Signal::TERM);
        }
        let at = Instant::now() + grace;
        kill_at = Some(kill_at.map_or(at, |earlier| earlier.min(at)));
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

/// Reaps every descendant that reaches this process. With a subreaper, no child left means no descendant left.
fn reap(events: &Sender<Event>) {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => {
                let _ = events.send(Event::Reaped(
                    pid.as_raw_nonzero().get().cast_unsigned(),
                    facts(status),
                ));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => {
                let _ = events.send(Event::AllGone);
                return;
            }
        }
    }
}

fn facts(status: WaitStatus) -> ExitFacts {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitFacts::Code(code),
        (None, Some(signal)) => ExitFacts::Signal(signal),
        (None, None) => ExitFacts::Unseen,
    }
}

/// Passes requests on; the end of the input means that `sweep` is gone.
fn forward_requests(input: impl BufRead, events: &Sender<Event>) {
    for line in input.lines() {
        match line.map(|line| serde_json::from_str(&line)) {
            Ok(Ok(Request::Stop { grace_ms })) => {
                let _ = events.send(Event::Stop(Some(Duration::from_millis(grace_ms))));
            }
            Ok(Err(error)) => eprintln!("sweep guard: {error}"),
            Err(_) => break,
        }
    }
    let _ = events.send(Event::Stop(None));
}

fn report(report: &Report) {
    let mut line = serde_json::to_string(report).expect("a report is plain data");
    line.push('\n');
    // Nobody reads when sweep is gone; the guard's work goes on.
    let _ = io::stdout()
        .write_all(line.as_bytes())
        .and_then(|()| io::stdout().flush());
}

/// TERM, INT and HUP as events. Handlers need either `unsafe` or a runtime: this is tokio's smallest one.
struct Signals {
    runtime: Runtime,
    streams: [SignalStream; 3],
}

impl Signals {
    fn install() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let streams = {
            let _context = runtime.enter();
            [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            ]
        };
        Ok(Self { runtime, streams })
    }

    fn forward(self, events: &Sender<Event>) {
        let [mut terminate, mut interrupt, mut hangup] = self.streams;
        self.runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {}
                }
                let _ = events.send(Event::Stop(None));
            }
        });
    }
}
