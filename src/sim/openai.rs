//! The OpenAI wire format: requests as far as the simulator heeds them, and answers written without a JSON tree.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;

use super::prompt::{CHARS_PER_TOKEN, Messages, Prompt};

/// The text of every simulated token: as many characters as a token of text counts.
const TOKEN_TEXT: &str = " sim";
const _: () = assert!(TOKEN_TEXT.len() as u64 == CHARS_PER_TOKEN);

/// What both endpoints take; unknown fields (sampling and the like) are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    model: Option<String>,
    prompt: Option<Prompt>,
    messages: Option<Messages>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    min_tokens: u64,
    ignore_eos: bool,
    stream: bool,
    stream_options: Option<StreamOptions>,
    n: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: bool,
}

/// Which endpoint was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/completions`.
    Completions,
    /// `/v1/chat/completions`.
    Chat,
}

/// A generation as asked for.
#[derive(Debug)]
pub struct GenerationRequest {
    /// Which endpoint was asked.
    pub endpoint: Endpoint,
    /// Model named by the client.
    pub model: Option<String>,
    /// Its prompt, not empty.
    pub prompt: Prompt,
    /// Most tokens wanted; `None` leaves it to the model's length.
    pub max_tokens: Option<u64>,
    /// Fewest tokens before a natural end.
    pub min_tokens: u64,
    /// Never end before `max_tokens`.
    pub ignore_eos: bool,
    /// Answer with server-sent events.
    pub stream: bool,
    /// End the stream with a usage event.
    pub include_usage: bool,
}

/// Tokens of a completion when the client does not say, as the API defines it.
const DEFAULT_COMPLETION_TOKENS: u64 = 16;

/// Reads a request.
///
/// # Errors
/// A message for the client, who sent what cannot be served.
pub fn parse(endpoint: Endpoint, body: &[u8]) -> Result<GenerationRequest, String> {
    let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let prompt = match endpoint {
        Endpoint::Completions => body.prompt.ok_or("`prompt` is missing")?,
        Endpoint::Chat => Prompt::from_text(&body.messages.ok_or("`messages` is missing")?.0),
    };
    if prompt.tokens == 0 {
        return Err("the prompt is empty".to_owned());
    }
    if body.n.is_some_and(|n| n != 1) {
        return Err("`n` other than 1 is not simulated".to_owned());
    }
    let max_tokens = match endpoint {
        Endpoint::Completions => body.max_tokens.or(Some(DEFAULT_COMPLETION_TOKENS)),
        Endpoint::Chat => body.max_completion_tokens.or(body.max_tokens),
    };
    if max_tokens == Some(0) {
        return Err("`max_tokens` must be at least 1".to_owned());
    }
    Ok(GenerationRequest {
        endpoint,
        model: body.model,
        prompt,
        max_tokens,
        min_tokens: body.min_tokens,
        ignore_eos: body.ignore_eos,
        stream: body.stream,
        include_usage: body.stream_options.is_some_and(|options| options.include_usage),
    })
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// `max_tokens` were produced.
    Length,
    /// The model ended by itself.
    Stop,
}

impl FinishReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
        }
    }
}

/// Writes the answer to one request. What is the same in all its events is formatted once.
#[derive(Debug)]
pub struct Answer {
    endpoint: Endpoint,
    head: String,
    prompt_tokens: u64,
    finish: FinishReason,
}

