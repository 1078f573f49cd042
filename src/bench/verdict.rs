//! Whether a trace is fit to be kept as a result.

use serde::{Deserialize, Serialize};

use super::trace::{ClientLoad, RequestError, Trace};

/// What a run may do and still count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Failed requests over all, in [0, 1].
    pub failed_share: f64,
    /// 99th percentile of the client's own lag, in wall microseconds.
    pub lag_p99_us: u64,
    /// CPU time of the client's thread over wall time, in [0, 1].
    pub cpu_share: f64,
}

impl Default for Limits {
    /// The failed share is InferenceX's; a lag of 50 ms shows in its rows' TTFT, and a thread above nine tenths of a
    /// core has no room for a burst.
    fn default() -> Self {
        Self {
            failed_share: 0.05,
            lag_p99_us: 50_000,
            cpu_share: 0.9,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "reasons", rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    /// With every reason found, the gravest first.
    Fail(Vec<Reason>),
}

/// Why a trace is not a result.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    #[error("none of {requests} requests completed{}", because(.first))]
    NothingCompleted {
        requests: usize,
        first: Option<RequestError>,
    },
    #[error("the server answered with no tokens: 0 output tokens in {completed} completed requests")]
    NoTokens { completed: usize },
    #[error(
        "{failed} of {requests} requests failed, above the limit of {:.1} %{}", limit * 100.0, because(.first)
    )]
    TooManyFailed {
        failed: usize,
        requests: usize,
        limit: f64,
        first: Option<RequestError>,
    },
    #[error(
        "the client was the bottleneck: it lagged {:.1} ms at p99, above the limit of {:.1} ms; \
         lower the concurrency or give it a core of its own",
        *lag_p99_us as f64 / 1000.0, *limit_us as f64 / 1000.0
    )]
    ClientLag { lag_p99_us: u64, limit_us: u64 },
    #[error(
        "the client was the bottleneck: its thread used {:.0} % of a core, above the limit of {:.0} %; \
         lower the concurrency or give it a core of its own",
        share * 100.0, limit * 100.0
    )]
    ClientCpu { share: f64, limit: f64 },
}

fn because(first: &Option<RequestError>) -> String {
    first
        .as_ref()
        .map(|error| format!("; the first: {error}"))
        .unwrap_or_default()
}

/// Judges a trace by what it holds.
pub fn judge(trace: &Trace, limits: &Limits) -> Verdict {
    let requests = trace.requests.len();
    let completed = trace.completed().count();
    let failed = requests - completed;
    let first = || trace.failed().next().and_then(|request| request.error.clone());
    let mut reasons = Vec::new();
    if completed == 0 {
        reasons.push(Reason::NothingCompleted {
            requests,
            first: first(),
        });
    } else if trace.output_tokens() == 0 {
        reasons.push(Reason::NoTokens { completed });
    }
    if completed > 0 && failed as f64 > limits.failed_share * requests as f64 {
        reasons.push(Reason::TooManyFailed {
            failed,
            requests,
            limit: limits.failed_share,
            first: first(),
        });
    }
    reasons.extend(client_reasons(&trace.header.load, limits));
    if reasons.is_empty() {
        Verdict::Pass
    } else {
        Verdict::Fail(reasons)
    }
}

/// Whether the client, not the server, decided what was measured.
pub fn client_bound(load: &ClientLoad, limits: &Limits) -> bool {
    client_reasons(load, limits).next().is_some()
}

fn client_reasons(load: &ClientLoad, limits: &Limits) -> impl Iterator<Item = Reason> {
    let lag = (load.lag_p99_us > limits.lag_p99_us).then_some(Reason::ClientLag {
        lag_p99_us: load.lag_p99_us,
        limit_us: limits.lag_p99_us,
    });
    let cpu = (load.cpu_share > limits.cpu_share).then_some(Reason::ClientCpu {
        share: load.cpu_share,
        limit: limits.cpu_share,
    });
    lag.into_iter().chain(cpu)
}

#[cfg(test)]
mod tests {
    use super::super::trace::{Chunks, EventKind, FORMAT, Request, TokenSource, TraceHeader};
    use super::super::workload::Workload;
    use super::*;

    fn trace(completed: u32, failed: u32, tokens: u32) -> Trace {
        let request = |index| {
            let mut chunks = Chunks::default();
            (0..tokens).for_each(|_| chunks.push(1, 1, EventKind::CHOICES.with(EventKind::TEXT)));
            Request {
                index,
                prompt_tokens: 1,
                output_tokens: 1,
                scheduled_us: 0,
                sent_us: 0,
                headers_us: None,
                first_byte_us: None,
                chunks,
                usage: None,
                token_source: TokenSource::Chunks,
                end_us: 9,
                finish_reason: None,
                error: (index >= completed).then_some(RequestError::Truncated),
            }
        };
        Trace {
            header: TraceHeader {
                format: FORMAT,
                client: "c".to_owned(),
                client_version: 1,
                workload: Workload::random("m", 8, 8, 1),
                start_unix_us: 0,
                end_unix_us: 9,
                duration_us: 9,
                warmup: 0,
                load: ClientLoad::default(),
                simulated: false,
                time_scale: 1.0,
            },
            requests: (0..completed + failed).map(request).collect(),
        }
    }

    fn said(trace: &Trace) -> String {
        match judge(trace, &Limits::default()) {
            Verdict::Pass => "pass".to_owned(),
            Verdict::Fail(reasons) => reasons
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    #[test]
    fn a_failed_share_at_the_limit_passes() {
        assert_eq!(said(&trace(40, 0, 3)), "pass");
        assert_eq!(said(&trace(95, 5, 3)), "pass");
    }

    #[test]
    fn reasons_read_well() {
        insta::assert_snapshot!(said(&trace(94, 6, 3)), @"6 of 100 requests failed, above the limit of 5.0 %; the first: the stream ended before the answer did");
        insta::assert_snapshot!(said(&trace(40, 0, 0)), @"the server answered with no tokens: 0 output tokens in 40 completed requests");
        insta::assert_snapshot!(said(&trace(0, 4, 0)), @"none of 4 requests completed; the first: the stream ended before the answer did");
        insta::assert_snapshot!(said(&trace(0, 0, 0)), @"none of 0 requests completed");
        let mut busy = trace(1, 0, 1);
        busy.header.load = ClientLoad {
            lag_p99_us: 61_500,
            cpu_share: 0.97,
            ..ClientLoad::default()
        };
        assert!(client_bound(&busy.header.load, &Limits::default()));
        insta::assert_snapshot!(said(&busy), @"
        the client was the bottleneck: it lagged 61.5 ms at p99, above the limit of 50.0 ms; lower the concurrency or give it a core of its own
        the client was the bottleneck: its thread used 97 % of a core, above the limit of 90 %; lower the concurrency or give it a core of its own
        ");
    }
}
