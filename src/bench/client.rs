//! The client itself: connect, warm up, start the clock, send, and give the trace.

use std::fmt;
use std::io;
use std::sync::Arc;

use hyper::header::HeaderValue;

pub use super::file_limit::FileLimitError;

use super::cancel::Cancel;
use super::clock::{Clock, unix_us};
use super::connection::Pool;
use super::drive::{Pace, drive};
use super::exchange::{Answered, Wire};
use super::trace::{FORMAT, Request, RequestError, Trace, TraceHeader};
use super::workload::{Load, Workload, WorkloadError};
use super::{arrivals, file_limit, probe, prompts};

pub const CLIENT_NAME: &str = "sweep-bench";

/// The version of what is sent and how it is measured; it is part of every bench's key.
///
/// Raise it whenever the same workload would send other bytes or a trace would mean something else.
pub const CLIENT_VERSION: u32 = 1;

/// Where the server listens, over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // An IPv6 address needs its brackets.
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The connections stand; nothing was sent.
    Connected { connections: u32 },
    /// A warm-up request ended.
    WarmedUp { done: u32, of: u32 },
    /// The clock of the measured part started.
    Started { requests: u32 },
    /// A measured request ended, well or not.
    Answered {
        done: u32,
        failed: u32,
        of: u32,
        output_tokens: u64,
    },
}

/// Why there is no trace. A request that failed is in the trace, not here.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("the workload cannot be sent: {0}")]
    Workload(#[from] WorkloadError),
    #[error("the server's name `{0}` cannot stand in a request")]
    Host(Endpoint),
    #[error("failed to look up {endpoint}: {source}")]
    Resolve { endpoint: Endpoint, source: io::Error },
    #[error("failed to connect to {endpoint}: {source}; is the server up?")]
    Connect { endpoint: Endpoint, source: io::Error },
    #[error(transparent)]
    FileLimit(#[from] FileLimitError),
    #[error("all {requests} warm-up requests failed; the first: {first}")]
    Warmup { requests: u32, first: RequestError },
    #[error("failed to set up the client's {what}: {source}")]
    Setup { what: &'static str, source: io::Error },
    #[error("the run was cancelled")]
    Cancelled,
}

/// Runs a workload on the calling thread, on a runtime of its own; see [`run`].
///
/// Give it a thread with nothing else to do: its wake-ups are the measurement.
pub fn run_blocking(
    workload: &Workload,
    endpoint: &Endpoint,
    events: impl Fn(Progress) + Send,
    cancel: &Cancel,
) -> Result<Trace, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| BenchError::Setup {
            what: "runtime",
            source,
        })?;
    runtime.block_on(run(workload, endpoint, events, cancel))
}

/// Runs a workload against a server and gives the raw trace.
///
/// Call it on a current-thread runtime whose thread does nothing else. Request bodies are made and connections opened
/// before the clock starts; `events` is called on this thread and must be quick. Failed requests are in the trace.
pub async fn run(
    workload: &Workload,
    endpoint: &Endpoint,
    events: impl Fn(Progress) + Send,
    cancel: &Cancel,
) -> Result<Trace, BenchError> {
    workload.check()?;
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(BenchError::Cancelled),
        trace = measure(workload, endpoint, events) => trace,
    }
}

