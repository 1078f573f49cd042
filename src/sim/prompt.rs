//! Counting and hashing a prompt while it is read: no token is ever stored.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

use super::kv::PREFIX_TOKENS;

/// Characters that count as one token where the prompt is text.
pub const CHARS_PER_TOKEN: u64 = 4;

/// A prompt as the engine needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens: ids given, or characters / 4, at least 1 once it holds anything.
    pub tokens: u64,
    /// Chained hashes of its leading spans of [`PREFIX_TOKENS`] tokens.
    pub prefix: Vec<u64>,
    /// Hash of all of it.
    pub hash: u64,
}

/// Mixes `word` into `hash`; good enough to tell prompts apart, and not against an adversary.
fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

impl Prompt {
    fn push_token(&mut self, id: u64) {
        self.hash = mix(self.hash, id);
        self.tokens += 1;
        if self.tokens.is_multiple_of(PREFIX_TOKENS as u64) {
            self.prefix.push(self.hash);
        }
    }

    /// The prompt that `text` makes.
    pub fn from_text(text: &str) -> Self {
        let mut prompt = Self::default();
        let mut chars = 0;
        let mut token = 0;
        for char in text.chars() {
            token = mix(token, u64::from(u32::from(char)));
            chars += 1;
            if chars % CHARS_PER_TOKEN == 0 {
                prompt.push_token(std::mem::take(&mut token));
            }
        }
        if chars % CHARS_PER_TOKEN != 0 {
            prompt.push_token(token);
        }
        prompt
    }

    /// The prompt that a list of ids makes.
    pub fn from_ids(ids: impl IntoIterator<Item = u64>) -> Self {
        let mut prompt = Self::default();
        for id in ids {
            prompt.push_token(id);
        }
        prompt
    }
}

/// `"text"`, `[ids…]`, or either as the only element of a list.
impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TopLevel;
        impl<'de> Visitor<'de> for TopLevel {
            type Value = Prompt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a prompt: a string, a list of token ids, or a list of one of those")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Prompt, E> {
                Ok(Prompt::from_text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Prompt, A::Error> {
                let mut prompt = Prompt::default();
                let mut nested = None;
                while let Some(element) = elements.next_element_seed(Element(&mut prompt))? {
                    if let Some(whole) = element
                        && nested.replace(whole).is_some()
                    {
                        return Err(A::Error::custom("only one prompt a request is simulated"));
                    }
                }
                match nested {
                    Some(_) if prompt.tokens > 0 => Err(A::Error::custom("a prompt mixes ids and lists")),
                    Some(nested) => Ok(nested),
                    None => Ok(prompt),
                }
            }
        }
        deserializer.deserialize_any(TopLevel)
    }
}

/// One element of a prompt list: an id, which goes straight into the prompt, or a whole prompt.
struct Element<'a>(&'a mut Prompt);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = Option<Prompt>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = Option<Prompt>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token id or a prompt")
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<Self::Value, E> {
        self.0.push_token(id);
        Ok(None)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Prompt::from_text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ids: A) -> Result<Self::Value, A::Error> {
        let mut prompt = Prompt::default();
        while let Some(id) = ids.next_element()? {
            prompt.push_token(id);
        }
        Ok(Some(prompt))
    }
}

/// The text of a chat: of every message its `content`, a string or a list of parts with `text`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Messages(pub String);

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Message {
            #[serde(default)]
            content: Content,
        }
        let messages = Vec::<Message>::deserialize(deserializer)?;
        Ok(Self(
            messages.into_iter().map(|message| message.content.0).collect(),
        ))
    }
}

#[derive(Default)]
struct Content(String);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the content of a message: a string or a list of parts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content(text.to_owned()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
                Ok(Content::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content, A::Error> {
                let mut text = String::new();
                while let Some(part) = parts.next_element::<Part>()? {
                    text.push_str(&part.text);
                }
                Ok(Content(text))
            }
        }
        deserializer.deserialize_any(Parts)
    }
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use proptest::prelude::*;

    fn prompt(json: &str) -> Prompt {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn all_spellings_of_one_prompt_are_one_prompt() {
        let ids = prompt("[5, 6, 7]");
        assert_eq!((ids.tokens, &ids), (3, &prompt("[[5,6,7]]")));
        let text = prompt(r#""hello, wörld""#);
        assert_eq!((text.tokens, &text), (3, &prompt(r#"["hello, wörld"]"#)));
    }

    #[test]
    fn several_prompts_are_refused() {
        for json in ["[[1],[2]]", r#"["a","b"]"#, r#"[1,"b"]"#, "[-1]", "{}"] {
            assert!(serde_json::from_str::<Prompt>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn chats_are_the_text_of_their_messages() {
        let json = r#"[{"role":"system","content":"be "},{"role":"user","content":[{"type":"text","text":"brief"},
            {"type":"image_url","image_url":{"url":"x"}}]},{"role":"assistant","content":null}]"#;
        assert_eq!(
            serde_json::from_str::<Messages>(json).unwrap(),
            Messages("be brief".into())
        );
    }

    proptest! {
        #[test]
        fn prompts_share_hashes_as_far_as_they_share_tokens(
            ids in prop::collection::vec(0u64..100_000, 1..400), cut in 0usize..400, other in 100_000u64..200_000,
        ) {
            let cut = cut.min(ids.len() - 1);
            let mut changed = ids.clone();
            changed[cut] = other;
            let (one, two) = (Prompt::from_ids(ids), Prompt::from_ids(changed));
            let shared = one.prefix.iter().zip(&two.prefix).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(shared, (cut / PREFIX_TOKENS).min(one.prefix.len()));
        }

        #[test]
        fn text_counts_four_characters_a_token(text in ".{0,300}") {
            prop_assert_eq!(Prompt::from_text(&text).tokens, (text.chars().count() as u64).div_ceil(4));
        }
    }
}
