//! Blobs by digest: write-once, read-only, verified whenever read.

use std::ffi::CStr;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::fs::{self, Folder, FsError, Mode, Op, Temp};
use super::stage::Stage;
use super::store::Source;
use super::{Digest, Hasher, Seen};

/// How many bytes a copy moves at a time.
const PIECE: usize = 128 * 1024;

/// A folder of blobs: `ab/cdef…` holds the bytes whose digest is `abcdef…`.
#[derive(Debug)]
pub struct Cas {
    dir: PathBuf,
    /// `None`: nothing is ever written, not even to take away a damaged blob. Otherwise held while a blob is
    /// renamed into place or taken away, so that a reader that saw bad bytes cannot remove the good ones which
    /// another thread has put there since.
    places: Option<Mutex<()>>,
}

/// What reading a blob came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Fetched<T> {
    /// It is here and verified.
    Found(T),
    /// No such blob.
    Missing,
    /// Bytes that are not those of the digest: a miss, to be told. In a writable store the file is gone now, so it
    /// is told once and the next [`Cas::put`] heals it.
    Damaged(PathBuf),
}

/// A blob's file, by its name and metadata alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// What its name says.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// When it was put here, by this file system's clock, where it tells.
    pub modified: Option<SystemTime>,
}

/// The files of a store.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Those with the name and the place of a blob.
    pub blobs: Vec<Blob>,
    /// Everything else but temporary files.
    pub strangers: Vec<PathBuf>,
}

/// A store's folder, open for looking at many blobs: one system call each.
#[derive(Debug)]
pub struct Looking {
    folder: Folder,
    /// Whether there are so many that opening each shard is soon made up for by the shorter ways in it.
    is_crowded: bool,
    /// The shard that was looked into last.
    shard: Option<(u8, Folder)>,
}

impl Looking {
    /// Blobs in a shard from which on it pays to open it.
    const CROWD: usize = 16;

    /// What the blob's file looks like; `None` where there is none.
    pub fn seen(&mut self, digest: &Digest) -> Result<Option<Seen>, FsError> {
        let hex = blake3::Hash::from_bytes(digest.0).to_hex();
        let (shard, rest) = hex.as_bytes().split_at(2);
        let mut name = [0; 66];
        name[..2].copy_from_slice(shard);
        name[2] = b'/';
        name[3..65].copy_from_slice(rest);
        let in_cas = |name| {
            CStr::from_bytes_with_nul(name).expect("hexadecimal digits, a slash, and one zero at the end")
        };
        if !self.is_crowded {
            return self.folder.seen(in_cas(&name));
        }
        if self.shard.as_ref().is_none_or(|(open, _)| *open != digest.0[0]) {
            name[2] = 0;
            let Some(folder) = self.folder.folder(in_cas(&name[..3]))? else {
                return Ok(None);
            };
            self.shard = Some((digest.0[0], folder));
        }
        let (_, shard) = self.shard.as_ref().expect("it was opened above");
        shard.seen(in_cas(&name[3..]))
    }
}

impl<T> Fetched<T> {
    /// What was found, if it is to be trusted.
    pub fn found(self) -> Option<T> {
        match self {
            Fetched::Found(value) => Some(value),
            Fetched::Missing | Fetched::Damaged(_) => None,
        }
    }
}

impl Cas {
    /// A view that writes nothing; a folder that is not there holds no blobs.
    pub fn read_only(dir: impl Into<PathBuf>) -> Cas {
        Cas {
            dir: dir.into(),
            places: None,
        }
    }

