//! The result file that a script's own client wrote: read, and judged by what it says.
//!
//! It holds what the serving benchmark computed, not the stamps that it computed from. So whether the client was the
//! bottleneck, and who answered it, cannot be seen, and metrics are those of the client's own definitions.

use super::aggregate::{AggregateError, number, whole};
use super::object::Object;

/// Why a client's file is no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientFileError {
    #[error("it is no JSON object: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Field(#[from] AggregateError),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rejected(Vec<Flaw>),
}

/// What keeps a measurement from counting.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Flaw {
    #[error("none of {requests} requests completed")]
    NothingCompleted { requests: u64 },
    #[error("the server answered with no tokens: 0 output tokens in {completed} completed requests")]
    NoTokens { completed: u64 },
    #[error("{failed} of {requests} requests failed, above the limit of {:.1} %", limit * 100.0)]
    TooManyFailed { failed: u64, requests: u64, limit: f64 },
    #[error("it measured a concurrency of {found}, and {expected} was asked for")]
    OtherConcurrency { found: u64, expected: u64 },
    #[error("it lasted {0} s")]
    NoDuration(f64),
}

/// What a file must hold to count.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    pub concurrency: u64,
    /// Failed requests over all, in [0, 1].
    pub failed_share: f64,
}

/// Reads a result file, and refuses one that does not count.
pub fn client_file(bytes: &[u8], expected: Expected) -> Result<Object, ClientFileError> {
    let raw: Object = serde_json::from_slice(bytes)?;
    let flaws = flaws(&raw, expected)?;
    if flaws.is_empty() {
        Ok(raw)
    } else {
        Err(ClientFileError::Rejected(flaws))
    }
}

/// Every flaw, the gravest first.
fn flaws(raw: &Object, expected: Expected) -> Result<Vec<Flaw>, AggregateError> {
    let requests = whole(raw, "num_prompts")?;
    let completed = whole(raw, "completed")?;
    let output_tokens = whole(raw, "total_output_tokens")?;
    let found = whole(raw, "max_concurrency")?;
    let duration = number(raw, "duration")?;
    let failed = requests.saturating_sub(completed);
    let limit = expected.failed_share;
    let mut flaws = Vec::new();
    if completed == 0 {
        flaws.push(Flaw::NothingCompleted { requests });
    } else if output_tokens == 0 {
        flaws.push(Flaw::NoTokens { completed });
    }
    if completed > 0 && failed as f64 > limit * requests as f64 {
        flaws.push(Flaw::TooManyFailed {
            failed,
            requests,
            limit,
        });
    }
    if found != expected.concurrency {
        flaws.push(Flaw::OtherConcurrency {
            found,
            expected: expected.concurrency,
        });
    }
    if duration <= 0.0 {
        flaws.push(Flaw::NoDuration(duration));
    }
    Ok(flaws)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    const FILE: &str = r#"{"model_id": "m", "num_prompts": 40, "max_concurrency": 4, "duration": 2.5, "completed": 40,
        "total_input_tokens": 100, "total_output_tokens": 50, "output_throughput": 20.0}"#;

    fn told(old: &str, new: &str) -> String {
        assert!(FILE.contains(old), "{old}");
        let expected = Expected {
            concurrency: 4,
            failed_share: 0.05,
        };
        match client_file(FILE.replace(old, new).as_bytes(), expected) {
            Ok(raw) => format!("counts, {} fields", raw.iter().count()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_counts_and_what_does_not() {
        assert_eq!(told("40,", "40,"), "counts, 8 fields");
        assert_eq!(told("\"completed\": 40", "\"completed\": 38"), "counts, 8 fields");
        for (old, new, expected) in [
            (
                "\"completed\": 40",
                "\"completed\": 37",
                "3 of 40 requests failed, above the limit of 5.0 %",
            ),
            (
                "\"completed\": 40",
                "\"completed\": 0",
                "none of 40 requests completed",
            ),
            (
                "\"total_output_tokens\": 50",
                "\"total_output_tokens\": 0",
                "the server answered with no tokens: 0 output tokens in 40 completed requests",
            ),
            (
                "\"max_concurrency\": 4",
                "\"max_concurrency\": 8",
                "it measured a concurrency of 8, and 4 was asked for",
            ),
            ("2.5", "0", "it lasted 0 s"),
            (
                "\"completed\": 40,",
                "",
                "the raw result has no `completed`; it is no serving benchmark's output",
            ),
            (
                "\"duration\": 2.5",
                "\"duration\": null",
                "`duration` of the raw result is null, not a number",
            ),
        ] {
            assert_eq!(told(old, new), expected);
        }
        assert!(told("{", "[").starts_with("it is no JSON object"));
        assert!(told("}", "").starts_with("it is no JSON object"));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let expected = Expected {
            concurrency: 4,
            failed_share: 0.05,
        };
        let wrong = FILE
            .replace("\"completed\": 40", "\"completed\": 0")
            .replace("\"max_concurrency\": 4", "\"max_concurrency\": 1");
        let told = client_file(wrong.as_bytes(), expected).unwrap_err().to_string();
        assert_eq!(
            told,
            "none of 40 requests completed; it measured a concurrency of 1, and 4 was asked for"
        );
    }
}
