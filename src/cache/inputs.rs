//! What a target's outcome depends on, as a list that hashes to its key and can be compared with an earlier one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Digest, Key};

/// Separates keys from every other use of BLAKE3; a change to the encoding below changes it too.
const CONTEXT: &str = "sweep 2026 cache key, encoding 1";

/// One thing that an outcome depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// A value small enough to be kept whole: an image reference, a resolved command, a seed.
    Text(String),
    /// A file that the user wrote: its path relative to the project, and the digest of its bytes.
    File {
        /// Relative to the project; an absolute path would tie the key to one machine.
        path: String,
        /// Of the file's bytes.
        digest: Digest,
    },
    /// The content of a dependency's output, so that an equal output stops the change (early cutoff).
    Content(Digest),
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Text(text) => f.write_str(text),
            Input::File { path, digest } => write!(f, "{path} ({})", digest.short()),
            Input::Content(digest) => f.write_str(&digest.short()),
        }
    }
}

/// Everything that one target's outcome depends on: its kind and, in order, named inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    kind: String,
    entries: Vec<(String, Input)>,
}

/// One input that differs between two lists; `None` on the side where it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The input's name.
    pub name: String,
    /// Its earlier value.
    pub old: Option<Input>,
    /// Its value now.
    pub new: Option<Input>,
}

impl Inputs {
    /// No inputs yet, for a target of this kind (`bench`, `process`, …).
    pub fn new(kind: impl Into<String>) -> Inputs {
        Inputs {
            kind: kind.into(),
            entries: Vec::new(),
        }
    }

    /// The kind of the target.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Adds an input after the others; the order is part of the key.
    pub fn push(&mut self, name: impl Into<String>, input: Input) {
        self.entries.push((name.into(), input));
    }

    /// Adds a [`Input::Text`].
    pub fn text(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.push(name, Input::Text(value.into()));
    }

    /// Adds a [`Input::File`].
    pub fn file(&mut self, name: impl Into<String>, path: impl Into<String>, digest: Digest) {
        self.push(
            name,
            Input::File {
                path: path.into(),
                digest,
            },
        );
    }

    /// Adds a [`Input::Content`].
    pub fn content(&mut self, name: impl Into<String>, digest: Digest) {
        self.push(name, Input::Content(digest));
    }

    /// The inputs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Input)> {
        self.entries.iter().map(|(name, input)| (name.as_str(), input))
    }

    /// The first input of this name.
    pub fn get(&self, name: &str) -> Option<&Input> {
        self.iter()
            .find(|(other, _)| *other == name)
            .map(|(_, input)| input)
    }

    /// The key: BLAKE3 over an encoding in which no two different lists are equal, every text being preceded by
    /// its length and every variant by a tag.
    pub fn key(&self) -> Key {
        // In one piece: the hash takes one long text much faster than many short ones.
        let mut bytes = Vec::with_capacity(4096);
        push_text(&mut bytes, &self.kind);
        push_len(&mut bytes, self.entries.len());
        for (name, input) in &self.entries {
            push_text(&mut bytes, name);
            match input {
                Input::Text(text) => {
                    bytes.push(0);
                    push_text(&mut bytes, text);
                }
                Input::File { path, digest } => {
                    bytes.push(1);
                    push_text(&mut bytes, path);
                    bytes.extend_from_slice(&digest.0);
                }
                Input::Content(digest) => {
                    bytes.push(2);
                    bytes.extend_from_slice(&digest.0);
                }
            }
        }
        Key(blake3::derive_key(CONTEXT, &bytes))
    }

    /// What changed from `old` to `new`: changed and added inputs in the order of `new`, then removed ones in the
    /// order of `old`. The n-th input of a name is compared with the n-th of that name.
    ///
    /// Empty exactly when both have the same named values; a mere change of order (or of kind) is not listed.
    pub fn diff(old: &Inputs, new: &Inputs) -> Vec<Change> {
        let mut before: BTreeMap<_, _> = numbered(old).collect();
        let mut changes = Vec::new();
        for (name, input) in numbered(new) {
            let earlier = before.remove(&name);
            if earlier != Some(input) {
                changes.push(Change {
                    name: name.0.to_owned(),
                    old: earlier.cloned(),
                    new: Some(input.clone()),
                });
            }
        }
        let removed = numbered(old).filter(|(name, _)| before.contains_key(name));
        changes.extend(removed.map(|(name, input)| Change {
            name: name.0.to_owned(),
            old: Some(input.clone()),
            new: None,
        }));
        changes
    }
}

/// Each input with its name and how many of that name stand before it.
fn numbered(inputs: &Inputs) -> impl Iterator<Item = ((&str, usize), &Input)> {
    let mut seen = BTreeMap::new();
    inputs.iter().map(move |(name, input)| {
        let count = seen.entry(name).or_insert(0);
        *count += 1;
        ((name, *count - 1), input)
    })
}

