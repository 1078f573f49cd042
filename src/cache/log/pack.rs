//! Packs: segments that hold records of other segments, and what was forgotten.
//!
//! ```text
//! origin     1 | generation u64 | the segment's name      the records that follow were first written there
//! record     2 | place u32 | payload                      how many records that segment held before it
//! forgotten  3 | JSON                                     records that count no longer, wherever a copy turns up
//! ```
//!
//! Each entry is a frame. A pack is written whole and renamed into place, and its name is that of its content. As a
//! record keeps the segment and the place it came from, it is the same record in every copy, and its place in the
//! order of all records never changes, however often logs are compacted, exported and merged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::Digest;
use super::super::fs;
use super::frame::{self, Layout};
use super::reader::{LogError, SUFFIX};

/// How the names of packs begin.
const PREFIX: &str = "pack-";

const ORIGIN: u8 = 1;
const RECORD: u8 = 2;
const FORGOTTEN: u8 = 3;

/// The segment in which a record was first written. Their order is the order of records.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The segment's generation.
    pub generation: u64,
    /// Its name.
    pub segment: String,
}

/// That a target's records were forgotten: exactly those which were there then. One made later, or elsewhere by
/// somebody who knew nothing of it, is not concerned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forgotten {
    /// The target's id.
    pub target: String,
    /// When, by the clock of the host that forgot, in ms since 1970.
    pub unix_ms: u64,
    /// The segments in which they were first written, with their places in them.
    pub records: BTreeMap<String, Vec<u32>>,
}

/// One frame of a pack.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    Origin(Origin),
    Record { place: u32, payload: &'a [u8] },
    Forgotten(Forgotten),
}

impl<'a> Entry<'a> {
    pub(super) fn read(frame: &'a [u8]) -> Option<Entry<'a>> {
        let (kind, rest) = frame.split_first()?;
        match *kind {
            ORIGIN => {
                let (generation, name) = rest.split_first_chunk()?;
                Some(Entry::Origin(Origin {
                    generation: u64::from_le_bytes(*generation),
                    segment: std::str::from_utf8(name).ok()?.to_owned(),
                }))
            }
            RECORD => {
                let (place, payload) = rest.split_first_chunk()?;
                Some(Entry::Record {
                    place: u32::from_le_bytes(*place),
                    payload,
                })
            }
            FORGOTTEN => serde_json::from_slice(rest).ok().map(Entry::Forgotten),
            _ => None,
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) -> Result<(), LogError> {
        let mut frame = Vec::new();
        match self {
            Entry::Origin(origin) => {
                frame.push(ORIGIN);
                frame.extend_from_slice(&origin.generation.to_le_bytes());
                frame.extend_from_slice(origin.segment.as_bytes());
            }
            Entry::Record { place, payload } => {
                frame.push(RECORD);
                frame.extend_from_slice(&place.to_le_bytes());
                frame.extend_from_slice(payload);
            }
            Entry::Forgotten(forgotten) => {
                frame.push(FORGOTTEN);
                serde_json::to_writer(&mut frame, forgotten)
                    .expect("names and numbers are always JSON; a vector takes all bytes");
            }
        }
        bytes.extend(frame::frame(&frame).ok_or(LogError::TooLong(frame.len()))?);
        Ok(())
    }
}

/// What a pack is to hold. Equal content, in whatever order it was added, gives equal bytes.
#[derive(Debug, Clone, Default)]
pub struct Pack<'a> {
    /// The generation of the latest segment that was seen; a writer that reads the pack comes after it.
    pub generation: u64,
    records: Vec<(&'a Origin, u32, &'a [u8])>,
    forgotten: Vec<&'a Forgotten>,
}

impl<'a> Pack<'a> {
    /// An empty pack of this generation.
    pub fn new(generation: u64) -> Pack<'a> {
        Pack {
            generation,
            ..Pack::default()
        }
    }

    /// Adds a record's payload with where it was first written.
    pub fn record(&mut self, origin: &'a Origin, place: u32, payload: &'a [u8]) {
        self.generation = self.generation.max(origin.generation);
        self.records.push((origin, place, payload));
    }

    /// Adds what was forgotten.
    pub fn forget(&mut self, forgotten: &'a Forgotten) {
        self.forgotten.push(forgotten);
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.forgotten.is_empty()
    }

    /// The bytes of the segment.
    pub fn encode(mut self) -> Result<Vec<u8>, LogError> {
        self.records.sort_unstable();
        self.records.dedup();
        self.forgotten.sort_unstable();
        self.forgotten.dedup();
        let mut bytes = frame::header(Layout::Pack, self.generation);
        // What was forgotten comes first: a pack cut short by a fault must not bring back what it follows.
        for forgotten in self.forgotten {
            Entry::Forgotten(forgotten.clone()).write(&mut bytes)?;
        }
        let mut from = None;
        for (origin, place, payload) in self.records {
            if from != Some(origin) {
                Entry::Origin(origin.clone()).write(&mut bytes)?;
                from = Some(origin);
            }
            Entry::Record { place, payload }.write(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// Writes the segment into the log folder `dir`; when this returns it is on the disk under the name it gives.
    pub fn write(self, dir: &Path) -> Result<String, LogError> {
        let bytes = self.encode()?;
        let mut digest = Digest::of(&bytes).to_string();
        digest.truncate(32);
        let name = format!("{PREFIX}{digest}{SUFFIX}");
        fs::create_dir_durable(dir)?;
        let path: PathBuf = dir.join(&name);
        fs::write_atomic(&path, &bytes)?;
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::super::super::payload;
    use super::super::super::record::tests::example;
    use super::super::read_bytes;
    use super::*;

    fn origin(generation: u64, segment: &str) -> Origin {
        Origin {
            generation,
            segment: segment.to_owned(),
        }
    }

    #[test]
    fn a_pack_comes_back_in_the_order_of_its_origins() {
        let (early, late) = (origin(1, "b.log"), origin(2, "a.log"));
        let payloads: Vec<_> = (0..3).map(|n| payload::encode(&example("bench:x", n))).collect();
        let forgotten = Forgotten {
            target: "bench:x".to_owned(),
            unix_ms: 7,
            records: BTreeMap::from([("c.log".to_owned(), vec![0, 2])]),
        };
        let mut pack = Pack::new(1);
        pack.record(&late, 0, &payloads[2]);
        pack.record(&early, 5, &payloads[1]);
        pack.forget(&forgotten);
        pack.record(&early, 0, &payloads[0]);
        let mut again = pack.clone();
        again.record(&early, 0, &payloads[0]);
        let bytes = pack.encode().unwrap();
        assert_eq!(bytes, again.encode().unwrap());
        let (segment, damage) = read_bytes("pack.log".to_owned(), bytes, "pack.log".into()).unwrap();
        assert!(damage.is_none());
        assert_eq!(segment.generation, 2);
        assert!(segment.payloads().eq(payloads.iter().map(Vec::as_slice)));
        assert_eq!(segment.origins(), [early, late]);
        let parts = segment.into_parts();
        assert_eq!(parts.forgotten, [forgotten]);
        let places: Vec<_> = parts.records.iter().map(|r| (r.origin, r.place)).collect();
        assert_eq!(places, [(0, 0), (0, 5), (1, 0)]);
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(frame: Vec<u8>, kind in 0..5u8) {
            let mut bytes = vec![kind];
            bytes.extend(frame);
            let _ = Entry::read(&bytes);
            let mut segment = frame::header(Layout::Pack, 1);
            segment.extend(frame::frame(&bytes).unwrap());
            let _ = read_bytes("x.log".to_owned(), segment, "x.log".into());
        }
    }
}
