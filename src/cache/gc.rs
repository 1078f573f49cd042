//! What a cache folder no longer has to hold.
//!
//! Records are the roots, the newest first: a record stays while it and the blobs that it names fit under the cap
//! together with those before it. Then goes, each only under the folder's lock, so never while a build runs:
//!
//! | what | when |
//! |---|---|
//! | a blob of an evicted record that no other record names | at once |
//! | a blob that no record names | once it has been there for an hour: a copy of another folder may still be under way |
//! | `runs/<id>` | 20 newer runs are there, it is 30 days old, and nothing that it owned is left |
//! | `images/<key>` | unused for 30 days, and nobody is making it |
//! | `log/*.damaged`, what was cut off a torn segment | after 30 days |
//! | the segments of the log | 16 of them, or copies in them, become one [pack](super::compact) |
//! | that a target was forgotten | after 90 days, once it hides nothing here: no copy of the cache is kept longer |

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::compact::compact;
use super::fs::{self, FsError};
use super::merge;
use super::run::{RunId, is_open};
use super::stats::{folders, runs};
use super::store::{Store, StoreError};
use super::{Blob, Digest};

/// How long a blob that no record names stays.
const GRACE: Duration = Duration::from_secs(60 * 60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long what is only of use for looking back stays, and an image that nobody uses.
const MEMORY: Duration = DAY.saturating_mul(30);

/// How long it is told that a target was forgotten: as long as GitHub keeps an artifact, which holds a copy of the
/// cache, unless it is told otherwise.
const FORGOTTEN_FOR: Duration = DAY.saturating_mul(90);

/// How many runs stay, however old.
const RUNS: usize = 20;

/// How many segments a log has before they become one.
const SEGMENTS: usize = 16;

/// What is to go from a cache folder.
#[derive(Debug, Default)]
pub struct Garbage {
    /// By their place among [`Records::placed`](super::Records::placed).
    evicted: HashSet<usize>,
    blobs: Vec<Digest>,
    runs: Vec<RunId>,
    images: Vec<String>,
    litter: Vec<PathBuf>,
    compacts: bool,
    forgotten_before_unix_ms: u64,
    told: Told,
}

/// What goes and what stays, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Records that stay.
    pub records_kept: usize,
    /// Records that do not fit under the cap.
    pub records_evicted: usize,
    /// Blobs that stay.
    pub blobs_kept: usize,
    /// Their sizes together.
    pub bytes_kept: u64,
    /// Blobs that go.
    pub blobs_removed: usize,
    /// Their sizes together.
    pub bytes_removed: u64,
    /// Folders in `runs/` that go.
    pub runs_removed: usize,
    /// Folders in `images/` that go.
    pub images_removed: usize,
    /// Segments of the log that become one; 0 where it stays as it is.
    pub segments_compacted: usize,
}

/// What of a cache folder has to go for its blobs and records to fit into `max_bytes`. Changes nothing.
pub fn garbage(store: &Store, max_bytes: u64, now: SystemTime) -> Result<Garbage, FsError> {
    let blobs = store.cas().list()?.blobs;
    let mut garbage = Garbage {
        forgotten_before_unix_ms: unix_ms(now.checked_sub(FORGOTTEN_FOR).unwrap_or(UNIX_EPOCH)),
        ..Garbage::default()
    };
    let (kept, named) = garbage.evict(store, &blobs, max_bytes);
    for blob in &blobs {
        let stays = kept.contains(&blob.digest)
            || (!named.contains(&blob.digest) && !is_older(blob.modified, GRACE, now));
        if stays {
            garbage.told.blobs_kept += 1;
            garbage.told.bytes_kept += blob.size;
        } else {
            garbage.told.blobs_removed += 1;
            garbage.told.bytes_removed += blob.size;
            garbage.blobs.push(blob.digest);
        }
    }
    garbage.runs = old_runs(store, now)?;
    garbage.images = unused_images(store, now)?;
    garbage.litter = litter(store, now)?;
    let segments = store.records().files().len();
    garbage.compacts = segments >= SEGMENTS || !garbage.evicted.is_empty() || store.records().redundant() > 0;
    garbage.told.runs_removed = garbage.runs.len();
    garbage.told.images_removed = garbage.images.len();
    garbage.told.segments_compacted = if garbage.compacts { segments } else { 0 };
    Ok(garbage)
}

impl Garbage {
    /// What goes and what stays.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Lets the log become one pack although it is in few pieces.
    #[cfg(test)]
    pub(super) fn compact_anyway(&mut self) {
        self.compacts = true;
    }

    /// Decides which records stay; gives the blobs which those name, and the blobs which any record names.
    fn evict(&mut self, store: &Store, blobs: &[Blob], max_bytes: u64) -> (HashSet<Digest>, HashSet<Digest>) {
        let sizes: HashMap<Digest, u64> = blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
        let records: Vec<_> = store.records().placed().collect();
        let (mut kept, mut named) = (HashSet::new(), HashSet::new());
        let mut left = max_bytes;
        for (n, (_, _, record)) in records.iter().enumerate().rev() {
            let its: HashSet<Digest> = record.blobs().map(|(digest, _)| digest).collect();
            let new = its.iter().filter(|digest| !kept.contains(*digest));
            let bytes: u64 = new.filter_map(|digest| sizes.get(digest)).sum();
            let needed = bytes + record.payload().len() as u64;
            named.extend(&its);
            if needed <= left {
                left -= needed;
                kept.extend(its);
                self.told.records_kept += 1;
            } else {
                self.evicted.insert(n);
                self.told.records_evicted += 1;
            }
        }
        (kept, named)
    }
}

