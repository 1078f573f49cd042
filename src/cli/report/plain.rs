//! A line for each event that means something to people, for logs and CI. The wording is stable: scripts read it.

use std::io::Write;

use super::board::Board;
use super::phrase::{self, counted, indices, short_ms};
use super::reporter::Reporter;
use super::state::Place;
use crate::config::quantity::ShortSize;
use crate::exec::event::{Event, Stamped};

/// Writes lines such as `[ 14.0s] pass    bench:… in 9.8s (3/48)`, the time counted from the run's start.
#[derive(Debug)]
pub struct Plain<W> {
    out: W,
    /// Lines that are not shown yet.
    lines: String,
    board: Board,
}

impl<W: Write> Plain<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            lines: String::new(),
            board: Board::default(),
        }
    }
}

impl<W: Write> Reporter for Plain<W> {
    fn event(&mut self, stamped: &Stamped) {
        self.board.apply(stamped);
        if let Some(line) = line(&self.board, stamped) {
            self.lines += &line;
            self.lines.push('\n');
        }
    }

    fn flush(&mut self) {
        // A reader that has gone away does not end a build.
        let shown = self.out.write_all(self.lines.as_bytes());
        let _ = shown.and_then(|()| self.out.flush());
        self.lines.clear();
    }

    fn finish(&mut self) {
        self.flush();
    }
}

/// The event as a line, given the state after it.
pub(super) fn line(board: &Board, stamped: &Stamped) -> Option<String> {
    let (verb, text) = words(board, &stamped.event)?;
    let elapsed = short_ms(board.elapsed_ms(stamped.unix_ms));
    Some(format!("[{elapsed:>6}] {verb:<7} {text}"))
}

/// A verb of at most seven letters, in capitals where something failed, and what it is about.
fn words(board: &Board, event: &Event) -> Option<(&'static str, String)> {
    let words = match event {
        Event::RunStarted {
            run, profile, words, ..
        } => (
            "run",
            format!("{run}: {} on profile {profile}", shell_words::join(words)),
        ),
        Event::Planned {
            points,
            fresh,
            stale,
            sessions,
            estimate_ms,
        } => {
            let (points, servers) = (counted(*points, "point"), counted(sessions.len(), "server"));
            let time = estimate_ms.map(|ms| format!(", about {}", short_ms(ms)));
            let text = format!("{points}: {fresh} fresh, {stale} stale on {servers}");
            ("plan", text + &time.unwrap_or_default())
        }
        Event::ImageStarted { target } => ("image", format!("{target} is being made present")),
        Event::ImageReady { target, elapsed_ms } => (
            "image",
            format!("{target} is present after {}", short_ms(*elapsed_ms)),
        ),
        Event::ServerStarting {
            target,
            session,
            node,
            port,
            attempt,
            adopted_from,
            ..
        } => {
            let place = phrase::place(place(board, *session)?);
            let again = (*attempt > 1).then(|| format!(", attempt {attempt}"));
            let text = format!("{target} ({place}, node {}, port {port}", indices(node));
            let verb = if adopted_from.is_some() { "adopt" } else { "start" };
            (verb, text + &again.unwrap_or_default() + ")")
        }
        Event::ServerReady {
            target,
            session,
            elapsed_ms,
        } => {
            let place = place(board, *session).map(|place| format!(" ({})", phrase::place(place)));
            let text = format!("{target} in {}", short_ms(*elapsed_ms));
            ("ready", text + &place.unwrap_or_default())
        }
        Event::ServerFailed {
            target,
            reason,
            will_retry: true,
            ..
        } => ("retry", format!("{target}: {reason}")),
        Event::ScriptStarted {
            target,
            session,
            node,
            port,
            ..
        } => {
            let place = phrase::place(place(board, *session)?);
            let text = format!("{target} ({place}, node {}, port {port})", indices(node));
            ("script", text)
        }
        Event::BenchStarted { target, requests, .. } => ("bench", format!("{target}, {requests} requests")),
        Event::BenchPassed {
            target, elapsed_ms, ..
        } => {
            let counts = board.counts();
            let (settled, total) = (counts.settled(), counts.total());
            let text = format!("{target} in {} ({settled}/{total})", short_ms(*elapsed_ms));
            ("pass", text)
        }
        Event::ImageFailed { target, reason }
        | Event::ServerFailed { target, reason, .. }
        | Event::BenchFailed { target, reason, .. }
        | Event::ProcessFailed { target, reason } => ("FAIL", format!("{target}: {reason}")),
        Event::BenchSkipped { target, reason } => ("skip", format!("{target}: {reason}")),
        Event::Collected {
            target,
            path,
            rows,
            fresh,
            cached,
        } => {
            let rows = counted(*rows, "row");
            (
                "collect",
                format!("{target} in {path}: {rows}, {fresh} fresh, {cached} cached"),
            )
        }
        Event::Summarized { target, path } => ("summary", format!("{target} in {path}")),
        Event::Interrupted { signal, now: false } => (
            "signal",
            format!("{signal}: ending what runs and keeping what is finished; once more ends at once"),
        ),
        Event::Interrupted { signal, now: true } => ("signal", format!("{signal}: ending at once")),
        Event::Healed { what } => ("healed", what.clone()),
        Event::RemoteFetched { results, bytes } => (
            "remote",
            format!("took {} ({})", counted(*results, "result"), ShortSize(*bytes)),
        ),
        Event::RemoteFailed { reason } => ("remote", format!("the remote cache is not used: {reason}")),
        Event::RemoteSent {
            results,
            bytes,
            unsent,
        } => ("remote", phrase::sent(*results, *bytes, *unsent)),
        Event::RunFinished {
            passed,
            fresh,
            failed,
            skipped,
            servers_started,
            elapsed_ms,
        } => (
            "done",
            format!(
                "{passed} passed, {fresh} fresh, {failed} failed, {skipped} skipped, {} started, in {}",
                counted(*servers_started, "server"),
                short_ms(*elapsed_ms)
            ),
        ),
        Event::PlanReused { .. }
        | Event::ImageProgress { .. }
        | Event::ServerStopped { .. }
        | Event::BenchProgress { .. }
        | Event::ProcessPassed { .. }
        | Event::SessionEnded { .. } => return None,
    };
    Some(words)
}

