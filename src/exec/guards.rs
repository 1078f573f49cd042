//! Running guards, as `sweep` holds them, and those that wait for another program to guard.
//!
//! Starting a guard takes longer than starting what it guards: it is this whole program, executed again. So where many
//! programs run one after another, as scripts do, a guard whose program is gone takes the next.

use std::io::{self, PipeWriter, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::guard::{Report, Request};
use super::process::GuardBinary;
use super::procfs::{self, Identity};

/// The way to a guard. Closed, it tells the guard to end what it guards and itself.
#[derive(Clone, Debug)]
pub(super) struct Line(Arc<Mutex<Option<PipeWriter>>>);

impl Line {
    /// Blocks where the guard does not read and the pipe is full, which no request but a huge environment fills.
    pub(super) fn ask(&self, request: &Request<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        match &mut *self.held() {
            Some(pipe) => pipe.write_all(&line),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// For everybody who has it.
    pub(super) fn close(&self) {
        self.held().take();
    }

    /// A new way to the same guard: whoever has the old one reaches it no more. `None` where it was closed.
    fn renewed(&self) -> Option<Self> {
        let pipe = self.held().take()?;
        Some(Self(Arc::new(Mutex::new(Some(pipe)))))
    }

    fn held(&self) -> MutexGuard<'_, Option<PipeWriter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running guard. Dropped, with all that have the way to it, it ends what it guards and then itself.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    identity: Identity,
    line: Line,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Guard {
    /// Starts one with this standard error, in a process group of its own.
    pub(super) fn start(program: &Path, stderr: Stdio) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut child = Command::new(program)
            .arg0("sweep")
            .arg("guard")
            .env_clear()
            .stdin(reader)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()?;
        let process = procfs::read(child.id().unwrap_or_default());
        let process = process.ok_or_else(|| io::Error::other("/proc does not show it"))?;
        let reports = child.stdout.take().expect("its stdout is piped");
        Ok(Self {
            child,
            identity: process.identity,
            line: Line(Arc::new(Mutex::new(Some(writer)))),
            reports: BufReader::new(reports).lines(),
        })
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Its standard error, once, where that is a pipe.
    pub(super) fn take_output(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// The next thing that it says; `None` when it is gone. May be dropped and called again.
    pub(super) async fn report(&mut self) -> io::Result<Option<Report>> {
        while let Some(line) = self.reports.next_line().await? {
            if let Ok(report) = serde_json::from_str(&line) {
                return Ok(Some(report));
            }
        }
        Ok(None)
    }

    /// Whether it has said more than was taken.
    pub(super) fn has_more(&mut self) -> bool {
        !self.reports.get_ref().buffer().is_empty()
    }

    /// Lets it end what it guards and itself, and waits for that.
    pub(super) async fn end(mut self) {
        self.line.close();
        let _ = self.child.wait().await;
    }
}

/// Guards that serve one program after another.
#[derive(Debug)]
pub struct Guards {
    binary: GuardBinary,
    idle: Arc<Mutex<Vec<Guard>>>,
}

impl Guards {
    /// None yet; each is started from this program.
    pub fn new(binary: GuardBinary) -> Self {
        Self {
            binary,
            idle: Arc::default(),
        }
    }

    /// Asks an idle guard, or else a new one.
    pub(super) fn ask(&self, request: &Request<'_>) -> io::Result<Guard> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(guard) = idle else { break };
            // One that was killed meanwhile has heard nothing.
            if guard.line.ask(request).is_ok() {
                return Ok(guard);
            }
        }
        let guard = Guard::start(&self.binary.0, Stdio::null())?;
        guard.line.ask(request)?;
        Ok(guard)
    }

    /// Where its guards go when they have nothing to guard.
    pub(super) fn home(&self) -> Home {
        Home(Arc::downgrade(&self.idle))
    }

    /// Ends the idle ones, and waits for that.
    pub async fn dismiss(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for guard in idle {
            guard.end().await;
        }
    }
}

/// Where idle guards wait, as long as anyone may come for them.
#[derive(Debug)]
pub(super) struct Home(Weak<Mutex<Vec<Guard>>>);

impl Home {
    /// Keeps a guard that has nothing to guard. It is given back where nobody will come for it: it has been told to end.
    pub(super) fn take_back(&self, mut guard: Guard) -> Option<Guard> {
        let (Some(idle), Some(line)) = (self.0.upgrade(), guard.line.renewed()) else {
            return Some(guard);
        };
        guard.line = line;
        idle.lock().unwrap_or_else(PoisonError::into_inner).push(guard);
        None
    }
}
