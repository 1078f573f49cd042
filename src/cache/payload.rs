//! A record as bytes: a binary head, read without parsing, and the whole record as JSON after it.
//!
//! ```text
//! format u32 | flags u8 (1 passed, 2 simulated) | key 32 | started ms u64 | elapsed ms u64
//! | target length u32, target | outputs u32, each: digest 32, size u64 | JSON
//! ```
//!
//! Numbers are little-endian. The head holds what planning asks of every record, so that a hundred thousand of them
//! are indexed without parsing any JSON.

use thiserror::Error;

use super::record::{FORMAT, Record, Verdict};
use super::{Digest, Key, take};

const PASSED: u8 = 1;
const SIMULATED: u8 = 2;

/// The bytes of one output in the head.
const OUTPUT: usize = 32 + 8;

/// Why bytes are no record.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// Written by a later sweep.
    #[error("it has format {found} and this sweep reads up to {FORMAT}")]
    Newer {
        /// The format it claims.
        found: u32,
    },
    /// The head ends early or holds what none does.
    #[error("its head is cut short or malformed")]
    Head,
    /// The JSON is none, or not a record's.
    #[error("its body is not a record: {0}")]
    Body(#[from] serde_json::Error),
    /// Head and JSON tell different things, or the key is not that of the inputs.
    #[error("its {0} contradicts the rest of it")]
    Contradiction(&'static str),
}

/// The head of a record, read in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The target's key.
    pub key: Key,
    /// The target's id.
    pub target: &'a str,
    /// Whether the verdict is [`Verdict::Passed`].
    pub passed: bool,
    /// Whether a simulated engine answered.
    pub simulated: bool,
    /// When the attempt started, by its host's clock, in ms since 1970.
    pub started_unix_ms: u64,
    /// How long it took, in ms.
    pub elapsed_ms: u64,
    outputs: &'a [u8],
    body: &'a [u8],
}

impl<'a> Head<'a> {
    /// Reads the head of `payload`.
    pub fn read(payload: &'a [u8]) -> Result<Head<'a>, PayloadError> {
        let mut rest = payload;
        let found = u32::from_le_bytes(take(&mut rest)?);
        if found > FORMAT {
            return Err(PayloadError::Newer { found });
        }
        let [flags] = take(&mut rest)?;
        if found == 0 || flags & !(PASSED | SIMULATED) != 0 {
            return Err(PayloadError::Head);
        }
        let key = Key(take(&mut rest)?);
        let started_unix_ms = u64::from_le_bytes(take(&mut rest)?);
        let elapsed_ms = u64::from_le_bytes(take(&mut rest)?);
        let target = take_counted(&mut rest, 1)?;
        let outputs = take_counted(&mut rest, OUTPUT)?;
        Ok(Head {
            key,
            target: std::str::from_utf8(target).map_err(|_| PayloadError::Head)?,
            passed: flags & PASSED != 0,
            simulated: flags & SIMULATED != 0,
            started_unix_ms,
            elapsed_ms,
            outputs,
            body: rest,
        })
    }

    /// The digest and the size in bytes of each output.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (Digest, u64)> + use<'a> {
        let (outputs, _) = self.outputs.as_chunks::<OUTPUT>();
        outputs.iter().map(|output| {
            let (digest, size) = output.split_at(32);
            let digest = Digest(digest.try_into().expect("the first 32 of 40 bytes"));
            (
                digest,
                u64::from_le_bytes(size.try_into().expect("the last 8 of 40 bytes")),
            )
        })
    }

    /// The whole record, checked against this head.
    pub fn record(&self) -> Result<Record, PayloadError> {
        let record: Record = serde_json::from_slice(self.body)?;
        let told = |what, same: bool| {
            if same {
                Ok(())
            } else {
                Err(PayloadError::Contradiction(what))
            }
        };
        told("key", record.key == self.key && record.inputs.key() == self.key)?;
        told("target", record.target == self.target)?;
        told("verdict", record.passed() == self.passed)?;
        told("provenance", {
            let provenance = &record.provenance;
            (
                provenance.simulated,
                provenance.started_unix_ms,
                provenance.elapsed_ms,
            ) == (self.simulated, self.started_unix_ms, self.elapsed_ms)
        })?;
        let outputs = record.outputs.iter().map(|output| (output.digest, output.size));
        told("list of outputs", self.outputs().eq(outputs))?;
        Ok(record)
    }
}

