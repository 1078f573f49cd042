//! One cache folder: blobs, records, the log's writer and the stat cache together.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use super::cas::Cas;
use super::fs::{self, FsError};
use super::index::{RecordRef, Records};
use super::lock::LockGuard;
use super::log::{Damage, LogError, LogWriter, Segment, Written, read_all, read_unchanged};
use super::payload;
use super::record::{FORMAT, Record, Verdict};
use super::run::RunId;
use super::stage::Stage;
use super::stat::StatCache;
use super::{Digest, Key};

/// A cache folder, opened to read or to build.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    cas: Cas,
    records: Records,
    stat: StatCache,
    damage: Vec<Damage>,
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    log: LogWriter,
    _lock: LockGuard,
}

/// Where the bytes of an output are before they are kept.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// In a file of the attempt.
    File(&'a Path),
}

/// A record with the blobs that come with it.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    pub record: &'a Record,
    pub blobs: &'a [Source<'a>],
}

/// Why a record was not kept.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file-system call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store was opened to read.
    #[error("the cache folder `{}` is open for reading only", .0.display())]
    ReadOnly(PathBuf),
    /// The record names bytes that were neither given nor kept before, or of another size.
    #[error("`{target}` names the output {} which is not there as told: it changed while it was kept", digest.short())]
    MissingBlob {
        /// The record's target.
        target: String,
        /// What it names.
        digest: Digest,
    },
    /// The record's key is not that of its inputs, or its format not this sweep's.
    #[error("the record of `{0}` contradicts itself")]
    Inconsistent(String),
}

impl StoreError {
    /// The file-system call that failed, if one did.
    pub fn fs(&self) -> Option<&FsError> {
        match self {
            Self::Fs(error) | Self::Log(LogError::Fs(error)) => Some(error),
            _ => None,
        }
    }
}

impl Store {
    /// Opens a folder to read, writing nothing at all. A folder that is not there is an empty one.
    pub fn open_read(dir: impl Into<PathBuf>) -> Result<Store, StoreError> {
        let dir = dir.into();
        Ok(Self::of(read_all(&dir.join("log"))?, dir))
    }

    /// The same of a folder whose log looks as it did when a store found no [`damage`](Self::damage) in it.
    pub fn open_unchanged(dir: impl Into<PathBuf>) -> Result<Store, StoreError> {
        let dir = dir.into();
        Ok(Self::of(read_unchanged(&dir.join("log"))?, dir))
    }

    fn of((segments, damage): (Vec<Segment>, Vec<Damage>), dir: PathBuf) -> Self {
        Store {
            cas: Cas::read_only(dir.join("cas")),
            records: Records::new(segments),
            stat: StatCache::load(&dir.join("stat")),
            damage,
            writer: None,
            dir,
        }
    }

