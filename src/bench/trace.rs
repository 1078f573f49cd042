//! The raw trace: every stamp of a run, unjudged, from which all metrics follow.

use serde::{Deserialize, Serialize};

pub use super::chunks::{Chunks, Event, EventKind};
pub use super::codec::TraceError;
use super::workload::Workload;

/// The version of the trace's form; a trace of another one is refused.
pub const FORMAT: u32 = 1;

/// A run of the load client. All times are wall-clock microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub header: TraceHeader,
    /// The measured requests, by index.
    pub requests: Vec<Request>,
}

/// What holds for the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceHeader {
    pub format: u32,
    /// Name and version of the client that measured.
    pub client: String,
    pub client_version: u32,
    pub workload: Workload,
    /// When the measured part began, in microseconds since 1970; the origin of all other times.
    pub start_unix_us: u64,
    pub end_unix_us: u64,
    /// From the first request sent to the end of the last answer.
    pub duration_us: u64,
    /// Warm-up requests sent before, not in the trace.
    pub warmup: u32,
    pub load: ClientLoad,
    /// The server said that it simulates.
    pub simulated: bool,
    /// Simulated seconds in a wall second; 1 for a real server.
    pub time_scale: f64,
}

/// How busy the client itself was while it measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientLoad {
    /// How late a timer probe on the client's thread woke, in microseconds.
    pub lag_p50_us: u64,
    pub lag_p99_us: u64,
    pub lag_max_us: u64,
    /// CPU time of the client's thread over wall time.
    pub cpu_share: f64,
    /// Stream events received.
    pub events: u64,
    pub events_per_s: f64,
}

/// One request and its answer. Times are microseconds since the trace's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Position among the workload's prompts.
    pub index: u32,
    /// Tokens sent, as the workload drew them.
    pub prompt_tokens: u32,
    /// Tokens asked for.
    pub output_tokens: u32,
    /// When it was due: its arrival in an open load, a free stream in a closed one.
    pub scheduled_us: u64,
    /// When it was handed to its connection, which was already open.
    pub sent_us: u64,
    pub headers_us: Option<u64>,
    /// When the first byte of the body came.
    pub first_byte_us: Option<u64>,
    pub chunks: Chunks,
    pub usage: Option<Usage>,
    pub token_source: TokenSource,
    /// When the answer ended or failed.
    pub end_us: u64,
    pub finish_reason: Option<String>,
    pub error: Option<RequestError>,
}

/// The server's last usage report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    pub prompt: Option<u64>,
    pub completion: Option<u64>,
}

/// Where a request's output token counts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenSource {
    /// The total and every event's count are the server's.
    UsagePerChunk,
    /// The total is the server's; an event with text is taken for one token.
    Usage,
    /// The server reported none: an event with text is taken for one token.
    Chunks,
}

impl Request {
    pub fn is_ok(&self) -> bool {
        self.error.is_none()
    }

    /// Output tokens: the server's count when it gave one, else the events with text.
    pub fn completion_tokens(&self) -> u64 {
        match self.token_source {
            TokenSource::Chunks => self.chunks.tokens(),
            TokenSource::Usage | TokenSource::UsagePerChunk => {
                self.usage.and_then(|usage| usage.completion).unwrap_or_default()
            }
        }
    }

    /// The answer's events at their times.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        self.chunks.events(self.sent_us)
    }
}

impl Trace {
    /// Requests answered in full.
    pub fn completed(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.is_ok())
    }

    pub fn failed(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| !request.is_ok())
    }

    /// Output tokens of the completed requests.
    pub fn output_tokens(&self) -> u64 {
        self.completed().map(Request::completion_tokens).sum()
    }
}

/// Why one request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RequestError {
    #[error("no connection to the server: {message}")]
    Connect { message: String },
    #[error("the server answered with HTTP {code}: {body}")]
    Status { code: u16, body: String },
    #[error("the answer is `{content_type}`, not an event stream: {body}")]
    NotStreamed { content_type: String, body: String },
    #[error("the server reported an error in its stream: {message}")]
    Server { message: String },
    #[error("the answer is malformed: {message}")]
    Malformed { message: String },
    #[error("the stream ended before the answer did")]
    Truncated,
    #[error("the connection broke: {message}")]
    Reset { message: String },
    #[error("no end after {after_s} s")]
    Timeout { after_s: u32 },
}
