//! All records in memory, found by key and by target without parsing any.

use std::collections::HashMap;
use std::ops::Range;

use super::Key;
use super::log::Segment;
use super::payload::{Head, PayloadError};
use super::record::Record;

/// The records of a cache folder in their order.
///
/// "Latest" means last in that order: by generation of the segment, then by its name, then by place in it. A run
/// that had read another's records comes after it, whatever their clocks said; between runs that knew nothing of
/// each other the name decides, which begins with the time the run started. The order is a function of the set of
/// segments alone, so a merge of folders gives the same one however it was made.
#[derive(Debug, Default)]
pub struct Records {
    segments: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    by_key: HashMap<Key, u32>,
    by_target: HashMap<Box<str>, Latest>,
    generation: u64,
}

#[derive(Debug)]
struct Entry {
    segment: u32,
    payload: Range<usize>,
    /// The passed record of the same key before this one.
    earlier: Option<u32>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Latest {
    any: Option<u32>,
    passed: Option<u32>,
}

/// A record that is not parsed yet: what its head tells, and the way to the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    head: Head<'a>,
}

impl<'a> RecordRef<'a> {
    /// What can be told without parsing.
    pub fn head(&self) -> Head<'a> {
        self.head
    }

    /// Parses the whole record; an error means that it cannot be used and counts as none.
    pub fn decode(&self) -> Result<Record, PayloadError> {
        self.head.record()
    }
}

impl Records {
    /// Indexes segments in the order of [`read_all`](super::log::read_all).
    pub fn new(segments: Vec<Segment>) -> Records {
        let mut records = Records::default();
        let total = segments.iter().map(|segment| segment.payloads().len()).sum();
        records.entries.reserve(total);
        records.by_key.reserve(total);
        records.by_target.reserve(total);
        for segment in segments {
            records.generation = records.generation.max(segment.generation);
            let (bytes, payloads) = segment.into_parts();
            records.add(bytes, payloads);
        }
        records
    }

    /// Adds the payload of a record that was just appended, after all others.
    pub fn push(&mut self, payload: Vec<u8>) {
        let whole = 0..payload.len();
        self.add(payload, vec![whole]);
    }

    fn add(&mut self, bytes: Vec<u8>, payloads: Vec<Range<usize>>) {
        let segment = number(self.segments.len());
        for payload in payloads {
            let Ok(head) = Head::read(&bytes[payload.clone()]) else {
                continue;
            };
            let place = number(self.entries.len());
            let earlier = if head.passed {
                self.by_key.insert(head.key, place)
            } else {
                None
            };
            let latest = match self.by_target.get_mut(head.target) {
                Some(latest) => latest,
                None => self.by_target.entry(head.target.into()).or_default(),
            };
            latest.any = Some(place);
            if head.passed {
                latest.passed = Some(place);
            }
            self.entries.push(Entry {
                segment,
                payload,
                earlier,
            });
        }
        self.segments.push(bytes);
    }

