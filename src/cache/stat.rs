//! The digests of files that have not changed, by what the file system says of them.
//!
//! A digest is remembered under (device, inode, size, mtime, ctime). The change time is what no tool can set back:
//! it catches an edit that keeps size and mtime. A file that changed only just before it was observed may change
//! again within the same tick of the clock and look the same, so such an observation is not remembered (git's rule
//! for a racy index). All of this concerns one machine: the file is never exported.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Digest;
use super::fs::{self, FsError};
use super::seen::Seen;

/// How often a file that changes while it is read is read again before its digest is given up.
const READS: u32 = 5;

const MAGIC: &[u8; 12] = b"sweepstat\0\0\x01";
const ENTRY: usize = Seen::BYTES + 32;
const CHECKSUM: usize = 32;

#[derive(Debug, Clone, Copy)]
struct Entry {
    seen: Seen,
    digest: Digest,
    /// Asked for since it was loaded.
    used: bool,
}

/// Digests of files, hashed only where they may have changed.
#[derive(Debug)]
pub struct StatCache {
    path: PathBuf,
    entries: HashMap<(u64, u64), Entry>,
    clock: fn() -> SystemTime,
    changed: bool,
}

impl StatCache {
    /// Reads what was remembered in `dir`; nothing where there is no such file or a damaged one.
    pub fn load(dir: &Path) -> StatCache {
        StatCache::load_at(dir, SystemTime::now)
    }

    fn load_at(dir: &Path, clock: fn() -> SystemTime) -> StatCache {
        let path = dir.join("files");
        // It only saves work: whatever is wrong with it, hashing anew puts it right.
        let entries = fs::read(&path)
            .ok()
            .flatten()
            .and_then(|bytes| parse(&bytes))
            .unwrap_or_default();
        StatCache {
            path,
            entries,
            clock,
            changed: false,
        }
    }

    /// The digest of a plain file's bytes as they are now.
    ///
    /// # Errors
    ///
    /// What the system says, or [`io::ErrorKind::InvalidInput`] for what is no plain file, or
    /// [`io::ErrorKind::ResourceBusy`] for one that changes whenever it is read.
    pub fn digest(&mut self, path: &Path) -> io::Result<Digest> {
        let found = std::fs::metadata(path)?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
        }
        let seen = Seen::of(&found);
        if let Some(entry) = self.entries.get_mut(&identity(&seen))
            && entry.seen == seen
        {
            entry.used = true;
            return Ok(entry.digest);
        }
        self.hash(path)
    }

    fn hash(&mut self, path: &Path) -> io::Result<Digest> {
        for _ in 0..READS {
            let observed = (self.clock)();
            let file = File::open(path)?;
            let seen = Seen::of(&file.metadata()?);
            let digest = Digest::of_open_file(&file)?;
            if Seen::of(&file.metadata()?) == seen {
                let used = true;
                self.remember(Entry { seen, digest, used }, observed);
                return Ok(digest);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "it changes while it is read",
        ))
    }

    fn remember(&mut self, entry: Entry, observed: SystemTime) {
        let identity = identity(&entry.seen);
        // One that has not settled is hashed once more the next time.
        if entry.seen.is_settled(observed) {
            self.entries.insert(identity, entry);
            self.changed = true;
        } else {
            self.changed |= self.entries.remove(&identity).is_some();
        }
    }

    /// Writes what is remembered, if that changed since it was loaded. Once most of it is about files that nobody
    /// asked for since, only the others stay.
    pub fn save(&mut self) -> Result<(), FsError> {
        if !self.changed {
            return Ok(());
        }
        let used = self.entries.values().filter(|entry| entry.used).count();
        if self.entries.len() > 4 * used + 1024 {
            self.entries.retain(|_, entry| entry.used);
        }
        fs::create_dir_durable(fs::parent(&self.path))?;
        fs::write_atomic(&self.path, &to_bytes(&self.entries))?;
        self.changed = false;
        Ok(())
    }
}

fn identity(seen: &Seen) -> (u64, u64) {
    (seen.dev, seen.ino)
}

/// Magic, entries in no order, BLAKE3 of all that; numbers are little-endian.
fn to_bytes(entries: &HashMap<(u64, u64), Entry>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + entries.len() * ENTRY + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    for Entry { seen, digest, .. } in entries.values() {
        bytes.extend_from_slice(&seen.to_bytes());
        bytes.extend_from_slice(&digest.0);
    }
    let sum = Digest::of(&bytes);
    bytes.extend_from_slice(&sum.0);
    bytes
}

