//! The union of a cache folder with records and blobs from elsewhere.
//!
//! Nothing is changed before all of it has been read and verified: blobs are copied into a stage, a folder beside
//! `cas/`. Then they are renamed into place, and at last one pack with the new records is. As records keep the places
//! at which they were first written, a merge gives the same whatever comes first and however often.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::Digest;
use super::cas::Fetched;
use super::fs::{self, FsError, Mode, Temp};
use super::incoming::refuse_forged;
use super::index::Records;
use super::log::{Forgotten, Origin, Pack};
use super::store::{Store, StoreError};

/// How the names of stages begin.
const STAGE: &str = ".import-";

/// What a merge has added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// Records that were not there.
    pub records: usize,
    /// Blobs that were not there, or were damaged.
    pub blobs: usize,
    /// Their sizes together.
    pub bytes: u64,
    /// Targets of which records were forgotten there.
    pub forgotten: usize,
    /// What of the source was left out because it is damaged.
    pub left_out: Vec<String>,
}

/// Why nothing was merged.
#[derive(Debug, Error)]
pub enum MergeError {
    /// This store's side.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no cache in the folder.
    #[error("`{}` is no cache folder: it has neither `log` nor `cas`, nor a `.cache` that has", .0.display())]
    NoCache(PathBuf),
    /// The folder is the one that it would be merged into.
    #[error("`{}` is this cache folder itself", .0.display())]
    Itself(PathBuf),
    /// It holds what no sweep writes.
    #[error("`{}` is refused: {reason}", path.display())]
    Forged {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<FsError> for MergeError {
    fn from(error: FsError) -> MergeError {
        MergeError::Store(error.into())
    }
}

/// Blobs that have been read and verified and are not in the store yet. What is left of it after a crash is removed by
/// the next merge or collection.
#[derive(Debug)]
pub(super) struct Stage {
    dir: PathBuf,
    blobs: Vec<(Digest, u64)>,
}

impl Stage {
    /// An empty stage in a cache folder, under whose lock we are.
    pub(super) fn create(cache: &Path) -> Result<Stage, FsError> {
        remove_stages(cache)?;
        let dir = cache.join(format!("{STAGE}{:08x}", rand::random::<u32>()));
        fs::create_dir_durable(&dir)?;
        Ok(Stage {
            dir,
            blobs: Vec::new(),
        })
    }

    /// A file for a blob's bytes, to be given to [`Stage::keep`].
    pub(super) fn begin(&self) -> Result<Temp, FsError> {
        Temp::create_in(&self.dir)
    }

    /// Keeps a file with the bytes of this digest.
    pub(super) fn keep(&mut self, file: Temp, digest: Digest, size: u64) -> Result<(), FsError> {
        file.persist(&self.path(&digest), Mode::ReadOnly)?;
        self.blobs.push((digest, size));
        Ok(())
    }

    /// Keeps a verified copy of another store's blob.
    fn copy(&mut self, from: &Store, digest: Digest) -> Result<Fetched<u64>, FsError> {
        let fetched = from.cas().transfer(&digest, &self.path(&digest))?;
        if let Fetched::Found(size) = fetched {
            self.blobs.push((digest, size));
        }
        Ok(fetched)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_tree(&self.dir);
    }
}

/// Removes the stages of merges that were cut off. Only under the lock.
pub(super) fn remove_stages(cache: &Path) -> Result<(), FsError> {
    for (name, is_file) in fs::list(cache)? {
        if !is_file && name.starts_with(STAGE) {
            fs::remove_tree(&cache.join(name))?;
        }
    }
    Ok(())
}

/// Adds what another cache folder holds: `from`, or `from/.cache`. It is only read, and may be of a build that goes on
/// or was cut off: what of it is damaged is left out and told.
pub fn merge_folder(store: &mut Store, from: &Path) -> Result<Merged, MergeError> {
    store.require_lock()?;
    let from = cache_in(from)?;
    let same = |a: &Path, b: &Path| {
        a.canonicalize()
            .ok()
            .is_some_and(|a| b.canonicalize().ok() == Some(a))
    };
    if same(&from, store.dir()) {
        return Err(MergeError::Itself(from));
    }
    let source = Store::open_read(&from)?;
    refuse_forged(source.records()).map_err(|reason| MergeError::Forged {
        path: from.clone(),
        reason,
    })?;
    let mut left_out: Vec<String> = source.damage().iter().map(ToString::to_string).collect();
    let mut stage = Stage::create(store.dir())?;
    let named: HashSet<Digest> = named_blobs(source.records());
    for digest in named {
        if store.cas().is_intact(&digest) {
            continue;
        }
        if let Fetched::Damaged(path) = stage.copy(&source, digest)? {
            left_out.push(format!(
                "the bytes of `{}` are not those of its digest",
                path.display()
            ));
        }
    }
    left_out.sort_unstable();
    let mut merged = commit(store, std::slice::from_ref(source.records()), stage)?;
    merged.left_out = left_out;
    Ok(merged)
}

fn cache_in(from: &Path) -> Result<PathBuf, MergeError> {
    let is_cache = |dir: &Path| dir.join("log").is_dir() || dir.join("cas").is_dir();
    let below = from.join(".cache");
    if is_cache(from) {
        Ok(from.to_owned())
    } else if is_cache(&below) {
        Ok(below)
    } else {
        Err(MergeError::NoCache(from.to_owned()))
    }
}

fn named_blobs(records: &Records) -> HashSet<Digest> {
    let placed = records.placed();
    placed
        .flat_map(|(_, _, record)| record.blobs())
        .map(|(digest, _)| digest)
        .collect()
}

/// Puts staged blobs into place, then the records that are new. On the disk when it returns.
pub(super) fn commit(store: &mut Store, incoming: &[Records], stage: Stage) -> Result<Merged, StoreError> {
    store.require_lock()?;
    let mut merged = Merged::default();
    for (digest, size) in &stage.blobs {
        store.cas().adopt(&stage.path(digest), digest)?;
        merged.blobs += 1;
        merged.bytes += size;
    }
    drop(stage);
    let here = store.records();
    let generations = incoming.iter().map(Records::generation);
    let mut pack = Pack::new(generations.fold(here.generation(), u64::max));
    let known: HashSet<(&Origin, u32, &[u8])> = here
        .placed()
        .map(|(origin, place, record)| (origin, place, record.payload()))
        .collect();
    let forgotten: HashSet<(&str, u32)> = here.forgotten().flat_map(places).collect();
    for (origin, place, record) in incoming.iter().flat_map(Records::placed) {
        let payload = record.payload();
        if !forgotten.contains(&(origin.segment.as_str(), place))
            && !known.contains(&(origin, place, payload))
        {
            pack.record(origin, place, payload);
            merged.records += 1;
        }
    }
    let told: HashSet<&Forgotten> = here.forgotten().collect();
    for one in incoming.iter().flat_map(Records::forgotten) {
        if !told.contains(one) {
            pack.forget(one);
            merged.forgotten += 1;
        }
    }
    if !pack.is_empty() {
        pack.write(&store.log_dir())?;
        store.reload()?;
    }
    Ok(merged)
}

fn places(forgotten: &Forgotten) -> impl Iterator<Item = (&str, u32)> {
    let records = forgotten.records.iter();
    records.flat_map(|(segment, places)| places.iter().map(|place| (segment.as_str(), *place)))
}
