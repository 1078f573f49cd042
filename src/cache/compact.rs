//! Compaction: the log's segments become one pack.
//!
//! The pack is on the disk under its name before the first segment goes. A crash in between leaves records twice, and
//! a record that is there twice counts once, at the place where it was first written.

use std::path::Path;

use super::fs;
use super::index::RecordRef;
use super::log::{Forgotten, Origin, Pack};
use super::store::{Store, StoreError};

/// Writes the records and the forgotten that are to stay into one pack, removes the segments that it replaces, and
/// reads the log again.
///
/// A segment that was found damaged is left for the next time: what of it can be read is in the pack, the rest was only
/// now set aside.
pub(super) fn compact(
    store: &mut Store,
    mut stays: impl FnMut(&Origin, u32, RecordRef<'_>) -> bool,
    mut is_still_forgotten: impl FnMut(&Forgotten) -> bool,
) -> Result<(), StoreError> {
    store.require_lock()?;
    let records = store.records();
    if records.files().is_empty() {
        return Ok(());
    }
    let mut pack = Pack::new(records.generation());
    for (origin, place, record) in records.placed() {
        if stays(origin, place, record) {
            pack.record(origin, place, record.payload());
        }
    }
    for forgotten in records.forgotten() {
        // What it hides goes from the log now, and it may go the next time.
        if records.hides(forgotten) || is_still_forgotten(forgotten) {
            pack.forget(forgotten);
        }
    }
    let log = store.log_dir();
    let kept = pack.write(&log)?;
    let damaged: Vec<&Path> = store.damage().iter().map(|d| d.segment.as_path()).collect();
    for file in records.files() {
        let path = log.join(file);
        if *file != kept && !damaged.contains(&path.as_path()) {
            fs::remove(&path)?;
        }
    }
    fs::flush_dir(&log)?;
    store.reload()
}
