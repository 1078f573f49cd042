//! One session at work: its server started, reset between points, measured on, restarted when it died, stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use hyper::Method;

use super::event::Event;
use super::launch::{Place, ReadyImage, prepare};
use super::ledger::Ledger;
use super::measure::{LAST_WORDS, MeasureError, measure};
use super::port::{FreePort, free_port};
use super::process::Owned;
use super::run::{Began, Run};
use super::script;
use super::server::Server;
use super::signals::Interrupt;
use crate::cache::Inputs;
use crate::config::recipe::{HttpCall, Reset};
use crate::graph::spec::{Bench, Client, Server as ServerTarget};
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
}

/// Why a point was skipped after a signal.
pub(super) const INTERRUPTED: &str = "interrupted";

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
        ledger: Ledger {
            run: &run,
            job: &job,
            image: &image,
            place: &place,
            done: Done::default(),
        },
        live: None,
        starts: 0,
        last_failure: String::new(),
    };
    for step in &job.steps {
        if run.interrupts.level() != Interrupt::None {
            session.ledger.skip(step, INTERRUPTED);
        } else if !session.ledger.is_kept(step) {
            session.step(step).await;
        }
    }
    session.stop().await;
    let done = session.ledger.done;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for ending in done.endings.values() {
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
    done
}

struct Session<'a> {
    ledger: Ledger<'a>,
    live: Option<Live>,
    starts: u32,
    /// Why the server failed the last time.
    last_failure: String,
}