fn push_len(bytes: &mut Vec<u8>, len: usize) {
    bytes.extend_from_slice(&(len as u64).to_le_bytes());
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    push_len(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    /// Small alphabets, so that lists which differ only in where one text ends and the next begins do occur.
    pub(crate) fn input() -> impl Strategy<Value = Input> {
        let digest = any::<u8>().prop_map(|byte| Digest([byte % 3; 32]));
        prop_oneof![
            "[ab]{0,3}".prop_map(Input::Text),
            ("[ab]{0,3}", digest.clone()).prop_map(|(path, digest)| Input::File { path, digest }),
            digest.prop_map(Input::Content),
        ]
    }

    pub(crate) fn inputs() -> impl Strategy<Value = Inputs> {
        ("[ab]{0,2}", prop::collection::vec(("[ab]{0,2}", input()), 0..4))
            .prop_map(|(kind, entries)| Inputs { kind, entries })
    }

    #[test]
    fn the_key_of_a_known_list_never_changes() {
        let mut inputs = Inputs::new("bench");
        inputs.text("image", "lmsysorg/sglang:v0.5.9");
        inputs.file("script", "benchmarks/sglang/bench.sh", Digest([7; 32]));
        inputs.content("server", Digest([9; 32]));
        // A different value here means that every cache in the world turns stale: bump the encoding on purpose.
        insta::assert_snapshot!(inputs.key(), @"d172f46fd9afa0397735789ec851e2a1290721528fef4bec7261f5245b4b0985");
        insta::assert_snapshot!(serde_json::to_string(&inputs).unwrap(), @r#"{"kind":"bench","entries":[["image",{"text":"lmsysorg/sglang:v0.5.9"}],["script",{"file":{"path":"benchmarks/sglang/bench.sh","digest":"0707070707070707070707070707070707070707070707070707070707070707"}}],["server",{"content":"0909090909090909090909090909090909090909090909090909090909090909"}]]}"#);
    }

    #[test]
    fn where_a_text_ends_is_part_of_the_key() {
        let key = |entries: &[(&str, &str)]| {
            let mut inputs = Inputs::new("bench");
            for (name, value) in entries {
                inputs.text(*name, *value);
            }
            inputs.key()
        };
        assert_ne!(key(&[("ab", "c")]), key(&[("a", "bc")]));
        assert_ne!(key(&[("a", "b"), ("c", "d")]), key(&[("c", "d"), ("a", "b")]));
        assert_ne!(key(&[("a", "")]), key(&[]));
    }

    #[test]
    fn a_diff_names_what_changed_came_and_went() {
        let mut old = Inputs::new("server");
        old.text("image", "v1");
        old.text("seed", "1");
        old.text("gone", "x");
        let mut new = Inputs::new("server");
        new.text("image", "v2");
        new.text("seed", "1");
        new.content("trace", Digest([1; 32]));
        let told: Vec<_> = Inputs::diff(&old, &new)
            .into_iter()
            .map(|c| {
                let side = |input: Option<Input>| input.map_or("none".into(), |input| input.to_string());
                format!("{}: {} → {}", c.name, side(c.old), side(c.new))
            })
            .collect();
        assert_eq!(
            told,
            ["image: v1 → v2", "trace: none → 010101010101", "gone: x → none"]
        );
        assert_eq!(new.get("seed"), Some(&Input::Text("1".into())));
    }

    proptest! {
        #[test]
        fn keys_are_equal_exactly_when_the_lists_are(a in inputs(), b in inputs()) {
            prop_assert_eq!(a.key() == b.key(), a == b);
        }

        #[test]
        fn json_keeps_the_list_and_its_key(inputs in inputs()) {
            let back: Inputs = serde_json::from_str(&serde_json::to_string(&inputs).unwrap()).unwrap();
            prop_assert_eq!(back.key(), inputs.key());
            prop_assert_eq!(back, inputs);
        }

        #[test]
        fn a_diff_is_empty_for_the_same_and_turns_round(a in inputs(), b in inputs()) {
            prop_assert!(Inputs::diff(&a, &a).is_empty());
            let names = |changes: Vec<Change>| {
                let mut named: Vec<_> = changes.into_iter().map(|c| (c.name, c.old, c.new)).collect();
                named.sort_by_key(|change| format!("{change:?}"));
                named
            };
            let back = Inputs::diff(&b, &a).into_iter();
            let swapped = back.map(|c| Change { name: c.name, old: c.new, new: c.old }).collect();
            prop_assert_eq!(names(Inputs::diff(&a, &b)), names(swapped));
        }
    }
}
