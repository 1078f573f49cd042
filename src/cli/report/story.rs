//! A build's events for tests: a short story, and any events at all.

use proptest::prelude::*;

use crate::exec::event::{EVENT_VERSION, Event, PlannedSession, Stamped};

pub(in crate::cli) fn at(unix_ms: u64, event: Event) -> Stamped {
    Stamped {
        v: EVENT_VERSION,
        unix_ms,
        event,
    }
}

/// Two sessions: three points on a simulated H200 pool, one point on a pool that fails it.
pub(in crate::cli) fn story() -> Vec<Stamped> {
    let bench = |conc: u32| format!("bench:dsr1-fp8-h200-sglang/8k1k/tp8/c{conc}");
    let first = "server:dsr1-fp8-h200-sglang/8k1k/tp8/c4".to_owned();
    let second = "server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1".to_owned();
    let alone = "bench:smollm2-q4-cpu-llamacpp/128_32/tp1/c1".to_owned();
    let planned = |server: &String, benches: Vec<String>, pool: &str, gpus| PlannedSession {
        server: server.clone(),
        benches,
        pools: vec![pool.to_owned()],
        gpus,
        estimate_ms: None,
    };
    let starting = |target: &String, session, pool: &str, gpus: Vec<u32>, attempt| Event::ServerStarting {
        target: target.clone(),
        session,
        pool: pool.to_owned(),
        node: vec![0],
        gpus,
        port: 30_000,
        attempt,
        folder: format!("attempts/{session}-{attempt}"),
        simulated: pool == "h200",
        adopted_from: None,
    };
    let started = |conc| Event::BenchStarted {
        target: bench(conc),
        session: 0,
        folder: format!("attempts/0-1/c{conc}"),
        requests: 640,
    };
    let events = [
        (
            0,
            Event::RunStarted {
                run: "20261122T040412Z-0a1b2c".to_owned(),
                sweep_version: "0.1.0".to_owned(),
                profile: "default".to_owned(),
                sweep: "all".to_owned(),
                words: vec!["*".to_owned()],
                host: "node1".to_owned(),
                pid: 4242,
            },
        ),
        (
            50,
            Event::Planned {
                points: 6,
                fresh: 2,
                stale: 4,
                sessions: vec![
                    planned(&first, vec![bench(4), bench(16), bench(64)], "h200", 8),
                    planned(&second, vec![alone.clone()], "cpu", 0),
                ],
                estimate_ms: Some(90_000),
            },
        ),
        (
            60,
            Event::ImageStarted {
                target: "image:pypi:llamacpp.txt".to_owned(),
            },
        ),
        (100, starting(&first, 0, "h200", (0..8).collect(), 1)),
        (
            900,
            Event::ImageReady {
                target: "image:pypi:llamacpp.txt".to_owned(),
                elapsed_ms: 840,
            },
        ),
        (950, starting(&second, 1, "cpu", vec![], 1)),
        (
            1_300,
            Event::ServerReady {
                target: first.clone(),
                session: 0,
                elapsed_ms: 1_200,
            },
        ),
        (1_310, started(4)),
        (
            1_900,
            Event::ServerFailed {
                target: second.clone(),
                session: 1,
                reason: "exited with 1".to_owned(),
                will_retry: true,
            },
        ),
        (1_950, starting(&second, 1, "cpu", vec![], 2)),
        (
            12_300,
            Event::BenchPassed {
                target: bench(4),
                session: 0,
                elapsed_ms: 10_990,
            },
        ),
        (12_400, started(16)),
        (
            12_500,
            Event::ServerFailed {
                target: second,
                session: 1,
                reason: "exited with 1; its last lines:\n  | no such model".to_owned(),
                will_retry: false,
            },
        ),
        (
            12_501,
            Event::BenchSkipped {
                target: alone,
                reason: "its server failed".to_owned(),
            },
        ),
        (
            12_502,
            Event::SessionEnded {
                session: 1,
                passed: 0,
                failed: 0,
                skipped: 1,
            },
        ),
        (
            13_000,
            Event::BenchProgress {
                target: bench(16),
                session: 0,
                done: 120,
                failed: 0,
                requests: 640,
            },
        ),
    ];
    events
        .map(|(unix_ms, event)| at(1_000_000 + unix_ms, event))
        .into()
}

/// Any event about a few targets, sessions and pools, in any order.
pub(in crate::cli) fn any_event() -> impl Strategy<Value = Event> {
    let target = (0..4_u8).prop_map(|n| format!("bench:k/1k1k/tp1/c{n}"));
    (0..13_u8, target, 0..3_usize, 0..9_u32, any::<bool>()).prop_map(
        |(kind, target, session, number, flag)| match kind {
            0 => Event::Planned {
                points: 9,
                fresh: 1,
                stale: 4,
                sessions: vec![PlannedSession {
                    server: "server:k/1k1k/tp1/c0".to_owned(),
                    benches: vec![target],
                    pools: vec!["a".to_owned(), "b".to_owned()],
                    gpus: 1,
                    estimate_ms: None,
                }],
                estimate_ms: flag.then_some(1000),
            },
            1 => Event::ServerStarting {
                target: "server:k/1k1k/tp1/c0".to_owned(),
                session,
                pool: ["a", "b"][usize::from(flag)].to_owned(),
                node: vec![number],
                gpus: vec![number],
                port: 1,
                attempt: 1,
                folder: "f".to_owned(),
                simulated: flag,
                adopted_from: None,
            },
            2 => Event::ServerReady {
                target,
                session,
                elapsed_ms: 1,
            },
            3 => Event::ServerFailed {
                target,
                session,
                reason: String::new(),
                will_retry: flag,
            },
            4 => Event::ServerStopped { target, session },
            5 => Event::BenchStarted {
                target,
                session,
                folder: String::new(),
                requests: number,
            },
            6 => Event::BenchProgress {
                target,
                session,
                done: number,
                failed: number,
                requests: 4,
            },
            7 => Event::BenchPassed {
                target,
                session,
                elapsed_ms: 1,
            },
            8 => Event::BenchFailed {
                target,
                session,
                reason: String::new(),
            },
            9 => Event::BenchSkipped {
                target,
                reason: String::new(),
            },
            10 => Event::SessionEnded {
                session,
                passed: 0,
                failed: 0,
                skipped: 0,
            },
            11 => Event::ScriptStarted {
                target,
                session,
                pool: ["a", "b"][usize::from(flag)].to_owned(),
                node: vec![number],
                gpus: vec![number],
                port: 1,
                folder: String::new(),
            },
            _ => Event::ImageFailed {
                target: "image:i".to_owned(),
                reason: String::new(),
            },
        },
    )
}
