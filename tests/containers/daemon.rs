//! A program that runs beside a test and ends with it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a daemon may take to come up or to go.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// Ended when it is dropped, and by the kernel should the test be killed.
pub(super) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts it with its output in `log` and waits until it is `up`; panics with the log when it does not come up.
    pub(super) fn start(program: &str, words: &[String], log: &Path, up: impl Fn() -> bool) -> Self {
        Self::start_with(&[], program, words, log, up)
    }

    /// The same with some variables set.
    pub(super) fn start_with(
        variables: &[(&str, String)],
        program: &str,
        words: &[String],
        log: &Path,
        up: impl Fn() -> bool,
    ) -> Self {
        let output = File::create(log).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--", program])
            .args(words)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut daemon = Self { child };
        let deadline = Instant::now() + LIMIT;
        while !up() {
            let ended = daemon.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                panic!(
                    "{program} did not come up ({ended:?}):\n{}",
                    fs::read_to_string(log).unwrap()
                );
            }
            thread::sleep(POLL);
        }
        daemon
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal and waits for the end. Nothing where it has ended already.
    pub(super) fn end(&mut self, signal: Signal) -> Option<ExitStatus> {
        if let Ok(None) = self.child.try_wait() {
            let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
            let _ = kill_process(pid, signal);
        }
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(POLL),
                ended => return ended.ok().flatten(),
            }
        }
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end(Signal::TERM);
    }
}