/// Removes what [`garbage`] told, under the lock under which that was told, and tells it again.
///
/// The log goes first: a crash leaves blobs that no record names, never a record without its blobs. What was not
/// removed is so by the next time.
pub fn collect(store: &mut Store, garbage: &Garbage) -> Result<Told, StoreError> {
    store.require_lock()?;
    merge::remove_stages(store.dir())?;
    if garbage.compacts {
        let mut n = 0..;
        compact(
            store,
            |_, _, _| n.next().is_some_and(|n| !garbage.evicted.contains(&n)),
            |forgotten| forgotten.unix_ms >= garbage.forgotten_before_unix_ms,
        )?;
    }
    for digest in &garbage.blobs {
        store.cas().remove(digest)?;
    }
    for path in &garbage.litter {
        fs::remove(path)?;
    }
    for run in &garbage.runs {
        fs::remove_tree(&store.dir().join("runs").join(run.as_str()))?;
    }
    let mut told = garbage.told.clone();
    for image in &garbage.images {
        let folder = store.dir().join("images").join(image);
        let Some(_held) = unless_in_use(&folder)? else {
            told.images_removed -= 1;
            continue;
        };
        fs::remove_tree(&folder)?;
    }
    Ok(told)
}

/// Whether a build had better collect: what is on record is above the cap, or the log is in many pieces. By the sizes
/// that the records tell, without asking the file system.
pub fn is_due(store: &Store, max_bytes: u64) -> bool {
    let records = store.records();
    if records.files().len() >= SEGMENTS * 4 {
        return true;
    }
    let mut counted = HashSet::new();
    let mut bytes = 0_u64;
    for record in records.iter() {
        bytes = bytes.saturating_add(record.payload().len() as u64);
        for (digest, size) in record.head().outputs() {
            if counted.insert(digest) {
                bytes = bytes.saturating_add(size);
            }
        }
    }
    bytes > max_bytes
}

fn old_runs(store: &Store, now: SystemTime) -> Result<Vec<RunId>, FsError> {
    let mut runs = runs(store)?;
    runs.truncate(runs.len().saturating_sub(RUNS));
    let mut old = Vec::new();
    for run in runs {
        let started = run.started().map(SystemTime::from);
        if is_older(started, MEMORY, now) && !is_open(store.dir(), &run)? {
            old.push(run);
        }
    }
    Ok(old)
}

/// Images are marked when they are used, by their lock's time; see [`super::super::exec::image`].
fn unused_images(store: &Store, now: SystemTime) -> Result<Vec<String>, FsError> {
    let images = store.dir().join("images");
    let mut unused = Vec::new();
    for name in folders(store, "images")? {
        let folder = images.join(&name);
        let marked = fs::metadata(&folder.join("lock"))?.or(fs::metadata(&folder)?);
        if is_older(marked.and_then(|marked| marked.modified().ok()), MEMORY, now) {
            unused.push(name);
        }
    }
    Ok(unused)
}

/// An image's lock, if nobody has it.
fn unless_in_use(folder: &Path) -> Result<Option<Option<File>>, FsError> {
    let lock = fs::open(&folder.join("lock"))?;
    Ok(match lock {
        Some(file) => file.try_lock().is_ok().then_some(Some(file)),
        None => Some(None),
    })
}

fn litter(store: &Store, now: SystemTime) -> Result<Vec<PathBuf>, FsError> {
    let mut litter = Vec::new();
    for (name, is_file) in fs::list(&store.log_dir())? {
        let path = store.log_dir().join(&name);
        if is_file && name.ends_with(".damaged") {
            let found = fs::metadata(&path)?;
            if is_older(found.and_then(|found| found.modified().ok()), MEMORY, now) {
                litter.push(path);
            }
        }
    }
    Ok(litter)
}

