//! What a cache folder holds, counted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fs::{self, FsError};
use super::run::RunId;
use super::store::Store;

/// The numbers of a cache folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Files in `cas/`.
    pub blobs: usize,
    /// Their sizes together.
    pub blob_bytes: u64,
    /// Records that count.
    pub records: usize,
    /// Their sizes in the log together; with those of the blobs it is what `cache.max-size` limits.
    pub record_bytes: u64,
    /// Records by the kind of their target.
    pub by_kind: BTreeMap<String, Verdicts>,
    /// Targets of which there is a record.
    pub targets: usize,
    /// Targets that were forgotten, as far as that is still told to other copies of the cache.
    pub forgotten: usize,
    /// Files of the record log.
    pub log_segments: usize,
    /// Records in it that are copies or forgotten.
    pub redundant_records: usize,
    /// Folders in `runs/`.
    pub runs: usize,
    /// Folders in `images/`.
    pub images: usize,
    /// When the earliest of the measurements on record started, by its host's clock, in ms since 1970.
    pub oldest_unix_ms: Option<u64>,
    /// When the latest one started.
    pub newest_unix_ms: Option<u64>,
}

/// Records by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// Results.
    pub passed: usize,
    /// Results of a simulated engine; among the passed ones.
    pub simulated: usize,
    /// Failures, kept to be told.
    pub failed: usize,
}

/// Counts what a store holds; reads no blob.
pub fn stats(store: &Store) -> Result<Stats, FsError> {
    let listing = store.cas().list()?;
    let records = store.records();
    let mut stats = Stats {
        blobs: listing.blobs.len(),
        blob_bytes: listing.blobs.iter().map(|blob| blob.size).sum(),
        records: records.len(),
        forgotten: records.forgotten().len(),
        log_segments: records.files().len(),
        redundant_records: records.redundant(),
        runs: runs(store)?.len(),
        images: folders(store, "images")?.len(),
        ..Stats::default()
    };
    let mut targets = std::collections::BTreeSet::new();
    for record in records.iter() {
        let head = record.head();
        stats.record_bytes += record.payload().len() as u64;
        targets.insert(head.target);
        let kind = head.target.split_once(':').map_or("other", |(kind, _)| kind);
        let verdicts = stats.by_kind.entry(kind.to_owned()).or_default();
        if head.passed {
            verdicts.passed += 1;
            verdicts.simulated += usize::from(head.simulated);
        } else {
            verdicts.failed += 1;
        }
        let started = head.started_unix_ms;
        stats.oldest_unix_ms = Some(stats.oldest_unix_ms.map_or(started, |oldest| oldest.min(started)));
        stats.newest_unix_ms = Some(stats.newest_unix_ms.map_or(started, |newest| newest.max(started)));
    }
    stats.targets = targets.len();
    Ok(stats)
}

/// The runs that have a folder, in the order of their ids.
pub(super) fn runs(store: &Store) -> Result<Vec<RunId>, FsError> {
    let names = folders(store, "runs")?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// The names of the folders in a part of the cache folder.
pub(super) fn folders(store: &Store, part: &str) -> Result<Vec<String>, FsError> {
    let listed = fs::list(&store.dir().join(part))?;
    let folders = listed.into_iter().filter(|(_, is_file)| !is_file);
    Ok(folders.map(|(name, _)| name).collect())
}
