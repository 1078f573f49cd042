//! `sweep` while it runs, and what it left when it ended.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::folder::run_ids;
use super::story::Story;

/// No test waits longer for anything that happens on this machine.
const LIMIT: Duration = Duration::from_secs(90);

/// How often something is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(2);

/// Looks until there is an answer; panics with `what` when there is none in time.
pub(crate) fn wait_until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(LIMIT, what, look)
}

fn wait_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = look() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(POLL);
    }
}

/// A `sweep` at work. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    root: PathBuf,
    runs_before: BTreeSet<String>,
    began: Instant,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

/// A `sweep` that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// As a shell would have it: 128 and the signal for one that was killed.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
    /// What its run said; nothing where there was nothing to run.
    pub(crate) story: Story,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
            elapsed,
            ..
        } = self;
        write!(
            f,
            "exit {code} after {elapsed:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

impl Running {
    pub(super) fn start(mut command: Command, root: &Path) -> Self {
        let runs_before = run_ids(root);
        let began = Instant::now();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        Self {
            child,
            root: root.to_owned(),
            runs_before,
            began,
            stdout: Some(read_all(stdout)),
            stderr: Some(read_all(stderr)),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What its run has said so far. Only for one build at a time in a project.
    pub(crate) fn story(&self) -> Story {
        let new = run_ids(&self.root);
        let mut new = new.difference(&self.runs_before);
        let story = new
            .next()
            .map_or(Story(Vec::new()), |run| Story::read(&self.root, run));
        assert_eq!(new.next(), None, "one run a command");
        story
    }

    /// Waits until its run has said something; panics when it ends before.
    pub(crate) fn wait_for(&mut self, what: &str, said: impl Fn(&Story) -> bool) {
        wait_until(what, || {
            let ended = self.child.try_wait().unwrap();
            let story = self.story();
            assert!(
                said(&story) || ended.is_none(),
                "it ended ({ended:?}) before {what}: {story:#?}"
            );
            said(&story).then_some(())
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it as `kill -9` does, and only it.
    pub(crate) fn kill(self) -> Ran {
        self.signal(Signal::KILL);
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> Ran {
        self.wait_within(LIMIT)
    }

    /// Waits for its end longer than for others', as where something is fetched from a network.
    pub(crate) fn wait_within(mut self, limit: Duration) -> Ran {
        let status = wait_within(limit, "sweep to end", || self.child.try_wait().unwrap());
        let elapsed = self.began.elapsed();
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal));
        Ran {
            code: code.unwrap(),
            stdout: self.stdout.take().unwrap().join().unwrap(),
            stderr: self.stderr.take().unwrap().join().unwrap(),
            elapsed,
            story: self.story(),
        }
    }
}

/// Reads on a thread of its own, so that the child never waits for its reader.
fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
