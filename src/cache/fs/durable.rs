//! What must survive a power loss is written to a temporary file in the same file system, flushed, renamed into
//! place, and the folder is flushed: a reader sees the old file or the whole new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::call::{flush_dir, list, metadata, remove, rename, write_all};
use super::door::{FsError, Op, pass};

/// How the names of temporary files begin, by which strays of a crash are known.
pub const TEMP_PREFIX: &str = ".tmp-";

/// A temporary file older than this belongs to nobody: no write takes an hour.
const STRAY_AGE: Duration = Duration::from_secs(60 * 60);

/// Creates a folder and those above it, each flushed into the one that holds it.
pub fn create_dir_durable(dir: &Path) -> Result<(), FsError> {
    if metadata(dir)?.is_some_and(|found| found.is_dir()) {
        return Ok(());
    }
    let above = parent(dir);
    if above != dir {
        create_dir_durable(above)?;
    }
    match pass(Op::CreateDir, dir, || fs::create_dir(dir)) {
        Err(error) if error.cause.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        result => result?,
    }
    flush_dir(above)
}

/// Writes a whole file so that a reader or a crash sees the old bytes or the new ones.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let mut temp = Temp::create_in(parent(path))?;
    temp.write_all(bytes)?;
    temp.persist(path, Mode::Writable)
}

/// Writes a whole file so that a reader sees the old bytes or the new ones, also where this program is killed. After a
/// loss of power it may see neither.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let mut temp = Temp::create_in(parent(path))?;
    temp.write_all(bytes)?;
    temp.place(path)
}

/// Removes temporary files of writers that died more than an hour before `now`; tells how many.
pub fn remove_strays(dir: &Path, now: SystemTime) -> Result<usize, FsError> {
    let mut removed = 0;
    for (name, is_file) in list(dir)? {
        if !is_file || !name.starts_with(TEMP_PREFIX) {
            continue;
        }
        let path = dir.join(name);
        let Some(modified) = metadata(&path)?.and_then(|found| found.modified().ok()) else {
            continue;
        };
        if now.duration_since(modified).is_ok_and(|age| age > STRAY_AGE) {
            remove(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Who may write a file once it is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Whoever the umask lets.
    Writable,
    /// Nobody, and everybody may read it (0444): another user's build can take it over.
    ReadOnly,
}

/// A temporary file, removed unless it is renamed into place.
#[derive(Debug)]
pub struct Temp {
    path: PathBuf,
    file: File,
    persisted: bool,
}

impl Temp {
    /// Creates one; `dir` must lie in the file system of its later place.
    pub fn create_in(dir: &Path) -> Result<Temp, FsError> {
        let path = dir.join(format!("{TEMP_PREFIX}{:016x}", rand::random::<u64>()));
        let file = pass(Op::Open, &path, || {
            OpenOptions::new().write(true).create_new(true).open(&path)
        })?;
        Ok(Temp {
            path,
            file,
            persisted: false,
        })
    }

    /// Appends bytes.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), FsError> {
        write_all(&self.file, &self.path, bytes)
    }

    /// Flushes, renames to `dest` over what is there, and flushes the folder of `dest`.
    pub fn persist(self, dest: &Path, mode: Mode) -> Result<(), FsError> {
        self.set_mode(mode)?;
        self.flush()?;
        self.place(dest)?;
        flush_dir(parent(dest))
    }

    /// Lets nobody write it any more, where that is asked for.
    pub(in crate::cache) fn set_mode(&self, mode: Mode) -> Result<(), FsError> {
        if mode == Mode::ReadOnly {
            let read_only = fs::Permissions::from_mode(0o444);
            pass(Op::SetMode, &self.path, || self.file.set_permissions(read_only))?;
        }
        Ok(())
    }

    /// Waits until what was written is on the disk.
    pub(in crate::cache) fn flush(&self) -> Result<(), FsError> {
        pass(Op::Flush, &self.path, || self.file.sync_all())
    }

    /// Renames to `dest` over what is there, without waiting for the disk.
    pub(in crate::cache) fn place(mut self, dest: &Path) -> Result<(), FsError> {
        rename(&self.path, dest)?;
        self.persisted = true;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.persisted {
            // What cannot be removed now is a stray, removed by a later build.
            let _ = remove(&self.path);
        }
    }
}

/// A file system, to flush all that was written to it at once.
#[derive(Debug)]
pub(in crate::cache) struct Volume {
    folder: File,
    path: PathBuf,
}

impl Volume {
    /// That of a folder. To be opened before something is written: what fails from then on is told.
    pub(in crate::cache) fn of(folder: &Path) -> Result<Self, FsError> {
        Ok(Self {
            folder: pass(Op::Open, folder, || File::open(folder))?,
            path: folder.to_owned(),
        })
    }

    /// Waits until all that anybody wrote to it is on the disk. Before Linux 5.8 a write that failed is not told.
    pub(in crate::cache) fn flush(&self) -> Result<(), FsError> {
        pass(Op::Flush, &self.path, || Ok(rustix::fs::syncfs(&self.folder)?))
    }
}

/// The folder that holds `path`.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::fault::{self, Fault};
    use super::super::read;
    use super::*;

    #[test]
    fn an_error_names_the_operation_and_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        let (result, _) = fault::with(Some(Fault::FullDisk { uncut: false }), || {
            write_atomic(&path, b"words")
        });
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with("could not write `"), "{message}");
        assert!(message.ends_with("`: No space left on device"), "{message}");
    }

    #[test]
    fn a_failed_atomic_write_leaves_the_old_bytes_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        write_atomic(&path, b"old").unwrap();
        let (_, calls) = fault::with(None, || write_atomic(&path, b"old"));
        for n in 0..calls {
            let (result, _) = fault::with(Some(Fault::Once(n)), || write_atomic(&path, b"new"));
            assert!(result.is_err(), "call {n} of {calls} failed unseen");
            let bytes = read(&path).unwrap().unwrap();
            // Only when the last call, the flush of the folder, fails are the new bytes in place.
            assert_eq!(bytes == b"new", n + 1 == calls, "call {n}");
            assert_eq!(list(dir.path()).unwrap(), [("note".to_owned(), true)]);
            write_atomic(&path, b"old").unwrap();
        }
    }

    #[test]
    fn only_old_strays_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let stray = dir.path().join(".tmp-0123456789abcdef");
        fs::write(&stray, "half").unwrap();
        fs::write(dir.path().join("kept"), "whole").unwrap();
        let now = SystemTime::now();
        assert_eq!(remove_strays(dir.path(), now).unwrap(), 0);
        // A clock that was set back makes every file look new: nothing is removed.
        assert_eq!(remove_strays(dir.path(), now - 2 * STRAY_AGE).unwrap(), 0);
        assert_eq!(remove_strays(dir.path(), now + 2 * STRAY_AGE).unwrap(), 1);
        assert_eq!(list(dir.path()).unwrap(), [("kept".to_owned(), true)]);
    }

    #[test]
    fn folders_are_made_with_those_above_them() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir_durable(&deep).unwrap();
        create_dir_durable(&deep).unwrap();
        assert!(deep.is_dir());
        fs::write(deep.join("file"), "").unwrap();
        assert!(create_dir_durable(&deep.join("file")).is_err());
    }

    #[test]
    fn what_is_not_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        assert!(read(&path).unwrap().is_none());
        assert!(metadata(&path).unwrap().is_none());
        assert!(list(&path).unwrap().is_empty());
        remove(&path).unwrap();
    }
}
