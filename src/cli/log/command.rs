//! Finding the run that is meant, and showing it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::printer::Printer;
use super::watched::Watched;
use crate::cli::runs::{self, Host, Life, RunsError};
use crate::config::nearest::nearest_few;
use crate::exec::journal::JournalError;
use crate::graph::Kind;

/// Between two looks at what is followed.
const POLL: Duration = Duration::from_millis(200);

/// Print what a target's last attempt wrote.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  sweep log dsr1-fp8-h200-sglang/8k1k/tp8/c64            a point's bench, after its server's words
  sweep log server:dsr1-fp8-h200-sglang/8k1k/tp8/c4 -f   a server's words while it runs")]
pub struct LogArgs {
    /// A target, as `bench:KEY/8k1k/tp8/c64` or `server:…`; without a kind the bench, or its server before it started.
    pub id: String,
    /// Go on until the target's outcome is known or the run is over.
    #[arg(short, long)]
    pub follow: bool,
}

/// Why there is no log to show.
#[derive(Debug, Error)]
pub enum LogError {
    #[error(
        "targets of kind `{kind}` start nothing and have no log; that of a point is `sweep log bench:…`, that of \
         its server `sweep log server:…`"
    )]
    NoLog { kind: Kind },
    #[error("no run in `{}` has tried `{id}`{}", cache_dir.display(), did_you_mean(near))]
    Unknown {
        id: String,
        cache_dir: PathBuf,
        /// Targets with names like it.
        near: Vec<String>,
    },
    #[error("run {run} has not come to `{id}`; `--follow` waits for it while the run goes on")]
    NotStarted { id: String, run: String },
    #[error(transparent)]
    Runs(#[from] RunsError),
    #[error("read `{}`: {cause}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("write the log: {0}")]
    Write(#[source] io::Error),
}

impl From<JournalError> for LogError {
    fn from(error: JournalError) -> Self {
        Self::Runs(error.into())
    }
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => "; `sweep ls` lists the targets".to_owned(),
        near => format!("; did you mean `{}`?", near.join("`, `")),
    }
}