/// Whether it is that old. A time that is not known, or to come because a clock was set back, is not.
fn is_older(time: Option<SystemTime>, age: Duration, now: SystemTime) -> bool {
    time.is_some_and(|time| now.duration_since(time).is_ok_and(|elapsed| elapsed > age))
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::forget::forget;
    use super::super::store::tests::{is_hit, publish, try_open};
    use super::*;

    fn days(n: u32) -> Duration {
        DAY * n
    }

    fn collected(dir: &Path, max_bytes: u64, now: SystemTime) -> Told {
        let mut store = try_open(dir).unwrap();
        let garbage = garbage(&store, max_bytes, now).unwrap();
        collect(&mut store, &garbage).unwrap()
    }

    #[test]
    fn the_newest_stay_as_far_as_they_fit() {
        let dir = tempfile::tempdir().unwrap();
        for n in 1..=6 {
            publish(&mut try_open(dir.path()).unwrap(), n).unwrap();
        }
        let store = try_open(dir.path()).unwrap();
        let one = store.records().iter().next().unwrap().payload().len() as u64 + 7;
        assert!(is_due(&store, 6 * one - 1) && !is_due(&store, 6 * one));
        drop(store);
        let told = collected(dir.path(), 3 * one, SystemTime::now());
        assert_eq!((told.records_kept, told.records_evicted), (3, 3));
        assert_eq!((told.blobs_kept, told.blobs_removed), (3, 3));
        assert_eq!(told.segments_compacted, 6);
        let store = try_open(dir.path()).unwrap();
        let hits: Vec<_> = (1..=6).filter(|n| is_hit(&store, *n)).collect();
        assert_eq!(hits, [4, 5, 6]);
        assert_eq!(store.cas().list().unwrap().blobs.len(), 3);
        drop(store);
        let again = collected(dir.path(), 3 * one, SystemTime::now());
        assert_eq!((again.records_evicted, again.segments_compacted), (0, 0));
    }

    #[test]
    fn a_blob_without_a_record_has_an_hour() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = try_open(dir.path()).unwrap();
        publish(&mut store, 1).unwrap();
        let stray = store.cas().put(b"of a copy that is under way").unwrap();
        drop(store);
        let now = SystemTime::now();
        // A clock that was set back makes everything look new.
        for soon in [now, now + GRACE / 2, now - days(1)] {
            assert_eq!(collected(dir.path(), u64::MAX, soon).blobs_removed, 0);
        }
        assert_eq!(collected(dir.path(), u64::MAX, now + 2 * GRACE).blobs_removed, 1);
        let store = try_open(dir.path()).unwrap();
        assert!(is_hit(&store, 1) && !store.cas().contains(&stray).unwrap());
    }

    #[test]
    fn old_runs_go_but_not_the_last_ones_nor_one_that_owns_something() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        for n in 0..30 {
            let run = runs.join(format!("20200101T0000{n:02}Z-000000"));
            std::fs::create_dir_all(run.join("attempts")).unwrap();
        }
        std::fs::write(runs.join("20200101T000003Z-000000/owned.jsonl"), "").unwrap();
        std::fs::create_dir(runs.join("notes of mine")).unwrap();
        assert_eq!(collected(dir.path(), u64::MAX, SystemTime::now()).runs_removed, 9);
        let left = fs::list(&runs).unwrap();
        assert_eq!(left.len(), 22);
        assert!(left.iter().any(|(name, _)| name == "20200101T000003Z-000000"));
        // Of thirty young ones none goes.
        let young = dir.path().join("young");
        for n in 0..30 {
            let id = RunId::new(jiff::Timestamp::now(), n);
            std::fs::create_dir_all(young.join("runs").join(id.as_str())).unwrap();
        }
        assert_eq!(collected(&young, u64::MAX, SystemTime::now()).runs_removed, 0);
    }

    #[test]
    fn an_unused_image_goes_unless_somebody_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let image = |name: &str| {
            let folder = dir.path().join("images").join(name);
            std::fs::create_dir_all(folder.join("venv")).unwrap();
            File::create(folder.join("lock")).unwrap()
        };
        let (idle, making) = (image("idle"), image("making"));
        making.lock().unwrap();
        let now = SystemTime::now();
        assert_eq!(collected(dir.path(), u64::MAX, now).images_removed, 0);
        assert_eq!(collected(dir.path(), u64::MAX, now + days(31)).images_removed, 1);
        drop(idle);
        let left = fs::list(&dir.path().join("images")).unwrap();
        assert_eq!(left, [("making".to_owned(), false)]);
    }

    #[test]
    fn that_something_was_forgotten_is_told_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = try_open(dir.path()).unwrap();
        publish(&mut store, 1).unwrap();
        drop(store);
        let now = SystemTime::now();
        let mut store = try_open(dir.path()).unwrap();
        forget(&mut store, now, |_| true).unwrap();
        drop(store);
        let told = |dir: &Path| try_open(dir).unwrap().records().forgotten().len();
        // However late the first collection comes: it still hides a record in the segments that go.
        assert_eq!(
            collected(dir.path(), u64::MAX, now + days(400)).segments_compacted,
            2
        );
        assert_eq!(told(dir.path()), 1);
        for n in 2..20 {
            publish(&mut try_open(dir.path()).unwrap(), n).unwrap();
        }
        collected(dir.path(), u64::MAX, now + days(89));
        assert_eq!(told(dir.path()), 1);
        for n in 20..40 {
            publish(&mut try_open(dir.path()).unwrap(), n).unwrap();
        }
        collected(dir.path(), u64::MAX, now + days(91));
        assert_eq!(told(dir.path()), 0);
        assert!(!is_hit(&try_open(dir.path()).unwrap(), 1));
    }

    #[test]
    fn only_under_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open_read(dir.path()).unwrap();
        let refused = collect(&mut store, &Garbage::default());
        assert!(matches!(refused, Err(StoreError::ReadOnly(_))));
    }
}
