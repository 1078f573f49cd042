//! Blobs that are put into a store together, so that waiting for the disk is done once for all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::Digest;
use super::cas::Cas;
use super::fs::{self, FsError, Mode, Temp, Volume};
use super::store::Source;

/// From how many blobs on their whole file system is flushed in the place of each file and folder. Below, as where one
/// point has been measured, what others write to it must not be waited for.
const FLUSH_ALL_FROM: usize = 8;

/// Blobs in temporary files, of which none is in its place yet. Dropped, they are gone.
pub(super) struct Stage<'a> {
    cas: &'a Cas,
    /// Opened before anything is written, so that it hears of every write that failed.
    volume: Volume,
    staged: BTreeMap<Digest, (Temp, u64)>,
}

impl<'a> Stage<'a> {
    pub(super) fn of(cas: &'a Cas) -> Result<Self, FsError> {
        Ok(Self {
            cas,
            volume: Volume::of(cas.dir())?,
            staged: BTreeMap::new(),
        })
    }

    /// Adds a blob, unless an intact one is in the store, and tells its digest and size in bytes.
    pub(super) fn add(&mut self, source: Source<'_>) -> Result<(Digest, u64), FsError> {
        let (temp, digest, size) = match source {
            Source::Bytes(bytes) => {
                let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
                if self.is_known(&digest) {
                    return Ok((digest, size));
                }
                let mut temp = self.cas.temp()?;
                temp.write_all(bytes)?;
                (temp, digest, size)
            }
            Source::File(path) => self.cas.copied(path)?,
        };
        if !self.is_known(&digest) {
            temp.set_mode(Mode::ReadOnly)?;
            self.staged.insert(digest, (temp, size));
        }
        Ok((digest, size))
    }

    fn is_known(&self, digest: &Digest) -> bool {
        self.staged.contains_key(digest) || self.cas.is_intact(digest)
    }

    /// Flushes all of them, renames each into its place and flushes that: when this returns they are on the disk. Tells
    /// the sizes in bytes of those that were not in the store.
    pub(super) fn place(self) -> Result<BTreeMap<Digest, u64>, FsError> {
        let all_at_once = self.staged.len() >= FLUSH_ALL_FROM;
        if all_at_once {
            self.volume.flush()?;
        } else {
            self.staged.values().try_for_each(|(temp, _)| temp.flush())?;
        }
        let mut folders = BTreeSet::new();
        let mut placed = BTreeMap::new();
        for (digest, (temp, size)) in self.staged {
            folders.insert(self.cas.place(temp, &digest)?);
            placed.insert(digest, size);
        }
        if all_at_once {
            self.volume.flush()?;
        } else {
            folders.iter().try_for_each(|folder| fs::flush_dir(folder))?;
        }
        Ok(placed)
    }
}