/// Where the session is: `pool h200, GPUs 0-7, simulated`.
fn place(board: &Board, session: usize) -> Option<&Place> {
    board
        .sessions
        .get(&session)
        .and_then(|session| session.place.as_ref())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::story::{at, story};
    use super::*;

    #[test]
    fn a_script_tells_where_it_runs() {
        let mut board = Board::after(&story());
        let started = at(
            1_013_000,
            Event::ScriptStarted {
                target: "bench:k/1k1k/tp1/c4".to_owned(),
                session: 3,
                pool: "h200".to_owned(),
                node: vec![1],
                gpus: vec![2],
                port: 30_001,
                folder: "attempts/3-1".to_owned(),
            },
        );
        board.apply(&started);
        assert_eq!(
            line(&board, &started).as_deref(),
            Some("[ 13.0s] script  bench:k/1k1k/tp1/c4 (pool h200, GPU 2, node 1, port 30001)")
        );
    }

    #[test]
    fn a_server_that_is_adopted_tells_from_which_run() {
        let mut board = Board::after(&story());
        let adopted = at(
            1_013_000,
            Event::ServerStarting {
                target: "server:k/1k1k/tp1/c4".to_owned(),
                session: 3,
                pool: "h200".to_owned(),
                node: vec![0],
                gpus: vec![0, 1],
                port: 30_001,
                attempt: 1,
                folder: "attempts/3-1".to_owned(),
                simulated: false,
                adopted_from: Some("20261122T040412Z-0a1b2c".to_owned()),
            },
        );
        board.apply(&adopted);
        assert_eq!(
            line(&board, &adopted).as_deref(),
            Some(
                "[ 13.0s] adopt   server:k/1k1k/tp1/c4 (pool h200, GPUs 0-1, adopted from run \
                 20261122T040412Z-0a1b2c, node 0, port 30001)"
            )
        );
    }

    #[test]
    fn the_story_in_lines() {
        let mut plain = Plain::new(Vec::new());
        let ending = [
            Event::Collected {
                target: "collect:all".to_owned(),
                path: "results/all/agg_bmk.json".to_owned(),
                rows: 1,
                fresh: 1,
                cached: 0,
            },
            Event::Interrupted {
                signal: "SIGINT".to_owned(),
                now: false,
            },
            Event::RunFinished {
                passed: 1,
                fresh: 2,
                failed: 1,
                skipped: 2,
                servers_started: 1,
                elapsed_ms: 95_000,
            },
        ];
        let ending = ending.map(|event| at(1_095_000, event));
        for stamped in story().iter().chain(&ending) {
            plain.event(stamped);
        }
        plain.finish();
        insta::assert_snapshot!(String::from_utf8(plain.out).unwrap(), @"
        [   0ms] run     20261122T040412Z-0a1b2c: '*' on profile default
        [  50ms] plan    6 points: 2 fresh, 4 stale on 2 servers, about 1m 30s
        [  60ms] image   image:pypi:llamacpp.txt is being made present
        [ 100ms] start   server:dsr1-fp8-h200-sglang/8k1k/tp8/c4 (pool h200, GPUs 0-7, simulated, node 0, port 30000)
        [ 900ms] image   image:pypi:llamacpp.txt is present after 840ms
        [ 950ms] start   server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1 (pool cpu, node 0, port 30000)
        [  1.3s] ready   server:dsr1-fp8-h200-sglang/8k1k/tp8/c4 in 1.2s (pool h200, GPUs 0-7, simulated)
        [  1.3s] bench   bench:dsr1-fp8-h200-sglang/8k1k/tp8/c4, 640 requests
        [  1.9s] retry   server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1: exited with 1
        [  1.9s] start   server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1 (pool cpu, node 0, port 30000, attempt 2)
        [ 12.3s] pass    bench:dsr1-fp8-h200-sglang/8k1k/tp8/c4 in 11.0s (1/4)
        [ 12.4s] bench   bench:dsr1-fp8-h200-sglang/8k1k/tp8/c16, 640 requests
        [ 12.5s] FAIL    server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1: exited with 1; its last lines:
          | no such model
        [ 12.5s] skip    bench:smollm2-q4-cpu-llamacpp/128_32/tp1/c1: its server failed
        [1m 35s] collect collect:all in results/all/agg_bmk.json: 1 row, 1 fresh, 0 cached
        [1m 35s] signal  SIGINT: ending what runs and keeping what is finished; once more ends at once
        [1m 35s] done    1 passed, 2 fresh, 1 failed, 2 skipped, 1 server started, in 1m 35s
        ");
    }
}