    /// Opens a folder to build as `run`, under the folder's lock, which the store holds from now on.
    ///
    /// What a crash left is put in order: torn segments end with their last whole record, and the bytes after it
    /// are set aside beside them; temporary files older than an hour go. [`Store::damage`] tells what was found.
    pub fn open_write(
        dir: impl Into<PathBuf>,
        run: RunId,
        lock: LockGuard,
        now: SystemTime,
    ) -> Result<Store, StoreError> {
        let dir = dir.into();
        let cas = Cas::open(dir.join("cas"))?;
        for strays in [dir.clone(), dir.join("cas"), dir.join("log"), dir.join("stat")] {
            fs::remove_strays(&strays, now)?;
        }
        let mut store = Store::open_read(dir)?;
        for damage in &store.damage {
            // What cannot be mended is read around, now as later; `verify` says so.
            let _ = damage.mend();
        }
        let log = LogWriter::new(store.dir.join("log"), run, store.records.generation());
        store.cas = cas;
        store.writer = Some(Writer { log, _lock: lock });
        Ok(store)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The blobs.
    pub fn cas(&self) -> &Cas {
        &self.cas
    }

    /// The records.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The digest of an input file as it is now; see [`StatCache::digest`].
    pub fn digest(&mut self, path: &Path) -> io::Result<Digest> {
        self.stat.digest(path)
    }

    /// Remembers the digests for the next time; a store that is open for reading forgets them.
    pub fn save_digests(&mut self) -> Result<(), FsError> {
        if self.writer.is_some() {
            self.stat.save()
        } else {
            Ok(())
        }
    }

    /// What of the log was left out when the store was opened.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// The folder of the log.
    pub(super) fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Refuses a store that was opened to read.
    pub(super) fn require_lock(&self) -> Result<(), StoreError> {
        match self.writer {
            Some(_) => Ok(()),
            None => Err(StoreError::ReadOnly(self.dir.clone())),
        }
    }

    /// Reads the log again, after packs were added or segments removed; what is appended from now on comes after it.
    pub(super) fn reload(&mut self) -> Result<(), StoreError> {
        let (segments, damage) = read_all(&self.log_dir())?;
        self.records = Records::new(segments);
        self.damage = damage;
        if let Some(writer) = &mut self.writer {
            writer.log.follow(self.records.generation());
        }
        Ok(())
    }

    /// Keeps `blobs`, then the record; when this returns, both are on the disk and the record is found by
    /// [`Store::lookup`]. Every blob that the record names must be among `blobs` or in the store already. Tells where
    /// the record was written.
    pub fn publish(&mut self, record: &Record, blobs: &[Source<'_>]) -> Result<Written, StoreError> {
        let written = self.publish_together(&[Finished { record, blobs }])?;
        Ok(written.into_iter().next().expect("one was published"))
    }

    /// The same for several results at once: the disk is waited for once for all of them. What comes of one does not
    /// depend on the others: where something is wrong, each is published by itself.
    pub fn publish_all(&mut self, results: &[Finished<'_>]) -> Vec<Result<Written, StoreError>> {
        if results.is_empty() {
            return Vec::new();
        }
        match self.publish_together(results) {
            Ok(written) => written.into_iter().map(Ok).collect(),
            Err(error) if results.len() == 1 => vec![Err(error)],
            Err(_) => {
                let one_by_one = results
                    .iter()
                    .map(|result| self.publish(result.record, result.blobs));
                one_by_one.collect()
            }
        }
    }

    /// All or none of them.
    fn publish_together(&mut self, results: &[Finished<'_>]) -> Result<Vec<Written>, StoreError> {
        let Some(writer) = &mut self.writer else {
            return Err(StoreError::ReadOnly(self.dir.clone()));
        };
        let mut stage = Stage::of(&self.cas)?;
        for Finished { record, blobs } in results {
            if record.format != FORMAT || record.key != record.inputs.key() {
                return Err(StoreError::Inconsistent(record.target.clone()));
            }
            for blob in *blobs {
                stage.add(*blob)?;
            }
        }
        let placed = stage.place()?;
        for Finished { record, .. } in results {
            require_blobs(&self.cas, &placed, record)?;
        }
        let payloads: Vec<_> = results
            .iter()
            .map(|result| payload::encode(result.record))
            .collect();
        let written = writer.log.append_all(&payloads)?;
        for payload in payloads {
            self.records.push(payload);
        }
        Ok(written)
    }

    /// The latest passed record of this key whose outputs are all here, by their sizes; their bytes are verified
    /// when they are read. Costs one stat an output.
    pub fn lookup(&self, key: &Key) -> Result<Option<RecordRef<'_>>, FsError> {
        for record in self.records.passed(key) {
            if self.has_outputs(record)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn has_outputs(&self, record: RecordRef<'_>) -> Result<bool, FsError> {
        for (digest, size) in record.head().outputs() {
            if self.cas.size(&digest)? != Some(size) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Refuses a record that names a blob which is not there; those that were just placed are.
fn require_blobs(cas: &Cas, placed: &BTreeMap<Digest, u64>, record: &Record) -> Result<(), StoreError> {
    let missing = |digest: &Digest| StoreError::MissingBlob {
        target: record.target.clone(),
        digest: *digest,
    };
    for output in &record.outputs {
        let size = match placed.get(&output.digest) {
            Some(size) => Some(*size),
            None => cas.size(&output.digest)?,
        };
        if size != Some(output.size) {
            return Err(missing(&output.digest));
        }
    }
    if let Verdict::Failed { log: Some(log), .. } = &record.verdict
        && !cas.contains(log)?
    {
        return Err(missing(log));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::PermissionsExt;

    use super::super::fs::fault::{self, Fault};
    use super::super::lock::{self, Holder, Wait};
    use super::super::record::Output;
    use super::super::record::tests::example;
    use super::*;

    fn open(dir: &Path) -> Store {
        try_open(dir).unwrap()
    }

    pub(crate) fn try_open(dir: &Path) -> Result<Store, StoreError> {
        let lock = lock::acquire(dir, Wait::No, &Holder::default()).map_err(|error| match error {
            lock::LockError::Fs(error) => StoreError::Fs(error),
            other => panic!("{other}"),
        })?;
        Store::open_write(
            dir,
            "20261122T040412Z-0a1b2c".parse().unwrap(),
            lock,
            SystemTime::now(),
        )
    }

    /// A target's record with the bytes it put out.
    fn bench(n: u64) -> (Record, Vec<u8>) {
        let trace = format!("trace {n}").into_bytes();
        let mut record = example(&format!("bench:x/c{n}"), n);
        record.outputs.push(Output {
            name: "trace".into(),
            digest: Digest::of(&trace),
            size: trace.len() as u64,
        });
        (record, trace)
    }

    pub(crate) fn publish(store: &mut Store, n: u64) -> Result<(), StoreError> {
        let (record, trace) = bench(n);
        store.publish(&record, &[Source::Bytes(&trace)]).map(drop)
    }

    pub(crate) fn is_hit(store: &Store, n: u64) -> bool {
        let hit = store.lookup(&bench(n).0.key).ok().flatten();
        hit.is_some_and(|hit| hit.decode().unwrap() == bench(n).0)
    }

    #[test]
    fn what_is_published_is_found_now_and_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        assert!(!is_hit(&store, 1));
        publish(&mut store, 1).unwrap();
        assert!(is_hit(&store, 1));
        drop(store);
        let store = Store::open_read(dir.path()).unwrap();
        assert!(is_hit(&store, 1) && !is_hit(&store, 2));
        assert!(store.damage().is_empty());
    }

    /// Publishes these together; those that were kept.
    fn publish_group(store: &mut Store, group: &[u64]) -> Vec<u64> {
        let benches: Vec<_> = group.iter().map(|n| bench(*n)).collect();
        let blobs: Vec<_> = benches.iter().map(|(_, trace)| [Source::Bytes(trace)]).collect();
        let results: Vec<_> = benches
            .iter()
            .zip(&blobs)
            .map(|((record, _), blobs)| Finished { record, blobs })
            .collect();
        let outcomes = store.publish_all(&results);
        assert_eq!(outcomes.len(), group.len());
        let kept = group.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_ok());
        kept.map(|(n, _)| *n).collect()
    }

    /// As many as one segment in one write, and their file system flushed as a whole; and fewer.
    const GROUPS: [u64; 2] = [20, 3];

    #[test]
    fn one_fault_in_a_group_costs_no_result() {
        for size in GROUPS {
            let group: Vec<u64> = (1..=size).collect();
            let (kept, calls) = fault::with(None, || {
                publish_group(&mut open(tempfile::tempdir().unwrap().path()), &group)
            });
            assert_eq!(kept, group);
            for n in 0..calls {
                let dir = tempfile::tempdir().unwrap();
                let mut store = open(dir.path());
                publish(&mut store, 0).unwrap();
                let (kept, _) = fault::with(Some(Fault::Once(n)), || publish_group(&mut store, &group));
                assert_eq!(kept, group, "call {n}: each is tried again by itself");
                drop(store);
                let store = open(dir.path());
                assert!((0..=size).all(|n| is_hit(&store, n)), "call {n}");
                assert_eq!(store.records().len() as u64, size + 1, "call {n}");
                assert!(store.damage().is_empty(), "call {n}");
            }
        }
    }

    #[test]
    fn on_a_full_disk_each_of_a_group_is_told_so_and_nothing_else_is_lost() {
        for size in GROUPS {
            let dir = tempfile::tempdir().unwrap();
            let mut store = open(dir.path());
            publish(&mut store, 0).unwrap();
            let group: Vec<u64> = (1..=size).collect();
            let full = Some(Fault::FullDisk { uncut: false });
            let (kept, _) = fault::with(full, || publish_group(&mut store, &group));
            assert!(kept.is_empty(), "{kept:?}");
            assert!(is_hit(&store, 0) && !group.iter().any(|n| is_hit(&store, *n)));
            assert_eq!(publish_group(&mut store, &group), group);
            drop(store);
            let store = open(dir.path());
            assert!((0..=size).all(|n| is_hit(&store, n)));
            assert!(store.damage().is_empty());
        }
    }

    #[test]
    fn what_is_wrong_with_one_of_a_group_is_not_the_others_fault() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let (first, trace) = bench(1);
        let (mut forged, _) = bench(2);
        forged.key = first.key;
        let (without_blob, _) = bench(3);
        let results = [
            Finished {
                record: &forged,
                blobs: &[],
            },
            Finished {
                record: &first,
                blobs: &[Source::Bytes(&trace)],
            },
            Finished {
                record: &without_blob,
                blobs: &[],
            },
        ];
        let outcomes = store.publish_all(&results);
        assert!(matches!(outcomes[0], Err(StoreError::Inconsistent(_))));
        assert!(outcomes[1].is_ok());
        assert!(matches!(outcomes[2], Err(StoreError::MissingBlob { .. })));
        assert!(is_hit(&store, 1));
        assert_eq!(store.records().len(), 1);
    }

    #[test]
    fn a_file_is_kept_from_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(&dir.path().join(".cache"));
        let (record, trace) = bench(1);
        let path = dir.path().join("trace");
        std::fs::write(&path, "changed since it was hashed").unwrap();
        let refused = store.publish(&record, &[Source::File(&path)]);
        assert!(matches!(refused, Err(StoreError::MissingBlob { .. })));
        std::fs::write(&path, trace).unwrap();
        store.publish(&record, &[Source::File(&path)]).unwrap();
        assert!(is_hit(&store, 1));
    }

    #[test]
    fn failures_are_kept_but_are_no_hits() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let mut record = example("bench:x", 1);
        let log = Digest::of(b"out of memory");
        record.verdict = Verdict::Failed {
            reason: "server died".into(),
            log: Some(log),
        };
        assert!(matches!(
            store.publish(&record, &[]),
            Err(StoreError::MissingBlob { .. })
        ));
        store
            .publish(&record, &[Source::Bytes(b"out of memory")])
            .unwrap();
        assert!(store.lookup(&record.key).unwrap().is_none());
        assert_eq!(
            store.records().latest("bench:x").unwrap().decode().unwrap(),
            record
        );
    }

    #[test]
    fn a_missing_or_short_blob_is_a_miss_and_an_earlier_whole_record_a_hit() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let (first, trace) = bench(1);
        store.publish(&first, &[Source::Bytes(&trace)]).unwrap();
        let mut again = first.clone();
        let other = b"another measurement".as_slice();
        again.outputs[0] = Output {
            name: "trace".into(),
            digest: Digest::of(other),
            size: other.len() as u64,
        };
        store.publish(&again, &[Source::Bytes(other)]).unwrap();
        assert_eq!(
            store.lookup(&first.key).unwrap().unwrap().decode().unwrap(),
            again
        );

        fs::remove(&store.cas().path(&Digest::of(other))).unwrap();
        assert_eq!(
            store.lookup(&first.key).unwrap().unwrap().decode().unwrap(),
            first
        );

        let blob = store.cas().path(&Digest::of(&trace));
        fs::remove(&blob).unwrap();
        std::fs::write(&blob, "").unwrap();
        assert!(store.lookup(&first.key).unwrap().is_none());
        store.publish(&first, &[Source::Bytes(&trace)]).unwrap();
        assert!(is_hit(&store, 1), "healed by the rerun");
    }

    #[test]
    fn reading_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none");
        assert!(Store::open_read(&missing).unwrap().records().is_empty());
        assert!(!missing.exists());

        let cache = dir.path().join(".cache");
        publish(&mut open(&cache), 1).unwrap();
        let mode = |bits| std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(bits)).unwrap();
        mode(0o555);
        let mut store = Store::open_read(&cache).unwrap();
        assert!(is_hit(&store, 1));
        store.digest(&cache.join("lock")).unwrap();
        store.save_digests().unwrap();
        assert!(!cache.join("stat").exists());
        assert!(matches!(publish(&mut store, 2), Err(StoreError::ReadOnly(_))));
        mode(0o755);
    }

    #[test]
    fn a_record_that_contradicts_itself_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = example("bench:x", 1);
        record.key = example("bench:x", 2).key;
        assert!(matches!(
            open(dir.path()).publish(&record, &[]),
            Err(StoreError::Inconsistent(_))
        ));
    }

