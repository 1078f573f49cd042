//! The KV cache of the simulated engine: blocks in use, and which prompt prefixes the free ones still remember.

use std::collections::{HashMap, VecDeque};

/// Tokens of one block, as engines allocate them.
pub const BLOCK_TOKENS: u64 = 16;

/// Tokens covered by one prefix hash. Coarser than a block: a hit is a multiple of it.
pub const PREFIX_TOKENS: usize = 64;

/// Blocks that hold `tokens` tokens.
pub fn blocks_for(tokens: u64) -> u64 {
    tokens.div_ceil(BLOCK_TOKENS)
}

/// A fixed number of blocks, counted.
#[derive(Debug)]
pub struct BlockPool {
    total: u64,
    used: u64,
}

impl BlockPool {
    /// A pool for `tokens` tokens of context.
    pub fn for_tokens(tokens: u64) -> Self {
        Self {
            total: tokens / BLOCK_TOKENS,
            used: 0,
        }
    }

    /// All blocks.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Blocks held by sequences.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Blocks that a sequence can still get.
    pub fn free(&self) -> u64 {
        self.total - self.used
    }

    /// Takes `blocks` blocks, or none and `false`.
    #[must_use]
    pub fn take(&mut self, blocks: u64) -> bool {
        let fits = blocks <= self.free();
        if fits {
            self.used += blocks;
        }
        fits
    }

    /// Gives `blocks` blocks back.
    pub fn give_back(&mut self, blocks: u64) {
        debug_assert!(blocks <= self.used, "gave back {blocks} of {} blocks", self.used);
        self.used -= blocks;
    }
}

/// Remembers chained hashes of prompt prefixes, least recently used forgotten first.
#[derive(Debug, Default)]
pub struct PrefixCache {
    last_use: HashMap<u64, u64>,
    by_use: VecDeque<(u64, u64)>,
    clock: u64,
}

impl PrefixCache {
    /// Leading hashes of `prefix` that are remembered; they count as used now.
    pub fn hits(&mut self, prefix: &[u64]) -> usize {
        let known = prefix
            .iter()
            .take_while(|hash| self.last_use.contains_key(hash))
            .count();
        self.insert(&prefix[..known]);
        known
    }

    /// Remembers every hash of `prefix`.
    pub fn insert(&mut self, prefix: &[u64]) {
        for &hash in prefix {
            self.clock += 1;
            self.last_use.insert(hash, self.clock);
            self.by_use.push_back((self.clock, hash));
        }
    }

    /// Forgets the least recently used until at most `hashes` are left.
    pub fn shrink_to(&mut self, hashes: usize) {
        while self.last_use.len() > hashes {
            let Some((used, hash)) = self.by_use.pop_front() else {
                break;
            };
            if self.last_use.get(&hash) == Some(&used) {
                self.last_use.remove(&hash);
            }
        }
        // Uses that a later one of the same hash outdates only cost memory; drop them when they are the most.
        if self.by_use.len() > 2 * self.last_use.len() + 64 {
            self.by_use
                .retain(|(used, hash)| self.last_use.get(hash) == Some(used));
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.last_use.clear();
        self.by_use.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hit_is_an_unbroken_prefix() {
        let mut cache = PrefixCache::default();
        cache.insert(&[1, 2, 3]);
        assert_eq!(cache.hits(&[1, 2, 9, 3]), 2);
        assert_eq!(cache.hits(&[2, 3]), 2);
        cache.clear();
        assert_eq!(cache.hits(&[1]), 0);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = PrefixCache::default();
        cache.insert(&[1, 2, 3]);
        assert_eq!(cache.hits(&[1]), 1);
        cache.shrink_to(2);
        assert_eq!([cache.hits(&[1]), cache.hits(&[2]), cache.hits(&[3])], [1, 0, 1]);
    }

    proptest! {
        #[test]
        fn shrinking_bounds_both_tables(uses in prop::collection::vec(0u64..50, 0..2000), room in 0usize..60) {
            let mut cache = PrefixCache::default();
            for hash in uses {
                cache.insert(&[hash]);
                cache.shrink_to(room);
                prop_assert!(cache.last_use.len() <= room);
                prop_assert!(cache.by_use.len() <= 2 * cache.last_use.len() + 64);
            }
        }

        #[test]
        fn a_pool_never_gives_more_than_it_has(asks in prop::collection::vec(0u64..40, 0..50)) {
            let mut pool = BlockPool::for_tokens(100 * BLOCK_TOKENS);
            for ask in asks {
                let free = pool.free();
                prop_assert_eq!(pool.take(ask), ask <= free);
                prop_assert!(pool.used() <= pool.total());
            }
        }
    }
}