    fn at(&self, place: u32) -> RecordRef<'_> {
        let entry = &self.entries[place as usize];
        let payload = &self.segments[entry.segment as usize][entry.payload.clone()];
        RecordRef {
            head: Head::read(payload).expect("only payloads whose head was read are entered"),
        }
    }

    /// All records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        (0..self.entries.len()).map(|place| self.at(number(place)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The passed records of this key, latest first.
    pub fn passed(&self, key: &Key) -> impl Iterator<Item = RecordRef<'_>> {
        let latest = self.by_key.get(key).copied();
        std::iter::successors(latest, |place| self.entries[*place as usize].earlier)
            .map(|place| self.at(place))
    }

    /// The latest record of this target, whatever its key and verdict.
    pub fn latest(&self, target: &str) -> Option<RecordRef<'_>> {
        self.by_target.get(target)?.any.map(|place| self.at(place))
    }

    /// The latest passed record of this target, whatever its key.
    pub fn latest_passed(&self, target: &str) -> Option<RecordRef<'_>> {
        self.by_target.get(target)?.passed.map(|place| self.at(place))
    }

    /// The highest generation of a segment; 0 without any.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("a log of 4 Gi records does not fit into memory")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::log::{LogWriter, read_all};
    use super::super::payload;
    use super::super::record::Verdict;
    use super::super::record::tests::example;
    use super::*;

    fn failed(mut record: Record) -> Record {
        record.verdict = Verdict::Failed {
            reason: "no tokens".to_owned(),
            log: None,
        };
        record
    }

    #[test]
    fn the_latest_record_and_the_latest_passed_one_are_told_apart() {
        let mut records = Records::default();
        let first = example("bench:x", 1);
        let again = failed(example("bench:x", 1));
        records.push(payload::encode(&first));
        records.push(payload::encode(&again));
        assert_eq!(records.latest("bench:x").unwrap().decode().unwrap(), again);
        assert_eq!(records.latest_passed("bench:x").unwrap().decode().unwrap(), first);
        assert_eq!(records.passed(&first.key).count(), 1);
        assert!(records.latest("bench:y").is_none());
    }

    #[test]
    fn earlier_records_of_a_key_stay_in_reach() {
        let mut records = Records::default();
        for attempt in 1..=3 {
            let mut record = example("bench:x", 1);
            record.provenance.attempt = attempt;
            records.push(payload::encode(&record));
        }
        let key = example("bench:x", 1).key;
        let attempts: Vec<_> = records
            .passed(&key)
            .map(|r| r.decode().unwrap().provenance.attempt)
            .collect();
        assert_eq!(attempts, [3, 2, 1]);
    }

    /// A history: which of two machines appends which target, or copies its log over the other's.
    #[derive(Debug, Clone)]
    enum Step {
        Run { on: usize, records: Vec<(u8, u8, bool)> },
        Copy { from: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let run = (0..2usize, prop::collection::vec(any::<(u8, u8, bool)>(), 0..4))
            .prop_map(|(on, records)| Step::Run { on, records });
        prop::collection::vec(
            prop_oneof![3 => run, 1 => (0..2usize).prop_map(|from| Step::Copy { from })],
            0..6,
        )
    }

    fn merge(from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    fn open(dir: &Path) -> Records {
        let (segments, damage) = read_all(dir).unwrap();
        assert!(damage.is_empty());
        Records::new(segments)
    }

    fn all(dir: &Path) -> Vec<Record> {
        open(dir).iter().map(|record| record.decode().unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn merging_folders_is_a_union_in_any_order(steps in steps()) {
            let machines = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            for (n, step) in steps.iter().enumerate() {
                match step {
                    Step::Copy { from } => merge(machines[*from].path(), machines[1 - from].path()),
                    Step::Run { on, records } => {
                        let dir = machines[*on].path();
                        // The clocks of the two machines run against each other.
                        let hour = if *on == 0 { n } else { 23 - n };
                        let run = format!("20261122T{hour:02}0000Z-00000{on}").parse().unwrap();
                        let mut log = LogWriter::new(dir, run, open(dir).generation());
                        for (target, seed, passed) in records {
                            let record = example(&format!("bench:{}", target % 3), u64::from(seed % 2));
                            let record = if *passed { record } else { failed(record) };
                            log.append(&payload::encode(&record)).unwrap();
                        }
                    }
                }
            }
            let [a, b] = [all(machines[0].path()), all(machines[1].path())];
            let merged = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            for (into, order) in merged.iter().zip([[0, 1, 1], [1, 0, 1]]) {
                for from in order {
                    merge(machines[from].path(), into.path());
                }
            }
            let both = all(merged[0].path());
            prop_assert_eq!(&both, &all(merged[1].path()));
            // Each machine's own order is kept within the merged one.
            for part in [a, b] {
                let mut rest = both.iter();
                prop_assert!(part.iter().all(|record| rest.any(|other| other == record)));
            }
            // The index agrees with a plain walk in order.
            let records = open(merged[0].path());
            let mut latest = BTreeMap::new();
            for record in &both {
                latest.insert(record.target.clone(), record.clone());
            }
            for (target, record) in latest {
                prop_assert_eq!(records.latest(&target).unwrap().decode().unwrap(), record);
            }
        }
    }
}