/// Prints the log to `out`; a reader that goes away ends it without an error.
pub fn run(cache_dir: &Path, args: &LogArgs, out: &mut dyn Write) -> Result<(), LogError> {
    let mut pause = || std::thread::sleep(POLL);
    match show(cache_dir, args, &Host::this(), out, &mut pause) {
        Err(LogError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn show(
    cache_dir: &Path,
    args: &LogArgs,
    host: &Host,
    out: &mut dyn Write,
    pause: &mut dyn FnMut(),
) -> Result<(), LogError> {
    let mut watched = find(cache_dir, args, host)?;
    let mut printer = Printer::new(out);
    if args.follow {
        // Whether it is over is asked before its last words are read: none are lost.
        while !watched.is_over(&args.id, host) {
            watched.print(&args.id, &mut printer)?;
            pause();
            watched.poll()?;
        }
        watched.poll()?;
    }
    watched.print(&args.id, &mut printer)?;
    watched.print_outcome(&args.id, &mut printer)
}

/// The newest run that has an attempt of it; or, to follow, the live one that will.
fn find(cache_dir: &Path, args: &LogArgs, host: &Host) -> Result<Watched, LogError> {
    let id = &args.id;
    if let Some(kind) = id.split_once(':').and_then(|(kind, _)| Kind::named(kind))
        && !matches!(kind, Kind::Image | Kind::Server | Kind::Bench)
    {
        return Err(LogError::NoLog { kind });
    }
    let mut planned = None;
    let mut targets = Vec::new();
    for folder in runs::newest_first(cache_dir)? {
        let watched = Watched::open(folder)?;
        if watched.attempts.of(id).is_some() {
            return Ok(watched);
        }
        if watched.attempts.plans(id) {
            if args.follow && host.life_of(&watched.board) == Life::Running {
                return Ok(watched);
            }
            planned.get_or_insert(watched.folder.id);
        }
        targets.extend(watched.attempts.targets().cloned());
    }
    match planned {
        Some(run) => Err(LogError::NotStarted { id: id.clone(), run }),
        None => Err(LogError::Unknown {
            id: id.clone(),
            cache_dir: cache_dir.to_owned(),
            near: near(id, &targets),
        }),
    }
}

/// Names like `id`, with their kinds if it has one.
fn near(id: &str, targets: &[String]) -> Vec<String> {
    let has_kind = id
        .split_once(':')
        .is_some_and(|(kind, _)| Kind::named(kind).is_some());
    let names = targets.iter().map(|target| match target.split_once(':') {
        Some((_, name)) if !has_kind => name,
        _ => target,
    });
    nearest_few(id, names, 3).into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;

    use super::*;
    use crate::cli::report::story::{at, story};
    use crate::exec::event::{Event, Stamped};
    use crate::exec::journal::Journal;

    const POINT: &str = "dsr1-fp8-h200-sglang/8k1k/tp8/c4";
    const RUN: &str = "20261122T040412Z-0a1b2c";

    /// What happens while it pauses.
    type Step = Box<dyn FnOnce(&mut Cache)>;

    struct Cache {
        dir: tempfile::TempDir,
        journal: Journal,
    }

    impl Cache {
        fn with(run: &str, events: &[Stamped]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("runs").join(run)).unwrap();
            let journal = Journal::create(&dir.path().join("runs").join(run)).unwrap();
            let mut cache = Self { dir, journal };
            cache.say(events);
            cache
        }

        fn say(&mut self, events: &[Stamped]) {
            events
                .iter()
                .for_each(|stamped| self.journal.append(stamped).unwrap());
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.dir.path().join("runs").join(RUN).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = fs::File::options().append(true).create(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        /// What is shown, with `steps` taken one at each pause; there may be no pause after the last.
        fn shown(
            &mut self,
            id: &str,
            follow: bool,
            builds: fn(u32) -> bool,
            steps: Vec<Step>,
        ) -> Result<String, String> {
            let host = Host {
                name: "node1".to_owned(),
                builds,
            };
            let args = LogArgs {
                id: id.to_owned(),
                follow,
            };
            let dir = self.dir.path().to_owned();
            let mut out = Vec::new();
            let mut steps = steps.into_iter();
            let mut pause = || steps.next().unwrap()(self);
            let shown = show(&dir, &args, &host, &mut out, &mut pause);
            assert_eq!(steps.len(), 0, "it went on to the end");
            let cache = dir.display().to_string();
            let text = String::from_utf8(out).unwrap().replace(&cache, "CACHE");
            shown
                .map(|()| text)
                .map_err(|error| error.to_string().replace(&cache, "CACHE"))
        }
    }

    #[test]
    fn a_bench_shows_its_log_its_servers_and_its_facts() {
        let mut cache = Cache::with(RUN, &story());
        cache.write("attempts/0-1/server.log", "loading\nready\n");
        cache.write("attempts/0-1/c4/bench.log", "64 requests\n");
        cache.write(
            "attempts/0-1/c4/result.json",
            r#"{"verdict": "passed", "load": {"lag_us": 12, "client_bound": false}, "trace": [1, 2]}"#,
        );
        insta::assert_snapshot!(cache.shown(POINT, false, |_| true, vec![]).unwrap(), @"
        ==> CACHE/runs/20261122T040412Z-0a1b2c/attempts/0-1/c4/bench.log <==
        64 requests

        ==> CACHE/runs/20261122T040412Z-0a1b2c/attempts/0-1/server.log <==
        loading
        ready

        ==> bench:dsr1-fp8-h200-sglang/8k1k/tp8/c4 <==
        load.client_bound: false
        load.lag_us: 12
        verdict: passed
        ");
    }

    #[test]
    fn a_failed_server_shows_its_newest_attempt_and_why() {
        let mut cache = Cache::with(RUN, &story());
        cache.write("attempts/1-1/server.log", "the first attempt\n");
        cache.write("attempts/1-2/server.log", "no such model\n");
        let point = "smollm2-q4-cpu-llamacpp/128_32/tp1/c1";
        let by_point = cache.shown(point, false, |_| false, vec![]).unwrap();
        insta::assert_snapshot!(by_point, @"
        ==> CACHE/runs/20261122T040412Z-0a1b2c/attempts/1-2/server.log <==
        no such model

        ==> bench:smollm2-q4-cpu-llamacpp/128_32/tp1/c1 <==
        failed: exited with 1; its last lines:
          | no such model
        ");
        let by_server = cache
            .shown(&format!("server:{point}"), false, |_| false, vec![])
            .unwrap();
        assert_eq!(by_server, by_point.replace("bench:", "server:"));
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is_near() {
        let mut cache = Cache::with(RUN, &story()[..3]);
        let mut error = |id: &str| cache.shown(id, false, |_| true, vec![]).unwrap_err();
        insta::assert_snapshot!(error("dsr1-fp8-h200-sglang/8k1k/tp8/c5"), @"no run in `CACHE` has tried `dsr1-fp8-h200-sglang/8k1k/tp8/c5`; did you mean `dsr1-fp8-h200-sglang/8k1k/tp8/c4`, `dsr1-fp8-h200-sglang/8k1k/tp8/c16`, `dsr1-fp8-h200-sglang/8k1k/tp8/c64`?");
        insta::assert_snapshot!(error("server:smollm2-q4-cpu-llamacp/128_32/tp1/c1"), @"no run in `CACHE` has tried `server:smollm2-q4-cpu-llamacp/128_32/tp1/c1`; did you mean `server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1`?");
        insta::assert_snapshot!(error("zzz"), @"no run in `CACHE` has tried `zzz`; `sweep ls` lists the targets");
        insta::assert_snapshot!(error("process:dsr1-fp8-h200-sglang/8k1k/tp8/c4"), @"targets of kind `process` start nothing and have no log; that of a point is `sweep log bench:…`, that of its server `sweep log server:…`");
        insta::assert_snapshot!(error(POINT), @"run 20261122T040412Z-0a1b2c has not come to `dsr1-fp8-h200-sglang/8k1k/tp8/c4`; `--follow` waits for it while the run goes on");
    }

    #[test]
    fn following_waits_for_the_start_and_ends_with_the_outcome() {
        let story = story();
        let mut cache = Cache::with(RUN, &story[..2]);
        let (starting, measuring) = (story[3].clone(), story[7].clone());
        let passed = story[10].clone();
        let shown = cache.shown(
            POINT,
            true,
            |_| true,
            vec![
                Box::new(move |cache| cache.say(&[starting])),
                Box::new(|cache| cache.write("attempts/0-1/server.log", "load")),
                Box::new(|cache| cache.write("attempts/0-1/server.log", "ing\n")),
                Box::new(move |cache| cache.say(&[measuring])),
                Box::new(move |cache| {
                    cache.write("attempts/0-1/server.log", "POST /v1/completions\n");
                    cache.say(&[passed]);
                }),
            ],
        );
        insta::assert_snapshot!(shown.unwrap(), @"
        ==> CACHE/runs/20261122T040412Z-0a1b2c/attempts/0-1/server.log <==
        loading
        POST /v1/completions
        ");
    }

    #[test]
    fn following_goes_over_to_the_next_attempt_and_ends_with_the_run() {
        let story = story();
        let mut cache = Cache::with(RUN, &story[..6]);
        cache.write("attempts/1-1/server.log", "first\n");
        let again = story[8..10].to_vec();
        let finished = Event::RunFinished {
            passed: 0,
            fresh: 0,
            failed: 0,
            skipped: 0,
            servers_started: 0,
            elapsed_ms: 0,
        };
        let shown = cache.shown(
            "server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1",
            true,
            |_| true,
            vec![
                Box::new(move |cache| cache.say(&again)),
                Box::new(move |cache| {
                    cache.write("attempts/1-2/server.log", "second\n");
                    cache.say(&[at(1, finished)]);
                }),
            ],
        );
        insta::assert_snapshot!(shown.unwrap(), @"
        ==> CACHE/runs/20261122T040412Z-0a1b2c/attempts/1-1/server.log <==
        first

        ==> CACHE/runs/20261122T040412Z-0a1b2c/attempts/1-2/server.log <==
        second
        ");
    }

    #[test]
    fn what_an_image_printed_is_its_log() {
        let image = "image:pypi:llamacpp.txt";
        let mut cache = Cache::with(RUN, &story()[..3]);
        let line = |line: &str| {
            let (target, line) = (image.to_owned(), line.to_owned());
            at(1, Event::ImageProgress { target, line })
        };
        cache.say(&[line("collecting"), line("installing")]);
        let (more, ready) = (line("published"), story()[4].clone());
        let shown = cache.shown(
            image,
            true,
            |_| true,
            vec![Box::new(move |cache| cache.say(&[more, ready]))],
        );
        assert_eq!(shown.unwrap(), "collecting\ninstalling\npublished\n");
    }

    #[test]
    fn a_dead_run_is_not_followed() {
        let mut cache = Cache::with(RUN, &story()[..8]);
        cache.write("attempts/0-1/server.log", "ready\n");
        assert!(
            cache
                .shown(POINT, true, |_| false, vec![])
                .unwrap()
                .contains("ready")
        );
    }
}
