//! What one answer's bytes say, with the stamps of the reads that brought them.

use super::payload::Payload;
use super::sse::{SseParser, TooLarge};
use super::trace::{Chunks, EventKind, RequestError, TokenSource, Usage};

/// Reads the event stream of one answer.
pub(super) struct Recorder {
    parser: SseParser,
    record: Record,
}

/// What the stream has said so far.
pub(super) struct Record {
    pub(super) chunks: Chunks,
    pub(super) usage: Option<Usage>,
    pub(super) finish_reason: Option<String>,
    last_us: u64,
    done: bool,
    text_events: usize,
    /// Events with both text and a running token count.
    counted_text_events: usize,
}

impl From<TooLarge> for RequestError {
    fn from(error: TooLarge) -> Self {
        Self::Malformed {
            message: error.to_string(),
        }
    }
}

impl Recorder {
    /// `capacity`: events to expect.
    pub(super) fn new(sent_us: u64, capacity: usize) -> Self {
        Self {
            parser: SseParser::default(),
            record: Record {
                chunks: Chunks {
                    t: Vec::with_capacity(capacity),
                    n: Vec::with_capacity(capacity),
                    k: Vec::with_capacity(capacity),
                },
                usage: None,
                finish_reason: None,
                last_us: sent_us,
                done: false,
                text_events: 0,
                counted_text_events: 0,
            },
        }
    }

    /// Takes the bytes of one socket read, made at `at_us`.
    pub(super) fn bytes(&mut self, at_us: u64, bytes: &[u8]) -> Result<(), RequestError> {
        let Self { parser, record } = self;
        parser.feed(bytes, |data| record.event(at_us, data))
    }

    /// Takes the end of the stream; an answer cut short is an error.
    pub(super) fn end(&mut self, at_us: u64) -> Result<(), RequestError> {
        let Self { parser, record } = self;
        parser.finish(|data| record.event(at_us, data))?;
        if record.chunks.is_empty() {
            return Err(RequestError::Malformed {
                message: "the stream held no event".to_owned(),
            });
        }
        // Some servers close with a bare usage report; one beside a text is a running count and closes nothing.
        let closed_by_usage = record
            .chunks
            .k
            .last()
            .is_some_and(|kind| kind.has(EventKind::USAGE) && !kind.has(EventKind::TEXT));
        let ended = record.done || record.finish_reason.is_some() || closed_by_usage;
        if ended {
            Ok(())
        } else {
            Err(RequestError::Truncated)
        }
    }

    /// The record, with each event's tokens settled.
    pub(super) fn into_record(self) -> (Record, TokenSource) {
        let mut record = self.record;
        let per_chunk = record.text_events > 0 && record.counted_text_events == record.text_events;
        if !per_chunk {
            // A count that comes once, at the end, says nothing of the single events.
            for (tokens, kind) in record.chunks.n.iter_mut().zip(&record.chunks.k) {
                *tokens = kind.has(EventKind::TEXT).into();
            }
        }
        let reported = record.usage.and_then(|usage| usage.completion);
        let source = match reported {
            Some(_) if per_chunk => TokenSource::UsagePerChunk,
            // A report of no tokens beside events with text is a server that does not count.
            Some(tokens) if tokens > 0 || record.text_events == 0 => TokenSource::Usage,
            _ => TokenSource::Chunks,
        };
        (record, source)
    }
}

impl Record {
    fn event(&mut self, at_us: u64, data: &[u8]) -> Result<(), RequestError> {
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
            self.push(at_us, 0, EventKind::DONE);
            return Ok(());
        }
        let payload: Payload = serde_json::from_slice(data).map_err(|error| RequestError::Malformed {
            message: format!("{error} in the event {}", excerpt(data)),
        })?;
        if let Some(error) = payload.error {
            let message = error
                .get("message")
                .and_then(|message| message.as_str())
                .map(str::to_owned);
            return Err(RequestError::Server {
                message: message.unwrap_or_else(|| error.to_string()),
            });
        }
        let choices = payload.choices;
        let counted = self.count(payload.usage.as_ref().and_then(|usage| usage.completion_tokens));
        self.text_events += usize::from(choices.text);
        self.counted_text_events += usize::from(choices.text && counted.is_some());
        let kind = EventKind::default()
            .with_if(choices.any, EventKind::CHOICES)
            .with_if(choices.text, EventKind::TEXT)
            .with_if(payload.usage.is_some(), EventKind::USAGE)
            .with_if(choices.finish_reason.is_some(), EventKind::FINISH);
        self.push(at_us, counted.unwrap_or_else(|| choices.text.into()), kind);
        if let Some(reported) = payload.usage {
            let before = self.usage.unwrap_or_default();
            self.usage = Some(Usage {
                prompt: reported.prompt_tokens.or(before.prompt),
                completion: reported.completion_tokens.or(before.completion),
            });
        }
        self.finish_reason = choices.finish_reason.or_else(|| self.finish_reason.take());
        Ok(())
    }

    /// Tokens since the last running total.
    fn count(&self, total: Option<u64>) -> Option<u32> {
        let before = self.usage.and_then(|usage| usage.completion).unwrap_or_default();
        total.map(|total| u32::try_from(total.saturating_sub(before)).unwrap_or(u32::MAX))
    }

    fn push(&mut self, at_us: u64, tokens: u32, kind: EventKind) {
        self.chunks.push(at_us.saturating_sub(self.last_us), tokens, kind);
        self.last_us = self.last_us.max(at_us);
    }
}