async fn measure(
    workload: &Workload,
    endpoint: &Endpoint,
    events: impl Fn(Progress) + Send,
) -> Result<Trace, BenchError> {
    let wire = connect(workload, endpoint).await?;
    events(Progress::Connected {
        connections: workload.connections(),
    });
    let measured = prompts::measured(workload);
    warm_up(workload, &wire, &events).await?;

    let pace = match workload.load {
        Load::Closed { .. } => Pace::Streams(workload.connections()),
        Load::Open {
            rate_per_s,
            burstiness,
            max_concurrency,
        } => Pace::Arrivals {
            offsets: arrivals::offsets(workload.seed, workload.prompts, rate_per_s, burstiness),
            cap: max_concurrency,
        },
    };
    let timer = |source| BenchError::Setup {
        what: "timer",
        source,
    };
    let mut tally = Tally::new(workload.prompts);
    events(Progress::Started {
        requests: workload.prompts,
    });
    let probe = probe::Probe::start().map_err(timer)?;
    let (start_us, start_unix_us) = (wire.clock.now_us(), unix_us());
    let keep = |answered| events(tally.keep(answered));
    drive(&wire, measured, pace, start_us, keep)
        .await
        .map_err(timer)?;

    let Tally {
        mut requests,
        simulated,
        ..
    } = tally;
    requests.sort_unstable_by_key(|request| request.index);
    let stream_events = requests.iter().map(|request| request.chunks.len() as u64).sum();
    let load = probe.outcome(stream_events);
    let first_us = requests
        .iter()
        .map(|request| request.sent_us)
        .min()
        .unwrap_or_default();
    let last_us = requests
        .iter()
        .map(|request| request.end_us)
        .max()
        .unwrap_or_default();
    let header = TraceHeader {
        format: FORMAT,
        client: CLIENT_NAME.to_owned(),
        client_version: CLIENT_VERSION,
        workload: workload.clone(),
        start_unix_us,
        end_unix_us: start_unix_us + last_us,
        duration_us: last_us - first_us,
        warmup: workload.warmup,
        load,
        simulated: simulated.is_some(),
        time_scale: simulated.unwrap_or(1.0),
    };
    Ok(Trace { header, requests })
}

async fn connect(workload: &Workload, endpoint: &Endpoint) -> Result<Arc<Wire>, BenchError> {
    let host = HeaderValue::try_from(endpoint.to_string()).map_err(|_| BenchError::Host(endpoint.clone()))?;
    let addrs = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|source| BenchError::Resolve {
            endpoint: endpoint.clone(),
            source,
        })?
        .collect();
    let connections = workload.connections();
    file_limit::make_room(connections)?;
    let clock = Clock::start();
    let wire = Wire {
        pool: Pool::new(addrs, clock),
        clock,
        path: workload.api.path(),
        host,
        timeout_s: workload.request_timeout_s,
    };
    wire.pool
        .fill(connections)
        .await
        .map_err(|source| BenchError::Connect {
            endpoint: endpoint.clone(),
            source,
        })?;
    Ok(Arc::new(wire))
}

/// Sends the warm-up requests over the connections that stand. A server that fails all of them is not worth measuring.
async fn warm_up(
    workload: &Workload,
    wire: &Arc<Wire>,
    events: &impl Fn(Progress),
) -> Result<(), BenchError> {
    if workload.warmup == 0 {
        return Ok(());
    }
    let of = workload.warmup;
    let (mut done, mut failed, mut first) = (0, 0, None);
    let streams = Pace::Streams(workload.connections().min(of));
    drive(
        wire,
        prompts::warmup(workload),
        streams,
        wire.clock.now_us(),
        |answered| {
            done += 1;
            if let Some(error) = answered.request.error {
                failed += 1;
                first.get_or_insert(error);
            }
            events(Progress::WarmedUp { done, of });
        },
    )
    .await
    .map_err(|source| BenchError::Setup {
        what: "timer",
        source,
    })?;
    match first {
        Some(first) if failed == of => Err(BenchError::Warmup { requests: of, first }),
        _ => Ok(()),
    }
}

/// The measured answers as they come.
struct Tally {
    requests: Vec<Request>,
    of: u32,
    failed: u32,
    output_tokens: u64,
    simulated: Option<f64>,
}

impl Tally {
    fn new(of: u32) -> Self {
        Self {
            requests: Vec::with_capacity(of as usize),
            of,
            failed: 0,
            output_tokens: 0,
            simulated: None,
        }
    }

    fn keep(&mut self, answered: Answered) -> Progress {
        self.failed += u32::from(!answered.request.is_ok());
        self.output_tokens += answered.request.completion_tokens();
        self.simulated = answered.simulated.or(self.simulated);
        self.requests.push(answered.request);
        Progress::Answered {
            done: self.requests.len() as u32,
            failed: self.failed,
            of: self.of,
            output_tokens: self.output_tokens,
        }
    }
}

#[cfg(test)]
mod tests;
