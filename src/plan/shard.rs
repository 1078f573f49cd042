//! Sessions dealt out to jobs that share nothing: each shard is measured by one of them.
//!
//! A session stays whole, as its points share a server, unless it alone would outlast a job. The longest are dealt
//! first, each to the shard that has least so far (Graham's LPT rule, at most 4/3 of the best), by GPU time. The same
//! sessions are always dealt in the same way.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::session::{Estimate, Session};

/// How sessions are dealt.
#[derive(Debug, Clone, Copy)]
pub struct Deal {
    /// At most so many shards; with `per_pool`, so many of each pool.
    pub shards: usize,
    /// A shard runs on one pool only.
    pub per_pool: bool,
    /// What outlasts this is split: how long a job may take.
    pub longest: Duration,
}

/// The sessions of one job.
#[derive(Debug, Clone)]
pub struct Shard {
    /// The only pool that they may run on, where pools were told apart.
    pub pool: Option<String>,
    /// In the plan's order; never empty.
    pub sessions: Vec<Session>,
}

impl Deal {
    /// Deals the sessions that can run. `gpus` tells how many GPUs a session holds.
    pub fn deal(&self, sessions: &[Session], gpus: impl Fn(&Session) -> u32) -> Vec<Shard> {
        let runnable = sessions.iter().filter(|session| session.blocked.is_none());
        let mut pieces: Vec<Session> = runnable.flat_map(|session| self.split(session)).collect();
        let weight = |piece: &Session| piece.estimate.nominal() * gpus(piece).max(1);
        // A stable sort: equal ones stay in the plan's order.
        pieces.sort_by_key(|piece| Reverse(weight(piece)));
        if !self.per_pool {
            return self.of_one_pool(None, pieces, &weight);
        }
        let mut loads = BTreeMap::<String, (Duration, Vec<Session>)>::new();
        for mut piece in pieces {
            let load = |pool: &&String| loads.get(*pool).map_or(Duration::ZERO, |(load, _)| *load);
            let Some(pool) = piece.pools.iter().min_by_key(load).cloned() else {
                continue;
            };
            let (load, of_pool) = loads.entry(pool.clone()).or_default();
            *load += weight(&piece);
            piece.pools = vec![pool];
            of_pool.push(piece);
        }
        let pools = loads.into_iter();
        pools
            .flat_map(|(pool, (_, pieces))| self.of_one_pool(Some(&pool), pieces, &weight))
            .collect()
    }

    /// Deals pieces, the heaviest of which comes first, to shards.
    fn of_one_pool(
        &self,
        pool: Option<&str>,
        pieces: Vec<Session>,
        weight: &impl Fn(&Session) -> Duration,
    ) -> Vec<Shard> {
        let count = self.shards.clamp(1, pieces.len().max(1));
        let mut hands = vec![(Duration::ZERO, Vec::<Session>::new()); count];
        for piece in pieces {
            let lightest = hands.iter_mut().min_by_key(|(load, _)| *load);
            let (load, hand) = lightest.expect("there is at least one hand");
            *load += weight(&piece);
            hand.push(piece);
        }
        let mut dealt: Vec<Shard> = hands
            .into_iter()
            .filter(|(_, sessions)| !sessions.is_empty())
            .map(|(_, mut sessions)| {
                sessions.sort_by_key(|session| session.points[0]);
                Shard {
                    pool: pool.map(str::to_owned),
                    sessions,
                }
            })
            .collect();
        dealt.sort_by_key(|shard| shard.sessions[0].points[0]);
        dealt
    }

