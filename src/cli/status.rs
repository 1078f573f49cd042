//! `sweep status`: what the build of this cache folder does now, or how the last one ended.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::report::{Board, Counts, Failure, Finished, Format, Pool, pools, short_ms, time_left};
use super::runs::{self, Host, Life, RunFolder, RunsError};
use crate::exec::journal;

/// The version of what `--format json` prints.
const STATUS_VERSION: u32 = 1;

/// Show what the running build does, or how the last one ended.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  sweep status                                   for people
  watch sweep status                             again and again
  sweep status --format json | jq .finished      for programs; null before the first build")]
pub struct StatusArgs {
    /// How to tell it.
    #[arg(long, value_enum, default_value = "human")]
    pub format: Format,
}

/// The state of the newest run in words, or as a JSON object (`null` before the first run).
pub fn run(cache_dir: &Path, args: &StatusArgs) -> Result<String, RunsError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let status = match runs::newest_first(cache_dir)?.first() {
        Some(run) => Some(Status::of(
            run,
            &Board::after(&journal::read(&run.path)?),
            &Host::this(),
            now,
        )),
        None => None,
    };
    Ok(match (args.format, status) {
        (Format::Json, status) => {
            serde_json::to_string_pretty(&status).expect("numbers, texts and lists of them are JSON") + "\n"
        }
        (Format::Human, Some(status)) => status.text(now),
        (Format::Human, None) => format!(
            "nothing has run yet with the cache folder `{}`; start with `sweep build`\n",
            cache_dir.display()
        ),
    })
}

/// What there is to tell about a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Status {
    v: u32,
    run: String,
    state: Life,
    /// Absent where the journal's beginning is lost, as are those that follow.
    profile: Option<String>,
    sweep: Option<String>,
    words: Vec<String>,
    host: Option<String>,
    pid: Option<u32>,
    started_unix_ms: Option<u64>,
    interrupted: bool,
    /// Points that need not run.
    fresh: Option<usize>,
    /// The others, by state.
    points: Counts,
    time_left_ms: Option<u64>,
    pools: Vec<Pool>,
    /// Those being made present.
    images: Vec<String>,
    failures: Vec<Failure>,
    /// What the run said at its end.
    finished: Option<Finished>,
}

impl Status {
    fn of(folder: &RunFolder, board: &Board, host: &Host, unix_ms: u64) -> Self {
        let state = host.life_of(board);
        let run = board.run.as_ref();
        let mut pools = pools(board);
        let goes_on = matches!(state, Life::Running | Life::Elsewhere);
        if !goes_on {
            // What the last events say to be running ended with its run.
            for pool in &mut pools {
                pool.running.clear();
                pool.points = pool.points.at_rest();
            }
        }
        Self {
            v: STATUS_VERSION,
            run: folder.id.clone(),
            state,
            profile: run.map(|run| run.profile.clone()),
            sweep: run.map(|run| run.sweep.clone()),
            words: run.map(|run| run.words.clone()).unwrap_or_default(),
            host: run.map(|run| run.host.clone()),
            pid: run.map(|run| run.pid),
            started_unix_ms: run.map(|run| run.unix_ms),
            interrupted: board.interrupted.is_some(),
            fresh: board.plan.map(|plan| plan.fresh),
            points: if goes_on {
                board.counts()
            } else {
                board.counts().at_rest()
            },
            time_left_ms: time_left(board, unix_ms).filter(|_| goes_on),
            pools,
            images: board.images.keys().filter(|_| goes_on).cloned().collect(),
            failures: board.failures.clone(),
            finished: board.finished,
        }
    }

