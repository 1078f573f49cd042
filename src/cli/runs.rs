//! The runs of a cache folder, and whether one still goes on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::report::Board;
use crate::exec::journal::{EVENTS_FILE, JournalError};

/// A run's folder, `<cache>/runs/<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    pub id: String,
    pub path: PathBuf,
}

/// What earlier runs left could not be read.
#[derive(Debug, Error)]
pub enum RunsError {
    #[error("list the runs in `{}`: {cause}", path.display())]
    List {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The runs that kept events, the newest first: their ids sort by time.
pub fn newest_first(cache_dir: &Path) -> Result<Vec<RunFolder>, RunsError> {
    let path = cache_dir.join("runs");
    let failed = |cause| RunsError::List {
        path: path.clone(),
        cause,
    };
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // Ours are ASCII; another name is somebody else's.
        if let Ok(id) = entry.file_name().into_string()
            && entry.path().join(EVENTS_FILE).is_file()
        {
            let path = entry.path();
            runs.push(RunFolder { id, path });
        }
    }
    runs.sort_by(|a, b| b.id.cmp(&a.id));
    Ok(runs)
}

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    Running,
    /// It said so.
    Ended,
    /// Its process is gone and it did not say that it ended.
    CutOff,
    /// It did not say that it ended, and its process is another host's: nobody can tell from here.
    Elsewhere,
}

/// The host that looks at runs.
#[derive(Debug, Clone)]
pub struct Host {
    pub name: String,
    /// Whether this process builds here.
    pub builds: fn(u32) -> bool,
}

impl Host {
    /// The one on which we run.
    pub fn this() -> Self {
        Self {
            name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            builds,
        }
    }

    /// Whether the run behind these events goes on.
    pub fn life_of(&self, board: &Board) -> Life {
        match &board.run {
            _ if board.finished.is_some() => Life::Ended,
            None => Life::CutOff,
            Some(run) if run.host != self.name => Life::Elsewhere,
            Some(run) if (self.builds)(run.pid) => Life::Running,
            Some(_) => Life::CutOff,
        }
    }
}

/// Whether the process is there and holds a lock, as a build holds its cache folder's: its number alone may by now
/// be another's. Where the kernel does not show locks the number has to do.
fn builds(pid: u32) -> bool {
    let is_there = || Path::new("/proc").join(pid.to_string()).exists();
    match fs::read_to_string("/proc/locks") {
        Ok(locks) => holds_lock(&locks, pid),
        Err(_) => is_there(),
    }
}

/// Whether `/proc/locks` says that the process holds an exclusive lock on something. Who waits for one has an arrow
/// in the second column: `7: -> FLOCK ADVISORY WRITE 17 fe:00:42 0 EOF`.
fn holds_lock(locks: &str, pid: u32) -> bool {
    let pid = pid.to_string();
    locks.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next().is_some_and(|kind| kind != "->") && fields.nth(1) == Some("WRITE") && {
            fields.next() == Some(pid.as_str())
        }
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::report::story::{at, story};
    use super::*;
    use crate::exec::event::Event;

    #[test]
    fn runs_are_listed_from_the_newest() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(newest_first(cache.path()).unwrap(), []);
        for id in ["20261122T040412Z-0a1b2c", "20261123T000000Z-000000", "no-events"] {
            let run = cache.path().join("runs").join(id);
            fs::create_dir_all(&run).unwrap();
            if id != "no-events" {
                fs::write(run.join(EVENTS_FILE), "").unwrap();
            }
        }
        let ids: Vec<_> = newest_first(cache.path())
            .unwrap()
            .into_iter()
            .map(|run| run.id)
            .collect();
        assert_eq!(ids, ["20261123T000000Z-000000", "20261122T040412Z-0a1b2c"]);
    }

    #[test]
    fn a_run_lives_as_long_as_its_process_on_its_host() {
        let mut board = Board::after(&story());
        let host = |name: &str, builds| Host {
            name: name.to_owned(),
            builds,
        };
        assert_eq!(host("node1", |pid| pid == 4242).life_of(&board), Life::Running);
        assert_eq!(host("node1", |_| false).life_of(&board), Life::CutOff);
        assert_eq!(host("node2", |_| true).life_of(&board), Life::Elsewhere);
        assert_eq!(host("node1", |_| true).life_of(&Board::default()), Life::CutOff);
        let finished = Event::RunFinished {
            passed: 0,
            fresh: 0,
            failed: 0,
            skipped: 0,
            servers_started: 0,
            elapsed_ms: 0,
        };
        board.apply(&at(1, finished));
        assert_eq!(host("node1", |_| true).life_of(&board), Life::Ended);
    }

    #[test]
    fn who_waits_for_a_lock_does_not_hold_it() {
        let locks = "1: FLOCK  ADVISORY  WRITE 17 fe:00:5 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 18 fe:00:5 0 EOF\n\
                     2: FLOCK  ADVISORY  READ 19 fe:00:6 0 EOF\n";
        let holders: Vec<_> = (16..21).filter(|pid| holds_lock(locks, *pid)).collect();
        assert_eq!(holders, [17]);
    }

    #[test]
    fn this_process_builds_while_it_holds_a_lock() {
        let file = tempfile::tempfile().unwrap();
        file.lock().unwrap();
        assert!(builds(std::process::id()));
        assert!(!builds(u32::MAX));
    }
}