impl Answer {
    /// An answer with `id` (without its prefix) by `model`; `created` in Unix seconds.
    pub fn new(
        request: &GenerationRequest,
        finish: FinishReason,
        id: u64,
        model: &str,
        fingerprint: &str,
        created: u64,
    ) -> Self {
        let (prefix, object) = match (request.endpoint, request.stream) {
            (Endpoint::Completions, _) => ("cmpl", "text_completion"),
            (Endpoint::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
            (Endpoint::Chat, false) => ("chatcmpl", "chat.completion"),
        };
        let model = serde_json::Value::from(model);
        let head = format!(
            r#"{{"id":"{prefix}-sim-{id}","object":"{object}","created":{created},"model":{model},"system_fingerprint":"{fingerprint}""#
        );
        Self {
            endpoint: request.endpoint,
            head,
            prompt_tokens: request.prompt.tokens,
            finish,
        }
    }

    /// Appends the event that carries `tokens`; `first` and `last` say where in the stream it stands.
    pub fn write_event(&self, out: &mut BytesMut, tokens: u64, first: bool, last: bool) {
        out.reserve(self.head.len() + tokens as usize * TOKEN_TEXT.len() + 128);
        out.put_slice(b"data: ");
        out.put_slice(self.head.as_bytes());
        out.put_slice(match (self.endpoint, first) {
            (Endpoint::Completions, _) => br#","choices":[{"index":0,"text":""#,
            (Endpoint::Chat, true) => br#","choices":[{"index":0,"delta":{"role":"assistant","content":""#,
            (Endpoint::Chat, false) => br#","choices":[{"index":0,"delta":{"content":""#,
        });
        put_text(out, tokens);
        out.put_slice(match self.endpoint {
            Endpoint::Completions => br#"","logprobs":null,"finish_reason":"#,
            Endpoint::Chat => br#""},"logprobs":null,"finish_reason":"#,
        });
        match last {
            true => out.put_slice(format!("\"{}\"", self.finish.as_str()).as_bytes()),
            false => out.put_slice(b"null"),
        }
        out.put_slice(b"}]}\n\n");
    }

    /// Appends the event that tells the token counts.
    pub fn write_usage_event(&self, out: &mut BytesMut, tokens: u64) {
        let line = format!(
            "data: {},\"choices\":[],\"usage\":{}}}\n\n",
            self.head,
            self.usage(tokens)
        );
        out.put_slice(line.as_bytes());
    }

    /// Appends the end of the stream.
    pub fn write_done(out: &mut BytesMut) {
        out.put_slice(b"data: [DONE]\n\n");
    }

    /// The whole answer at once.
    pub fn body(&self, tokens: u64) -> Bytes {
        let mut out = BytesMut::from(self.head.as_bytes());
        out.put_slice(match self.endpoint {
            Endpoint::Completions => br#","choices":[{"index":0,"text":""#,
            Endpoint::Chat => br#","choices":[{"index":0,"message":{"role":"assistant","content":""#,
        });
        put_text(&mut out, tokens);
        out.put_slice(match self.endpoint {
            Endpoint::Completions => br#"""#,
            Endpoint::Chat => br#""}"#,
        });
        let end = format!(
            r#","logprobs":null,"finish_reason":"{}"}}],"usage":{}}}"#,
            self.finish.as_str(),
            self.usage(tokens)
        );
        out.put_slice(end.as_bytes());
        out.freeze()
    }

    fn usage(&self, tokens: u64) -> String {
        let prompt = self.prompt_tokens;
        format!(
            r#"{{"prompt_tokens":{prompt},"completion_tokens":{tokens},"total_tokens":{}}}"#,
            prompt + tokens
        )
    }
}

fn put_text(out: &mut BytesMut, tokens: u64) {
    for _ in 0..tokens {
        out.put_slice(TOKEN_TEXT.as_bytes());
    }
}

/// The body of an error answer.
pub fn error_body(kind: &str, message: &str, code: u16) -> Bytes {
    let error = serde_json::json!({ "error": { "message": message, "type": kind, "code": code } });
    Bytes::from(error.to_string())
}

/// The body of `/v1/models`.
pub fn models_body(model: &str, max_model_len: u64, created: u64) -> Bytes {
    let models = serde_json::json!({ "object": "list", "data": [{
        "id": model, "object": "model", "created": created, "owned_by": "sweep-sim", "root": model, "parent": null,
        "max_model_len": max_model_len, "simulated": true,
    }] });
    Bytes::from(models.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn answer(endpoint: Endpoint, stream: bool) -> Answer {
        let body =
            format!(r#"{{"prompt":[1,2,3],"messages":[{{"content":"twelve chars"}}],"stream":{stream}}}"#);
        let request = parse(endpoint, body.as_bytes()).unwrap();
        Answer::new(&request, FinishReason::Length, 7, "a\"b", "sweep-sim-1-x", 1)
    }

    #[test]
    fn events_are_json_with_the_text_of_their_tokens() {
        for (endpoint, pointer) in [
            (Endpoint::Completions, "/choices/0/text"),
            (Endpoint::Chat, "/choices/0/delta/content"),
        ] {
            let mut out = BytesMut::new();
            answer(endpoint, true).write_event(&mut out, 2, true, true);
            let json = out
                .strip_prefix(b"data: ")
                .unwrap()
                .strip_suffix(b"\n\n")
                .unwrap();
            let event: serde_json::Value = serde_json::from_slice(json).unwrap();
            assert_eq!(event.pointer(pointer).unwrap(), " sim sim");
            assert_eq!(event["choices"][0]["finish_reason"], "length");
            assert_eq!(
                (&event["model"], &event["system_fingerprint"]),
                (&"a\"b".into(), &"sweep-sim-1-x".into())
            );
        }
    }

    #[test]
    fn whole_answers_carry_usage() {
        for (endpoint, pointer) in [
            (Endpoint::Completions, "/choices/0/text"),
            (Endpoint::Chat, "/choices/0/message/content"),
        ] {
            let body: serde_json::Value = serde_json::from_slice(&answer(endpoint, false).body(3)).unwrap();
            assert_eq!(body.pointer(pointer).unwrap(), " sim sim sim");
            assert_eq!(body["usage"]["total_tokens"], 6);
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_in_words() {
        let refused = |json: &str| parse(Endpoint::Completions, json.as_bytes()).unwrap_err();
        assert!(refused("{}").contains("`prompt`"));
        assert!(refused(r#"{"prompt":""}"#).contains("empty"));
        assert!(refused(r#"{"prompt":"a","n":2}"#).contains("`n`"));
        assert!(refused(r#"{"prompt":"a","max_tokens":0}"#).contains("max_tokens"));
        assert!(refused(r#"{"prompt":[1,"#).contains("EOF"));
    }

    #[test]
    fn limits_default_as_the_api_says() {
        let limit = |endpoint, json: &str| parse(endpoint, json.as_bytes()).unwrap().max_tokens;
        assert_eq!(limit(Endpoint::Completions, r#"{"prompt":"a"}"#), Some(16));
        assert_eq!(limit(Endpoint::Chat, r#"{"messages":[{"content":"a"}]}"#), None);
        let both = r#"{"messages":[{"content":"a"}],"max_tokens":5,"max_completion_tokens":6}"#;
        assert_eq!(limit(Endpoint::Chat, both), Some(6));
    }
}
