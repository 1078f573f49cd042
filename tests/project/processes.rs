//! The processes of a project, found in `/proc`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// A living process whose working folder is in a project, as those of `sweep` and of all that it starts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) folder: PathBuf,
    pub(crate) command: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` in {}", self.pid, self.command, self.folder.display())
    }
}

/// The living processes whose working folder is `root` or below it. A zombie has no folder and does not count.
pub(crate) fn processes_in(root: &Path) -> Vec<Process> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Gone in the meantime, or another user's.
        let Ok(folder) = fs::read_link(entry.path().join("cwd")) else {
            continue;
        };
        if folder.starts_with(root) {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command)
                .replace('\0', " ")
                .trim()
                .to_owned();
            found.push(Process { pid, folder, command });
        }
    }
    found
}

/// Kills a process that is ours by its folder.
pub(super) fn kill(process: &Process) {
    if let Some(pid) = Pid::from_raw(i32::try_from(process.pid).unwrap()) {
        let _ = kill_process(pid, Signal::KILL);
    }
}
