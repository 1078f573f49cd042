//! What is sent, and when: everything that decides the load, and nothing else.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A load in full; equal workloads send equal bytes under equal rules.
///
/// It serialises with its fields in one fixed order, so its JSON can be hashed into a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Workload {
    pub api: Api,
    /// The `model` field of every request.
    pub model: String,
    pub prompt_form: PromptForm,
    /// Token ids are drawn from `[lo, hi)`.
    pub vocab: (u32, u32),
    /// Longest prompt L, in tokens (in words for [`PromptForm::Words`]).
    pub input_len: u32,
    /// Longest answer asked for, in tokens.
    pub output_len: u32,
    /// r in (0, 1]: both lengths are uniform integers in `[floor(r * L), L]`, at least 1.
    pub range_ratio: f64,
    /// Measured requests.
    pub prompts: u32,
    /// Requests sent before the measured ones and left out of the trace.
    pub warmup: u32,
    pub load: Load,
    /// Decides lengths, prompts and arrival times.
    pub seed: u64,
    pub ignore_eos: bool,
    /// Asks for a usage report with `stream_options.include_usage`.
    pub stream_usage: bool,
    pub temperature: f64,
    /// Seconds after which a request is given up and counted as failed.
    pub request_timeout_s: u32,
    /// Further fields of every request body, such as `{"cache_prompt": false}`.
    pub extra_body: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// `/v1/completions`
    Completions,
    /// `/v1/chat/completions`
    Chat,
}

