//! All records in memory, found by key and by target without parsing any.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::log::{Forgotten, Origin, Segment};
use super::payload::{Head, PayloadError};
use super::record::{Record, Verdict};
use super::{Digest, Key};

/// The records of a cache folder in their order.
///
/// "Latest" means last in that order: by generation of the segment, then by its name, then by place in it. A run
/// that had read another's records comes after it, whatever their clocks said; between runs that knew nothing of
/// each other the name decides, which begins with the time the run started. A record in a pack stands where it was
/// first written, a copy counts once, and what was forgotten does not count. The order is a function of the set of
/// records alone, so a merge of folders gives the same one however it was made.
#[derive(Debug, Default)]
pub struct Records {
    files: Vec<String>,
    segments: Vec<Vec<u8>>,
    origins: Vec<Origin>,
    entries: Vec<Entry>,
    by_key: HashMap<Key, u32>,
    by_target: HashMap<Box<str>, Latest>,
    forgotten: BTreeSet<Forgotten>,
    hidden: HashSet<(u32, u32)>,
    copies: usize,
    generation: u64,
}

#[derive(Debug)]
struct Entry {
    segment: u32,
    payload: Range<usize>,
    /// Which of the origins, and where in it; none for what was appended since the log was read.
    origin: Option<(u32, u32)>,
    /// The passed record of the same key before this one.
    earlier: Option<u32>,
    /// The passed record of the same target before this one.
    earlier_of_target: Option<u32>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Latest {
    any: Option<u32>,
    passed: Option<u32>,
}

/// A record that is not parsed yet: what its head tells, and the way to the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    payload: &'a [u8],
    head: Head<'a>,
}

impl<'a> RecordRef<'a> {
    /// The bytes as they stand in the log.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// What can be told without parsing.
    pub fn head(&self) -> Head<'a> {
        self.head
    }

    /// Every blob that it names, with its size where that is known: its outputs, and of a failure the end of its log.
    /// A body that cannot be used names no log.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, Option<u64>)> + use<'a> {
        let outputs = self.head.outputs().map(|(digest, size)| (digest, Some(size)));
        let failure = if self.head.passed {
            None
        } else {
            self.decode().ok().map(|record| record.verdict)
        };
        let log = match failure {
            Some(Verdict::Failed { log, .. }) => log,
            Some(Verdict::Passed) | None => None,
        };
        outputs.chain(log.map(|log| (log, None)))
    }

    /// Parses the whole record; an error means that it cannot be used and counts as none.
    pub fn decode(&self) -> Result<Record, PayloadError> {
        self.head.record()
    }
}

impl Records {
    /// Indexes segments as [`read_all`](super::log::read_all) gives them.
    pub fn new(segments: Vec<Segment>) -> Records {
        let mut records = Records::default();
        let origins: BTreeSet<&Origin> = segments.iter().flat_map(Segment::origins).collect();
        records.origins = origins.into_iter().cloned().collect();
        let mut found = Vec::new();
        for segment in segments {
            records.generation = records.generation.max(segment.generation);
            records.files.push(segment.name.clone());
            let parts = segment.into_parts();
            let ranks: Vec<u32> = parts
                .origins
                .iter()
                .map(|origin| {
                    let rank = records.origins.binary_search(origin);
                    number(rank.expect("the origins of all segments were collected"))
                })
                .collect();
            let file = number(records.segments.len());
            found.extend(parts.records.into_iter().map(|placed| Entry {
                segment: file,
                payload: placed.payload,
                origin: Some((ranks[placed.origin as usize], placed.place)),
                earlier: None,
                earlier_of_target: None,
            }));
            records.forgotten.extend(parts.forgotten);
            records.segments.push(parts.bytes);
        }
        records.enter_all(found);
        records
    }

