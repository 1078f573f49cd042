//! What holds for every fleet and every set of sessions, judged from the schedules alone, not by the fleet's own books.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::cmp::Reverse;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn share() -> impl Strategy<Value = Share> {
    prop_oneof![Just(Share::Exclusive), Just(Share::Gpu)]
}

fn pools() -> impl Strategy<Value = Vec<PoolSpec>> {
    prop::collection::vec((1..=4u32, 1..=8u32, share()), 1..=NAMES.len()).prop_map(|pools| {
        let named = pools.into_iter().zip(NAMES);
        let spec = |((nodes, gpus, share), name): (_, &str)| PoolSpec {
            name: name.to_owned(),
            nodes,
            gpus,
            share,
        };
        named.map(spec).collect()
    })
}

fn session() -> impl Strategy<Value = Session> {
    let names = subsequence(NAMES.map(str::to_owned).to_vec(), 1..=NAMES.len()).prop_shuffle();
    let nodes = prop_oneof![4 => Just(1u32), 1 => 2..=4u32];
    (nodes, 1..=8u32, names, 0..3i32, 0..50u64).prop_map(|(nodes, gpus, pools, priority, seconds)| Session {
        demand: Demand { nodes, gpus, pools },
        priority,
        estimate: Duration::from_secs(seconds),
    })
}

/// Pools and sessions that fit them.
fn workloads() -> impl Strategy<Value = (Vec<PoolSpec>, Vec<Session>)> {
    (pools(), prop::collection::vec(session(), 0..60)).prop_map(|(pools, mut sessions)| {
        let fleet = Fleet::new(pools.clone());
        sessions.retain(|session| fleet.fits_ever(&session.demand).is_ok());
        (pools, sessions)
    })
}

fn spec<'a>(pools: &'a [PoolSpec], placement: &Placement) -> &'a PoolSpec {
    pools.iter().find(|pool| pool.name == placement.pool).unwrap()
}

/// Whether two sessions cannot have these places at one time.
fn collide(pools: &[PoolSpec], one: &Placement, other: &Placement) -> bool {
    let whole = |p: &Placement| spec(pools, p).share == Share::Exclusive || p.nodes.len() > 1;
    one.pool == other.pool
        && one.nodes.iter().any(|node| other.nodes.contains(node))
        && (whole(one) || whole(other) || one.gpus.iter().any(|gpu| other.gpus.contains(gpu)))
}

fn is_ascending_below(indices: &[u32], limit: u32) -> bool {
    indices.is_sorted_by(|a, b| a < b) && indices.iter().all(|index| *index < limit)
}

fn could_use(session: &Session, pool: &PoolSpec) -> bool {
    let Demand { nodes, gpus, pools } = &session.demand;
    pools.contains(&pool.name) && *nodes <= pool.nodes && *gpus <= pool.gpus
}

/// `count * duration`; `Duration` multiplies by `u32` alone, as do the sums here.
fn times(duration: Duration, count: usize) -> Duration {
    duration * u32::try_from(count).unwrap()
}

