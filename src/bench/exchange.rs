//! One request and its answer.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Request as HttpRequest, Response};

use super::clock::Clock;
use super::connection::{Connection, Pool};
use super::prompts::Prompt;
use super::recorder::{Recorder, excerpt};
use super::trace::{Request, RequestError};

/// A body this long that is not an event stream is not read to its end.
const MAX_OTHER_BODY: usize = 64 << 10;

/// What all requests of a run share.
pub(super) struct Wire {
    pub(super) pool: Pool,
    pub(super) clock: Clock,
    /// The template of every request but its body.
    pub(super) path: &'static str,
    pub(super) host: HeaderValue,
    pub(super) timeout_s: u32,
}

/// A finished request, with what its answer's headers said of the server.
pub(super) struct Answered {
    pub(super) request: Request,
    /// Simulated seconds in a wall second, if the server simulates.
    pub(super) simulated: Option<f64>,
}

/// What is known of an answer while it comes in; it outlives a timeout.
struct Progress {
    headers_us: Option<u64>,
    first_byte_us: Option<u64>,
    simulated: Option<f64>,
    recorder: Recorder,
}

impl Progress {
    fn new(sent_us: u64, prompt: &Prompt) -> Self {
        // Past the tokens come a usage report and the end; a promise of a long answer is not believed outright.
        let events = prompt.output_len.min(16 << 10) as usize + 2;
        Self {
            headers_us: None,
            first_byte_us: None,
            simulated: None,
            recorder: Recorder::new(sent_us, events),
        }
    }
}

impl Wire {
    /// Sends prompt number `index` and reads its answer. Times are relative to `start_us`.
    pub(super) async fn answer(
        self: &Arc<Self>,
        index: u32,
        prompt: &Prompt,
        start_us: u64,
        scheduled_us: u64,
    ) -> Answered {
        let limit = Duration::from_secs(self.timeout_s.into());
        let mut idle = self.pool.idle().await;
        let (sent_us, progress, outcome) = loop {
            let was_idle = idle.is_some();
            let connection = match idle.take() {
                Some(connection) => Ok(connection),
                None => self.pool.open().await,
            };
            let sent_us = self.clock.now_us();
            let mut progress = Progress::new(sent_us, prompt);
            let outcome = match connection {
                Err(error) => Err(RequestError::Connect {
                    message: error.to_string(),
                }),
                Ok(connection) => {
                    tokio::time::timeout(limit, self.exchange(connection, prompt, &mut progress))
                        .await
                        .unwrap_or(Err(RequestError::Timeout {
                            after_s: self.timeout_s,
                        }))
                }
            };
            // A server may close a connection it holds for idle just as the next request leaves for it. That says
            // nothing of the request, which goes out once more, over a connection of its own.
            let crossed = was_idle && progress.headers_us.is_none();
            if !(crossed && matches!(outcome, Err(RequestError::Reset { .. }))) {
                break (sent_us, progress, outcome);
            }
        };
        let (end_us, error) = match outcome {
            Ok(end_us) => (end_us, None),
            Err(error) => (self.clock.now_us(), Some(error)),
        };
        let since_start = |us: u64| us.saturating_sub(start_us);
        let (record, token_source) = progress.recorder.into_record();
        let request = Request {
            index,
            prompt_tokens: prompt.input_len,
            output_tokens: prompt.output_len,
            scheduled_us: since_start(scheduled_us),
            sent_us: since_start(sent_us),
            headers_us: progress.headers_us.map(since_start),
            first_byte_us: progress.first_byte_us.map(since_start),
            chunks: record.chunks,
            usage: record.usage,
            token_source,
            end_us: since_start(end_us),
            finish_reason: record.finish_reason,
            error,
        };
        Answered {
            request,
            simulated: progress.simulated,
        }
    }

    /// Returns when the answer ended. A connection whose answer was read to its end goes back to the pool.
    async fn exchange(
        &self,
        mut connection: Connection,
        prompt: &Prompt,
        progress: &mut Progress,
    ) -> Result<u64, RequestError> {
        let request = HttpRequest::post(self.path)
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(ACCEPT, HeaderValue::from_static("text/event-stream"))
            .body(Full::new(prompt.body.clone()))
            .expect("a fixed path and valid header values make a request");
        let head = connection
            .driver
            .during(connection.sender.send_request(request))
            .await;
        let response = head.map_err(|error| broken(&error))?;
        progress.headers_us = Some(connection.read_at_us());
        progress.simulated = time_scale(response.headers());
        if let Some(other) = not_a_stream(&response) {
            return Err(self.read_other(connection, response, other).await);
        }

        let mut body = response.into_body();
        while let Some(frame) = connection.driver.during(body.frame()).await {
            let read_at_us = connection.read_at_us();
            let frame = frame.map_err(|error| broken(&error))?;
            let Some(bytes) = frame.data_ref() else { continue };
            progress.first_byte_us.get_or_insert(read_at_us);
            progress.recorder.bytes(read_at_us, bytes)?;
        }
        let end_us = connection.read_at_us();
        self.pool.put(connection);
        progress.recorder.end(end_us)?;
        Ok(end_us)
    }

    /// Reads an answer that is no event stream, for its words.
    async fn read_other(
        &self,
        mut connection: Connection,
        response: Response<Incoming>,
        describe: impl FnOnce(String) -> RequestError,
    ) -> RequestError {
        let mut body = response.into_body();
        let mut read: Vec<u8> = Vec::new();
        while let Some(Ok(frame)) = connection.driver.during(body.frame()).await {
            read.extend_from_slice(frame.data_ref().map_or(&[][..], |bytes: &Bytes| bytes));
            if read.len() > MAX_OTHER_BODY {
                return describe(excerpt(&read));
            }
        }
        self.pool.put(connection);
        describe(excerpt(&read))
    }
}

/// How to report this response, if it cannot hold an event stream. A missing content type gets the benefit of the doubt.
fn not_a_stream(response: &Response<Incoming>) -> Option<Box<dyn FnOnce(String) -> RequestError + Send>> {
    let code = response.status();
    if !code.is_success() {
        return Some(Box::new(move |body| RequestError::Status {
            code: code.as_u16(),
            body,
        }));
    }
    let content_type = String::from_utf8_lossy(response.headers().get(CONTENT_TYPE)?.as_bytes()).into_owned();
    let streamed = content_type
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("text/event-stream");
    (!streamed).then(|| -> Box<dyn FnOnce(String) -> RequestError + Send> {
        Box::new(move |body| RequestError::NotStreamed { content_type, body })
    })
}

/// The simulator marks its answers: `x-sweep-simulated`, and `x-sweep-time-scale` when its time is not the wall's.
fn time_scale(headers: &HeaderMap) -> Option<f64> {
    let mark = headers.get("x-sweep-simulated")?.to_str().ok()?;
    if matches!(mark, "0" | "false") {
        return None;
    }
    let scale = headers
        .get("x-sweep-time-scale")
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    Some(
        scale
            .filter(|scale| scale.is_finite() && *scale > 0.0)
            .unwrap_or(1.0),
    )
}

fn broken(error: &hyper::Error) -> RequestError {
    let message = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if error.is_parse() {
        RequestError::Malformed { message }
    } else {
        RequestError::Reset { message }
    }
}