/// The first bytes of what a server said, for a message.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 300;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    let shown = shown.trim();
    if bytes.len() > SHOWN {
        format!("{shown}…")
    } else {
        shown.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn record(stream: &str) -> (Record, TokenSource) {
        let mut recorder = Recorder::new(0, 0);
        recorder.bytes(10, stream.as_bytes()).unwrap();
        recorder.end(20).unwrap();
        recorder.into_record()
    }

    fn refusal(stream: &str) -> RequestError {
        let mut recorder = Recorder::new(0, 0);
        recorder
            .bytes(10, stream.as_bytes())
            .and_then(|()| recorder.end(20))
            .unwrap_err()
    }

    const A: &str = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    #[test]
    fn usage_counts_with_choices_or_without() {
        for last in [
            r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}"#,
            r#"{"choices":[{"text":"","finish_reason":"length"}],"usage":{"prompt_tokens":7,"completion_tokens":5}}"#,
        ] {
            let (record, source) = record(&format!("{A}{A}data: {last}\n\n{DONE}"));
            assert_eq!(source, TokenSource::Usage);
            assert_eq!(
                record.usage,
                Some(Usage {
                    prompt: Some(7),
                    completion: Some(5)
                })
            );
            assert_eq!(record.chunks.n, [1, 1, 0, 0]);
            assert!(record.chunks.k[3].has(EventKind::DONE));
        }
    }

    #[test]
    fn running_usage_gives_each_event_its_tokens() {
        let event = |total| {
            format!(
                "data: {{\"choices\":[{{\"text\":\"a\"}}],\"usage\":{{\"completion_tokens\":{total}}}}}\n\n"
            )
        };
        let (record, source) = record(&[event(2), event(3), event(6), DONE.to_owned()].concat());
        assert_eq!(source, TokenSource::UsagePerChunk);
        assert_eq!(record.chunks.n, [2, 1, 3, 0]);
        assert_eq!(record.usage.unwrap().completion, Some(6));
    }

    #[test]
    fn without_usage_events_with_text_are_counted() {
        let empty = "data: {\"choices\":[{\"text\":\"\"}],\"usage\":null}\n\n";
        let (record, source) = record(&format!("{empty}{A}{A}{DONE}"));
        assert_eq!((source, record.chunks.tokens()), (TokenSource::Chunks, 2));
    }

    #[test]
    fn the_last_usage_wins() {
        let usage = |n| format!("data: {{\"choices\":[],\"usage\":{{\"completion_tokens\":{n}}}}}\n\n");
        let (record, _) = record(&format!("{A}{}{}{DONE}", usage(3), usage(9)));
        assert_eq!(record.usage.unwrap().completion, Some(9));
    }

    #[test]
    fn a_stream_of_no_tokens_completes() {
        let (record, source) = record(DONE);
        assert_eq!((record.chunks.tokens(), source), (0, TokenSource::Chunks));
    }

    #[test]
    fn broken_streams_are_named() {
        assert!(matches!(refusal(""), RequestError::Malformed { .. }));
        assert!(matches!(refusal(": ping\n\n"), RequestError::Malformed { .. }));
        assert!(matches!(
            refusal("data: {\"choices\":[{\n\n"),
            RequestError::Malformed { .. }
        ));
        assert_eq!(refusal(A), RequestError::Truncated);
        let oom = "data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n";
        assert_eq!(
            refusal(oom),
            RequestError::Server {
                message: "out of memory".to_owned()
            }
        );
    }
}