    /// A session in pieces, none of which outlasts a job unless a single point does. Each starts a server of its own.
    fn split(&self, session: &Session) -> Vec<Session> {
        let piece = |points: &[usize], benches: &[Option<Duration>]| Session {
            points: points.to_vec(),
            estimate: Estimate {
                start: session.estimate.start,
                benches: benches.to_vec(),
            },
            ..session.clone()
        };
        let benches = &session.estimate.benches;
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in 1..session.points.len() {
            let with_next = piece(&session.points[from..=to], &benches[from..=to]);
            if with_next.estimate.nominal() > self.longest {
                pieces.push(piece(&session.points[from..to], &benches[from..to]));
                from = to;
            }
        }
        pieces.push(piece(&session.points[from..], &benches[from..]));
        pieces
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use petgraph::graph::NodeIndex;
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3600;

    /// A session of these points, each of so many seconds, on these pools.
    fn session(points: &[usize], seconds: u64, pools: &[&str]) -> Session {
        let bench = Some(Duration::from_secs(seconds));
        Session {
            server: NodeIndex::new(points[0]),
            image: NodeIndex::new(0),
            points: points.to_vec(),
            priority: 0,
            estimate: Estimate {
                start: Some(Duration::from_secs(600)),
                benches: vec![bench; points.len()],
            },
            pools: pools.iter().map(ToString::to_string).collect(),
            quiet: false,
            blocked: None,
        }
    }

    fn deal(shards: usize, per_pool: bool) -> Deal {
        Deal {
            shards,
            per_pool,
            longest: Duration::from_secs(6 * HOUR),
        }
    }

    fn points(dealt: &[Shard]) -> Vec<Vec<usize>> {
        let of_share = |shard: &Shard| shard.sessions.iter().flat_map(|s| s.points.clone()).collect();
        dealt.iter().map(of_share).collect()
    }

    #[test]
    fn sessions_stay_whole_and_are_balanced_by_gpu_time() {
        let sessions = [
            session(&[0, 1], HOUR, &["a"]),
            session(&[2], 600, &["a"]),
            session(&[3, 4], HOUR, &["a"]),
            session(&[5], 600, &["a"]),
        ];
        let dealt = deal(2, false).deal(&sessions, |_| 8);
        assert_eq!(points(&dealt), [vec![0, 1, 2], vec![3, 4, 5]]);
        assert!(dealt.iter().all(|shard| shard.pool.is_none()));
        // One of eight GPUs weighs as much as eight of one.
        let dealt = deal(2, false).deal(&sessions, |session| if session.points[0] == 0 { 64 } else { 1 });
        assert_eq!(points(&dealt), [vec![0, 1], vec![2, 3, 4, 5]]);
        // No more shards than sessions.
        assert_eq!(deal(9, false).deal(&sessions, |_| 8).len(), 4);
        assert!(deal(9, false).deal(&[], |_| 8).is_empty());
    }

    #[test]
    fn a_session_that_outlasts_a_job_is_split_at_its_points() {
        let long = session(&[0, 1, 2, 3, 4, 5, 6], 2 * HOUR, &["a"]);
        let dealt = deal(4, false).deal(&[long], |_| 8);
        assert_eq!(points(&dealt), [vec![0, 1], vec![2, 3], vec![4, 5], vec![6]]);
        let sessions = dealt.iter().flat_map(|shard| &shard.sessions);
        let starts: Vec<_> = sessions.map(|s| s.estimate.start.unwrap().as_secs()).collect();
        assert_eq!(starts, [600; 4]);
        // A point alone is never split.
        let endless = session(&[0, 1], 100 * HOUR, &["a"]);
        assert_eq!(points(&deal(1, false).deal(&[endless], |_| 8)), [[0, 1]]);
    }

    #[test]
    fn a_pool_of_its_own_where_pools_are_told_apart() {
        let mut blocked = session(&[9], HOUR, &["a"]);
        blocked.blocked = Some("no executor".to_owned());
        let sessions = [
            session(&[0], HOUR, &["a", "b"]),
            session(&[1], HOUR, &["b"]),
            session(&[2], HOUR, &["a", "b"]),
            session(&[3], HOUR, &["c"]),
            blocked,
        ];
        let dealt = deal(1, true).deal(&sessions, |_| 8);
        let pools: Vec<_> = dealt.iter().map(|shard| shard.pool.as_deref().unwrap()).collect();
        assert_eq!(pools, ["a", "b", "c"]);
        assert_eq!(points(&dealt), [vec![0, 2], vec![1], vec![3]]);
        assert!(dealt.iter().all(|shard| {
            let pool = shard.pool.clone().unwrap();
            shard.sessions.iter().all(|s| s.pools == [pool.clone()])
        }));
        assert_eq!(deal(2, true).deal(&sessions, |_| 8).len(), 4);
    }

    /// Sessions of one to five points with and without estimates.
    fn any_sessions() -> impl Strategy<Value = Vec<Session>> {
        let one = (1_usize..6, proptest::option::of(1_u64..20_000), 0_usize..3);
        proptest::collection::vec(one, 0..20).prop_map(|described| {
            let mut next = 0;
            let sessions = described.into_iter().map(|(count, seconds, pools)| {
                let points: Vec<usize> = (next..next + count).collect();
                next += count;
                let mut made = session(&points, seconds.unwrap_or_default(), &["a", "b", "c"][..=pools]);
                if seconds.is_none() {
                    made.estimate.benches = vec![None; count];
                }
                made
            });
            sessions.collect()
        })
    }

    proptest! {
        #[test]
        fn every_point_is_dealt_once(sessions in any_sessions(), shards in 1_usize..10, per_pool: bool) {
            let dealt = deal(shards, per_pool).deal(&sessions, |_| 8);
            let mut all_dealt: Vec<usize> = points(&dealt).concat();
            all_dealt.sort_unstable();
            let all: Vec<usize> = sessions.iter().flat_map(|s| s.points.clone()).collect();
            prop_assert_eq!(all_dealt, all);
            prop_assert_eq!(points(&dealt), points(&deal(shards, per_pool).deal(&sessions, |_| 8)));
            if !per_pool {
                prop_assert!(dealt.len() <= shards);
                // The heaviest shard is at most the mean and the heaviest piece.
                let weights: Vec<Duration> = dealt
                    .iter()
                    .map(|shard| shard.sessions.iter().map(|s| s.estimate.nominal()).sum())
                    .collect();
                let total: Duration = weights.iter().sum();
                let piece = dealt.iter().flat_map(|s| &s.sessions).map(|s| s.estimate.nominal()).max();
                let bound = total / u32::try_from(dealt.len().max(1)).unwrap() + piece.unwrap_or_default();
                prop_assert!(weights.iter().all(|weight| *weight <= bound));
            }
        }
    }
}
