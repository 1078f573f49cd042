//! Who is placed next: order, backfilling, and the bound on being passed over.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::fleet::Fleet;
use super::pool::{Demand, Placement};

/// How often lower-ranked sessions may be placed on pools that a waiting one could use before it reserves them.
///
/// Small sessions fill the gaps around a large one only this often; from then on its pools drain until it fits. Too low
/// a bound idles nodes for a session that would soon have fitted anyway, too high a one puts the longest work last.
pub const PASSES_BEFORE_RESERVING: u32 = 8;

/// What of a session decides when and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub demand: Demand,
    /// Higher goes first.
    pub priority: i32,
    /// How long it holds its GPUs; of equal priority the longest goes first.
    pub estimate: Duration,
}

/// Sessions waiting for a place, each with what the caller knows it by.
///
/// They rank by priority, then by estimate, longest first, then as they came. A lower-ranked one may be placed while a
/// higher-ranked one has no room. Each time that happens on a pool that the higher-ranked one could use, it has been
/// passed over once; after [`PASSES_BEFORE_RESERVING`] times nothing ranked below it is placed on any such pool before
/// it is. So of those already waiting, and of those that come later and rank below, at most that many overtake it.
///
/// Where one has no room, none below it that asks for the same has. So the first of each demand is all that is looked
/// at, and it does not matter how many wait.
#[derive(Debug)]
pub struct Queue<T> {
    /// Those whose place the fleet holds for them already.
    held: BTreeMap<Rank, (T, Placement)>,
    demands: Vec<Waiting<T>>,
    arrivals: u64,
}

/// What decides who goes first; lower goes first. No two sessions have the same.
type Rank = (Reverse<i32>, Reverse<Duration>, u64);

/// Those that ask for the same.
#[derive(Debug)]
struct Waiting<T> {
    demand: Demand,
    /// In order of rank.
    items: BTreeMap<Rank, T>,
    /// How often each has been passed over, of those that reserve nothing yet.
    passes: BTreeMap<Rank, u32>,
    /// Those that reserve the pools which they could use.
    reserving: BTreeSet<Rank>,
}

impl<T> Waiting<T> {
    fn of(demand: Demand) -> Self {
        Self {
            demand,
            items: BTreeMap::new(),
            passes: BTreeMap::new(),
            reserving: BTreeSet::new(),
        }
    }

    fn first(&self) -> Option<Rank> {
        self.items.keys().next().copied()
    }

    /// One ranked at `rank` was placed where these could have been.
    fn pass_over(&mut self, rank: Rank) {
        for (_, passes) in self.passes.range_mut(..rank) {
            *passes += 1;
        }
        let reserving = self
            .passes
            .extract_if(..rank, |_, passes| *passes >= PASSES_BEFORE_RESERVING);
        self.reserving.extend(reserving.map(|(rank, _)| rank));
    }

