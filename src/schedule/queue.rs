//! Who is placed next: order, backfilling, and the bound on being passed over.

use std::cmp::Reverse;
use std::collections::HashSet;
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
#[derive(Debug)]
pub struct Queue<T> {
    /// In order of rank.
    waiting: Vec<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    session: Session,
    passes: u32,
    /// Where it is to run, held for it already.
    held: Option<Placement>,
}

impl<T> Waiting<T> {
    fn rank(&self) -> impl Ord + use<T> {
        let Session {
            priority, estimate, ..
        } = self.session;
        (self.held.is_none(), Reverse(priority), Reverse(estimate))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: Vec::new() }
    }
}

impl<T> Queue<T> {
    /// Adds a session. One that [never fits](Fleet::fits_ever) waits forever and hinders nobody.
    pub fn push(&mut self, item: T, session: Session) {
        self.insert(item, session, None);
    }

    /// Adds a session whose place the fleet holds for it already, and which so goes before all that wait for one.
    pub fn push_held(&mut self, item: T, session: Session, place: Placement) {
        self.insert(item, session, Some(place));
    }

    fn insert(&mut self, item: T, session: Session, held: Option<Placement>) {
        let new = Waiting {
            item,
            session,
            passes: 0,
            held,
        };
        let at = self
            .waiting
            .partition_point(|waiting| waiting.rank() <= new.rank());
        self.waiting.insert(at, new);
    }

    /// Takes out the first session in order that can be placed now, and its place in the fleet.
    ///
    /// Call it until it gives nothing, whenever sessions were added or placements released.
    pub fn next(&mut self, fleet: &mut Fleet) -> Option<(T, Placement)> {
        let (rank, placement) = self.place_first(fleet)?;
        for above in &mut self.waiting[..rank] {
            if fleet.could_hold(&placement.pool, &above.session.demand) {
                above.passes += 1;
            }
        }
        Some((self.waiting.remove(rank).item, placement))
    }

    /// The index of the first session that finds room outside the pools that those above it reserve.
    fn place_first(&self, fleet: &mut Fleet) -> Option<(usize, Placement)> {
        let mut reserved = HashSet::<&str>::new();
        for (rank, waiting) in self.waiting.iter().enumerate() {
            if let Some(held) = &waiting.held {
                return Some((rank, held.clone()));
            }
            let demand = &waiting.session.demand;
            if let Some(placement) = fleet.try_place_among(demand, |pool| !reserved.contains(pool)) {
                return Some((rank, placement));
            }
            if waiting.passes >= PASSES_BEFORE_RESERVING {
                let usable = demand.pools.iter().filter(|pool| fleet.could_hold(pool, demand));
                reserved.extend(usable.map(String::as_str));
            }
        }
        None
    }

    /// What waits, in order of rank.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|waiting| &waiting.item)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

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
        queue.push_held("placed", session(1, 0, 1), place.clone());
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
}
