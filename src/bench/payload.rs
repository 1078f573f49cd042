//! The few fields of a streamed event that are measured, read without keeping any text.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// One `data` event of a completion or chat completion stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Payload {
    pub(super) choices: Choices,
    pub(super) usage: Option<ReportedUsage>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ReportedUsage {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
}

/// All choices of an event, folded into what matters.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Choices {
    /// There is at least one.
    pub(super) any: bool,
    /// One has a text, reasoning included, that is not empty.
    pub(super) text: bool,
    pub(super) finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Choice {
    text: Filled,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Delta {
    content: Filled,
    reasoning_content: Filled,
    reasoning: Filled,
    tool_calls: Filled,
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = Choices;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_unit<E>(self) -> Result<Choices, E> {
                Ok(Choices::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Choices, A::Error> {
                let mut choices = Choices::default();
                while let Some(choice) = list.next_element::<Choice>()? {
                    let delta = choice.delta.unwrap_or_default();
                    choices.any = true;
                    choices.text |= [
                        choice.text,
                        delta.content,
                        delta.reasoning_content,
                        delta.reasoning,
                        delta.tool_calls,
                    ]
                    .iter()
                    .any(|part| part.0);
                    choices.finish_reason = choice.finish_reason.or(choices.finish_reason);
                }
                Ok(choices)
            }
        }
        deserializer.deserialize_any(Fold)
    }
}

/// Whether a field holds anything: a text that is not empty, or a list with an element.
#[derive(Clone, Copy, Default)]
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Filled;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a text, a list or null")
            }

            fn visit_unit<E>(self) -> Result<Filled, E> {
                Ok(Filled(false))
            }

            fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
                Ok(Filled(!text.is_empty()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Filled, A::Error> {
                let mut filled = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    filled = true;
                }
                Ok(Filled(filled))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filled, A::Error> {
                let mut filled = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    filled = true;
                }
                Ok(Filled(filled))
            }
        }
        deserializer.deserialize_any(Look)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn payload(json: &str) -> Payload {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn text_counts_wherever_it_stands() {
        for json in [
            r#"{"choices":[{"text":"a\u00e9\n"}]}"#,
            r#"{"choices":[{"delta":{"content":"a","role":"assistant"},"logprobs":null}]}"#,
            r#"{"choices":[{"delta":{"content":null,"reasoning_content":"a"}}]}"#,
            r#"{"choices":[{"text":""},{"text":"b"}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
        ] {
            assert!(payload(json).choices.text, "{json}");
        }
    }

    #[test]
    fn empty_texts_and_roles_are_choices_without_text() {
        for json in [
            r#"{"choices":[{"text":""}],"id":"x","object":"text_completion"}"#,
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}],"usage":null}"#,
            r#"{"choices":[{"delta":{},"finish_reason":null}]}"#,
        ] {
            let choices = payload(json).choices;
            assert!(choices.any && !choices.text, "{json}");
        }
        assert_eq!(payload(r#"{"choices":null}"#).choices, Choices::default());
        assert_eq!(payload("{}").choices, Choices::default());
    }

    #[test]
    fn finish_and_usage_are_read() {
        let last = payload(
            r#"{"choices":[{"text":"","finish_reason":"length"}],
                "usage":{"prompt_tokens":3,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":0}}}"#,
        );
        assert_eq!(last.choices.finish_reason.as_deref(), Some("length"));
        let usage = last.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (Some(3), Some(5)));
    }
}
