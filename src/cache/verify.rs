//! Reading everything that a cache folder holds, and healing what is wrong with it.
//!
//! Nothing here is needed for a right result: a damaged blob is a miss whenever it is read and a torn log is read up to
//! its tear. It is for those who want to know now.

use std::collections::BTreeSet;
use std::time::SystemTime;

use rand::seq::SliceRandom;
use serde::Serialize;

use super::Digest;
use super::cas::Fetched;
use super::forget::forget_records;
use super::fs::FsError;
use super::store::{Store, StoreError};

/// What was read and what was wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Records that were parsed.
    pub records: usize,
    /// Blobs that were read to their end.
    pub blobs: usize,
    /// Their sizes together.
    pub bytes: u64,
    /// Blobs that are there and were left out of the sample.
    pub not_read: usize,
    /// What was wrong.
    pub findings: Vec<Finding>,
    /// Targets whose latest result lacks an output now, so that the next build makes it again.
    pub to_make_again: Vec<String>,
}

/// One thing that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What, and what was done about it.
    pub what: String,
    /// Whether it is right now.
    pub healed: bool,
}

impl Verified {
    /// Whether nothing is wrong any more.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.healed)
    }

    fn find(&mut self, what: String, healed: bool) {
        self.findings.push(Finding { what, healed });
    }
}

/// Reads all records and all blobs, or `sample` of the blobs drawn at random, and takes away what is wrong. A store
/// that was opened to read heals nothing.
pub fn verify(store: &mut Store, sample: Option<usize>, now: SystemTime) -> Result<Verified, StoreError> {
    let heals = store.require_lock().is_ok();
    let mut verified = Verified::default();
    log(store, heals, &mut verified)?;
    records(store, heals, now, &mut verified)?;
    blobs(store, heals, sample, &mut verified)?;
    verified.to_make_again = incomplete(store)?;
    Ok(verified)
}

/// Opening mended what was torn; here it is told, and whether it is still there.
fn log(store: &mut Store, heals: bool, verified: &mut Verified) -> Result<(), StoreError> {
    let found = store.damage().to_vec();
    if found.is_empty() {
        return Ok(());
    }
    if heals {
        store.reload()?;
    }
    for damage in found {
        let healed = heals && !store.damage().contains(&damage);
        let done = if healed {
            "; they are set aside beside it and cut off"
        } else {
            ""
        };
        verified.find(format!("{damage}{done}"), healed);
    }
    Ok(())
}

/// A record whose body is not what its head says never was one: it is forgotten.
fn records(
    store: &mut Store,
    heals: bool,
    now: SystemTime,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let mut bad = BTreeSet::new();
    for record in store.records().iter() {
        verified.records += 1;
        if let Err(error) = record.decode() {
            let done = if heals { "; it is forgotten" } else { "" };
            let target = record.head().target;
            verified.find(
                format!("a record of `{target}` cannot be used: {error}{done}"),
                heals,
            );
            bad.insert(record.payload().to_vec());
        }
    }
    if heals && !bad.is_empty() {
        forget_records(store, now, |_, payload| bad.contains(payload))?;
    }
    Ok(())
}

fn blobs(
    store: &Store,
    heals: bool,
    sample: Option<usize>,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let listing = store.cas().list()?;
    let mut digests: Vec<Digest> = listing.blobs.iter().map(|blob| blob.digest).collect();
    if let Some(sample) = sample.filter(|sample| *sample < digests.len()) {
        digests.shuffle(&mut rand::rng());
        verified.not_read = digests.len() - sample;
        digests.truncate(sample);
    }
    for digest in digests {
        let what = match store.cas().check(&digest) {
            Ok(Fetched::Found(size)) => {
                verified.blobs += 1;
                verified.bytes += size;
                continue;
            }
            // Another process has taken it away since it was listed.
            Ok(Fetched::Missing) => continue,
            Ok(Fetched::Damaged(path)) => {
                verified.blobs += 1;
                let done = if heals { "; it is removed" } else { "" };
                format!(
                    "the bytes of `{}` are not those of its digest{done}",
                    path.display()
                )
            }
            Err(error) => {
                verified.find(error.to_string(), false);
                continue;
            }
        };
        verified.find(what, heals);
    }
    for stranger in listing.strangers {
        let what = format!("`{}` is no blob and is left alone", stranger.display());
        verified.find(what, true);
    }
    Ok(())
}

/// The targets whose latest result was lost: the same key has no other record with all its outputs.
fn incomplete(store: &Store) -> Result<Vec<String>, FsError> {
    let targets: BTreeSet<&str> = store
        .records()
        .iter()
        .map(|record| record.head().target)
        .collect();
    let mut incomplete = Vec::new();
    for target in targets {
        if let Some(latest) = store.records().latest_passed(target)
            && store.lookup(&latest.head().key)?.is_none()
        {
            incomplete.push(target.to_owned());
        }
    }
    Ok(incomplete)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::log::LogWriter;
    use super::super::payload;
    use super::super::record::tests::example;
    use super::super::store::tests::{is_hit, publish, try_open};
    use super::*;

    fn verified(store: &mut Store) -> Verified {
        verify(store, None, SystemTime::now()).unwrap()
    }

    #[test]
    fn a_sound_cache_is_read_whole_or_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = try_open(dir.path()).unwrap();
        (1..=5).for_each(|n| publish(&mut store, n).unwrap());
        let all = verified(&mut store);
        assert_eq!((all.records, all.blobs, all.bytes, all.not_read), (5, 5, 35, 0));
        assert!(all.is_sound() && all.findings.is_empty() && all.to_make_again.is_empty());
        let some = verify(&mut store, Some(2), SystemTime::now()).unwrap();
        assert_eq!((some.blobs, some.not_read), (2, 3));
    }

    #[test]
    fn what_is_damaged_is_healed_or_said_not_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = try_open(dir.path()).unwrap();
        (1..=2).for_each(|n| publish(&mut store, n).unwrap());
        let blob = store.cas().path(&Digest::of(b"trace 1"));
        std::fs::remove_file(&blob).unwrap();
        std::fs::write(&blob, "trace 7").unwrap();
        std::fs::write(dir.path().join("cas/README"), "mine").unwrap();
        drop(store);

        let told = verified(&mut Store::open_read(dir.path()).unwrap());
        assert!(!told.is_sound() && blob.exists());
        let mut store = try_open(dir.path()).unwrap();
        let told = verified(&mut store);
        assert!(told.is_sound(), "{told:?}");
        assert_eq!(told.findings.len(), 2);
        assert_eq!(told.to_make_again, ["bench:x/c1"]);
        assert!(!blob.exists() && dir.path().join("cas/README").exists());
        publish(&mut store, 1).unwrap();
        assert!(verified(&mut store).to_make_again.is_empty());
        assert!(is_hit(&store, 1));
    }

    #[test]
    fn a_record_that_contradicts_itself_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        publish(&mut try_open(dir.path()).unwrap(), 1).unwrap();
        let run = "20261122T040412Z-0a1b2c".parse().unwrap();
        let mut forged = example("bench:x/c1", 1);
        forged.key = example("bench:x/c1", 2).key;
        let mut log = LogWriter::new(dir.path().join("log"), run, 1);
        log.append(&payload::encode(&forged)).unwrap();
        let mut store = try_open(dir.path()).unwrap();
        assert_eq!(store.records().len(), 2);
        let told = verified(&mut store);
        assert!(told.is_sound() && told.findings.len() == 1, "{told:?}");
        assert_eq!(store.records().len(), 1);
        assert!(is_hit(&store, 1));
        assert!(verified(&mut store).findings.is_empty());
    }
}
