//! All pools of a profile: who holds what of them, and what fits where.

use std::collections::HashSet;

use super::pool::{Demand, Placement, Pool, PoolSpec};

/// Why no pool could run a session even if nothing else ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NeverFits {
    #[error("needs {}: both must be at least 1", amount(*.nodes, *.gpus))]
    Nothing { nodes: u32, gpus: u32 },
    #[error("none of the pools that could run it exists ({})", quoted(.pools))]
    NoPool { pools: Vec<String> },
    #[error(
        "needs {}; the largest of its pools, `{}`, has {}",
        amount(*.nodes, *.gpus),
        .largest.name,
        amount(.largest.nodes, .largest.gpus)
    )]
    TooLarge {
        nodes: u32,
        gpus: u32,
        /// The pool with the most GPUs among those named.
        largest: PoolSpec,
    },
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn amount(nodes: u32, gpus: u32) -> String {
    let s = |n| if n == 1 { "" } else { "s" };
    format!("{nodes} node{} of {gpus} GPU{}", s(nodes), s(gpus))
}

/// All pools of a profile and what is held of them.
#[derive(Debug, Clone)]
pub struct Fleet {
    pools: Vec<Pool>,
    placements: HashSet<Placement>,
}

impl Fleet {
    /// Idle pools; their names must differ.
    pub fn new(pools: Vec<PoolSpec>) -> Self {
        let mut names = HashSet::new();
        for spec in &pools {
            assert!(
                names.insert(spec.name.as_str()),
                "two pools are named `{}`",
                spec.name
            );
        }
        let pools = pools.into_iter().map(Pool::new).collect();
        Self {
            pools,
            placements: HashSet::new(),
        }
    }

    /// Whether the demand fits a pool that nothing else uses.
    pub fn fits_ever(&self, demand: &Demand) -> Result<(), NeverFits> {
        let &Demand { nodes, gpus, .. } = demand;
        if nodes == 0 || gpus == 0 {
            return Err(NeverFits::Nothing { nodes, gpus });
        }
        let named = || demand.pools.iter().filter_map(|name| self.pool(name));
        if named().any(|pool| pool.could_hold(demand)) {
            return Ok(());
        }
        let size = |pool: &&Pool| u64::from(pool.spec.nodes) * u64::from(pool.spec.gpus);
        Err(match named().max_by_key(size) {
            Some(pool) => NeverFits::TooLarge {
                nodes,
                gpus,
                largest: pool.spec.clone(),
            },
            None => NeverFits::NoPool {
                pools: demand.pools.clone(),
            },
        })
    }

    /// Takes all that is demanded or, when no pool has room for it, nothing.
    ///
    /// On an exclusive pool, and for several nodes on any, these are the lowest-numbered idle nodes, held whole. On a
    /// shared pool it is the fullest node that has enough free GPUs, so that the emptier ones stay for larger sessions,
    /// and of it the lowest-numbered free GPUs.
    pub fn try_place(&mut self, demand: &Demand) -> Option<Placement> {
        self.try_place_among(demand, |_| true)
    }

    /// As [`Self::try_place`], in the pools whose names are `allowed`.
    pub(super) fn try_place_among(
        &mut self,
        demand: &Demand,
        allowed: impl Fn(&str) -> bool,
    ) -> Option<Placement> {
        let placement = demand
            .pools
            .iter()
            .filter(|name| allowed(name))
            .find_map(|name| self.pool(name)?.room_for(demand))?;
        self.pool_mut(&placement.pool).mark(&placement, true);
        self.placements.insert(placement.clone());
        Some(placement)
    }

    /// Holds exactly this place for what is there already; false where it is not there, or not free.
    pub fn take(&mut self, placement: &Placement) -> bool {
        let is_free = self
            .pool(&placement.pool)
            .is_some_and(|pool| pool.is_free(placement));
        if is_free {
            self.pool_mut(&placement.pool).mark(placement, true);
            self.placements.insert(placement.clone());
        }
        is_free
    }

    /// Gives back what a placement holds.
    ///
    /// # Panics
    /// If the fleet doesn't hold that placement: it was released before or comes from elsewhere.
    pub fn release(&mut self, placement: &Placement) {
        assert!(
            self.placements.remove(placement),
            "only what is held is released, once: {placement:?}"
        );
        self.pool_mut(&placement.pool).mark(placement, false);
    }

    /// Whether the named pool is one of the demand's and, when idle, has room for it.
    pub(super) fn could_hold(&self, pool: &str, demand: &Demand) -> bool {
        demand.pools.iter().any(|name| name == pool)
            && self.pool(pool).is_some_and(|pool| pool.could_hold(demand))
    }

    fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.spec.name == name)
    }

    fn pool_mut(&mut self, name: &str) -> &mut Pool {
        self.pools
            .iter_mut()
            .find(|pool| pool.spec.name == name)
            .expect("a placement names a pool of the fleet that made it")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::pool::Share;
    use super::*;

    fn pool(name: &str, nodes: u32, gpus: u32, share: Share) -> PoolSpec {
        PoolSpec {
            name: name.to_owned(),
            nodes,
            gpus,
            share,
        }
    }

    fn demand(nodes: u32, gpus: u32, pools: &[&str]) -> Demand {
        let pools = pools.iter().map(|&name| name.to_owned()).collect();
        Demand { nodes, gpus, pools }
    }

    fn place(fleet: &mut Fleet, nodes: u32, gpus: u32) -> Option<(Vec<u32>, Vec<u32>)> {
        let placement = fleet.try_place(&demand(nodes, gpus, &["p"]))?;
        Some((placement.nodes, placement.gpus))
    }

    #[test]
    fn an_exclusive_node_has_one_session_that_sees_only_its_gpus() {
        let mut fleet = Fleet::new(vec![pool("p", 2, 8, Share::Exclusive)]);
        assert_eq!(place(&mut fleet, 1, 2), Some((vec![0], vec![0, 1])));
        assert_eq!(place(&mut fleet, 1, 2), Some((vec![1], vec![0, 1])));
        assert_eq!(place(&mut fleet, 1, 1), None);
    }

    #[test]
    fn a_shared_pool_fills_its_fullest_node_first() {
        let mut fleet = Fleet::new(vec![pool("p", 2, 8, Share::Gpu)]);
        assert_eq!(place(&mut fleet, 1, 4), Some((vec![0], vec![0, 1, 2, 3])));
        assert_eq!(place(&mut fleet, 1, 2), Some((vec![0], vec![4, 5])));
        assert_eq!(place(&mut fleet, 1, 8), Some((vec![1], (0..8).collect())));
        assert_eq!(place(&mut fleet, 1, 4), None);
        fleet.release(&Placement {
            pool: "p".to_owned(),
            nodes: vec![0],
            gpus: vec![0, 1, 2, 3],
        });
        assert_eq!(place(&mut fleet, 1, 5), Some((vec![0], vec![0, 1, 2, 3, 6])));
    }

    #[test]
    fn several_nodes_come_whole_and_together_or_not_at_all() {
        let mut fleet = Fleet::new(vec![pool("p", 3, 8, Share::Gpu)]);
        let one = fleet.try_place(&demand(1, 1, &["p"])).unwrap();
        assert_eq!(place(&mut fleet, 3, 8), None);
        assert_eq!(place(&mut fleet, 2, 4), Some((vec![1, 2], vec![0, 1, 2, 3])));
        assert_eq!(
            place(&mut fleet, 1, 8),
            None,
            "nothing runs beside a session of several nodes"
        );
        fleet.release(&one);
        assert_eq!(place(&mut fleet, 1, 8), Some((vec![0], (0..8).collect())));
    }

    #[test]
    fn the_first_named_pool_with_room_is_taken() {
        let mut fleet = Fleet::new(vec![
            pool("a", 1, 4, Share::Exclusive),
            pool("b", 1, 8, Share::Exclusive),
        ]);
        let wide = demand(1, 8, &["gone", "a", "b"]);
        let narrow = demand(1, 4, &["a", "b"]);
        assert_eq!(fleet.try_place(&wide).unwrap().pool, "b");
        assert_eq!(fleet.try_place(&narrow).unwrap().pool, "a");
        assert_eq!(fleet.try_place(&narrow), None);
    }

    #[test]
    fn a_place_is_taken_if_it_is_free() {
        let mut fleet = Fleet::new(vec![
            pool("s", 1, 8, Share::Gpu),
            pool("x", 1, 8, Share::Exclusive),
        ]);
        let at = |pool: &str, node, gpus: &[u32]| Placement {
            pool: pool.to_owned(),
            nodes: vec![node],
            gpus: gpus.to_vec(),
        };
        let there = at("s", 0, &[4, 5]);
        assert!(fleet.take(&there) && !fleet.take(&there));
        assert!(!fleet.take(&at("s", 0, &[5, 6])), "one of them is held");
        for nowhere in [at("s", 0, &[8]), at("s", 1, &[0]), at("gone", 0, &[0])] {
            assert!(!fleet.take(&nowhere), "{nowhere:?}");
        }
        let beside = fleet.try_place(&demand(1, 6, &["s"])).unwrap();
        assert_eq!(beside.gpus, [0, 1, 2, 3, 6, 7]);
        fleet.release(&there);
        assert_eq!(fleet.try_place(&demand(1, 2, &["s"])), Some(there));

        assert!(fleet.take(&at("x", 0, &[0, 1])));
        assert!(!fleet.take(&at("x", 0, &[2, 3])), "the node is held whole");
    }

    #[test]
    #[should_panic(expected = "only what is held is released, once")]
    fn releasing_twice_is_a_bug() {
        let mut fleet = Fleet::new(vec![pool("p", 1, 8, Share::Gpu)]);
        let placement = fleet.try_place(&demand(1, 1, &["p"])).unwrap();
        fleet.release(&placement);
        fleet.release(&placement);
    }

    #[test]
    fn what_never_fits_says_what_is_needed_and_what_there_is() {
        let fleet = Fleet::new(vec![
            pool("small", 9, 1, Share::Gpu),
            pool("large", 1, 72, Share::Gpu),
        ]);
        let reason = |demand| fleet.fits_ever(&demand).unwrap_err().to_string();
        assert_eq!(
            reason(demand(2, 8, &["small", "large"])),
            "needs 2 nodes of 8 GPUs; the largest of its pools, `large`, has 1 node of 72 GPUs"
        );
        assert_eq!(
            reason(demand(1, 8, &["x", "y"])),
            "none of the pools that could run it exists (`x`, `y`)"
        );
        assert_eq!(
            reason(demand(1, 0, &["large"])),
            "needs 1 node of 0 GPUs: both must be at least 1"
        );
        assert_eq!(fleet.fits_ever(&demand(9, 1, &["large", "small"])), Ok(()));
    }
}