    /// Opens a folder to add blobs, creating it where needed.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Cas, FsError> {
        let dir = dir.into();
        fs::create_dir_durable(&dir)?;
        Ok(Cas {
            dir,
            places: Some(Mutex::new(())),
        })
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the blob of this digest lies, if it is here.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        let (shard, rest) = hex.split_at(2);
        let mut path = self.dir.join(shard);
        path.push(rest);
        path
    }

    /// The blob's size in bytes as the file system tells it, without reading the bytes.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, FsError> {
        Ok(fs::metadata(&self.path(digest))?
            .filter(Metadata::is_file)
            .map(|found| found.len()))
    }

    /// The store, open for looking at many blobs, of which so many will be asked for in the order of their digests; `None`
    /// where there is none.
    pub fn looking(&self, in_order: usize) -> Result<Option<Looking>, FsError> {
        Ok(Folder::open(&self.dir)?.map(|folder| Looking {
            folder,
            is_crowded: in_order >= Looking::CROWD * 256,
            shard: None,
        }))
    }

    /// Whether there is a file of this digest; its bytes are verified when they are read.
    pub fn contains(&self, digest: &Digest) -> Result<bool, FsError> {
        Ok(self.size(digest)?.is_some())
    }

    /// Keeps `bytes`. A blob already here is read again, and replaced if it is damaged.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, FsError> {
        let mut stage = Stage::of(self)?;
        let (digest, _) = stage.add(Source::Bytes(bytes))?;
        stage.place()?;
        Ok(digest)
    }

    /// Keeps a file's bytes and tells their digest and number. They are hashed while they are copied, so a writer
    /// who changes the file meanwhile changes the digest but never stores bytes under a wrong one.
    pub fn put_file(&self, path: &Path) -> Result<(Digest, u64), FsError> {
        let mut stage = Stage::of(self)?;
        let kept = stage.add(Source::File(path))?;
        stage.place()?;
        Ok(kept)
    }

    /// A copy of a file that is not in its place yet, with its digest and size.
    pub(super) fn copied(&self, path: &Path) -> Result<(Temp, Digest, u64), FsError> {
        let mut temp = self.temp()?;
        match copy(path, &mut temp)? {
            Some((digest, size)) => Ok((temp, digest, size)),
            None => Err(FsError {
                op: Op::Open,
                path: path.to_owned(),
                cause: io::Error::from(io::ErrorKind::NotFound),
            }),
        }
    }

    /// Reads a blob and verifies it.
    pub fn get(&self, digest: &Digest) -> Result<Fetched<Vec<u8>>, FsError> {
        let path = self.path(digest);
        loop {
            match fs::read(&path)? {
                None => return Ok(Fetched::Missing),
                Some(bytes) if Digest::of(&bytes) == *digest => return Ok(Fetched::Found(bytes)),
                Some(_) if self.take_away(&path, digest)? => return Ok(Fetched::Damaged(path)),
                Some(_) => {}
            }
        }
    }

    /// Writes a verified copy of a blob to `dest`, over what is there, and tells its size in bytes. Where the blob
    /// is missing or damaged, `dest` is left as it was.
    pub fn materialize(&self, digest: &Digest, dest: &Path) -> Result<Fetched<u64>, FsError> {
        self.copy_out(digest, dest, Mode::Writable)
    }

    /// The same for a copy that becomes a blob of another store.
    pub(super) fn transfer(&self, digest: &Digest, dest: &Path) -> Result<Fetched<u64>, FsError> {
        self.copy_out(digest, dest, Mode::ReadOnly)
    }

    fn copy_out(&self, digest: &Digest, dest: &Path, mode: Mode) -> Result<Fetched<u64>, FsError> {
        let path = self.path(digest);
        loop {
            let mut temp = Temp::create_in(fs::parent(dest))?;
            match copy(&path, &mut temp)? {
                None => return Ok(Fetched::Missing),
                Some((copied, size)) if copied == *digest => {
                    temp.persist(dest, mode)?;
                    return Ok(Fetched::Found(size));
                }
                Some(_) if self.take_away(&path, digest)? => return Ok(Fetched::Damaged(path)),
                Some(_) => {}
            }
        }
    }

    /// Reads a blob to its end without keeping it, and tells its size in bytes if it is right.
    pub fn check(&self, digest: &Digest) -> Result<Fetched<u64>, FsError> {
        let path = self.path(digest);
        loop {
            let Some(mut file) = fs::open(&path)? else {
                return Ok(Fetched::Missing);
            };
            let (mut hasher, mut size, mut piece) = (Hasher::new(), 0, vec![0; PIECE]);
            loop {
                let read = fs::read_some(&mut file, &path, &mut piece)?;
                if read == 0 {
                    break;
                }
                hasher.update(&piece[..read]);
                size += read as u64;
            }
            if hasher.finish() == *digest {
                return Ok(Fetched::Found(size));
            }
            if self.take_away(&path, digest)? {
                return Ok(Fetched::Damaged(path));
            }
        }
    }

    /// Every file of the store: blobs by their names, not read, and what is none, in the order of their names.
    pub fn list(&self) -> Result<Listing, FsError> {
        let mut listing = Listing::default();
        for (shard, is_file) in fs::list(&self.dir)? {
            let dir = self.dir.join(&shard);
            if is_file || shard.len() != 2 {
                if !shard.starts_with(fs::TEMP_PREFIX) {
                    listing.strangers.push(dir);
                }
                continue;
            }
            for (rest, is_file) in fs::list(&dir)? {
                let path = dir.join(&rest);
                match format!("{shard}{rest}").parse() {
                    Ok(digest) if is_file => {
                        let Some(found) = fs::metadata(&path)? else {
                            continue;
                        };
                        listing.blobs.push(Blob {
                            digest,
                            size: found.len(),
                            modified: found.modified().ok(),
                        });
                    }
                    _ => listing.strangers.push(path),
                }
            }
        }
        Ok(listing)
    }

    /// Takes a blob away; none is no error. The caller holds the lock of the folder.
    pub fn remove(&self, digest: &Digest) -> Result<(), FsError> {
        let _held = self.places.as_ref().map(hold);
        fs::remove(&self.path(digest))
    }

    /// Puts a file, whose bytes have been seen to be those of the digest, into place. It has to lie in the file system
    /// of the store.
    pub(super) fn adopt(&self, staged: &Path, digest: &Digest) -> Result<(), FsError> {
        let path = self.path(digest);
        fs::create_dir_durable(fs::parent(&path))?;
        let _held = self.places.as_ref().map(hold);
        fs::rename(staged, &path)?;
        fs::flush_dir(fs::parent(&path))
    }

    /// Whether the blob is here and can be read and is right; one that cannot be read is there to be replaced.
    pub(super) fn is_intact(&self, digest: &Digest) -> bool {
        Digest::of_file(&self.path(digest)).is_ok_and(|found| found == *digest)
    }

    /// A temporary file at the top of the store, where the strays of a crash are quickly found.
    pub(super) fn temp(&self) -> Result<Temp, FsError> {
        if self.places.is_none() {
            let cause = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
            return Err(FsError {
                op: Op::Write,
                path: self.dir.clone(),
                cause,
            });
        }
        Temp::create_in(&self.dir)
    }

    /// Renames a blob into its place, without waiting for the disk, and tells the folder that is to be flushed.
    pub(super) fn place(&self, temp: Temp, digest: &Digest) -> Result<PathBuf, FsError> {
        let path = self.path(digest);
        let folder = fs::parent(&path);
        fs::create_dir_durable(folder)?;
        let _held = self.places.as_ref().map(hold);
        temp.place(&path)?;
        Ok(folder.to_owned())
    }

    /// Removes a blob that was read as damaged, if it still is; `false`: it is not, look again.
    fn take_away(&self, path: &Path, digest: &Digest) -> Result<bool, FsError> {
        let Some(places) = &self.places else {
            return Ok(true);
        };
        let _held = hold(places);
        if fs::metadata(path)?.is_none() || self.is_intact(digest) {
            return Ok(false);
        }
        fs::remove(path)?;
        Ok(true)
    }
}