fn parse(bytes: &[u8]) -> Option<HashMap<(u64, u64), Entry>> {
    let (told, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
    let (entries, []) = told.strip_prefix(MAGIC)?.as_chunks::<ENTRY>() else {
        return None;
    };
    if Digest::of(told).0 != *sum {
        return None;
    }
    let entry = |bytes: &[u8; ENTRY]| {
        let (seen, digest) = bytes.split_first_chunk()?;
        let seen = Seen::from_bytes(seen);
        let digest = Digest(digest.try_into().ok()?);
        let used = false;
        Some((identity(&seen), Entry { seen, digest, used }))
    };
    entries.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    /// A clock by which everything on the disk has long settled.
    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(3600)
    }

    fn cache(dir: &Path) -> StatCache {
        StatCache::load_at(&dir.join("stat"), later)
    }

    fn ctime(path: &Path) -> i64 {
        Seen::of(&std::fs::metadata(path).unwrap()).ctime_ns
    }

    /// Writes other bytes of the same number and puts the mtime back, as often as it takes the clock to tick.
    fn replace_keeping_mtime(path: &Path, bytes: &[u8]) {
        let (mtime, before) = (std::fs::metadata(path).unwrap().modified().unwrap(), ctime(path));
        while ctime(path) == before {
            std::fs::write(path, bytes).unwrap();
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(mtime)
                .unwrap();
        }
    }

    #[test]
    fn an_unchanged_file_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut stat = cache(dir.path());
        assert_eq!(stat.digest(&path).unwrap(), Digest::of(b"one"));
        stat.save().unwrap();
        let mut stat = cache(dir.path());
        assert_eq!(stat.entries.len(), 1);
        // What it remembers is what it tells: no read corrects this lie.
        stat.entries
            .values_mut()
            .for_each(|entry| entry.digest = Digest::of(b"remembered"));
        assert_eq!(stat.digest(&path).unwrap(), Digest::of(b"remembered"));
        assert!(!stat.changed);
    }

    #[test]
    fn a_touch_leaves_the_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut stat = cache(dir.path());
        stat.digest(&path).unwrap();
        for mtime in [
            UNIX_EPOCH,
            SystemTime::now(),
            SystemTime::now() + Duration::from_secs(60),
        ] {
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(mtime)
                .unwrap();
            assert_eq!(stat.digest(&path).unwrap(), Digest::of(b"one"));
        }
    }

    #[test]
    fn an_edit_that_keeps_size_and_mtime_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut stat = cache(dir.path());
        stat.digest(&path).unwrap();
        replace_keeping_mtime(&path, b"two");
        assert_eq!(stat.digest(&path).unwrap(), Digest::of(b"two"));
    }

    #[test]
    fn an_edit_with_an_older_mtime_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut stat = cache(dir.path());
        stat.digest(&path).unwrap();
        std::fs::write(&path, "two").unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(UNIX_EPOCH)
            .unwrap();
        assert_eq!(stat.digest(&path).unwrap(), Digest::of(b"two"));
    }

    #[test]
    fn a_fresh_or_future_file_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut now = StatCache::load(&dir.path().join("stat"));
        assert_eq!(now.digest(&path).unwrap(), Digest::of(b"one"));
        assert!(
            now.entries.is_empty(),
            "it could still change within this tick of the clock"
        );

        let future = later() + Duration::from_secs(3600);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(future)
            .unwrap();
        let mut stat = cache(dir.path());
        assert_eq!(stat.digest(&path).unwrap(), Digest::of(b"one"));
        assert!(stat.entries.is_empty());
        stat.save().unwrap();
        assert!(
            !dir.path().join("stat").exists(),
            "nothing to remember, nothing written"
        );
    }

    #[test]
    fn a_replaced_removed_or_odd_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut stat = cache(dir.path());
        stat.digest(&path).unwrap();
        fs::write_atomic(&path, b"two").unwrap();
        assert_eq!(stat.digest(&path).unwrap(), Digest::of(b"two"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(stat.digest(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(
            stat.digest(dir.path()).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn what_nobody_asks_for_goes_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut stat = cache(dir.path());
        stat.digest(&path).unwrap();
        let entry = Entry {
            used: false,
            ..*stat.entries.values().next().unwrap()
        };
        let of = |ino| Entry {
            seen: Seen {
                dev: u64::MAX,
                ino,
                ..entry.seen
            },
            ..entry
        };
        stat.entries
            .extend((0..2000).map(|ino| ((u64::MAX, ino), of(ino))));
        stat.save().unwrap();
        assert_eq!(cache(dir.path()).entries.len(), 1);
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_an_empty_one(at: prop::sample::Index, mask in 1..=255u8, cut: bool) {
            let seen = Seen { dev: 5, ino: 6, size: 1, mtime_ns: 2, ctime_ns: -3 };
            let entry = Entry { seen, digest: Digest([4; 32]), used: true };
            let other = Entry { seen: Seen { dev: 7, ..seen }, ..entry };
            let mut bytes = to_bytes(&HashMap::from([((5, 6), entry), ((7, 6), other)]));
            let whole = parse(&bytes).unwrap();
            prop_assert_eq!(whole.len(), 2);
            prop_assert_eq!(whole[&(5, 6)].seen, seen);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= mask }
            prop_assert!(parse(&bytes).is_none());
        }
    }
}
