//! One session at work: its server started, reset between points, measured on, restarted when it died, stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::committer::Committer;
use super::docker::LeftServer;
use super::event::Event;
use super::forget::{ready, reset};
use super::launch::{Place, ReadyImage, Start, prepare};
use super::ledger::Ledger;
use super::measure::{MeasureError, measure};
use super::port::{FreePort, free_port, taken_port};
use super::process::Owned;
use super::run::{Began, Run};
use super::script;
use super::server::{Server, StopError};
use super::signals::Interrupt;
use super::started::{End, EndError};
use super::trouble::Trouble;
use super::vacancy::Vacancy;
use crate::cache::Inputs;
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
    /// The machinery kept points from being measured: why, the last time.
    pub(super) machinery: Option<String>,
}

/// Why a point was skipped after a signal.
pub(super) const INTERRUPTED: &str = "interrupted";

/// A server that answers.
struct Live {
    server: Server,
    /// Reserved for as long as it lives; a recipe's own port is not ours to reserve.
    _port: Option<FreePort>,
    start_ms: u64,
    /// The run that started it, where that was killed.
    adopted_from: Option<String>,
    /// Its processes' temporary files, gone with it.
    temporary: Vec<PathBuf>,
    /// Whether a bench has run on it, so that it has something to forget.
    used: bool,
}

/// The name of the fact of a bench that says which run started its server, where that was another.
const ADOPTED_FROM: &str = "adopted_from";

/// Runs the session to its end. Never fails as a whole: each point has its ending.
pub(super) async fn run(
    run: Arc<Run>,
    job: Arc<Job>,
    image: ReadyImage,
    place: Place,
    committer: Arc<Committer>,
    vacancy: Arc<Vacancy>,
) -> Done {
    let mut session = Session {
        ledger: Ledger {
            run: &run,
            job: &job,
            image: &image,
            place: &place,
            committer: &committer,
            vacancy: &vacancy,
            may_leave: false,
            done: Done::default(),
        },
        live: None,
        starts: 0,
        adoptions: 0,
        last_failure: Trouble::Own(String::new()),
    };
    for step in &job.steps {
        if run.interrupts.level() != Interrupt::None {
            session.ledger.skip(step, INTERRUPTED);
        } else if !session.ledger.is_kept(step).await {
            while !session.settle(step).await {}
        }
    }
    session.stop().await;
    if let Err(error) = run.end_left(job.index).await {
        session.ledger.done.server_lives = true;
        session.ledger.done.machinery = Some(error.to_string());
    }
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
    /// Those of them in which nothing was started, as a killed run had left a server.
    adoptions: u32,
    /// Why the server failed the last time.
    last_failure: Trouble,
}

