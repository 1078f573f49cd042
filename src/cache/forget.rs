//! Forgetting the records of targets, so that they are made again.
//!
//! What is forgotten is a list of exactly the records that were there, by where they were first written. So it means
//! the same wherever copies of them turn up: an old archive does not bring them back, and a record that somebody else
//! made meanwhile, or that is made later, is not touched by it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::log::{Forgotten, Pack};
use super::store::{Store, StoreError};

/// Forgets all records of the targets that `is_meant` picks by their ids, and tells the targets with how many records
/// each had. All or nothing: a crash leaves either none of it or all.
pub fn forget(
    store: &mut Store,
    now: SystemTime,
    mut is_meant: impl FnMut(&str) -> bool,
) -> Result<Vec<(String, usize)>, StoreError> {
    store.require_lock()?;
    let forgotten = told(store, now, |target, _| is_meant(target));
    write(store, forgotten)
}

/// The same for single records: those which `is_bad` picks by target and payload.
pub(super) fn forget_records(
    store: &mut Store,
    now: SystemTime,
    is_bad: impl FnMut(&str, &[u8]) -> bool,
) -> Result<Vec<(String, usize)>, StoreError> {
    store.require_lock()?;
    let forgotten = told(store, now, is_bad);
    write(store, forgotten)
}

/// What would be forgotten.
pub fn told(store: &Store, now: SystemTime, mut is_meant: impl FnMut(&str, &[u8]) -> bool) -> Vec<Forgotten> {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let mut targets = BTreeMap::<&str, BTreeMap<String, Vec<u32>>>::new();
    for (origin, place, record) in store.records().placed() {
        let target = record.head().target;
        if is_meant(target, record.payload()) {
            let records = targets.entry(target).or_default();
            records.entry(origin.segment.clone()).or_default().push(place);
        }
    }
    let forgotten = targets.into_iter().map(|(target, records)| Forgotten {
        target: target.to_owned(),
        unix_ms,
        records,
    });
    forgotten.collect()
}

fn write(store: &mut Store, forgotten: Vec<Forgotten>) -> Result<Vec<(String, usize)>, StoreError> {
    if !forgotten.is_empty() {
        let mut pack = Pack::new(store.records().generation());
        for one in &forgotten {
            pack.forget(one);
        }
        pack.write(&store.log_dir())?;
        store.reload()?;
    }
    let count = |one: &Forgotten| one.records.values().map(Vec::len).sum();
    Ok(forgotten
        .into_iter()
        .map(|one| (count(&one), one.target))
        .map(|(records, target)| (target, records))
        .collect())
}