fn hold(places: &Mutex<()>) -> MutexGuard<'_, ()> {
    // It guards no data, so a holder that panicked left nothing half done in it.
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies a file into `temp`, hashing what is copied; `None` where there is no such file.
fn copy(from: &Path, temp: &mut Temp) -> Result<Option<(Digest, u64)>, FsError> {
    let Some(mut file) = fs::open(from)? else {
        return Ok(None);
    };
    let mut hasher = Hasher::new();
    let mut size = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let read = fs::read_some(&mut file, from, &mut piece)?;
        if read == 0 {
            return Ok(Some((hasher.finish(), size)));
        }
        hasher.update(&piece[..read]);
        temp.write_all(&piece[..read])?;
        size += read as u64;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::super::fs::fault::{self, Fault};
    use super::*;

    fn store() -> (tempfile::TempDir, Cas) {
        let dir = tempfile::tempdir().unwrap();
        let cas = Cas::open(dir.path().join("cas")).unwrap();
        (dir, cas)
    }

    #[test]
    fn blobs_look_the_same_by_either_way() {
        let (_dir, cas) = store();
        for n in 0..300_u32 {
            cas.put(&n.to_le_bytes()).unwrap();
        }
        let mut digests: Vec<Digest> = (0..600_u32).map(|n| Digest::of(&n.to_le_bytes())).collect();
        digests.sort_unstable();
        let seen = |many| {
            let mut looking = cas.looking(many).unwrap().unwrap();
            let seen = digests.iter().map(|digest| looking.seen(digest).unwrap());
            seen.collect::<Vec<_>>()
        };
        let one_by_one = seen(digests.len());
        assert_eq!(one_by_one.iter().flatten().count(), 300);
        assert_eq!(seen(usize::MAX), one_by_one);
        let by_path = digests.iter().map(|digest| fs::seen(&cas.path(digest)).unwrap());
        assert_eq!(by_path.collect::<Vec<_>>(), one_by_one);
    }

    /// Writes other bytes of the same number over a blob.
    fn damage(cas: &Cas, digest: &Digest) {
        let path = cas.path(digest);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }

    #[test]
    fn a_blob_is_read_only_and_lies_under_its_digest() {
        let (dir, cas) = store();
        let digest = cas.put(b"trace").unwrap();
        let hex = digest.to_string();
        let path = dir.path().join("cas").join(&hex[..2]).join(&hex[2..]);
        assert_eq!(path, cas.path(&digest));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o444
        );
        assert_eq!(cas.size(&digest).unwrap(), Some(5));
        assert!(cas.contains(&digest).unwrap());
        assert_eq!(cas.get(&Digest::of(b"other")).unwrap(), Fetched::Missing);
    }

    #[test]
    fn a_damaged_blob_is_told_once_and_healed_by_the_next_put() {
        let (_dir, cas) = store();
        let digest = cas.put(b"trace").unwrap();
        damage(&cas, &digest);
        assert_eq!(cas.get(&digest).unwrap(), Fetched::Damaged(cas.path(&digest)));
        assert_eq!(cas.get(&digest).unwrap(), Fetched::Missing);
        cas.put(b"trace").unwrap();
        assert_eq!(cas.get(&digest).unwrap().found().unwrap(), b"trace");
        // Nobody has read it since: the put itself finds the damage.
        damage(&cas, &digest);
        cas.put(b"trace").unwrap();
        assert_eq!(cas.get(&digest).unwrap().found().unwrap(), b"trace");
    }

    #[test]
    fn a_read_only_view_writes_nothing() {
        let (dir, cas) = store();
        let digest = cas.put(b"trace").unwrap();
        damage(&cas, &digest);
        let view = Cas::read_only(dir.path().join("cas"));
        let damaged = Fetched::Damaged(cas.path(&digest));
        assert_eq!(view.get(&digest).unwrap(), damaged);
        assert!(cas.path(&digest).exists());
        assert!(view.put(b"new").is_err());
        assert_eq!(
            Cas::read_only(dir.path().join("none")).get(&digest).unwrap(),
            Fetched::Missing
        );
    }

    #[test]
    fn materialize_copies_only_what_is_right() {
        let (dir, cas) = store();
        let digest = cas.put(b"row").unwrap();
        let dest = dir.path().join("row.json");
        assert_eq!(cas.materialize(&digest, &dest).unwrap(), Fetched::Found(3));
        assert_eq!(std::fs::read(&dest).unwrap(), b"row");
        // The copy is the user's: changing it leaves the blob alone.
        std::fs::write(&dest, "edited").unwrap();
        assert_eq!(cas.get(&digest).unwrap().found().unwrap(), b"row");
        damage(&cas, &digest);
        assert_eq!(
            cas.materialize(&digest, &dest).unwrap(),
            Fetched::Damaged(cas.path(&digest))
        );
        assert_eq!(cas.materialize(&digest, &dest).unwrap(), Fetched::Missing);
        assert_eq!(std::fs::read(&dest).unwrap(), b"edited");
        assert_eq!(
            fs::list(dir.path()).unwrap().len(),
            2,
            "no temporary file is left"
        );
    }

    #[test]
    fn a_put_that_fails_anywhere_stores_all_or_nothing() {
        let (_, calls) = {
            let (_dir, cas) = store();
            fault::with(None, || cas.put(b"trace").unwrap())
        };
        for n in 0..calls {
            for fault in [Fault::From(n), Fault::Once(n)] {
                let (_dir, cas) = store();
                let (put, _) = fault::with(Some(fault), || cas.put(b"trace"));
                let got = cas.get(&Digest::of(b"trace")).unwrap();
                assert!(put.is_err(), "{fault:?} went unseen");
                assert!(!matches!(got, Fetched::Damaged(_)), "{fault:?} left {got:?}");
                cas.put(b"trace").unwrap();
                assert_eq!(cas.get(&Digest::of(b"trace")).unwrap().found().unwrap(), b"trace");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn bytes_and_files_come_back(bytes in prop::collection::vec(any::<u8>(), 0..300_000)) {
            let (dir, cas) = store();
            let file = dir.path().join("trace");
            std::fs::write(&file, &bytes).unwrap();
            let (digest, size) = cas.put_file(&file).unwrap();
            prop_assert_eq!(size, bytes.len() as u64);
            prop_assert_eq!(digest, cas.put(&bytes).unwrap());
            prop_assert_eq!(cas.get(&digest).unwrap(), Fetched::Found(bytes));
        }
    }
}
