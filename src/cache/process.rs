//! Which process is meant by a number: process ids are used again, so a journal keeps more than the id.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// A process group and its leader, so described that a later run can tell it from a stranger with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessGroup {
    /// The group's id.
    pub group: u32,
    /// The process that leads it.
    pub leader: u32,
    /// When the leader started, in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_ticks: u64,
    /// Which boot of which machine that was.
    pub boot: String,
}

impl ProcessGroup {
    /// Describes the group `group`, led by the live process of the same number.
    pub fn of(group: u32) -> io::Result<ProcessGroup> {
        Ok(ProcessGroup {
            group,
            leader: group,
            start_ticks: start_ticks(group)?,
            boot: boot_id()?,
        })
    }

    /// Whether its leader runs on this machine now, or waits to be reaped.
    pub fn leader_lives(&self) -> bool {
        self.is_of_this_boot() && start_ticks(self.leader).is_ok_and(|ticks| ticks == self.start_ticks)
    }

    /// Whether it was started since this machine booted; if not, nothing is left of it here.
    pub fn is_of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot)
    }
}

/// This machine's name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_start_ticks(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a stat line"))
}

/// Field 22; the command in field 2 may hold spaces and parentheses, so fields are counted from its last one.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    after_command.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_command_may_be_named_like_a_field() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 1";
        assert_eq!(parse_start_ticks(stat), Some(98765));
        assert_eq!(parse_start_ticks("7 (a"), None);
    }

    #[test]
    fn a_leader_lives_until_it_is_reaped() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let group = ProcessGroup::of(child.id()).unwrap();
        assert!(group.leader_lives());
        let other_boot = ProcessGroup {
            boot: "another".into(),
            ..group.clone()
        };
        assert!(!other_boot.leader_lives());
        let stranger = ProcessGroup {
            start_ticks: group.start_ticks + 1,
            ..group.clone()
        };
        assert!(!stranger.leader_lives());
        // The end of its input ends it.
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!group.leader_lives());
    }

    #[test]
    fn the_host_has_a_name() {
        assert!(!host_name().is_empty());
    }
}
