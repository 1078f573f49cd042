//! The load client: a workload against a server, kept as a raw trace.
//!
//! A [`Workload`] says all that is sent and when; [`client::run`] sends it and stamps every piece of every answer; the
//! [`Trace`] keeps those stamps unjudged, so that each definition of a metric is a pure function over it; and
//! [`verdict::judge`] says whether the trace is fit to be kept at all.

mod arrivals;
mod cancel;
mod chunks;
pub mod client;
mod clock;
mod codec;
mod connection;
mod drive;
mod exchange;
mod file_limit;
mod payload;
mod probe;
pub mod prompts;
mod recorder;
mod sse;
pub mod trace;
pub mod verdict;
pub mod workload;

pub use cancel::Cancel;
pub use client::{BenchError, CLIENT_NAME, CLIENT_VERSION, Endpoint, Progress};
pub use trace::{
    Chunks, ClientLoad, EventKind, Request, RequestError, TokenSource, Trace, TraceError, TraceHeader,
};
pub use verdict::{Limits, Reason, Verdict, judge};
pub use workload::{Api, Load, PromptForm, Workload, WorkloadError};
