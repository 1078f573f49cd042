//! What runs, waits and is done: a build's events folded into its present state.

use std::collections::BTreeMap;

use super::state::{Bench, Counts, Failure, Finished, Place, Plan, Progress, Run, Session, Stage};
use crate::exec::event::{Event, PlannedSession, Stamped};

/// The state of a build, as far as its events tell. Any sequence of events is taken: a journal may be torn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    pub run: Option<Run>,
    pub plan: Option<Plan>,
    /// By their index in the plan.
    pub sessions: BTreeMap<usize, Session>,
    /// Images being made present, each with the last line that this printed.
    pub images: BTreeMap<String, String>,
    /// The latest of each target, in the order in which they occurred.
    pub failures: Vec<Failure>,
    /// Whether a signal came; true when it was the second.
    pub interrupted: Option<bool>,
    pub finished: Option<Finished>,
    /// When the first event was, in milliseconds since 1970.
    pub first_unix_ms: Option<u64>,
    /// The stale points, each with its session where that is known.
    benches: BTreeMap<String, (Option<usize>, Bench)>,
    counts: Counts,
}

impl Board {
    /// The state after all of `events`.
    pub fn after<'a>(events: impl IntoIterator<Item = &'a Stamped>) -> Self {
        let mut board = Self::default();
        for stamped in events {
            board.apply(stamped);
        }
        board
    }

    /// The stale points by state.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A stale point's state, `None` when the run does not measure it.
    pub fn bench(&self, target: &str) -> Option<Bench> {
        self.benches.get(target).map(|(_, bench)| *bench)
    }

    /// The session that has this point.
    pub fn session_of(&self, bench: &str) -> Option<usize> {
        self.benches.get(bench).and_then(|(session, _)| *session)
    }

    /// Milliseconds from the run's first event to `unix_ms`; none when the clock was set back.
    pub fn elapsed_ms(&self, unix_ms: u64) -> u64 {
        unix_ms.saturating_sub(self.first_unix_ms.unwrap_or(unix_ms))
    }

    /// Takes one event; the only way in which the state changes.
    pub fn apply(&mut self, stamped: &Stamped) {
        let unix_ms = stamped.unix_ms;
        self.first_unix_ms.get_or_insert(unix_ms);
        match &stamped.event {
            Event::RunStarted {
                run,
                profile,
                sweep,
                words,
                host,
                pid,
                ..
            } => {
                self.run = Some(Run {
                    id: run.clone(),
                    profile: profile.clone(),
                    sweep: sweep.clone(),
                    words: words.clone(),
                    host: host.clone(),
                    pid: *pid,
                    unix_ms,
                });
            }
            Event::Planned {
                points,
                fresh,
                sessions,
                estimate_ms,
                ..
            } => {
                self.plan = Some(Plan {
                    points: *points,
                    fresh: *fresh,
                    estimate_ms: *estimate_ms,
                    unix_ms,
                });
                self.planned(sessions);
            }
            Event::ImageStarted { target } => drop(self.images.insert(target.clone(), String::new())),
            Event::ImageProgress { target, line } => drop(self.images.insert(target.clone(), line.clone())),
            Event::ImageReady { target, .. } => {
                self.images.remove(target);
                self.healthy(target);
            }
            Event::ImageFailed { target, reason } => {
                self.images.remove(target);
                self.failed(target, reason);
            }
            Event::ServerStarting {
                target,
                session,
                pool,
                node,
                gpus,
                simulated,
                adopted_from,
                ..
            } => {
                let session = self.sessions.entry(*session).or_default();
                session.server.clone_from(target);
                session.stage = Stage::Starting { unix_ms };
                session.place = Some(Place {
                    pool: pool.clone(),
                    node: node.clone(),
                    gpus: gpus.clone(),
                    simulated: *simulated,
                    adopted_from: adopted_from.clone(),
                });
            }
            Event::ServerReady { target, session, .. } => {
                self.stage(*session, Stage::Ready);
                self.healthy(target);
            }
            Event::ServerFailed {
                target,
                session,
                reason,
                will_retry,
            } => {
                self.stage(*session, Stage::Waiting);
                if !will_retry {
                    self.failed(target, reason);
                }
            }
            Event::ServerStopped { session, .. } => self.stage(*session, Stage::Waiting),
            Event::BenchStarted {
                target,
                session,
                requests,
                ..
            } => {
                let bench = target.clone();
                self.stage(*session, Stage::Measuring { bench });
                self.running(target, *session, Some(*requests), None);
            }
            Event::ScriptStarted {
                target,
                session,
                pool,
                node,
                gpus,
                ..
            } => {
                self.sessions.entry(*session).or_default().place = Some(Place {
                    pool: pool.clone(),
                    node: node.clone(),
                    gpus: gpus.clone(),
                    simulated: false,
                    adopted_from: None,
                });
                let bench = target.clone();
                self.stage(*session, Stage::Measuring { bench });
                self.running(target, *session, None, None);
            }
            Event::BenchProgress {
                target,
                session,
                done,
                failed,
                requests,
            } => {
                let progress = Progress {
                    done: *done,
                    failed: *failed,
                };
                self.running(target, *session, Some(*requests), Some(progress));
            }
            Event::BenchPassed { target, session, .. } => {
                self.measured(target, *session, Bench::Passed);
                self.healthy(target);
            }
            Event::BenchFailed {
                target,
                session,
                reason,
            } => {
                self.measured(target, *session, Bench::Failed);
                self.failed(target, reason);
            }
            Event::BenchSkipped { target, .. } => self.set(target, None, Bench::Skipped),
            Event::ProcessPassed { target } => self.healthy(target),
            Event::ProcessFailed { target, reason } => self.failed(target, reason),
            Event::SessionEnded { session, .. } => self.stage(*session, Stage::Ended),
            Event::Interrupted { now, .. } => self.interrupted = Some(*now),
            Event::RunFinished {
                passed,
                fresh,
                failed,
                skipped,
                servers_started,
                elapsed_ms,
            } => {
                self.finished = Some(Finished {
                    passed: *passed,
                    fresh: *fresh,
                    failed: *failed,
                    skipped: *skipped,
                    servers_started: *servers_started,
                    elapsed_ms: *elapsed_ms,
                    unix_ms,
                });
            }
            Event::PlanReused { .. }
            | Event::Collected { .. }
            | Event::Summarized { .. }
            | Event::Healed { .. }
            | Event::RemoteFetched { .. }
            | Event::RemoteFailed { .. }
            | Event::RemoteSent { .. } => {}
        }
    }

    fn planned(&mut self, sessions: &[PlannedSession]) {
        for (index, planned) in sessions.iter().enumerate() {
            let session = self.sessions.entry(index).or_default();
            session.server.clone_from(&planned.server);
            session.pools.clone_from(&planned.pools);
            for bench in &planned.benches {
                self.set(bench, Some(index), Bench::Waiting);
            }
        }
    }

    /// What has ended stays so: a server is stopped before its session ends, or after.
    fn stage(&mut self, session: usize, stage: Stage) {
        let session = self.sessions.entry(session).or_default();
        if session.stage != Stage::Ended {
            session.stage = stage;
        }
    }

    fn running(&mut self, target: &str, session: usize, requests: Option<u32>, progress: Option<Progress>) {
        let running = Bench::Running { requests, progress };
        self.set(target, Some(session), running);
    }

    /// The point's outcome; its session's server is free for the next one unless it is gone by now.
    fn measured(&mut self, target: &str, session: usize, outcome: Bench) {
        self.set(target, Some(session), outcome);
        let measuring = Stage::Measuring {
            bench: target.to_owned(),
        };
        if self.sessions.get(&session).is_some_and(|s| s.stage == measuring) {
            self.stage(session, Stage::Ready);
        }
    }

    /// Moves a point, and the counts with it. A point stays in the session that first had it.
    fn set(&mut self, target: &str, session: Option<usize>, bench: Bench) {
        let (owner, before) = match self.benches.get_mut(target) {
            Some((owner, state)) => (*owner, Some(std::mem::replace(state, bench))),
            None => {
                self.benches.insert(target.to_owned(), (session, bench));
                (session, None)
            }
        };
        let of_session = owner.map(|index| &mut self.sessions.entry(index).or_default().counts);
        for counts in [Some(&mut self.counts), of_session].into_iter().flatten() {
            if let Some(before) = before {
                *counts.of(before) -= 1;
            }
            *counts.of(bench) += 1;
        }
    }

    fn failed(&mut self, target: &str, reason: &str) {
        self.healthy(target);
        self.failures.push(Failure {
            target: target.to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn healthy(&mut self, target: &str) {
        self.failures.retain(|failure| failure.target != target);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::super::story::{any_event, at, story};
    use super::*;

    #[test]
    fn the_story_so_far() {
        let board = Board::after(&story());
        let expected = Counts {
            waiting: 1,
            running: 1,
            passed: 1,
            failed: 0,
            skipped: 1,
        };
        assert_eq!(board.counts(), expected);
        assert_eq!(board.images.len(), 0);
        assert_eq!(board.sessions[&1].stage, Stage::Ended);
        assert!(matches!(&board.sessions[&0].stage, Stage::Measuring { bench } if bench.ends_with("/c16")));
        let targets: Vec<_> = board.failures.iter().map(|f| f.target.as_str()).collect();
        assert_eq!(targets, ["server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1"]);
        assert_eq!(board.run.unwrap().pid, 4242);
    }

    #[test]
    fn a_server_that_comes_up_again_is_no_failure() {
        let mut board = Board::after(&story());
        let target = board.failures[0].target.clone();
        board.apply(&at(
            1,
            Event::ServerReady {
                target,
                session: 1,
                elapsed_ms: 1,
            },
        ));
        assert_eq!(board.failures, []);
        assert_eq!(board.sessions[&1].stage, Stage::Ended, "what has ended stays so");
    }

    proptest! {
        #[test]
        fn every_point_is_counted_once(events in prop::collection::vec(any_event(), 0..60)) {
            let mut board = Board::default();
            for event in events {
                board.apply(&at(1, event));
                let mut recounted = Counts::default();
                for (_, bench) in board.benches.values() {
                    *recounted.of(*bench) += 1;
                }
                prop_assert_eq!(board.counts(), recounted);
                let mut over_sessions = Counts::default();
                for session in board.sessions.values() {
                    over_sessions += session.counts;
                }
                let loose = board.benches.values().filter(|(session, _)| session.is_none()).count();
                prop_assert_eq!(over_sessions.total() + loose, board.counts().total());
                let mut targets: Vec<_> = board.failures.iter().map(|failure| &failure.target).collect();
                targets.sort();
                targets.dedup();
                prop_assert_eq!(targets.len(), board.failures.len());
            }
        }
    }
}
