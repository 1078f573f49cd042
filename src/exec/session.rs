//! One session at work: its server started, reset between points, measured on, restarted when it died, stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use hyper::Method;

use super::attempt_result;
use super::compute::process;
use super::event::Event;
use super::launch::{LaunchError, Place, ReadyImage, prepare};
use super::measure::{LAST_WORDS, MeasureError, Measured, measure};
use super::port::{FreePort, free_port};
use super::process::Owned;
use super::ready::ReadyError;
use super::run::{Attempt, Began, Run};
use super::server::{Server, ServerEnd, StopError};
use super::signals::Interrupt;
use super::trouble::Trouble;
use crate::cache::{Digest, Inputs, Output, Source, StoreError, Verdict};
use crate::config::recipe::{HttpCall, Reset};
use crate::graph::spec::{Bench, Server as ServerTarget};
use crate::matrix::Point;
use crate::plan::SERVER_START_MS;

/// A session with everything that it needs, free of the graph.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Its index in the plan.
    pub index: usize,
    /// It has the machine to itself.
    pub quiet: bool,
    pub server_id: String,
    pub server: Arc<ServerTarget>,
    pub steps: Vec<Step>,
}

/// One point of a session.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub point: Point,
    pub bench_id: String,
    pub process_id: String,
    pub bench: Arc<Bench>,
    pub inputs: Inputs,
    /// Whether a record of these inputs may stand for a run.
    pub take_kept: bool,
}

/// How a point ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Passed,
    /// Another point of the same inputs had just been measured.
    Kept,
    Failed(String),
    /// Never started.
    Skipped(String),
}

/// What became of a session.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// By bench id.
    pub(super) endings: BTreeMap<String, Ending>,
    pub(super) servers_started: usize,
    /// It had the machine to itself.
    pub(super) quiet: bool,
    /// A server of it could not be ended: its place must not be given to another.
    pub(super) server_lives: bool,
    /// The machinery kept points from being measured: why, the last time.
    pub(super) machinery: Option<String>,
}

/// Why a point was skipped after a signal.
const INTERRUPTED: &str = "interrupted";

/// A server that answers.
struct Live {
    server: Server,
    /// Reserved for as long as it lives; a recipe's own port is not ours to reserve.
    _port: Option<FreePort>,
    start_ms: u64,
    /// Its processes' temporary files, gone with it.
    temporary: PathBuf,
    /// Whether a bench has run on it, so that it has something to forget.
    used: bool,
}

/// Runs the session to its end. Never fails as a whole: each point has its ending.
pub(super) async fn run(run: Arc<Run>, job: Job, image: ReadyImage, place: Place) -> Done {
    let mut session = Session {
        run: &run,
        job: &job,
        image: &image,
        place: &place,
        live: None,
        starts: 0,
        last_failure: Trouble::Own(String::new()),
        done: Done::default(),
    };
    for step in &job.steps {
        if run.interrupts.level() != Interrupt::None {
            session.skip(step, INTERRUPTED);
            continue;
        }
        session.step(step).await;
    }
    session.stop().await;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for ending in session.done.endings.values() {
        match ending {
            Ending::Passed | Ending::Kept => passed += 1,
            Ending::Failed(_) => failed += 1,
            Ending::Skipped(_) => skipped += 1,
        }
    }
    run.say(Event::SessionEnded {
        session: job.index,
        passed,
        failed,
        skipped,
    });
    session.done
}

struct Session<'a> {
    run: &'a Run,
    job: &'a Job,
    image: &'a ReadyImage,
    place: &'a Place,
    live: Option<Live>,
    starts: u32,
    /// Why the server failed the last time.
    last_failure: Trouble,
    done: Done,
}

