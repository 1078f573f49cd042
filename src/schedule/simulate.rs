//! The queue run over virtual time: when a plan's sessions would start and end, and which of them set the length.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::fleet::{Fleet, NeverFits};
use super::pool::{Placement, PoolSpec};
use super::queue::{Queue, Session};

/// A session's place and time, as offsets from the start of the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its index among the simulated sessions.
    pub session: usize,
    pub placement: Placement,
    pub start: Duration,
    pub end: Duration,
}

/// What would run where and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// In order of start.
    pub placed: Vec<Placed>,
    /// When the last session ends.
    pub makespan: Duration,
    /// The sessions, by index and first to last, of which each waited for the one before it and the last ends last;
    /// their estimates add up to the makespan.
    pub critical: Vec<usize>,
}

/// A session that no pool could ever run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unplaceable {
    /// Its index among the simulated sessions.
    pub session: usize,
    pub reason: NeverFits,
}

/// Places all sessions as the live queue would if all were waiting on idle pools and each took its estimate.
pub fn simulate(sessions: &[Session], pools: &[PoolSpec]) -> Result<Schedule, Unplaceable> {
    let mut fleet = Fleet::new(pools.to_vec());
    let mut queue = Queue::default();
    for (index, session) in sessions.iter().enumerate() {
        fleet.fits_ever(&session.demand).map_err(|reason| Unplaceable {
            session: index,
            reason,
        })?;
        queue.push(index, session.clone());
    }

    let mut placed = Vec::<Placed>::with_capacity(sessions.len());
    // Ends, earliest first, with the index into `placed`.
    let mut running = BinaryHeap::new();
    let mut now = Duration::ZERO;
    loop {
        while let Some((session, placement)) = queue.next(&mut fleet) {
            let end = now.saturating_add(sessions[session].estimate);
            running.push(Reverse((end, placed.len())));
            placed.push(Placed {
                session,
                placement,
                start: now,
                end,
            });
        }
        let Some(&Reverse((next_end, _))) = running.peek() else {
            break;
        };
        now = next_end;
        // All that ends at one moment is free at once, or the order of equal ends would decide who gets it.
        while let Some(&Reverse((end, ended))) = running.peek()
            && end == now
        {
            fleet.release(&placed[ended].placement);
            running.pop();
        }
    }
    assert!(
        queue.is_empty(),
        "what fits idle pools is placed once they are idle"
    );
    Ok(Schedule {
        critical: critical_path(&placed, now),
        placed,
        makespan: now,
    })
}

/// Walks back from the session that ends last, each time to one whose end let the later one start.
fn critical_path(placed: &[Placed], makespan: Duration) -> Vec<usize> {
    let mut path = Vec::new();
    let mut at = placed.iter().position(|last| last.end == makespan);
    while let Some(index) = at {
        path.push(placed[index].session);
        at = waited_for(&placed[..index], &placed[index]);
    }
    path.reverse();
    path
}

/// The session whose end `later` waited for: preferably one on the same node, else in the same pool, else the one that
/// freed the place of a session by which the pool was reserved. None if `later` never waited.
fn waited_for(earlier: &[Placed], later: &Placed) -> Option<usize> {
    if later.start == Duration::ZERO {
        return None;
    }
    (0..earlier.len())
        .filter(|&index| earlier[index].end == later.start)
        .min_by_key(|&index| {
            let (freed, taken) = (&earlier[index].placement, &later.placement);
            let same_pool = freed.pool == taken.pool;
            let same_node = same_pool && freed.nodes.iter().any(|node| taken.nodes.contains(node));
            (!same_node, !same_pool)
        })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::pool::{Demand, Share};
    use super::*;

    fn pool(name: &str, nodes: u32, share: Share) -> PoolSpec {
        PoolSpec {
            name: name.to_owned(),
            nodes,
            gpus: 8,
            share,
        }
    }

    fn session(pool: &str, nodes: u32, gpus: u32, seconds: u64) -> Session {
        Session {
            demand: Demand {
                nodes,
                gpus,
                pools: vec![pool.to_owned()],
            },
            priority: 0,
            estimate: Duration::from_secs(seconds),
        }
    }

    fn starts(schedule: &Schedule) -> Vec<(usize, u64)> {
        let start = |placed: &Placed| (placed.session, placed.start.as_secs());
        schedule.placed.iter().map(start).collect()
    }

    #[test]
    fn pools_run_side_by_side_and_the_longer_one_is_critical() {
        let sessions = [
            session("a", 1, 8, 50),
            session("b", 1, 8, 30),
            session("b", 1, 8, 40),
        ];
        let pools = [pool("a", 1, Share::Exclusive), pool("b", 1, Share::Exclusive)];
        let schedule = simulate(&sessions, &pools).unwrap();
        assert_eq!(starts(&schedule), [(0, 0), (2, 0), (1, 40)]);
        assert_eq!(schedule.makespan, Duration::from_secs(70));
        assert_eq!(schedule.critical, [2, 1]);
    }

    #[test]
    fn several_nodes_wait_for_the_last_of_them() {
        let sessions = [
            session("p", 2, 8, 5),
            session("p", 1, 8, 20),
            session("p", 1, 8, 10),
        ];
        let schedule = simulate(&sessions, &[pool("p", 2, Share::Exclusive)]).unwrap();
        assert_eq!(starts(&schedule), [(1, 0), (2, 0), (0, 20)]);
        assert_eq!(schedule.critical, [1, 0]);
    }

    #[test]
    fn sharing_runs_together_what_exclusive_nodes_run_in_turn() {
        let sessions = [
            session("p", 1, 4, 10),
            session("p", 1, 2, 10),
            session("p", 1, 2, 10),
        ];
        let makespan = |share| simulate(&sessions, &[pool("p", 1, share)]).unwrap().makespan;
        assert_eq!(makespan(Share::Gpu), Duration::from_secs(10));
        assert_eq!(makespan(Share::Exclusive), Duration::from_secs(30));
    }

    #[test]
    fn sessions_that_take_no_time_end_the_walk_back() {
        let sessions = [
            session("p", 1, 8, 7),
            session("p", 1, 8, 0),
            session("p", 1, 8, 0),
        ];
        let schedule = simulate(&sessions, &[pool("p", 1, Share::Exclusive)]).unwrap();
        assert_eq!(starts(&schedule), [(0, 0), (1, 7), (2, 7)]);
        assert_eq!(schedule.critical, [0], "the first to end last");
    }

    #[test]
    fn nothing_takes_no_time() {
        assert_eq!(simulate(&[], &[]), Ok(Schedule::default()));
    }

    #[test]
    fn a_session_that_never_fits_is_named() {
        let sessions = [session("p", 1, 8, 1), session("p", 3, 8, 1)];
        let error = simulate(&sessions, &[pool("p", 2, Share::Exclusive)]).unwrap_err();
        assert_eq!(error.session, 1);
        assert_eq!(
            error.to_string(),
            "needs 3 nodes of 8 GPUs; the largest of its pools, `p`, has 2 nodes of 8 GPUs"
        );
    }
}
