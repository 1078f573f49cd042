//! Random prompts and the request bodies that carry them, a pure function of the workload.

use bytes::Bytes;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use super::workload::{Api, PromptForm, Workload};

/// One request, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// Tokens (or words) in the prompt.
    pub input_len: u32,
    /// Tokens asked for.
    pub output_len: u32,
    /// The JSON body.
    pub body: Bytes,
}

/// What a stream of random numbers is for; each purpose and index has its own, so that changing one count moves
/// nothing else.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Measured,
    Warmup,
    Arrivals,
}

pub(super) fn random_stream(seed: u64, purpose: Purpose, index: u32) -> Xoshiro256PlusPlus {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&[purpose as u8]);
    hasher.update(&index.to_le_bytes());
    Xoshiro256PlusPlus::from_seed(*hasher.finalize().as_bytes())
}

/// The measured prompts, in order.
pub fn measured(workload: &Workload) -> Vec<Prompt> {
    draw(workload, Purpose::Measured, workload.prompts)
}

/// The warm-up prompts: none equals a measured one, so that they leave no prefix behind for it to hit.
pub fn warmup(workload: &Workload) -> Vec<Prompt> {
    draw(workload, Purpose::Warmup, workload.warmup)
}

fn draw(workload: &Workload, purpose: Purpose, count: u32) -> Vec<Prompt> {
    let rest = Value::Object(fixed_fields(workload)).to_string();
    (0..count)
        .map(|index| {
            let mut random = random_stream(workload.seed, purpose, index);
            let mut length = |longest: u32| {
                let shortest = (workload.range_ratio * f64::from(longest)).floor() as u32;
                random.random_range(shortest.max(1)..=longest)
            };
            let (input_len, output_len) = (length(workload.input_len), length(workload.output_len));
            let mut body = format!(r#"{{"max_tokens":{output_len},"#);
            write_prompt(&mut body, workload, input_len, &mut random);
            body.push(',');
            body.push_str(&rest[1..]);
            Prompt {
                input_len,
                output_len,
                body: body.into(),
            }
        })
        .collect()
}

/// The fields that all bodies share; never empty.
fn fixed_fields(workload: &Workload) -> Map<String, Value> {
    let mut fields = workload.extra_body.clone();
    fields.insert("model".to_owned(), json!(workload.model));
    fields.insert("stream".to_owned(), json!(true));
    fields.insert("temperature".to_owned(), json!(workload.temperature));
    if workload.stream_usage {
        fields.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    if workload.ignore_eos {
        fields.insert("ignore_eos".to_owned(), json!(true));
    }
    fields
}

fn write_prompt(body: &mut String, workload: &Workload, len: u32, random: &mut Xoshiro256PlusPlus) {
    match workload.prompt_form {
        PromptForm::TokenIds => {
            let (lo, hi) = workload.vocab;
            body.push_str(r#""prompt":["#);
            for position in 0..len {
                if position > 0 {
                    body.push(',');
                }
                body.push_str(&random.random_range(lo..hi).to_string());
            }
            body.push(']');
        }
        PromptForm::Words => {
            let (open, close) = match workload.api {
                Api::Completions => (r#""prompt":""#, "\""),
                Api::Chat => (r#""messages":[{"role":"user","content":""#, "\"}]"),
            };
            body.push_str(open);
            for position in 0..len {
                if position > 0 {
                    body.push(' ');
                }
                body.push_str(WORDS[random.random_range(0..WORDS.len())]);
            }
            body.push_str(close);
        }
    }
}

/// Frequent English words: with a space before it each is one token of the usual byte-pair vocabularies.
const WORDS: [&str; 64] = [
    "the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not",
    "he", "are", "or", "his", "from", "at", "which", "but", "have", "an", "had", "they", "you", "were",
    "their", "one", "all", "we", "can", "her", "has", "there", "been", "if", "more", "when", "will", "would",
    "who", "so", "no", "she", "other", "its", "may", "these", "what", "them", "than", "some", "him", "time",
    "into", "only", "could", "new", "then", "do",
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn workload(seed: u64) -> Workload {
        Workload {
            seed,
            ..Workload::random("m", 64, 16, 4)
        }
    }

    #[test]
    fn a_seed_decides_the_prompts() {
        assert_eq!(measured(&workload(7)), measured(&workload(7)));
        let (seven, eight) = (measured(&workload(7)), measured(&workload(8)));
        assert!(seven.iter().zip(&eight).all(|(a, b)| a.body != b.body));
        assert!(
            warmup(&workload(7))
                .iter()
                .all(|w| seven.iter().all(|m| m.body != w.body))
        );
    }

    #[test]
    fn a_higher_count_keeps_the_prompts_before_it() {
        let more = Workload {
            prompts: 50,
            ..workload(3)
        };
        assert_eq!(measured(&more)[..40], measured(&workload(3)));
    }

    /// Random streams are part of the client's version: when this changes, so must `CLIENT_VERSION`.
    #[test]
    fn the_random_streams_are_pinned() {
        let bodies: Vec<u8> = measured(&workload(1))
            .iter()
            .flat_map(|p| p.body.to_vec())
            .collect();
        insta::assert_snapshot!(blake3::hash(&bodies).to_hex().as_str(), @"8f4a149d24ed17335eac218864f19abf55c9356d4546bb3c47717186a9e524ad");
    }

    #[test]
    fn words_for_chat_are_one_user_message() {
        let chat = Workload {
            api: Api::Chat,
            prompt_form: PromptForm::Words,
            ..workload(1)
        };
        for prompt in measured(&chat) {
            let body: Value = serde_json::from_slice(&prompt.body).unwrap();
            let text = body["messages"][0]["content"].as_str().unwrap();
            assert_eq!(text.split(' ').count(), prompt.input_len as usize);
        }
    }

    proptest! {
        #[test]
        fn bodies_are_what_the_workload_says(
            seed: u64, input_len in 1u32..200, output_len in 1u32..200, ratio in 0.01f64..=1.0,
        ) {
            let mut w = Workload { input_len, output_len, range_ratio: ratio, prompts: 8, ..workload(seed) };
            w.extra_body.insert("cache_prompt".to_owned(), json!(false));
            for prompt in measured(&w) {
                let body: Value = serde_json::from_slice(&prompt.body).unwrap();
                let ids = body["prompt"].as_array().unwrap();
                prop_assert_eq!(ids.len(), prompt.input_len as usize);
                prop_assert!(ids.iter().all(|id| (1000..30_000).contains(&id.as_u64().unwrap())));
                prop_assert_eq!(&body["max_tokens"], &json!(prompt.output_len));
                prop_assert_eq!(&body["cache_prompt"], &json!(false));
                let shortest = (ratio * f64::from(input_len)).floor() as u32;
                prop_assert!((shortest.max(1)..=input_len).contains(&prompt.input_len));
                prop_assert!(prompt.output_len <= output_len);
            }
        }
    }
}