impl Session<'_> {
    async fn step(&mut self, step: &Step) {
        // Another point of the same inputs may have been measured a moment ago.
        if step.take_kept
            && self
                .run
                .store()
                .lookup(&step.inputs.key())
                .is_ok_and(|hit| hit.is_some())
        {
            let target = step.bench_id.clone();
            self.run.say(Event::BenchPassed {
                target,
                session: self.job.index,
                elapsed_ms: 0,
            });
            self.done.endings.insert(step.bench_id.clone(), Ending::Kept);
            return;
        }
        while !self.settle(step).await {}
    }

    /// Gives the point its ending. False where the machinery failed in mid-bench: then it has none yet.
    async fn settle(&mut self, step: &Step) -> bool {
        let live = match self.ready_server().await {
            Ok(live) => live,
            Err(_) if self.run.interrupts.level() != Interrupt::None => {
                self.skip(step, INTERRUPTED);
                return true;
            }
            Err(Trouble::Machinery(reason)) => {
                self.skip(step, &reason);
                self.done.machinery = Some(reason);
                return true;
            }
            Err(Trouble::Own(reason)) => {
                self.fail(step, &reason, Began::now());
                return true;
            }
        };
        let began = Began::now();
        let attempt = match self.run.attempt(&step.bench_id) {
            Ok(attempt) => attempt,
            Err(error) => {
                self.live = Some(live);
                self.fail(step, &error.to_string(), began);
                return true;
            }
        };
        self.run.say(Event::BenchStarted {
            target: step.bench_id.clone(),
            session: self.job.index,
            folder: attempt.folder.clone(),
            requests: step.bench.workload.prompts,
        });
        let measured = measure(self.run, self.job, step, &live.server, &attempt.path).await;
        let start_ms = live.start_ms;
        self.live = Some(Live { used: true, ..live });
        match measured {
            // Compression and the disk would hold up the other sessions' clocks.
            Ok(measured) => tokio::task::block_in_place(|| {
                self.keep(step, &measured, began, start_ms, &attempt);
            }),
            Err(MeasureError::Interrupted) => self.skip(step, INTERRUPTED),
            Err(MeasureError::ServerDied {
                end: ServerEnd::Machinery(reason),
                ..
            }) => {
                self.server_failed(Trouble::Machinery(reason), self.starts <= self.run.retries);
                self.stop().await;
                return false;
            }
            Err(error) => {
                self.fail(step, &error.to_string(), began);
                if matches!(error, MeasureError::ServerDied { .. }) {
                    let reason = Trouble::Own("it died during a bench".to_owned());
                    self.server_failed(reason, self.starts <= self.run.retries);
                    self.stop().await;
                }
            }
        }
        true
    }

    /// A server without memory of earlier points: the live one after its reset, or a new one.
    async fn ready_server(&mut self) -> Result<Live, Trouble> {
        if let Some(live) = self.live.take() {
            if !live.used {
                return Ok(live);
            }
            let how = self.job.server.handling.reset.as_ref();
            let outcome = tokio::select! {
                outcome = reset(&live.server, how, self.simulated()) => outcome,
                () = self.run.interrupts.reached(Interrupt::Graceful) => Err(Trouble::own(INTERRUPTED)),
            };
            match outcome {
                Ok(()) => return Ok(live),
                Err(reason) if self.run.interrupts.level() != Interrupt::None => {
                    self.live = Some(live);
                    return Err(reason);
                }
                Err(reason) => {
                    self.live = Some(live);
                    self.server_failed(reason, self.starts <= self.run.retries);
                    self.stop().await;
                }
            }
        }
        loop {
            if self.done.server_lives {
                return Err(self
                    .last_failure
                    .within("no server is started beside one that could not be ended"));
            }
            if self.starts > self.run.retries {
                let tries = format!("the server was started {} times and did not last", self.starts);
                return Err(self.last_failure.within(&tries));
            }
            self.starts += 1;
            match self.start().await {
                Ok(live) => return Ok(live),
                Err(reason) if self.run.interrupts.level() != Interrupt::None => return Err(reason),
                Err(reason) => {
                    let will_retry = self.starts <= self.run.retries;
                    let failed = reason.within("the server did not start");
                    self.server_failed(reason, will_retry);
                    if !will_retry {
                        return Err(failed);
                    }
                }
            }
        }
    }

    async fn start(&mut self) -> Result<Live, Trouble> {
        let attempt = self.run.attempt(&self.job.server_id).map_err(Trouble::own)?;
        let (port, number) = match self.job.server.handling.port.filter(|_| !self.simulated()) {
            Some(number) => (None, number),
            None => {
                let port = free_port().map_err(|e| Trouble::Own(format!("find a free port: {e}")))?;
                let number = port.number();
                (Some(port), number)
            }
        };
        self.run.say(Event::ServerStarting {
            target: self.job.server_id.clone(),
            session: self.job.index,
            pool: self.place.pool.clone(),
            node: self.place.nodes.clone(),
            gpus: self.place.gpus.clone(),
            port: number,
            attempt: self.starts,
            folder: attempt.folder.clone(),
            simulated: self.simulated(),
        });
        let spec = prepare(
            self.run,
            &self.job.server,
            self.image,
            self.place,
            number,
            &attempt,
        )
        .map_err(|error| match error {
            LaunchError::Gpu(error) => Trouble::machinery(error),
            error => Trouble::own(error),
        })?;
        let began = Instant::now();
        let mut server = Server::spawn(&self.run.guard, spec).await.map_err(Trouble::own)?;
        self.done.servers_started += 1;
        if let Err(error) = self.run.owns(server.owned()) {
            let _ = server.kill().await;
            return Err(Trouble::own(error));
        }
        let ready = tokio::select! {
            ready = server.ready() => ready.map_err(|error| match error {
                ReadyError::Died { end: ServerEnd::Machinery(reason), .. } => Trouble::Machinery(reason),
                error => Trouble::own(error),
            }),
            () = self.run.interrupts.reached(Interrupt::Graceful) => Err(Trouble::own(INTERRUPTED)),
        };
        let live = Live {
            server,
            _port: port,
            start_ms: began.elapsed().as_millis() as u64,
            temporary: attempt.temporary(self.run.path()),
            used: false,
        };
        match ready {
            Ok(()) => {
                self.run.say(Event::ServerReady {
                    target: self.job.server_id.clone(),
                    session: self.job.index,
                    elapsed_ms: live.start_ms,
                });
                Ok(live)
            }
            Err(reason) => {
                self.live = Some(live);
                self.stop().await;
                Err(reason)
            }
        }
    }

    fn simulated(&self) -> bool {
        self.job.server.simulated.is_some()
    }

    /// Stops the server, if there is one, and waits until it is gone.
    async fn stop(&mut self) {
        let Some(mut live) = self.live.take() else { return };
        let owned: Owned = live.server.owned().clone();
        let stopped = tokio::select! {
            stopped = live.server.stop() => Some(stopped),
            () = self.run.interrupts.reached(Interrupt::Now) => None,
        };
        let stopped = match stopped {
            Some(stopped) => stopped,
            None => live.server.kill().await,
        };
        match stopped {
            Ok(_) => {
                // What stays journalled is looked for once more by the next run, and not found.
                let _ = self.run.releases(&owned);
                let _ = std::fs::remove_dir_all(&live.temporary);
                self.run.say(Event::ServerStopped {
                    target: self.job.server_id.clone(),
                    session: self.job.index,
                });
            }
            Err(error) => {
                self.done.server_lives = true;
                let reason = match error {
                    StopError::Container(error) => Trouble::machinery(error),
                    error => Trouble::own(error),
                };
                self.server_failed(reason, false);
            }
        }
    }

    /// Keeps a measurement and its row.
    fn keep(&mut self, step: &Step, measured: &Measured, began: Began, start_ms: u64, attempt: &Attempt) {
        let mut record = self
            .run
            .record(step.bench_id.clone(), step.inputs.clone(), Verdict::Passed, began);
        record.provenance.simulated = measured.trace.header.simulated;
        record.provenance.attempt = self.starts;
        record.outputs = vec![Output {
            name: "trace".to_owned(),
            digest: measured.digest,
            size: measured.bytes.len() as u64,
        }];
        record.facts = self.facts(start_ms, attempt);
        let elapsed_ms = record.provenance.elapsed_ms;
        let kept = attempt_result::write(&attempt.path, &record).map_err(StoreError::from);
        if let Err(error) = kept.and_then(|()| self.run.publish(&record, &[Source::Bytes(&measured.bytes)])) {
            return self.fail(step, &format!("the result could not be kept: {error}"), began);
        }
        // The cache has it now; what cannot be removed goes with the run's folder.
        let _ = attempt_result::forget_trace(&attempt.path);
        self.run.say(Event::BenchPassed {
            target: step.bench_id.clone(),
            session: self.job.index,
            elapsed_ms,
        });
        self.done.endings.insert(step.bench_id.clone(), Ending::Passed);
        match process(
            self.run,
            &step.process_id,
            &step.point,
            &measured.trace,
            measured.digest,
        ) {
            Ok(_) => self.run.say(Event::ProcessPassed {
                target: step.process_id.clone(),
            }),
            // The end of the build tries once more and says what is wrong.
            Err(error) => self.run.say(Event::ProcessFailed {
                target: step.process_id.clone(),
                reason: error.to_string(),
            }),
        }
    }

    fn facts(&self, start_ms: u64, attempt: &Attempt) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::from([
            (SERVER_START_MS.to_owned(), start_ms.to_string()),
            ("pool".to_owned(), self.place.pool.clone()),
            ("nodes".to_owned(), format!("{:?}", self.place.nodes)),
            ("gpus".to_owned(), format!("{:?}", self.place.gpus)),
            ("server".to_owned(), self.job.server_id.clone()),
            ("attempt".to_owned(), attempt.folder.clone()),
        ]);
        match self.image {
            ReadyImage::Builtin => {}
            ReadyImage::Venv { python, .. } => drop(facts.insert("python".to_owned(), python.clone())),
            ReadyImage::Container { host, .. } => {
                let engine = host.engine();
                let engine = format!("{} {}", engine.make.name(), engine.version);
                facts.insert("engine".to_owned(), engine);
            }
        }
        facts
    }

    fn skip(&mut self, step: &Step, reason: &str) {
        self.run.say(Event::BenchSkipped {
            target: step.bench_id.clone(),
            reason: reason.to_owned(),
        });
        self.done
            .endings
            .insert(step.bench_id.clone(), Ending::Skipped(reason.to_owned()));
    }

    /// Records a failure with its reason and the end of the server's log; it is told, never reused.
    fn fail(&mut self, step: &Step, reason: &str, began: Began) {
        let words = self
            .live
            .as_ref()
            .map(|live| live.server.last_words(200))
            .unwrap_or_default();
        let (reason, words) = (self.run.without_secrets(reason), self.run.without_secrets(&words));
        let log = (!words.is_empty()).then(|| Digest::of(words.as_bytes()));
        let verdict = Verdict::Failed {
            reason: reason.clone(),
            log,
        };
        let record = self
            .run
            .record(step.bench_id.clone(), step.inputs.clone(), verdict, began);
        let blobs: Vec<Source<'_>> = log.iter().map(|_| Source::Bytes(words.as_bytes())).collect();
        let reason = match self.run.publish(&record, &blobs) {
            Ok(()) => reason,
            Err(error) => format!("{reason} (and this could not be recorded: {error})"),
        };
        self.run.say(Event::BenchFailed {
            target: step.bench_id.clone(),
            session: self.job.index,
            reason: reason.clone(),
        });
        self.done
            .endings
            .insert(step.bench_id.clone(), Ending::Failed(reason));
    }

    fn server_failed(&mut self, reason: Trouble, will_retry: bool) {
        self.last_failure = reason.map(|reason| self.run.without_secrets(&reason));
        self.run.say(Event::ServerFailed {
            target: self.job.server_id.clone(),
            session: self.job.index,
            reason: self.last_failure.to_string(),
            will_retry,
        });
    }
}

/// Makes the server forget what earlier points left in it.
async fn reset(server: &Server, reset: Option<&Reset>, simulated: bool) -> Result<(), Trouble> {
    match server.exit() {
        None => {}
        Some(ServerEnd::Machinery(reason)) => return Err(Trouble::Machinery(reason)),
        Some(end) => {
            let words = server.last_words(LAST_WORDS);
            return Err(Trouble::Own(format!(
                "it died between two points ({end}); its last words:\n{words}"
            )));
        }
    }
    let call = match reset {
        // Whatever the engine's way is, the simulator in its place has a cache of its own to empty.
        _ if simulated => HttpCall("POST /reset_prefix_cache".to_owned()),
        Some(Reset { http: Some(call), .. }) => call.clone(),
        Some(_) => return Ok(()),
        None => return Err(Trouble::own("its recipe has no reset")),
    };
    let (method, path) = call.parts();
    let method = if method == "POST" {
        Method::POST
    } else {
        Method::GET
    };
    server
        .reset(method, path)
        .await
        .map_err(|e| Trouble::Own(format!("it could not be reset: {e}")))
}