impl Api {
    pub fn path(self) -> &'static str {
        match self {
            Self::Completions => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptForm {
    /// An array of token ids: the length is exact whatever the tokenizer.
    TokenIds,
    /// Random short words, about one token each: for the chat API and for servers that take no ids.
    Words,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Load {
    /// As many requests in flight as `concurrency`; the next is sent when one ends.
    Closed { concurrency: u32 },
    /// Requests arrive at `rate-per-s` whether or not earlier ones have ended, with gamma-distributed gaps of shape
    /// `burstiness` (1 is Poisson, below 1 is burstier). Those above `max-concurrency` wait for their turn.
    Open {
        rate_per_s: f64,
        burstiness: f64,
        max_concurrency: Option<u32>,
    },
}

/// A workload that cannot be sent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    #[error("`{field}` is 0; it must be at least 1")]
    Zero { field: &'static str },
    #[error("`range-ratio` is {0}; it must be above 0 and at most 1")]
    RangeRatio(f64),
    #[error("`{field}` is {value}; it must be a finite number above 0")]
    NotPositive { field: &'static str, value: f64 },
    #[error("`temperature` is {0}; it must be a finite number, 0 or above")]
    Temperature(f64),
    #[error("`vocab` is the empty range [{lo}, {hi})")]
    EmptyVocab { lo: u32, hi: u32 },
    #[error("the chat API takes no token ids; set the prompt form to `words`")]
    ChatTakesNoIds,
    #[error("`extra-body` sets `{0}`, which the workload itself decides; remove it")]
    Reserved(String),
}

/// Fields of a body that only the workload's own fields may set.
const RESERVED: [&str; 9] = [
    "model",
    "prompt",
    "messages",
    "max_tokens",
    "stream",
    "stream_options",
    "temperature",
    "ignore_eos",
    "n",
];

impl Workload {
    /// InferenceX's fixed-length workload: `[0.8 L, L]`, ten prompts and two warm-ups a stream, greedy, no early stop.
    pub fn random(model: &str, input_len: u32, output_len: u32, concurrency: u32) -> Self {
        Self {
            api: Api::Completions,
            model: model.to_owned(),
            prompt_form: PromptForm::TokenIds,
            vocab: (1000, 30_000),
            input_len,
            output_len,
            range_ratio: 0.8,
            prompts: concurrency.saturating_mul(10),
            warmup: concurrency.saturating_mul(2),
            load: Load::Closed { concurrency },
            seed: 0,
            ignore_eos: true,
            stream_usage: true,
            temperature: 0.0,
            // What the field's Python clients allow a request.
            request_timeout_s: 6 * 3600,
            extra_body: Map::new(),
        }
    }

    /// Refuses what cannot be sent, with the reason.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let mut counts = vec![
            ("input-len", self.input_len),
            ("output-len", self.output_len),
            ("prompts", self.prompts),
            ("request-timeout-s", self.request_timeout_s),
        ];
        match self.load {
            Load::Closed { concurrency } => counts.push(("concurrency", concurrency)),
            Load::Open {
                rate_per_s,
                burstiness,
                max_concurrency,
            } => {
                counts.push(("max-concurrency", max_concurrency.unwrap_or(1)));
                for (field, value) in [("rate-per-s", rate_per_s), ("burstiness", burstiness)] {
                    if !(value.is_finite() && value > 0.0) {
                        return Err(WorkloadError::NotPositive { field, value });
                    }
                }
            }
        }
        if let Some(&(field, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(WorkloadError::Zero { field });
        }
        if !(self.range_ratio > 0.0 && self.range_ratio <= 1.0) {
            return Err(WorkloadError::RangeRatio(self.range_ratio));
        }
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(WorkloadError::Temperature(self.temperature));
        }
        let (lo, hi) = self.vocab;
        if self.prompt_form == PromptForm::TokenIds && lo >= hi {
            return Err(WorkloadError::EmptyVocab { lo, hi });
        }
        if self.api == Api::Chat && self.prompt_form == PromptForm::TokenIds {
            return Err(WorkloadError::ChatTakesNoIds);
        }
        match self
            .extra_body
            .keys()
            .find(|key| RESERVED.contains(&key.as_str()))
        {
            Some(key) => Err(WorkloadError::Reserved(key.clone())),
            None => Ok(()),
        }
    }

    /// Connections worth opening before the clock starts.
    ///
    /// An uncapped open load starts with what arrives in about ten seconds and opens more when it needs them.
    pub(super) fn connections(&self) -> u32 {
        let wanted = match self.load {
            Load::Closed { concurrency } => concurrency,
            Load::Open {
                max_concurrency: Some(most),
                ..
            } => most,
            Load::Open { rate_per_s, .. } => (rate_per_s * 10.0).ceil() as u32,
        };
        wanted.clamp(1, self.prompts.max(self.warmup).max(1))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn json_keeps_every_field_and_its_order() {
        let workload = Workload::random("m", 1024, 128, 4);
        let json = serde_json::to_string(&workload).unwrap();
        assert_eq!(
            json,
            r#"{"api":"completions","model":"m","prompt-form":"token-ids","vocab":[1000,30000],"input-len":1024,"output-len":128,"range-ratio":0.8,"prompts":40,"warmup":8,"load":{"closed":{"concurrency":4}},"seed":0,"ignore-eos":true,"stream-usage":true,"temperature":0.0,"request-timeout-s":21600,"extra-body":{}}"#
        );
        assert_eq!(serde_json::from_str::<Workload>(&json).unwrap(), workload);
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let good = Workload::random("m", 16, 8, 2);
        assert_eq!(good.check(), Ok(()));
        let mut extra = Map::new();
        extra.insert("stream".to_owned(), Value::Bool(false));
        let open = |rate_per_s, burstiness| Load::Open {
            rate_per_s,
            burstiness,
            max_concurrency: None,
        };
        let bad = [
            Workload {
                output_len: 0,
                ..good.clone()
            },
            Workload {
                load: Load::Closed { concurrency: 0 },
                ..good.clone()
            },
            Workload {
                range_ratio: f64::NAN,
                ..good.clone()
            },
            Workload {
                range_ratio: 1.5,
                ..good.clone()
            },
            Workload {
                load: open(f64::INFINITY, 1.0),
                ..good.clone()
            },
            Workload {
                load: open(1.0, 0.0),
                ..good.clone()
            },
            Workload {
                temperature: f64::NAN,
                ..good.clone()
            },
            Workload {
                vocab: (5, 5),
                ..good.clone()
            },
            Workload {
                api: Api::Chat,
                ..good.clone()
            },
            Workload {
                extra_body: extra,
                ..good.clone()
            },
        ];
        for workload in bad {
            assert!(workload.check().is_err(), "{workload:?}");
        }
    }
}
