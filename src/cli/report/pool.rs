//! The board by pool: what each runs, and how many points wait there and are done.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::board::Board;
use super::phrase::{curve_and_conc, short_ms};
use super::state::{Bench, Counts, Progress, Session, Stage};

/// What happens on one pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pool {
    pub name: String,
    /// Whether what ran here so far was the simulated engine.
    pub simulated: bool,
    pub running: Vec<Running>,
    /// A point that several pools may take waits in each of them.
    pub points: Counts,
}

/// A session that holds a place.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Running {
    pub server: String,
    #[serde(flatten)]
    pub stage: RunningStage,
    /// The one being measured, or to be measured next, counted from 1.
    pub point: usize,
    pub points: usize,
}

/// What a session with a place does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "stage", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum RunningStage {
    Starting {
        since_unix_ms: u64,
    },
    /// Between two points.
    Ready,
    Measuring {
        bench: String,
        /// Unknown where a script sends them.
        requests: Option<u32>,
        progress: Option<Progress>,
    },
}

/// The pools that the build names, by name.
pub fn pools(board: &Board) -> Vec<Pool> {
    let mut pools: BTreeMap<&str, Pool> = BTreeMap::new();
    for session in board.sessions.values() {
        let placed = session.place.as_ref().filter(|_| session.stage != Stage::Waiting);
        let last = session.place.as_ref().map(|place| place.pool.as_str());
        for name in session.pools.iter().map(String::as_str).chain(last) {
            pools.entry(name).or_default();
        }
        if let Some(place) = &session.place {
            let pool = pools.entry(&place.pool).or_default();
            pool.simulated |= place.simulated;
            pool.running.extend(running(board, session));
            pool.points += Counts {
                waiting: 0,
                ..session.counts
            };
        }
        let mut waits_in: Vec<&str> = match placed {
            Some(place) => vec![&place.pool],
            None => session.pools.iter().map(String::as_str).collect(),
        };
        waits_in.sort_unstable();
        waits_in.dedup();
        for name in waits_in {
            pools.entry(name).or_default().points.waiting += session.counts.waiting;
        }
    }
    let named = pools.into_iter().map(|(name, pool)| Pool {
        name: name.to_owned(),
        ..pool
    });
    named.collect()
}

fn running(board: &Board, session: &Session) -> Option<Running> {
    let stage = match &session.stage {
        Stage::Waiting | Stage::Ended => return None,
        Stage::Starting { unix_ms } => RunningStage::Starting {
            since_unix_ms: *unix_ms,
        },
        Stage::Ready => RunningStage::Ready,
        Stage::Measuring { bench } => {
            let (requests, progress) = match board.bench(bench) {
                Some(Bench::Running { requests, progress }) => (requests, progress),
                _ => (None, None),
            };
            RunningStage::Measuring {
                bench: bench.clone(),
                requests,
                progress,
            }
        }
    };
    let points = session.counts.total();
    Some(Running {
        server: session.server.clone(),
        stage,
        point: (session.counts.settled() + 1).min(points),
        points,
    })
}

impl Pool {
    /// `h200 (simulated)`.
    pub fn title(&self) -> String {
        match self.simulated {
            true => format!("{} (simulated)", self.name),
            false => self.name.clone(),
        }
    }

    /// `12 done, 5 waiting: dsr1-fp8-h200-sglang/8k1k/tp8 c64 3/8, 120/640 requests`.
    pub fn line(&self, unix_ms: u64) -> String {
        let mut line = self.points.to_string();
        for (index, running) in self.running.iter().enumerate() {
            line.push_str(if index == 0 { ": " } else { "; " });
            line.push_str(&running.at(unix_ms).to_string());
        }
        line
    }
}

impl Running {
    /// The session in a few words, at a time.
    fn at(&self, unix_ms: u64) -> impl fmt::Display {
        fmt::from_fn(move |f| match &self.stage {
            RunningStage::Starting { since_unix_ms } => {
                let since = short_ms(unix_ms.saturating_sub(*since_unix_ms));
                write!(f, "{} server starting, {since}", curve_and_conc(&self.server).0)
            }
            RunningStage::Ready => write!(f, "{} server ready", curve_and_conc(&self.server).0),
            RunningStage::Measuring {
                bench,
                requests,
                progress,
            } => {
                let (curve, conc) = curve_and_conc(bench);
                let conc = conc.map(|conc| format!(" {conc}")).unwrap_or_default();
                write!(f, "{curve}{conc} {}/{}", self.point, self.points)?;
                match (requests, progress) {
                    (None, _) => write!(f, ", by its script"),
                    (Some(requests), None) => write!(f, ", {requests} requests"),
                    (Some(requests), Some(Progress { done, failed: 0 })) => {
                        write!(f, ", {done}/{requests} requests")
                    }
                    (Some(requests), Some(Progress { done, failed })) => {
                        write!(f, ", {done}/{requests} requests, {failed} failed")
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::story::{any_event, at, story};
    use super::*;

    fn lines(events: usize) -> String {
        let story = story();
        let board = Board::after(&story[..events]);
        let now = story[events - 1].unix_ms;
        let lines = pools(&board)
            .into_iter()
            .map(|pool| format!("{} | {}", pool.title(), pool.line(now)));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_pool_has_a_line() {
        insta::assert_snapshot!(lines(2), @"
        cpu | 0 done, 1 waiting
        h200 | 0 done, 3 waiting
        ");
        insta::assert_snapshot!(lines(6), @"
        cpu | 0 done, 1 waiting: smollm2-q4-cpu-llamacpp/128_32/tp1 server starting, 0ms
        h200 (simulated) | 0 done, 3 waiting: dsr1-fp8-h200-sglang/8k1k/tp8 server starting, 850ms
        ");
        insta::assert_snapshot!(lines(8), @"
        cpu | 0 done, 1 waiting: smollm2-q4-cpu-llamacpp/128_32/tp1 server starting, 360ms
        h200 (simulated) | 0 done, 1 running, 2 waiting: dsr1-fp8-h200-sglang/8k1k/tp8 c4 1/3, 640 requests
        ");
        insta::assert_snapshot!(lines(story().len()), @"
        cpu | 0 done, 1 skipped, 0 waiting
        h200 (simulated) | 1 done, 1 running, 1 waiting: dsr1-fp8-h200-sglang/8k1k/tp8 c16 2/3, 120/640 requests
        ");
    }

    proptest! {
        #[test]
        fn a_point_is_done_in_one_pool(events in prop::collection::vec(any_event(), 0..60)) {
            let events: Vec<_> = events.into_iter().map(|event| at(1, event)).collect();
            let board = Board::after(&events);
            let mut over_pools = Counts::default();
            for pool in pools(&board) {
                over_pools += pool.points;
                let _ = pool.line(1);
                for running in &pool.running {
                    prop_assert!(running.point <= running.points);
                }
            }
            let counts = board.counts();
            prop_assert!(over_pools.passed <= counts.passed);
            prop_assert!(over_pools.running <= counts.running);
            prop_assert!(over_pools.failed <= counts.failed);
        }
    }
}