/// The bytes of a record.
///
/// # Panics
///
/// If the target's id or the number of outputs is over 4 Gi.
pub fn encode(record: &Record) -> Vec<u8> {
    let count = |n: usize| {
        u32::try_from(n)
            .expect("ids and lists of outputs are far below 4 Gi")
            .to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(&record.format.to_le_bytes());
    let passed = if record.verdict == Verdict::Passed {
        PASSED
    } else {
        0
    };
    bytes.push(passed | if record.provenance.simulated { SIMULATED } else { 0 });
    bytes.extend_from_slice(&record.key.0);
    bytes.extend_from_slice(&record.provenance.started_unix_ms.to_le_bytes());
    bytes.extend_from_slice(&record.provenance.elapsed_ms.to_le_bytes());
    bytes.extend_from_slice(&count(record.target.len()));
    bytes.extend_from_slice(record.target.as_bytes());
    bytes.extend_from_slice(&count(record.outputs.len()));
    for output in &record.outputs {
        bytes.extend_from_slice(&output.digest.0);
        bytes.extend_from_slice(&output.size.to_le_bytes());
    }
    serde_json::to_writer(&mut bytes, record)
        .expect("a record is text, numbers and lists; a vector takes all bytes");
    bytes
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], PayloadError> {
    take::take(rest).ok_or(PayloadError::Head)
}

fn take_counted<'a>(rest: &mut &'a [u8], size: usize) -> Result<&'a [u8], PayloadError> {
    take::take_counted(rest, size).ok_or(PayloadError::Head)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::super::record::tests::{example, records};
    use super::*;

    #[test]
    fn the_bytes_of_a_known_record_never_change() {
        // Another value means that older caches cannot be read: raise FORMAT and keep reading the old one.
        insta::assert_snapshot!(Digest::of(&encode(&example("bench:x/c64", 1))), @"79a58f91797e31d91f0567ab939796700ffe7ef59fa54d995ca5fb8bc14bc98a");
    }

    #[test]
    fn a_later_format_is_told_apart_from_damage() {
        let mut bytes = encode(&example("bench:x", 1));
        bytes[0] = 9;
        assert!(matches!(
            Head::read(&bytes),
            Err(PayloadError::Newer { found: 9 })
        ));
        bytes[0] = 0;
        assert!(matches!(Head::read(&bytes), Err(PayloadError::Head)));
    }

    #[test]
    fn a_record_that_contradicts_itself_is_refused() {
        let mut forged = example("bench:x", 1);
        forged.key = example("bench:x", 2).key;
        let bytes = encode(&forged);
        let error = Head::read(&bytes).unwrap().record().unwrap_err();
        assert_eq!(error.to_string(), "its key contradicts the rest of it");

        let mut bytes = encode(&example("bench:x", 1));
        bytes[4] ^= PASSED;
        let error = Head::read(&bytes).unwrap().record().unwrap_err();
        assert_eq!(error.to_string(), "its verdict contradicts the rest of it");
    }

    proptest! {
        #[test]
        fn a_record_comes_back_whole(record in records()) {
            let bytes = encode(&record);
            let head = Head::read(&bytes).unwrap();
            prop_assert_eq!((head.key, head.target, head.passed), (record.key, &*record.target, record.passed()));
            prop_assert_eq!(head.outputs().len(), record.outputs.len());
            prop_assert_eq!(head.record().unwrap(), record);
        }

        #[test]
        fn no_bytes_make_the_head_panic(record in records(), cut: prop::sample::Index, flip: prop::sample::Index) {
            let mut bytes = encode(&record);
            let at = flip.index(bytes.len());
            bytes[at] ^= 0x80;
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(head) = Head::read(&bytes) {
                let _ = head.record();
            }
        }
    }
}