    fn take(&mut self, rank: Rank) -> T {
        self.passes.remove(&rank);
        self.reserving.remove(&rank);
        self.items.remove(&rank).expect("it waits")
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            demands: Vec::new(),
            arrivals: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Adds a session. One that [never fits](Fleet::fits_ever) waits forever and hinders nobody.
    pub fn push(&mut self, item: T, session: Session) {
        let rank = self.rank(&session);
        let known = self
            .demands
            .iter()
            .position(|waiting| waiting.demand == session.demand);
        let at = known.unwrap_or_else(|| {
            self.demands.push(Waiting::of(session.demand));
            self.demands.len() - 1
        });
        self.demands[at].items.insert(rank, item);
        self.demands[at].passes.insert(rank, 0);
    }

    /// Adds a session whose place the fleet holds for it already, and which so goes before all that wait for one.
    pub fn push_held(&mut self, item: T, session: &Session, place: Placement) {
        let rank = self.rank(session);
        self.held.insert(rank, (item, place));
    }

    fn rank(&mut self, session: &Session) -> Rank {
        self.arrivals += 1;
        (
            Reverse(session.priority),
            Reverse(session.estimate),
            self.arrivals,
        )
    }

    /// Takes out the first session in order that can be placed now, and its place in the fleet.
    ///
    /// Call it until it gives nothing, whenever sessions were added or placements released.
    pub fn next(&mut self, fleet: &mut Fleet) -> Option<(T, Placement)> {
        if let Some((_, placed)) = self.held.pop_first() {
            return Some(placed);
        }
        let (at, rank, placement) = self.place_first(fleet)?;
        for above in &mut self.demands {
            if fleet.could_hold(&placement.pool, &above.demand) {
                above.pass_over(rank);
            }
        }
        Some((self.demands[at].take(rank), placement))
    }

    /// The first session that finds room outside the pools that those above it reserve: its demand's index and its rank.
    fn place_first(&self, fleet: &mut Fleet) -> Option<(usize, Rank, Placement)> {
        let firsts = self.demands.iter().enumerate();
        let mut firsts: Vec<(Rank, usize)> = firsts
            .filter_map(|(at, waiting)| Some((waiting.first()?, at)))
            .collect();
        firsts.sort_unstable();
        for (rank, at) in firsts {
            let reserved = self.reserved_above(rank, fleet);
            let demand = &self.demands[at].demand;
            if let Some(placement) = fleet.try_place_among(demand, |pool| !reserved.contains(pool)) {
                return Some((at, rank, placement));
            }
        }
        None
    }

    /// The pools that those above a rank reserve.
    fn reserved_above(&self, rank: Rank, fleet: &Fleet) -> HashSet<&str> {
        let is_above = |waiting: &&Waiting<T>| waiting.reserving.first().is_some_and(|first| *first < rank);
        let above = self.demands.iter().filter(is_above);
        let usable = above.flat_map(|waiting| {
            let demand = &waiting.demand;
            demand.pools.iter().filter(|pool| fleet.could_hold(pool, demand))
        });
        usable.map(String::as_str).collect()
    }

    /// What waits, in order of rank.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let all = self.demands.iter().flat_map(|waiting| &waiting.items);
        let by_rank: BTreeMap<&Rank, &T> = all.collect();
        let held = self.held.values().map(|(item, _)| item);
        held.chain(by_rank.into_values())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        let waiting = self.demands.iter().map(|waiting| waiting.items.len());
        self.held.len() + waiting.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::super::pool::{PoolSpec, Share};
    use super::*;

    fn fleet(nodes: u32) -> Fleet {
        Fleet::new(vec![PoolSpec {
            name: "p".to_owned(),
            nodes,
            gpus: 8,
            share: Share::Exclusive,
        }])
    }

    fn session(nodes: u32, priority: i32, seconds: u64) -> Session {
        Session {
            demand: Demand {
                nodes,
                gpus: 8,
                pools: vec!["p".to_owned()],
            },
            priority,
            estimate: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn priority_then_length_then_arrival() {
        let mut queue = Queue::default();
        queue.push("short", session(1, 0, 1));
        queue.push("long", session(1, 0, 9));
        queue.push("long, later", session(1, 0, 9));
        queue.push("urgent", session(1, 1, 1));
        let order = ["urgent", "long", "long, later", "short"];
        assert!(queue.iter().eq(&order));
        let mut fleet = fleet(4);
        assert!(
            order
                .iter()
                .all(|item| queue.next(&mut fleet).unwrap().0 == *item)
        );
        assert!(queue.is_empty());
    }

    #[test]
    fn what_has_its_place_goes_first_and_stays_there() {
        let (mut queue, mut fleet) = (Queue::default(), fleet(2));
        let place = fleet.try_place(&session(1, 0, 0).demand).unwrap();
        queue.push("urgent", session(2, 9, 9));
        queue.push_held("placed", &session(1, 0, 1), place.clone());
        assert_eq!(queue.next(&mut fleet), Some(("placed", place.clone())));
        assert_eq!(queue.next(&mut fleet), None, "one node is still held");
        fleet.release(&place);
        assert_eq!(queue.next(&mut fleet).unwrap().0, "urgent");
    }

    #[test]
    fn a_gap_is_filled_by_the_first_that_fits_it() {
        let (mut queue, mut fleet) = (Queue::default(), fleet(2));
        let running = fleet.try_place(&session(1, 0, 0).demand).unwrap();
        queue.push("both nodes", session(2, 0, 9));
        queue.push("one node", session(1, 0, 1));
        assert_eq!(queue.next(&mut fleet).unwrap().0, "one node");
        assert_eq!(queue.next(&mut fleet), None);
        assert_eq!(queue.len(), 1);
        fleet.release(&running);
        assert_eq!(queue.next(&mut fleet), None, "one node is still held");
    }

    /// On two nodes with sessions of one node arriving forever, of which one always runs.
    #[test]
    fn a_stream_of_small_sessions_passes_a_large_one_only_so_often() {
        let (mut queue, mut fleet) = (Queue::default(), fleet(2));
        let mut running = fleet.try_place(&session(1, 0, 0).demand).unwrap();
        queue.push("large", session(2, 0, 9));
        for _ in 0..PASSES_BEFORE_RESERVING {
            queue.push("small", session(1, 0, 1));
            let (item, placement) = queue.next(&mut fleet).unwrap();
            assert_eq!(item, "small");
            fleet.release(&std::mem::replace(&mut running, placement));
        }
        queue.push("small", session(1, 0, 1));
        assert_eq!(queue.next(&mut fleet), None, "the free node is reserved");
        fleet.release(&running);
        assert_eq!(queue.next(&mut fleet).unwrap().0, "large");
    }

    #[test]
    fn higher_ranked_sessions_go_before_a_reservation() {
        let (mut queue, mut fleet) = (Queue::default(), fleet(2));
        let _running = fleet.try_place(&session(1, 0, 0).demand).unwrap();
        queue.push("large", session(2, 0, 9));
        for _ in 0..PASSES_BEFORE_RESERVING {
            queue.push("small", session(1, 0, 1));
            let (_, placement) = queue.next(&mut fleet).unwrap();
            fleet.release(&placement);
        }
        queue.push("urgent", session(1, 1, 1));
        assert_eq!(queue.next(&mut fleet).unwrap().0, "urgent");
    }

    #[test]
    fn what_never_fits_reserves_nothing() {
        let (mut queue, mut fleet) = (Queue::default(), fleet(1));
        queue.push("too large", session(2, 0, 9));
        for _ in 0..3 * PASSES_BEFORE_RESERVING {
            queue.push("small", session(1, 0, 1));
            let (item, placement) = queue.next(&mut fleet).unwrap();
            assert_eq!(item, "small");
            fleet.release(&placement);
        }
    }
    /// The rule as it reads: all that wait, one by one.
    #[derive(Default)]
    struct OneByOne(Vec<(usize, Session, u32)>);

    impl OneByOne {
        fn push(&mut self, item: usize, session: Session) {
            let rank = |session: &Session| (Reverse(session.priority), Reverse(session.estimate));
            let at = self
                .0
                .partition_point(|(_, other, _)| rank(other) <= rank(&session));
            self.0.insert(at, (item, session, 0));
        }

        fn next(&mut self, fleet: &mut Fleet) -> Option<(usize, Placement)> {
            let mut reserved = HashSet::<String>::new();
            let found = self.0.iter().enumerate().find_map(|(at, (_, session, passes))| {
                let demand = &session.demand;
                let placement = fleet.try_place_among(demand, |pool| !reserved.contains(pool));
                if placement.is_none() && *passes >= PASSES_BEFORE_RESERVING {
                    let usable = demand.pools.iter().filter(|pool| fleet.could_hold(pool, demand));
                    reserved.extend(usable.cloned());
                }
                Some((at, placement?))
            });
            let (at, placement) = found?;
            for (_, above, passes) in &mut self.0[..at] {
                *passes += u32::from(fleet.could_hold(&placement.pool, &above.demand));
            }
            Some((self.0.remove(at).0, placement))
        }
    }

    fn any_session() -> impl Strategy<Value = Session> {
        let pools = prop::sample::select(vec![vec!["a"], vec!["b"], vec!["a", "b"], vec!["b", "a"]]);
        (1..=3_u32, 1..=8_u32, pools, 0..2_i32, 0..3_u64).prop_map(
            |(nodes, gpus, pools, priority, seconds)| Session {
                demand: Demand {
                    nodes,
                    gpus: if nodes > 1 { 8 } else { gpus },
                    pools: pools.into_iter().map(str::to_owned).collect(),
                },
                priority,
                estimate: Duration::from_secs(seconds),
            },
        )
    }

    proptest! {
        /// Sessions come and end in any order; who is placed where is what looking at all that wait gives.
        #[test]
        fn looking_at_the_first_of_each_demand_is_enough(
            rounds in prop::collection::vec((prop::collection::vec(any_session(), 0..4), any::<prop::sample::Index>()), 1..40),
        ) {
            let spec = |name: &str, share| PoolSpec { name: name.to_owned(), nodes: 3, gpus: 8, share };
            let mut fleet = Fleet::new(vec![spec("a", Share::Exclusive), spec("b", Share::Gpu)]);
            let mut other_fleet = fleet.clone();
            let (mut queue, mut one_by_one) = (Queue::default(), OneByOne::default());
            let (mut running, mut count) = (Vec::new(), 0);
            for (sessions, ended) in rounds {
                for session in sessions {
                    queue.push(count, session.clone());
                    one_by_one.push(count, session);
                    count += 1;
                }
                loop {
                    let placed = queue.next(&mut fleet);
                    prop_assert_eq!(&placed, &one_by_one.next(&mut other_fleet));
                    let Some((_, placement)) = placed else { break };
                    running.push(placement);
                }
                prop_assert!(queue.iter().eq(one_by_one.0.iter().map(|(item, ..)| item)));
                if !running.is_empty() {
                    let placement: Placement = running.swap_remove(ended.index(running.len()));
                    fleet.release(&placement);
                    other_fleet.release(&placement);
                }
            }
        }
    }
}
