//! Processes as the kernel shows them: who descends from whom, and who somebody really is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

/// A process told apart from every later one with the same pid, within one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
}

/// A line of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Which process.
    pub identity: Identity,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// The kernel's letter for what it does: `R`, `S`, `D`, `Z`, …
    pub state: char,
    /// Its parent's pid.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
}

impl Process {
    /// Whether it has ended and only waits to be reaped.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// `pid 123 (python3)`.
    pub fn label(&self) -> String {
        format!("pid {} ({})", self.identity.pid, self.name)
    }

    /// Reads one `/proc/PID/stat`. The name stands in parentheses and may itself hold parentheses and spaces.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            identity: Identity {
                pid: pid.parse().ok()?,
                start_ticks: fields.get(19)?.parse().ok()?,
            },
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
        })
    }
}

/// The process with this pid, `None` when there is none.
pub fn read(pid: u32) -> Option<Process> {
    // The kernel gives as much as fits, in one call, and a line is never as long as this.
    let mut stat = [0; 1024];
    let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut stat).ok()?;
    Process::parse(&String::from_utf8_lossy(&stat[..length]))
}

/// Whether this very process still runs.
pub fn is_alive(identity: Identity) -> bool {
    read(identity.pid).is_some_and(|process| process.identity == identity && !process.is_dead())
}

/// Every process that this one may see; none when `/proc` is not mounted.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// All of `table` that descends from `root`, without `root` itself.
pub fn descendants(root: u32, table: &[Process]) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in table {
        children.entry(process.parent).or_default().push(process);
    }
    // A table read while processes come and go may show a cycle; each pid is followed once.
    let mut seen = BTreeSet::from([root]);
    let mut open = vec![root];
    let mut found = Vec::new();
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(child.identity.pid) {
                open.push(child.identity.pid);
                found.push((*child).clone());
            }
        }
    }
    found
}

/// Signals this very process, never another that has got its pid since.
pub fn signal(identity: Identity, signal: Signal) -> io::Result<()> {
    let gone = || io::Error::from(rustix::io::Errno::SRCH);
    let pid = i32::try_from(identity.pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(gone)?;
    // The handle is taken before the identity is checked, so that it cannot come to mean a successor.
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty());
    if !is_alive(identity) {
        return Err(gone());
    }
    match handle {
        Ok(handle) => Ok(rustix::process::pidfd_send_signal(handle, signal)?),
        // Kernels before 5.3.
        Err(rustix::io::Errno::NOSYS) => Ok(rustix::process::kill_process(pid, signal)?),
        Err(error) => Err(error.into()),
    }
}

/// The absolute path of an open file, links resolved.
pub fn path_of(file: &fs::File) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Whether the process writes its standard output or error to the file at this absolute path.
pub fn writes_to(pid: u32, file: &Path) -> bool {
    [1, 2].into_iter().any(|descriptor| {
        fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).is_ok_and(|target| target == file)
            && fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}"))
                .is_ok_and(|info| is_writable(&info))
    })
}

/// Reads the access mode, the last octal digit of `flags:`, of a `/proc/PID/fdinfo/N`.
fn is_writable(fdinfo: &str) -> bool {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.is_some_and(|flags| matches!(flags.trim().chars().last(), Some('1' | '2' | '5' | '6')))
}

/// The kernel's name for the time since this machine booted: pids and ticks mean nothing across it.
pub fn boot_id() -> io::Result<String> {
    static READ: OnceLock<String> = OnceLock::new();
    if let Some(read) = READ.get() {
        return Ok(read.clone());
    }
    let read = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(READ.get_or_init(|| read.trim().to_owned()).clone())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn process(pid: u32, parent: u32) -> Process {
        Process {
            identity: Identity { pid, start_ticks: 1 },
            name: "x".into(),
            state: 'S',
            parent,
            group: pid,
        }
    }

    #[test]
    fn a_name_may_look_like_fields() {
        let stat = "42 (a) S 1 (b) Z 7 42 40 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 123456 0 0";
        let process = Process::parse(stat).unwrap();
        assert_eq!(process.name, "a) S 1 (b");
        assert_eq!((process.state, process.parent, process.group), ('Z', 7, 42));
        assert_eq!(
            process.identity,
            Identity {
                pid: 42,
                start_ticks: 123_456
            }
        );
        assert!(process.is_dead());
        assert_eq!(process.label(), "pid 42 (a) S 1 (b)");
    }

    #[test]
    fn this_process_is_seen_and_told_from_another_with_its_pid() {
        let me = read(std::process::id()).unwrap().identity;
        assert!(is_alive(me));
        let other = Identity {
            start_ticks: me.start_ticks + 1,
            ..me
        };
        assert!(!is_alive(other));
        assert!(signal(other, Signal::TERM).is_err());
        assert!(all().iter().any(|process| process.identity == me));
    }

    #[test]
    fn access_modes() {
        assert!(!is_writable("pos:\t0\nflags:\t0100000\n"));
        assert!(is_writable("pos:\t0\nflags:\t0102001\n"));
        assert!(is_writable("pos:\t0\nflags:\t0100002\n"));
        assert!(!is_writable(""));
    }

    #[test]
    fn a_cycle_ends() {
        let table = [process(2, 3), process(3, 2), process(4, 3)];
        assert_eq!(descendants(2, &table).len(), 2);
    }

    proptest! {
        /// With parents drawn from lower pids, the descendants are exactly those whose chain of parents meets the root.
        #[test]
        fn descendants_are_those_whose_ancestors_hold_the_root(parents in prop::collection::vec(any::<prop::sample::Index>(), 1..40), root in any::<prop::sample::Index>()) {
            let table: Vec<Process> = parents.iter().enumerate()
                .map(|(n, parent)| process(n as u32 + 2, parent.index(n + 1) as u32 + 1)).collect();
            let parent_of = |pid: u32| table.iter().find(|p| p.identity.pid == pid).map(|p| p.parent);
            let root = root.index(table.len() + 1) as u32 + 1;
            let mut found: Vec<u32> = descendants(root, &table).iter().map(|p| p.identity.pid).collect();
            found.sort_unstable();
            let expected: Vec<u32> = table.iter().map(|p| p.identity.pid)
                .filter(|&pid| std::iter::successors(parent_of(pid), |&pid| parent_of(pid)).any(|pid| pid == root))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