    fn text(&self, unix_ms: u64) -> String {
        let mut lines = vec![self.headline(unix_ms)];
        let fresh = self.fresh.map(|fresh| format!("; {fresh} fresh"));
        lines.push(format!("points: {}{}", self.points, fresh.unwrap_or_default()));
        lines.extend(
            self.time_left_ms
                .map(|left| format!("about {} left", short_ms(left))),
        );
        let width = self.pools.iter().map(|pool| pool.title().chars().count()).max();
        for pool in &self.pools {
            let width = width.unwrap_or_default();
            lines.push(format!("  {:width$}  {}", pool.title(), pool.line(unix_ms)));
        }
        for image in &self.images {
            lines.push(format!("  {image} is being made present"));
        }
        if !self.failures.is_empty() {
            lines.push("failures:".to_owned());
        }
        for failure in &self.failures {
            let reason = failure.reason.replace('\n', "\n  ");
            lines.push(format!("  {}: {reason}", failure.target));
        }
        lines.join("\n") + "\n"
    }

    fn headline(&self, unix_ms: u64) -> String {
        let since = |then: u64| short_ms(unix_ms.saturating_sub(then));
        let started = self.started_unix_ms.unwrap_or(unix_ms);
        let run = format!(
            "run {} (`{}`, profile {})",
            self.run,
            shell_words::join(["sweep", "build"].into_iter().chain(self.words())),
            self.profile.as_deref().unwrap_or("unknown")
        );
        let process = match (self.pid, &self.host) {
            (Some(pid), Some(host)) => format!("process {pid} on {host}"),
            _ => "its process".to_owned(),
        };
        match (self.state, self.finished) {
            (Life::Ended, Some(finished)) => format!(
                "{run} ended {} ago after {}: {} passed, {} fresh, {} failed, {} skipped",
                since(finished.unix_ms),
                short_ms(finished.elapsed_ms),
                finished.passed,
                finished.fresh,
                finished.failed,
                finished.skipped,
            ),
            (Life::Running | Life::Ended, _) => {
                let ending = if self.interrupted {
                    ", ending after a signal"
                } else {
                    ""
                };
                format!(
                    "{run} has been running for {} as {process}{ending}",
                    since(started)
                )
            }
            (Life::Elsewhere, _) => format!(
                "{run} was started {} ago as {process} and has not said that it ended; look there whether it runs",
                since(started)
            ),
            (Life::CutOff, _) => format!(
                "{run} was cut off: {process} is gone; the same command again goes on from what is finished"
            ),
        }
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::report::story::{at, story};
    use super::*;
    use crate::exec::event::{Event, Stamped};
    use crate::exec::journal::Journal;

    const NOW: u64 = 1_013_050;

    fn status(events: &[Stamped], builds: fn(u32) -> bool) -> Status {
        let folder = RunFolder {
            id: "20261122T040412Z-0a1b2c".to_owned(),
            path: Default::default(),
        };
        let host = Host {
            name: "node1".to_owned(),
            builds,
        };
        Status::of(&folder, &Board::after(events), &host, NOW)
    }

    fn ended() -> Vec<Stamped> {
        let finished = Event::RunFinished {
            passed: 1,
            fresh: 2,
            failed: 1,
            skipped: 2,
            servers_started: 1,
            elapsed_ms: 12_900,
        };
        let mut events = story();
        events.push(at(1_012_900, finished));
        events
    }

    #[test]
    fn a_run_in_words() {
        insta::assert_snapshot!(status(&story(), |_| true).text(NOW), @"
        run 20261122T040412Z-0a1b2c (`sweep build '*'`, profile default) has been running for 13.1s as process 4242 on node1
        points: 1 done, 1 skipped, 1 running, 1 waiting; 2 fresh
        about 1m 17s left
          cpu               0 done, 1 skipped, 0 waiting
          h200 (simulated)  1 done, 1 running, 1 waiting: dsr1-fp8-h200-sglang/8k1k/tp8 c16 2/3, 120/640 requests
        failures:
          server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1: exited with 1; its last lines:
            | no such model
        ");
        insta::assert_snapshot!(status(&story(), |_| false).text(NOW), @"
        run 20261122T040412Z-0a1b2c (`sweep build '*'`, profile default) was cut off: process 4242 on node1 is gone; the same command again goes on from what is finished
        points: 1 done, 1 skipped, 2 waiting; 2 fresh
          cpu               0 done, 1 skipped, 0 waiting
          h200 (simulated)  1 done, 2 waiting
        failures:
          server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1: exited with 1; its last lines:
            | no such model
        ");
        insta::assert_snapshot!(status(&ended(), |_| false).text(NOW), @"
        run 20261122T040412Z-0a1b2c (`sweep build '*'`, profile default) ended 150ms ago after 12.9s: 1 passed, 2 fresh, 1 failed, 2 skipped
        points: 1 done, 1 skipped, 2 waiting; 2 fresh
          cpu               0 done, 1 skipped, 0 waiting
          h200 (simulated)  1 done, 2 waiting
        failures:
          server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1: exited with 1; its last lines:
            | no such model
        ");
        insta::assert_snapshot!(status(&[], |_| false).text(NOW), @"
        run 20261122T040412Z-0a1b2c (`sweep build`, profile unknown) was cut off: its process is gone; the same command again goes on from what is finished
        points: 0 done, 0 waiting
        ");
    }

    #[test]
    fn a_run_for_programs() {
        let json = serde_json::to_string_pretty(&status(&story(), |_| true)).unwrap();
        insta::assert_snapshot!(json, @r#"
        {
          "v": 1,
          "run": "20261122T040412Z-0a1b2c",
          "state": "running",
          "profile": "default",
          "sweep": "all",
          "words": [
            "*"
          ],
          "host": "node1",
          "pid": 4242,
          "started-unix-ms": 1000000,
          "interrupted": false,
          "fresh": 2,
          "points": {
            "waiting": 1,
            "running": 1,
            "passed": 1,
            "failed": 0,
            "skipped": 1
          },
          "time-left-ms": 77000,
          "pools": [
            {
              "name": "cpu",
              "simulated": false,
              "running": [],
              "points": {
                "waiting": 0,
                "running": 0,
                "passed": 0,
                "failed": 0,
                "skipped": 1
              }
            },
            {
              "name": "h200",
              "simulated": true,
              "running": [
                {
                  "server": "server:dsr1-fp8-h200-sglang/8k1k/tp8/c4",
                  "stage": "measuring",
                  "bench": "bench:dsr1-fp8-h200-sglang/8k1k/tp8/c16",
                  "requests": 640,
                  "progress": {
                    "done": 120,
                    "failed": 0
                  },
                  "point": 2,
                  "points": 3
                }
              ],
              "points": {
                "waiting": 1,
                "running": 1,
                "passed": 1,
                "failed": 0,
                "skipped": 0
              }
            }
          ],
          "images": [],
          "failures": [
            {
              "target": "server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1",
              "reason": "exited with 1; its last lines:\n  | no such model"
            }
          ],
          "finished": null
        }
        "#);
    }

    #[test]
    fn the_newest_run_is_told() {
        let cache = tempfile::tempdir().unwrap();
        let args = |format| StatusArgs { format };
        assert_eq!(run(cache.path(), &args(Format::Json)).unwrap(), "null\n");
        assert!(
            run(cache.path(), &args(Format::Human))
                .unwrap()
                .starts_with("nothing has run yet")
        );
        for (id, events) in [
            ("20261122T040412Z-0a1b2c", ended()),
            ("20261121T000000Z-000000", vec![]),
        ] {
            let dir = cache.path().join("runs").join(id);
            std::fs::create_dir_all(&dir).unwrap();
            let mut journal = Journal::create(&dir).unwrap();
            events.iter().for_each(|stamped| journal.append(stamped).unwrap());
        }
        let status: serde_json::Value =
            serde_json::from_str(&run(cache.path(), &args(Format::Json)).unwrap()).unwrap();
        assert_eq!(status["run"], "20261122T040412Z-0a1b2c");
        assert_eq!(status["state"], "ended");
        assert_eq!(status["finished"]["passed"], 1);
    }
}