impl Session<'_> {
    /// Gives the point its ending. False where the machinery failed in mid-bench: then it has none yet.
    async fn settle(&mut self, step: &Step) -> bool {
        let Client::Builtin { workload, limits } = &step.bench.client else {
            return self.run_script(step).await;
        };
        let live = match self.ready_server().await {
            Ok(live) => live,
            Err(_) if self.ledger.run.interrupts.level() != Interrupt::None => {
                self.ledger.skip(step, INTERRUPTED);
                return true;
            }
            Err(Trouble::Machinery(reason)) => {
                self.ledger.disrupt(step, reason);
                return true;
            }
            Err(Trouble::Own(reason)) => {
                self.fail(step, &reason, Began::now()).await;
                return true;
            }
        };
        let began = Began::now();
        let attempt = match self.ledger.run.attempt(&step.bench_id) {
            Ok(attempt) => attempt,
            Err(error) => {
                self.live = Some(live);
                self.fail(step, &error.to_string(), began).await;
                return true;
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
        let start = match &live.adopted_from {
            Some(run) => (ADOPTED_FROM, run.clone()),
            None => (SERVER_START_MS, live.start_ms.to_string()),
        };
        let server = ("server", self.ledger.job.server_id.clone());
        let facts = [start, server].map(|(name, value)| (name.to_owned(), value));
        self.live = Some(Live { used: true, ..live });
        match measured {
            Ok(measured) => {
                // What is computed from a trace would hold up the other sessions' clocks.
                let prepared = tokio::task::block_in_place(|| {
                    self.ledger
                        .prepare(step, measured, began, &attempt, self.starts, facts)
                });
                self.ledger.pass(step, prepared, began, &attempt).await;
            }
            Err(MeasureError::Interrupted) => self.ledger.skip(step, INTERRUPTED),
            Err(MeasureError::ServerDied {
                end: End::Machinery(reason),
                ..
            }) => {
                self.server_failed(Trouble::Machinery(reason), self.may_start());
                self.stop().await;
                return false;
            }
            Err(error) => {
                self.fail(step, &error.to_string(), began).await;
                if matches!(error, MeasureError::ServerDied { .. }) {
                    self.server_failed(Trouble::own("it died during a bench"), self.may_start());
                    self.stop().await;
                }
            }
        }
        true
    }

    /// The same of a combined script.
    async fn run_script(&mut self, step: &Step) -> bool {
        self.starts += 1;
        self.ledger.done.servers_started += 1;
        match script::measure(&mut self.ledger, step, self.starts).await {
            Ok(()) => true,
            Err(reason) if self.may_start() => {
                self.server_failed(Trouble::Machinery(reason), true);
                false
            }
            Err(reason) => {
                self.ledger.disrupt(step, reason);
                true
            }
        }
    }

    /// Whether something may be started once more.
    fn may_start(&self) -> bool {
        self.starts - self.adoptions <= self.ledger.run.retries && !self.ledger.done.server_lives
    }

    /// A server without memory of earlier points: the live one after its reset, or a new one.
    async fn ready_server(&mut self) -> Result<Live, Trouble> {
        if self.starts == 0 {
            self.adopt().await?;
        }
        if let Some(live) = self.live.take() {
            if !live.used {
                return Ok(live);
            }
            let how = self.ledger.job.server.handling.reset.as_ref();
            let outcome = tokio::select! {
                outcome = reset(&live.server, how, self.simulated()) => outcome,
                () = self.ledger.run.interrupts.reached(Interrupt::Graceful) => Err(Trouble::own(INTERRUPTED)),
            };
            match outcome {
                Ok(()) => return Ok(live),
                Err(reason) if self.ledger.run.interrupts.level() != Interrupt::None => {
                    self.live = Some(live);
                    return Err(reason);
                }
                Err(reason) => {
                    self.live = Some(live);
                    self.server_failed(reason, self.may_start());
                    self.stop().await;
                }
            }
        }
        loop {
            if self.ledger.done.server_lives {
                let beside = "no server is started beside one that could not be ended";
                return Err(self.last_failure.within(beside));
            }
            if !self.may_start() {
                let tries = format!("the server was started {} times and did not last", self.starts);
                return Err(self.last_failure.within(&tries));
            }
            self.starts += 1;
            match self.start(None).await {
                Ok(live) => return Ok(live),
                Err(reason) if self.ledger.run.interrupts.level() != Interrupt::None => return Err(reason),
                Err(reason) => {
                    let will_retry = self.may_start();
                    let failed = reason.within("the server did not start");
                    self.server_failed(reason, will_retry);
                    if !will_retry {
                        return Err(failed);
                    }
                }
            }
        }
    }

    /// Takes over the server that a killed run left for this session, if there is one.
    async fn adopt(&mut self) -> Result<(), Trouble> {
        let ReadyImage::Container { host, .. } = self.ledger.image else {
            return Ok(());
        };
        let Some(left) = host.inherit(self.ledger.job.index) else {
            return Ok(());
        };
        self.starts += 1;
        self.adoptions += 1;
        let reason = match self.start(Some(&left)).await {
            Ok(live) => {
                self.live = Some(live);
                return Ok(());
            }
            Err(reason) => reason,
        };
        if let Err(error) = host.end(&left).await {
            self.ledger.done.server_lives = true;
            self.ledger.done.machinery = Some(error.to_string());
            return Err(Trouble::machinery(error));
        }
        if self.ledger.run.interrupts.level() != Interrupt::None {
            return Err(reason);
        }
        let run = &left.run;
        let failed = reason.within(&format!("the server that run {run} left was not taken over"));
        self.server_failed(failed, self.may_start());
        Ok(())
    }

    /// Starts a server and waits until it is ready; `left` is one to go on with in its place.
    async fn start(&mut self, left: Option<&LeftServer>) -> Result<Live, Trouble> {
        let attempt = self
            .ledger
            .run
            .attempt(&self.ledger.job.server_id)
            .map_err(Trouble::own)?;
        let own = self.ledger.job.server.handling.port.filter(|_| !self.simulated());
        let (port, number) = match (left, own) {
            (Some(left), None) => (taken_port(left.port), left.port),
            (_, Some(number)) => (None, number),
            (None, None) => {
                let port = free_port().map_err(|e| Trouble::Own(format!("find a free port: {e}")))?;
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
            adopted_from: left.map(|left| left.run.clone()),
        });
        let start = Start {
            port: number,
            attempt: &attempt,
            left,
        };
        let spec = prepare(
            self.ledger.run,
            &self.ledger.job.server,
            self.ledger.image,
            self.ledger.place,
            start,
        )
        .map_err(|error| {
            if error.is_machinery() {
                Trouble::machinery(error)
            } else {
                Trouble::own(error)
            }
        })?;
        let began = Instant::now();
        let mut server = Server::spawn(&self.ledger.run.guard, spec)
            .await
            .map_err(Trouble::own)?;
        self.ledger.done.servers_started += usize::from(left.is_none());
        if let Err(error) = self.ledger.run.owns(server.owned()) {
            let _ = server.kill().await;
            return Err(Trouble::own(error));
        }
        let ready = tokio::select! {
            ready = ready(&server, left.is_some()) => ready,
            () = self.ledger.run.interrupts.reached(Interrupt::Graceful) => Err(Trouble::own(INTERRUPTED)),
        };
        let live = Live {
            server,
            _port: port,
            start_ms: began.elapsed().as_millis() as u64,
            adopted_from: left.map(|left| left.run.clone()),
            temporary: left
                .and_then(|left| left.temporary.clone())
                .into_iter()
                .chain([attempt.temporary(self.ledger.run.path())])
                .collect(),
            used: left.is_some(),
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
                for folder in &live.temporary {
                    let _ = std::fs::remove_dir_all(folder);
                }
                self.ledger.run.say(Event::ServerStopped {
                    target: self.ledger.job.server_id.clone(),
                    session: self.ledger.job.index,
                });
            }
            Err(error) => {
                self.ledger.done.server_lives = true;
                let reason = match error {
                    StopError::Left(EndError::Container(error)) => {
                        self.ledger.done.machinery = Some(error.to_string());
                        Trouble::machinery(error)
                    }
                    error => Trouble::own(error),
                };
                self.server_failed(reason, false);
            }
        }
    }

    /// Records a failure with the end of the log of the server, if one is there.
    async fn fail(&mut self, step: &Step, reason: &str, began: Began) {
        let live = self.live.as_ref();
        let words = live.map(|live| live.server.last_words(200)).unwrap_or_default();
        self.ledger.fail(step, reason, &words, began).await;
    }

    fn server_failed(&mut self, reason: Trouble, will_retry: bool) {
        self.last_failure = reason.map(|reason| self.ledger.run.without_secrets(&reason));
        self.ledger.run.say(Event::ServerFailed {
            target: self.ledger.job.server_id.clone(),
            session: self.ledger.job.index,
            reason: self.last_failure.to_string(),
            will_retry,
        });
    }
}
