//! A trace as bytes: zstd over JSON lines, the header first, then a line a request.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;

use super::trace::{FORMAT, Request, Trace, TraceHeader};

/// Most bytes that a trace may unpack to; about sixty million events.
const MAX_UNPACKED: u64 = 512 << 20;

/// Bytes that are not a trace this version can read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("the trace does not unpack: {0}")]
    Unpack(#[source] std::io::Error),
    #[error("the trace unpacks to more than {} MiB", MAX_UNPACKED >> 20)]
    TooLarge,
    #[error("the trace is empty")]
    Empty,
    #[error(
        "the trace has format {found}, this version reads {FORMAT}; measure again or use the version that wrote it"
    )]
    Format { found: u32 },
    #[error("line {line} of the trace is malformed: {source}")]
    Line { line: usize, source: serde_json::Error },
    #[error("the trace's {field} is {value}, which no run can have")]
    Value { field: &'static str, value: f64 },
}

impl Trace {
    /// The trace as it is kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        push_line(&mut lines, &self.header);
        for request in &self.requests {
            push_line(&mut lines, request);
        }
        zstd::encode_all(lines.as_slice(), zstd::DEFAULT_COMPRESSION_LEVEL)
            .expect("compressing from memory to memory does no I/O that can fail")
    }

    /// The trace that [`Self::encode`] made, or why these bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, TraceError> {
        let unpacked = zstd::Decoder::with_buffer(bytes).map_err(TraceError::Unpack)?;
        let mut lines = Lines {
            from: BufReader::new(unpacked.take(MAX_UNPACKED + 1)),
            read: 0,
            number: 0,
        };

        let header = lines.next()?.ok_or(TraceError::Empty)?;
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let at_header = |source| TraceError::Line { line: 1, source };
        let Version { format: found } = serde_json::from_slice(&header).map_err(at_header)?;
        if found != FORMAT {
            return Err(TraceError::Format { found });
        }
        let header: TraceHeader = serde_json::from_slice(&header).map_err(at_header)?;
        if header.time_scale <= 0.0 {
            return Err(TraceError::Value {
                field: "time scale",
                value: header.time_scale,
            });
        }

        let mut requests: Vec<Request> = Vec::new();
        while let Some(line) = lines.next()? {
            let request = serde_json::from_slice(&line).map_err(|source| TraceError::Line {
                line: lines.number,
                source,
            })?;
            requests.push(request);
        }
        Ok(Self { header, requests })
    }
}

fn push_line(lines: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(&mut *lines, value).expect("a trace holds only strings, numbers and string keys");
    lines.push(b'\n');
}

struct Lines<R> {
    from: BufReader<R>,
    read: u64,
    number: usize,
}

impl<R: Read> Lines<R> {
    fn next(&mut self) -> Result<Option<Vec<u8>>, TraceError> {
        let mut line = Vec::new();
        let read = self
            .from
            .read_until(b'\n', &mut line)
            .map_err(TraceError::Unpack)?;
        self.read += read as u64;
        self.number += 1;
        if self.read > MAX_UNPACKED {
            return Err(TraceError::TooLarge);
        }
        Ok((read > 0).then_some(line))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::super::trace::{Chunks, ClientLoad, EventKind, RequestError, TokenSource, Usage};
    use super::super::workload::Workload;
    use super::*;

    fn header() -> TraceHeader {
        TraceHeader {
            format: FORMAT,
            client: "c".to_owned(),
            client_version: 1,
            workload: Workload::random("m", 8, 8, 1),
            start_unix_us: 1,
            end_unix_us: 2,
            duration_us: 1,
            warmup: 2,
            load: ClientLoad::default(),
            simulated: true,
            time_scale: 2.5,
        }
    }

    prop_compose! {
        fn chunks()(events in proptest::collection::vec((any::<u64>(), 0u32..3, any::<bool>()), 0..40)) -> Chunks {
            let mut chunks = Chunks::default();
            for (delta, tokens, text) in events {
                chunks.push(delta, tokens, EventKind::CHOICES.with_if(text, EventKind::TEXT));
            }
            chunks
        }
    }

    fn error() -> impl Strategy<Value = Option<RequestError>> {
        prop_oneof![
            Just(None),
            Just(Some(RequestError::Truncated)),
            any::<String>().prop_map(|message| Some(RequestError::Reset { message })),
            any::<(u16, String)>().prop_map(|(code, body)| Some(RequestError::Status { code, body })),
        ]
    }

    prop_compose! {
        fn request()(
            index: u32, sent_us: u64, headers_us: Option<u64>, end_us: u64, chunks in chunks(),
            usage: Option<(Option<u64>, Option<u64>)>, finish_reason: Option<String>, error in error(),
        ) -> Request {
            Request {
                index, prompt_tokens: 3, output_tokens: 4, scheduled_us: 5, sent_us, headers_us, first_byte_us: None,
                chunks, usage: usage.map(|(prompt, completion)| Usage { prompt, completion }),
                token_source: TokenSource::Usage, end_us, finish_reason, error,
            }
        }
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(requests in proptest::collection::vec(request(), 0..8)) {
            let trace = Trace { header: header(), requests };
            prop_assert_eq!(Trace::decode(&trace.encode()).unwrap(), trace);
        }

        #[test]
        fn any_bytes_are_refused_calmly(bytes: Vec<u8>) {
            prop_assert!(Trace::decode(&bytes).is_err());
        }

        #[test]
        fn damage_is_survived(at in 0usize..300, byte: u8, cut in 0usize..300) {
            let mut bytes = Trace { header: header(), requests: Vec::new() }.encode();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Trace::decode(&bytes);
            let _ = Trace::decode(&bytes[..cut.min(bytes.len())]);
        }
    }

    fn packed(lines: &str) -> Vec<u8> {
        zstd::encode_all(lines.as_bytes(), 0).unwrap()
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = std::io::repeat(b' ').take(MAX_UNPACKED + 2);
        let bomb = zstd::encode_all(zeros, 1).unwrap();
        assert!(matches!(Trace::decode(&bomb), Err(TraceError::TooLarge)));
    }

    #[test]
    fn claimed_runs_cost_nothing() {
        let claim = r#"{"t":[],"n":[[1,4294967295]],"k":[]}"#;
        assert!(serde_json::from_str::<Chunks>(claim).is_err());
    }

    #[test]
    fn another_format_is_named() {
        let refused = Trace::decode(&packed("{\"format\":99,\"new\":1}\n")).unwrap_err();
        assert!(matches!(refused, TraceError::Format { found: 99 }), "{refused}");
        assert!(matches!(Trace::decode(&packed("")), Err(TraceError::Empty)));
    }

    #[test]
    fn the_malformed_line_is_numbered() {
        let mut lines = serde_json::to_string(&header()).unwrap();
        lines.push_str("\n{}\n");
        assert!(matches!(
            Trace::decode(&packed(&lines)),
            Err(TraceError::Line { line: 2, .. })
        ));
    }

    #[test]
    fn ten_thousand_events_pack_into_a_few_bytes_each() {
        let mut chunks = Chunks::default();
        for i in 0..10_000 {
            chunks.push(
                10_000 + (i * 7919) % 97,
                1,
                EventKind::CHOICES.with(EventKind::TEXT),
            );
        }
        let json = serde_json::to_string(&chunks).unwrap();
        assert!(json.len() < 70_000 && json.ends_with(r#""n":[[1,10000]],"k":[[3,10000]]}"#));
    }
}
