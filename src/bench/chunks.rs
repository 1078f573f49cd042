//! The events of one answer as parallel arrays: small in memory, smaller compressed.

use serde::{Deserialize, Serialize};

/// What an event of a stream held; a set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventKind(u8);

impl EventKind {
    /// A `choices` list with an element, its text possibly empty.
    pub const CHOICES: Self = Self(1);
    /// A text (content or reasoning) that is not empty.
    pub const TEXT: Self = Self(2);
    /// A usage report.
    pub const USAGE: Self = Self(4);
    /// A finish reason.
    pub const FINISH: Self = Self(8);
    /// The closing `[DONE]`.
    pub const DONE: Self = Self(16);

    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Both sets together if `yes`, else this one.
    #[must_use]
    pub fn with_if(self, yes: bool, other: Self) -> Self {
        if yes { self.with(other) } else { self }
    }
}

/// One event of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Microseconds since the trace's start, at the socket read that brought it.
    pub at_us: u64,
    /// Tokens it brought; see [`super::TokenSource`] for how that is known.
    pub tokens: u32,
    pub kind: EventKind,
}

/// Every `data` event of one answer, in order: `t`, `n` and `k` are equally long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Packed", into = "Packed")]
pub struct Chunks {
    /// Microseconds since the event before; the first since the request was sent.
    pub(super) t: Vec<u64>,
    /// Tokens in the event.
    pub(super) n: Vec<u32>,
    pub(super) k: Vec<EventKind>,
}

impl Chunks {
    pub fn len(&self) -> usize {
        self.t.len()
    }

    pub fn is_empty(&self) -> bool {
        self.t.is_empty()
    }

    /// Appends an event that came `delta_us` after the one before (the first: after the request was sent).
    pub fn push(&mut self, delta_us: u64, tokens: u32, kind: EventKind) {
        self.t.push(delta_us);
        self.n.push(tokens);
        self.k.push(kind);
    }

    /// The events of a request sent at `sent_us`.
    pub fn events(&self, sent_us: u64) -> impl Iterator<Item = Event> {
        let mut at_us = sent_us;
        self.t
            .iter()
            .zip(&self.n)
            .zip(&self.k)
            .map(move |((&delta, &tokens), &kind)| {
                at_us = at_us.saturating_add(delta);
                Event { at_us, tokens, kind }
            })
    }

    /// Tokens in all events.
    pub fn tokens(&self) -> u64 {
        self.n.iter().map(|&tokens| u64::from(tokens)).sum()
    }
}

/// As written: tokens and kinds repeat, so they are `[value, times]` runs.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packed {
    t: Vec<u64>,
    n: Vec<(u32, u32)>,
    k: Vec<(EventKind, u32)>,
}

impl From<Chunks> for Packed {
    fn from(chunks: Chunks) -> Self {
        Self {
            n: runs(&chunks.n),
            k: runs(&chunks.k),
            t: chunks.t,
        }
    }
}

impl TryFrom<Packed> for Chunks {
    type Error = &'static str;

    fn try_from(packed: Packed) -> Result<Self, Self::Error> {
        let len = packed.t.len();
        let unequal = "arrays of unequal length";
        Ok(Self {
            n: unpacked(&packed.n, len).ok_or(unequal)?,
            k: unpacked(&packed.k, len).ok_or(unequal)?,
            t: packed.t,
        })
    }
}

fn runs<T: Copy + PartialEq>(values: &[T]) -> Vec<(T, u32)> {
    values
        .chunk_by(PartialEq::eq)
        // A run too long for its count is cut into several.
        .flat_map(|run| run.chunks(u32::MAX as usize))
        .map(|run| (run[0], run.len() as u32))
        .collect()
}

/// The runs written out, if they make `len` values: checked first, so that no claim of a run costs memory.
fn unpacked<T: Copy>(runs: &[(T, u32)], len: usize) -> Option<Vec<T>> {
    let claimed: u64 = runs.iter().map(|&(_, times)| u64::from(times)).sum();
    (claimed == len as u64).then(|| {
        runs.iter()
            .flat_map(|&(value, times)| std::iter::repeat_n(value, times as usize))
            .collect()
    })
}
