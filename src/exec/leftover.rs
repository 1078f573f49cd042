//! What a killed run left behind, ended by the next.
//!
//! A run that is killed takes its servers with it, by their guards. This is for when a guard was killed too, and for
//! waiting until a guard at work has finished. Nothing is signalled that is not provably the run's: a process is ours
//! when it is in the group whose leader is the journalled one (same pid, start and boot), or writes its output to the
//! attempt's log.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::Owned;
use super::procfs::{self, Process};

/// How often the process table is read while something is still there.
const POLL: Duration = Duration::from_millis(20);

/// What was found of a killed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// Nothing was left, or the machine has booted since.
    Nothing,
    /// Its guard was still ending it, and has.
    Guarded,
    /// This many processes were killed.
    Killed(usize),
}

/// A leftover that does not go.
#[derive(Debug, thiserror::Error)]
pub enum LeftoverError {
    /// Processes survive KILL, as they do while a driver holds them.
    #[error("end what an earlier server left: {} survived KILL; look at it with `ps`, its GPUs may be busy", .0.join(", "))]
    Survives(Vec<String>),
    /// `/proc` is not as Linux has it.
    #[error("read the boot id: {0}")]
    BootId(#[from] std::io::Error),
}

/// Ends what is left of a server that a dead run owned, and waits until it is gone, `limit` at most. Blocks.
///
/// Not for a server of a run that lives: hold the cache's lock when calling this.
pub fn end_leftover(owned: &Owned, limit: Duration) -> Result<Leftover, LeftoverError> {
    if procfs::boot_id()? != owned.boot_id {
        return Ok(Leftover::Nothing);
    }
    let mut deadline = Instant::now() + limit;
    let mut outcome = Leftover::Nothing;
    // A living guard is at it already, as its pipe is closed; the signal only makes sure.
    if procfs::signal(owned.guard, Signal::TERM).is_ok() {
        outcome = Leftover::Guarded;
        while procfs::is_alive(owned.guard) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
    }
    let mut killed = BTreeMap::new();
    loop {
        let left = leftovers(owned, &procfs::all());
        if left.is_empty() {
            return Ok(if killed.is_empty() {
                outcome
            } else {
                Leftover::Killed(killed.len())
            });
        }
        if !killed.is_empty() && Instant::now() >= deadline {
            return Err(LeftoverError::Survives(left.iter().map(Process::label).collect()));
        }
        if killed.is_empty() {
            // What the guard was given is not taken from what a KILL needs.
            deadline = Instant::now() + limit;
        }
        for process in left {
            let _ = procfs::signal(process.identity, Signal::KILL);
            killed.insert(process.identity, process);
        }
        thread::sleep(POLL);
    }
}

/// The living processes of `table` that are the dead run's.
fn leftovers(owned: &Owned, table: &[Process]) -> Vec<Process> {
    let group_is_ours = table.iter().any(|process| process.identity == owned.leader);
    let writes_log = |pid| owned.log.as_ref().is_some_and(|log| procfs::writes_to(pid, log));
    let is_ours = |process: &&Process| {
        let pid = process.identity.pid;
        !process.is_dead()
            && process.identity.start_ticks >= owned.leader.start_ticks
            && pid != std::process::id()
            && ((group_is_ours && process.group == owned.leader.pid) || writes_log(pid))
    };
    table.iter().filter(is_ours).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::procfs::Identity;

    fn process(pid: u32, start_ticks: u64, group: u32, state: char) -> Process {
        Process {
            identity: Identity { pid, start_ticks },
            name: "server".into(),
            state,
            parent: 1,
            group,
        }
    }

    fn owned(leader: Identity) -> Owned {
        Owned {
            guard: Identity {
                pid: u32::MAX - 1,
                start_ticks: 0,
            },
            leader,
            boot_id: String::new(),
            log: None,
        }
    }

    #[test]
    fn only_the_journalled_leaders_group_is_ours() {
        let leader = Identity {
            pid: u32::MAX - 2,
            start_ticks: 100,
        };
        let member = process(u32::MAX - 3, 120, leader.pid, 'S');
        let ours = [process(leader.pid, 100, leader.pid, 'S'), member.clone()];
        assert_eq!(leftovers(&owned(leader), &ours).len(), 2);
        let successors = [process(leader.pid, 101, leader.pid, 'S'), member.clone()];
        assert!(leftovers(&owned(leader), &successors).is_empty());
        assert!(leftovers(&owned(leader), &[member]).is_empty());
    }

    #[test]
    fn a_dead_leader_still_proves_its_group() {
        let leader = Identity {
            pid: u32::MAX - 2,
            start_ticks: 100,
        };
        let member = process(u32::MAX - 3, 120, leader.pid, 'S');
        let table = [process(leader.pid, 100, leader.pid, 'Z'), member.clone()];
        assert_eq!(leftovers(&owned(leader), &table), [member]);
    }
}