proptest! {
    #[test]
    fn each_session_is_placed_once_and_gets_all_that_it_asked_for((pools, sessions) in workloads()) {
        let schedule = simulate(&sessions, &pools).unwrap();
        let mut placed: Vec<usize> = schedule.placed.iter().map(|placed| placed.session).collect();
        placed.sort_unstable();
        prop_assert!(placed.into_iter().eq(0..sessions.len()));
        for Placed { session, placement, start, end } in &schedule.placed {
            let session = &sessions[*session];
            let pool = spec(&pools, placement);
            prop_assert!(session.demand.pools.contains(&placement.pool));
            prop_assert_eq!(placement.nodes.len(), session.demand.nodes as usize);
            prop_assert_eq!(placement.gpus.len(), session.demand.gpus as usize);
            prop_assert!(is_ascending_below(&placement.nodes, pool.nodes));
            prop_assert!(is_ascending_below(&placement.gpus, pool.gpus));
            if pool.share == Share::Exclusive || session.demand.nodes > 1 {
                prop_assert!(placement.gpus.iter().copied().eq(0..session.demand.gpus));
            }
            prop_assert_eq!(*end, *start + session.estimate);
        }
    }

    #[test]
    fn no_gpu_and_no_exclusive_node_is_held_by_two((pools, sessions) in workloads()) {
        let placed = simulate(&sessions, &pools).unwrap().placed;
        for (index, one) in placed.iter().enumerate() {
            for other in &placed[..index] {
                let together = one.start < other.end && other.start < one.end;
                prop_assert!(!together || !collide(&pools, &one.placement, &other.placement));
            }
        }
    }

    /// Placing and releasing in any order, against a list of what is held.
    #[test]
    fn a_fleet_refuses_only_what_has_no_room(
        pools in pools(),
        steps in prop::collection::vec((session(), any::<Index>(), any::<bool>()), 0..60),
    ) {
        let mut fleet = Fleet::new(pools.clone());
        let mut held = Vec::<Placement>::new();
        for (session, which, release) in steps {
            if release && !held.is_empty() {
                fleet.release(&held.swap_remove(which.index(held.len())));
                continue;
            }
            let demand = session.demand;
            if let Some(placement) = fleet.try_place(&demand) {
                prop_assert!(held.iter().all(|other| !collide(&pools, &placement, other)));
                held.push(placement);
                continue;
            }
            for pool in pools.iter().filter(|pool| demand.pools.contains(&pool.name)) {
                let free = |node: &u32| {
                    let whole = |p: &Placement| pool.share == Share::Exclusive || p.nodes.len() > 1;
                    let here = held.iter().filter(|p| p.pool == pool.name && p.nodes.contains(node));
                    let taken: u32 = here.map(|p| if whole(p) { pool.gpus } else { p.gpus.len() as u32 }).sum();
                    pool.gpus - taken
                };
                let needed = if pool.share == Share::Exclusive || demand.nodes > 1 {
                    pool.gpus.max(demand.gpus)
                } else {
                    demand.gpus
                };
                let roomy = (0..pool.nodes).filter(|node| free(node) >= needed).count();
                prop_assert!(roomy < demand.nodes as usize);
            }
        }
        for placement in held.drain(..) {
            fleet.release(&placement);
        }
        for pool in &pools {
            let all = Demand { nodes: pool.nodes, gpus: pool.gpus, pools: vec![pool.name.clone()] };
            prop_assert!(fleet.try_place(&all).is_some(), "all that was released is free");
        }
    }

    #[test]
    fn a_schedule_is_as_long_as_its_critical_path_and_no_shorter_than_its_work((pools, sessions) in workloads()) {
        let schedule = simulate(&sessions, &pools).unwrap();
        let longest = sessions.iter().map(|session| session.estimate).max().unwrap_or_default();
        prop_assert!(schedule.makespan >= longest);
        let critical: Duration = schedule.critical.iter().map(|index| sessions[*index].estimate).sum();
        prop_assert_eq!(critical, schedule.makespan);
        for pool in &pools {
            let here = schedule.placed.iter().filter(|placed| placed.placement.pool == pool.name);
            let work: Duration = here
                .map(|placed| times(placed.end - placed.start, placed.placement.nodes.len() * placed.placement.gpus.len()))
                .sum();
            prop_assert!(work <= times(schedule.makespan, (pool.nodes * pool.gpus) as usize));
        }
    }

    #[test]
    fn the_same_sessions_give_the_same_schedule((pools, sessions) in workloads()) {
        prop_assert_eq!(simulate(&sessions, &pools), simulate(&sessions, &pools));
    }

    /// As all wait from the start, whatever is placed before a session while ranking below it overtook it.
    #[test]
    fn a_session_is_overtaken_on_its_pools_only_so_often((pools, sessions) in workloads()) {
        let placed = simulate(&sessions, &pools).unwrap().placed;
        let rank = |index: usize| (Reverse(sessions[index].priority), Reverse(sessions[index].estimate), index);
        for (at, Placed { session, .. }) in placed.iter().enumerate() {
            let overtaking = placed[..at]
                .iter()
                .filter(|other| rank(other.session) > rank(*session))
                .filter(|other| could_use(&sessions[*session], spec(&pools, &other.placement)));
            prop_assert!(overtaking.count() <= PASSES_BEFORE_RESERVING as usize);
        }
    }

    #[test]
    fn one_exclusive_node_takes_the_sum(seconds in prop::collection::vec(0..1000u64, 0..40)) {
        let (pools, sessions) = one_node_sessions(1, &seconds);
        let schedule = simulate(&sessions, &pools).unwrap();
        prop_assert_eq!(schedule.makespan, Duration::from_secs(seconds.iter().sum()));
    }

    /// Graham's bound for list schedules: makespan <= work / nodes + longest * (nodes - 1) / nodes
    /// (R. L. Graham, "Bounds for Certain Multiprocessing Anomalies", 1966).
    #[test]
    fn one_node_sessions_keep_grahams_bound(
        nodes in 1..6u32,
        seconds in prop::collection::vec(0..1000u64, 0..40),
    ) {
        let (pools, sessions) = one_node_sessions(nodes, &seconds);
        let makespan = simulate(&sessions, &pools).unwrap().makespan.as_secs();
        let (work, longest) = (seconds.iter().sum::<u64>(), seconds.iter().max().copied().unwrap_or(0));
        let nodes = u64::from(nodes);
        prop_assert!(makespan * nodes <= work + longest * (nodes - 1));
    }
}

fn one_node_sessions(nodes: u32, seconds: &[u64]) -> (Vec<PoolSpec>, Vec<Session>) {
    let pool = PoolSpec {
        name: "a".to_owned(),
        nodes,
        gpus: 8,
        share: Share::Exclusive,
    };
    let session = |seconds: &u64| Session {
        demand: Demand {
            nodes: 1,
            gpus: 8,
            pools: vec!["a".to_owned()],
        },
        priority: 0,
        estimate: Duration::from_secs(*seconds),
    };
    (vec![pool], seconds.iter().map(session).collect())
}