    /// Enters what was found: in order, a copy once, the forgotten not at all.
    fn enter_all(&mut self, mut found: Vec<Entry>) {
        let bytes = |entry: &Entry| &self.segments[entry.segment as usize][entry.payload.clone()];
        let total = found.len();
        found.sort_by(|a, b| a.origin.cmp(&b.origin).then_with(|| bytes(a).cmp(bytes(b))));
        found.dedup_by(|a, b| a.origin == b.origin && bytes(a) == bytes(b));
        self.copies = total - found.len();
        let forgotten = self.forgotten_places();
        self.entries.reserve(found.len());
        self.by_key.reserve(found.len());
        self.by_target.reserve(found.len());
        for entry in found {
            match entry.origin {
                Some(origin) if forgotten.contains(&origin) => {
                    self.hidden.insert(origin);
                }
                _ => self.enter(entry),
            }
        }
    }

    fn forgotten_places(&self) -> HashSet<(u32, u32)> {
        let mut ranks = HashMap::<&str, Vec<u32>>::new();
        if !self.forgotten.is_empty() {
            for (rank, origin) in self.origins.iter().enumerate() {
                ranks.entry(&origin.segment).or_default().push(number(rank));
            }
        }
        let places = self.forgotten.iter().flat_map(|forgotten| &forgotten.records);
        places
            .flat_map(|(segment, places)| {
                let ranks = ranks.get(segment.as_str()).map_or(&[][..], Vec::as_slice);
                ranks
                    .iter()
                    .flat_map(move |rank| places.iter().map(move |place| (*rank, *place)))
            })
            .collect()
    }

    /// Adds the payload of a record that was just appended, after all others.
    pub fn push(&mut self, payload: Vec<u8>) {
        let entry = Entry {
            segment: number(self.segments.len()),
            payload: 0..payload.len(),
            origin: None,
            earlier: None,
            earlier_of_target: None,
        };
        self.segments.push(payload);
        self.enter(entry);
    }

    fn enter(&mut self, mut entry: Entry) {
        let payload = &self.segments[entry.segment as usize][entry.payload.clone()];
        let Ok(head) = Head::read(payload) else {
            return;
        };
        let place = number(self.entries.len());
        if head.passed {
            entry.earlier = self.by_key.insert(head.key, place);
        }
        let latest = match self.by_target.get_mut(head.target) {
            Some(latest) => latest,
            None => self.by_target.entry(head.target.into()).or_default(),
        };
        latest.any = Some(place);
        if head.passed {
            entry.earlier_of_target = latest.passed.replace(place);
        }
        self.entries.push(entry);
    }

    fn at(&self, place: u32) -> RecordRef<'_> {
        let entry = &self.entries[place as usize];
        let payload = &self.segments[entry.segment as usize][entry.payload.clone()];
        RecordRef {
            payload,
            head: Head::read(payload).expect("only payloads whose head was read are entered"),
        }
    }

    /// All records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        (0..self.entries.len()).map(|place| self.at(number(place)))
    }

    /// The records that were read, each with where it was first written: what a compaction, an archive or a merge
    /// keeps of it. What this process appended since is not among them.
    pub fn placed(&self) -> impl DoubleEndedIterator<Item = (&Origin, u32, RecordRef<'_>)> {
        self.entries.iter().enumerate().filter_map(|(n, entry)| {
            let (rank, place) = entry.origin?;
            Some((&self.origins[rank as usize], place, self.at(number(n))))
        })
    }

    /// What was forgotten.
    pub fn forgotten(&self) -> impl ExactSizeIterator<Item = &Forgotten> {
        self.forgotten.iter()
    }

    /// Whether a record that this hides was read: without it the record would be back.
    pub fn hides(&self, forgotten: &Forgotten) -> bool {
        self.hidden.iter().any(|(rank, place)| {
            let places = forgotten.records.get(&self.origins[*rank as usize].segment);
            places.is_some_and(|places| places.contains(place))
        })
    }

    /// How many of the records that were read are copies of others, or forgotten: what a compaction does away with.
    pub fn redundant(&self) -> usize {
        self.copies + self.hidden.len()
    }

    /// The names of the segments that were read.
    pub fn files(&self) -> &[String] {
        &self.files
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

    /// The passed records of this target, whatever their keys, latest first.
    pub fn passed_of(&self, target: &str) -> impl Iterator<Item = RecordRef<'_>> {
        let latest = self.by_target.get(target).and_then(|latest| latest.passed);
        std::iter::successors(latest, |place| self.entries[*place as usize].earlier_of_target)
            .map(|place| self.at(place))
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
