//! The engine on the wall clock: requests in, one timer a step, tokens out.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::config::Simulation;
use super::engine::{Engine, Load, Request, SequenceId, Step};
use super::generation::{Abandoned, Consumer, Producer, channel};
use super::pacing::{Clock, Lateness, Timer};

/// Counts for `/metrics`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Requests taken.
    pub requests: u64,
    /// Requests that got their last token.
    pub finished: u64,
    /// Prompt tokens of the requests taken.
    pub prompt_tokens: u64,
    /// Tokens produced.
    pub generated_tokens: u64,
}

struct Arrival {
    at: Duration,
    request: Request,
    producer: Producer,
}

/// The engine with what waits for it.
pub struct Driver {
    clock: Clock,
    interval: u64,
    engine: RefCell<Engine>,
    arrivals: RefCell<VecDeque<Arrival>>,
    producers: RefCell<HashMap<SequenceId, Producer>>,
    abandoned: Abandoned,
    arrived: Notify,
    totals: Cell<Totals>,
    lateness: Cell<Lateness>,
    /// Virtual time at which the last step ended.
    free_at: Cell<Duration>,
}

impl Driver {
    /// A driver whose virtual time starts now.
    pub fn new(simulation: &Simulation, clock: Clock, interval: u64, seed: u64) -> Self {
        Self {
            clock,
            interval,
            engine: RefCell::new(Engine::new(simulation.timing, simulation.limits, seed)),
            arrivals: RefCell::default(),
            producers: RefCell::default(),
            abandoned: Rc::default(),
            arrived: Notify::new(),
            totals: Cell::default(),
            lateness: Cell::default(),
            free_at: Cell::default(),
        }
    }

    /// Hands a request over, stamped with the present virtual time.
    ///
    /// Its tokens together must not exceed the KV cache, which `Simulation::max_model_len` sees to.
    pub fn submit(&self, request: Request) -> Consumer {
        let (producer, consumer) = channel(self.interval, &self.abandoned);
        let mut totals = self.totals.get();
        totals.requests += 1;
        totals.prompt_tokens += request.prompt_tokens;
        self.totals.set(totals);
        self.arrivals.borrow_mut().push_back(Arrival {
            at: self.clock.now(),
            request,
            producer,
        });
        self.arrived.notify_one();
        consumer
    }

    /// Forgets computed prefixes.
    pub fn reset_prefix_cache(&self) {
        self.engine.borrow_mut().reset_prefix_cache();
    }

    /// Load of the engine; requests that no step has seen yet count as waiting.
    pub fn load(&self) -> Load {
        let mut load = self.engine.borrow().load();
        load.waiting += self.arrivals.borrow().len();
        load
    }

    /// Counts since the start.
    pub fn totals(&self) -> Totals {
        self.totals.get()
    }

    /// How well the wall clock kept up.
    pub fn lateness(&self) -> Lateness {
        self.lateness.get()
    }

    /// Runs steps as their virtual time comes, for ever.
    ///
    /// A step starts where the one before ended, however late that was handed out: being late costs accuracy, which is
    /// counted, and never stretches virtual time.
    ///
    /// # Errors
    /// When the system refuses a timer.
    pub async fn run(&self) -> io::Result<Infallible> {
        let timer = Timer::new()?;
        loop {
            let Some(step) = self.begin_step() else {
                self.arrived.notified().await;
                continue;
            };
            let due = self.clock.wall(self.free_at.get());
            timer.sleep_until(due).await?;
            let mut lateness = self.lateness.get();
            lateness.count(due, Instant::now());
            self.lateness.set(lateness);
            self.hand_out(&step);
            // Connections write before the next step, also when there is no time to sleep.
            tokio::task::yield_now().await;
        }
    }

    /// Starts a step with all requests that have arrived by its virtual start.
    fn begin_step(&self) -> Option<Step> {
        let mut engine = self.engine.borrow_mut();
        for sequence in self.abandoned.borrow_mut().drain(..) {
            engine.abort(sequence);
            self.producers.borrow_mut().remove(&sequence);
        }
        let mut arrivals = self.arrivals.borrow_mut();
        loop {
            let mut start = self.free_at.get();
            if engine.is_idle() {
                start = start.max(arrivals.front()?.at);
            }
            while arrivals.front().is_some_and(|arrival| arrival.at <= start) {
                let Some(Arrival {
                    request, producer, ..
                }) = arrivals.pop_front()
                else {
                    break;
                };
                if producer.is_abandoned() {
                    continue;
                }
                let sequence = engine.submit(request).expect("max_model_len fits the KV cache");
                producer.started(sequence);
                self.producers.borrow_mut().insert(sequence, producer);
            }
            // Idle still: all that had arrived were abandoned before the engine saw them.
            if let Some(step) = engine.step() {
                self.free_at.set(start + step.duration);
                return Some(step);
            }
        }
    }

    fn hand_out(&self, step: &Step) {
        let mut producers = self.producers.borrow_mut();
        let mut totals = self.totals.get();
        for output in &step.outputs {
            totals.generated_tokens += output.tokens;
            totals.finished += u64::from(output.finished);
            if let Some(producer) = producers.get(&output.id) {
                producer.produce(output.tokens, output.finished);
            }
            if output.finished {
                producers.remove(&output.id);
            }
        }
        self.totals.set(totals);
    }
}