    #[test]
    fn a_torn_log_is_told_once_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        publish(&mut store, 1).unwrap();
        publish(&mut store, 2).unwrap();
        drop(store);
        let log = dir.path().join("log");
        let segment = log.join(&fs::list(&log).unwrap()[0].0);
        let bytes = std::fs::read(&segment).unwrap();
        std::fs::write(&segment, &bytes[..bytes.len() - 3]).unwrap();

        // Reading tells it every time and leaves it.
        assert_eq!(Store::open_read(dir.path()).unwrap().damage().len(), 1);
        let store = open(dir.path());
        assert_eq!(store.damage().len(), 1);
        assert!(is_hit(&store, 1) && !is_hit(&store, 2));
        drop(store);
        let mut store = open(dir.path());
        assert!(store.damage().is_empty());
        publish(&mut store, 2).unwrap();
        drop(store);
        let store = Store::open_read(dir.path()).unwrap();
        assert!(is_hit(&store, 1) && is_hit(&store, 2));
    }

    #[test]
    fn a_later_format_is_named_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let mut later = payload::encode(&example("bench:x", 1));
        later[0] = 2;
        store.writer.as_mut().unwrap().log.append(&later).unwrap();
        drop(store);
        let error = Store::open_read(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains(".log` has format 2") && error.contains("update sweep"),
            "{error}"
        );
    }

    #[test]
    fn opening_a_thousand_records_parses_none() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut writer = LogWriter::new(&log, "20261122T040412Z-0a1b2c".parse().unwrap(), 0);
        // Heads are sound, bodies are not: whoever parsed one would notice.
        for n in 0..1000 {
            let mut payload = payload::encode(&bench(n).0);
            *payload.last_mut().unwrap() = b'!';
            writer.append(&payload).unwrap();
        }
        let store = Store::open_read(dir.path()).unwrap();
        assert_eq!(store.records().len(), 1000);
        assert!(store.records().latest("bench:x/c7").unwrap().decode().is_err());
    }
}