impl Session<'_> {
    async fn step(&mut self, step: &Step) {
        let Client::Builtin { workload, limits } = &step.bench.client else {
            self.ledger.done.servers_started += 1;
            return script::measure(&mut self.ledger, step).await;
        };
        let live = match self.ready_server().await {
            Ok(live) => live,
            Err(_) if self.ledger.run.interrupts.level() != Interrupt::None => {
                return self.ledger.skip(step, INTERRUPTED);
            }
            Err(reason) => return self.fail(step, &reason, Began::now()),
        };
        let began = Began::now();
        let attempt = match self.ledger.run.attempt(&step.bench_id) {
            Ok(attempt) => attempt,
            Err(error) => {
                self.live = Some(live);
                return self.fail(step, &error.to_string(), began);
            }
        };
        self.ledger.run.say(Event::BenchStarted {
            target: step.bench_id.clone(),
            session: self.ledger.job.index,
            folder: attempt.folder.clone(),
            requests: workload.prompts,
        });
        let load = (workload, limits);
        let measured = measure(
            self.ledger.run,
            self.ledger.job,
            step,
            load,
            &live.server,
            &attempt.path,
        )
        .await;
        let facts = [
            (SERVER_START_MS.to_owned(), live.start_ms.to_string()),
            ("server".to_owned(), self.ledger.job.server_id.clone()),
        ];
        self.live = Some(Live { used: true, ..live });
        match measured {
            // Compression and the disk would hold up the other sessions' clocks.
            Ok(measured) => tokio::task::block_in_place(|| {
                self.ledger
                    .pass(step, &measured, began, &attempt, self.starts, facts);
            }),
            Err(MeasureError::Interrupted) => self.ledger.skip(step, INTERRUPTED),
            Err(error) => {
                self.fail(step, &error.to_string(), began);
                if matches!(error, MeasureError::ServerDied { .. }) {
                    self.server_failed("it died during a bench", self.starts <= self.ledger.run.retries);
                    self.stop().await;
                }
            }
        }
    }

    /// A server without memory of earlier points: the live one after its reset, or a new one.
    async fn ready_server(&mut self) -> Result<Live, String> {
        if let Some(live) = self.live.take() {
            if !live.used {
                return Ok(live);
            }
            let how = self.ledger.job.server.handling.reset.as_ref();
            let outcome = tokio::select! {
                outcome = reset(&live.server, how, self.simulated()) => outcome,
                () = self.ledger.run.interrupts.reached(Interrupt::Graceful) => Err(INTERRUPTED.to_owned()),
            };
            match outcome {
                Ok(()) => return Ok(live),
                Err(reason) if self.ledger.run.interrupts.level() != Interrupt::None => {
                    self.live = Some(live);
                    return Err(reason);
                }
                Err(reason) => {
                    self.live = Some(live);
                    self.server_failed(&reason, self.starts <= self.ledger.run.retries);
                    self.stop().await;
                }
            }
        }
        loop {
            if self.ledger.done.server_lives {
                return Err(format!(
                    "no server is started beside one that could not be ended: {}",
                    self.last_failure
                ));
            }
            if self.starts > self.ledger.run.retries {
                return Err(format!(
                    "the server was started {} times and did not last: {}",
                    self.starts, self.last_failure
                ));
            }
            self.starts += 1;
            match self.start().await {
                Ok(live) => return Ok(live),
                Err(reason) if self.ledger.run.interrupts.level() != Interrupt::None => return Err(reason),
                Err(reason) => {
                    let will_retry = self.starts <= self.ledger.run.retries;
                    self.server_failed(&reason, will_retry);
                    if !will_retry {
                        return Err(format!("the server did not start: {reason}"));
                    }
                }
            }
        }
    }

    async fn start(&mut self) -> Result<Live, String> {
        let attempt = self
            .ledger
            .run
            .attempt(&self.ledger.job.server_id)
            .map_err(|e| e.to_string())?;
        let (port, number) = match self.ledger.job.server.handling.port.filter(|_| !self.simulated()) {
            Some(number) => (None, number),
            None => {
                let port = free_port().map_err(|e| format!("find a free port: {e}"))?;
                let number = port.number();
                (Some(port), number)
            }
        };
        self.ledger.run.say(Event::ServerStarting {
            target: self.ledger.job.server_id.clone(),
            session: self.ledger.job.index,
            pool: self.ledger.place.pool.clone(),
            node: self.ledger.place.nodes.clone(),
            gpus: self.ledger.place.gpus.clone(),
            port: number,
            attempt: self.starts,
            folder: attempt.folder.clone(),
            simulated: self.simulated(),
        });
        let spec = prepare(
            self.ledger.run,
            &self.ledger.job.server,
            self.ledger.image,
            self.ledger.place,
            number,
            &attempt,
        )
        .map_err(|e| e.to_string())?;
        let began = Instant::now();
        let mut server = Server::spawn(&self.ledger.run.guard, spec)
            .await
            .map_err(|e| e.to_string())?;
        self.ledger.done.servers_started += 1;
        if let Err(error) = self.ledger.run.owns(server.owned()) {
            let _ = server.kill().await;
            return Err(error.to_string());
        }
        let ready = tokio::select! {
            ready = server.ready() => ready.map_err(|e| e.to_string()),
            () = self.ledger.run.interrupts.reached(Interrupt::Graceful) => Err(INTERRUPTED.to_owned()),
        };
        let live = Live {
            server,
            _port: port,
            start_ms: began.elapsed().as_millis() as u64,
            temporary: attempt.temporary(self.ledger.run.path()),
            used: false,
        };
        match ready {
            Ok(()) => {
                self.ledger.run.say(Event::ServerReady {
                    target: self.ledger.job.server_id.clone(),
                    session: self.ledger.job.index,
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
        self.ledger.job.server.simulated.is_some()
    }

    /// Stops the server, if there is one, and waits until it is gone.
    async fn stop(&mut self) {
        let Some(mut live) = self.live.take() else { return };
        let owned: Owned = live.server.owned().clone();
        let stopped = tokio::select! {
            stopped = live.server.stop() => Some(stopped),
            () = self.ledger.run.interrupts.reached(Interrupt::Now) => None,
        };
        let stopped = match stopped {
            Some(stopped) => stopped,
            None => live.server.kill().await,
        };
        match stopped {
            Ok(_) => {
                // What stays journalled is looked for once more by the next run, and not found.
                let _ = self.ledger.run.releases(&owned);
                let _ = std::fs::remove_dir_all(&live.temporary);
                self.ledger.run.say(Event::ServerStopped {
                    target: self.ledger.job.server_id.clone(),
                    session: self.ledger.job.index,
                });
            }
            Err(error) => {
                self.ledger.done.server_lives = true;
                self.server_failed(&error.to_string(), false);
            }
        }
    }

    /// Records a failure with the end of the log of the server, if one is there.
    fn fail(&mut self, step: &Step, reason: &str, began: Began) {
        let live = self.live.as_ref();
        let words = live.map(|live| live.server.last_words(200)).unwrap_or_default();
        self.ledger.fail(step, reason, &words, began);
    }

    fn server_failed(&mut self, reason: &str, will_retry: bool) {
        self.last_failure = self.ledger.run.without_secrets(reason);
        self.ledger.run.say(Event::ServerFailed {
            target: self.ledger.job.server_id.clone(),
            session: self.ledger.job.index,
            reason: self.last_failure.clone(),
            will_retry,
        });
    }
}

/// Makes the server forget what earlier points left in it.
async fn reset(server: &Server, reset: Option<&Reset>, simulated: bool) -> Result<(), String> {
    if let Some(exit) = server.exit() {
        let words = server.last_words(LAST_WORDS);
        return Err(format!(
            "it died between two points ({exit}); its last words:\n{words}"
        ));
    }
    let call = match reset {
        // Whatever the engine's way is, the simulator in its place has a cache of its own to empty.
        _ if simulated => HttpCall("POST /reset_prefix_cache".to_owned()),
        Some(Reset { http: Some(call), .. }) => call.clone(),
        Some(_) => return Ok(()),
        None => return Err("its recipe has no reset".to_owned()),
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
        .map_err(|e| format!("it could not be reset: {e}"))
}
