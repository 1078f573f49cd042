//! Every file-system call of the cache, each through one door, with the operation and the path in its error.
//!
//! What must survive a power loss is written to a temporary file in the same file system, flushed, renamed into
//! place, and the folder is flushed: a reader sees the old file or the whole new one, never a part.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use thiserror::Error;

/// How the names of temporary files begin, by which strays of a crash are known.
pub const TEMP_PREFIX: &str = ".tmp-";

/// A temporary file older than this belongs to nobody: no write takes an hour.
const STRAY_AGE: Duration = Duration::from_secs(60 * 60);

/// A kind of file-system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Open or create a file.
    Open,
    /// Create a folder.
    CreateDir,
    /// List a folder.
    List,
    /// Read bytes or metadata.
    Read,
    /// Write bytes.
    Write,
    /// Cut a file.
    Cut,
    /// Flush a file or a folder to the disk.
    Flush,
    /// Change a file's mode.
    SetMode,
    /// Rename into place.
    Rename,
    /// Lock a file.
    Lock,
    /// Remove a file.
    Remove,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Open => "open",
            Op::CreateDir => "create the folder",
            Op::List => "list",
            Op::Read => "read",
            Op::Write => "write",
            Op::Cut => "cut",
            Op::Flush => "flush",
            Op::SetMode => "change the mode of",
            Op::Rename => "rename into place",
            Op::Lock => "lock",
            Op::Remove => "remove",
        })
    }
}

/// A file-system call that failed.
#[derive(Debug, Error)]
#[error("could not {op} `{}`: {}", path.display(), plain(cause))]
pub struct FsError {
    /// What was tried.
    pub op: Op,
    /// On which file or folder.
    pub path: PathBuf,
    /// What the system answered.
    pub cause: io::Error,
}

/// The system's words without the number that Rust appends.
fn plain(cause: &io::Error) -> String {
    let text = cause.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// The one door: every call passes here, so a fault can be put at any of them.
fn call<T>(op: Op, path: &Path, call: impl FnOnce() -> io::Result<T>) -> Result<T, FsError> {
    let fail = |cause| FsError {
        op,
        path: path.to_owned(),
        cause,
    };
    #[cfg(test)]
    fault::pass(op).map_err(fail)?;
    call().map_err(fail)
}

/// Opens for reading; `None` where there is no such file.
pub fn open(path: &Path) -> Result<Option<File>, FsError> {
    absent_is_none(call(Op::Open, path, || File::open(path)))
}

/// The whole file; `None` where there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FsError> {
    let Some(mut file) = open(path)? else {
        return Ok(None);
    };
    call(Op::Read, path, || {
        let len = file.metadata()?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    })
    .map(Some)
}

/// Reads some bytes of an open file; 0 at its end.
pub fn read_some(file: &mut File, path: &Path, buffer: &mut [u8]) -> Result<usize, FsError> {
    call(Op::Read, path, || {
        loop {
            match file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    })
}

/// The metadata of what the path leads to; `None` where there is nothing.
pub fn metadata(path: &Path) -> Result<Option<fs::Metadata>, FsError> {
    absent_is_none(call(Op::Read, path, || fs::metadata(path)))
}

/// The names in a folder, sorted, with whether each is a plain file; empty where there is no such folder.
pub fn list(dir: &Path) -> Result<Vec<(String, bool)>, FsError> {
    let listed = call(Op::List, dir, || {
        fs::read_dir(dir)?
            .map(|entry| {
                let entry = entry?;
                // A name that is not UTF-8 is none of ours.
                let name = entry.file_name().into_string().unwrap_or_default();
                Ok((name, entry.file_type()?.is_file()))
            })
            .collect::<io::Result<Vec<_>>>()
    });
    let mut names = absent_is_none(listed)?.unwrap_or_default();
    names.retain(|(name, _)| !name.is_empty());
    names.sort_unstable();
    Ok(names)
}

/// Creates a file that is only ever appended to; it must not exist.
pub fn create_append(path: &Path) -> Result<File, FsError> {
    call(Op::Open, path, || {
        OpenOptions::new().append(true).create_new(true).open(path)
    })
}

/// Opens a file to append to it, creating it where needed.
pub fn open_append(path: &Path) -> Result<File, FsError> {
    call(Op::Open, path, || {
        OpenOptions::new().append(true).create(true).open(path)
    })
}

/// Opens a file to read and to write it, creating it where needed and leaving its bytes as they are.
pub fn open_read_write(path: &Path) -> Result<File, FsError> {
    call(Op::Open, path, || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
    })
}

/// Writes all bytes, in one system call where the system takes them in one.
pub fn write_all(mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    call(Op::Write, path, || {
        #[cfg(test)]
        fault::write_part(file, bytes)?;
        file.write_all(bytes)
    })
}

/// Cuts a file to `len` bytes.
pub fn cut(file: &File, path: &Path, len: u64) -> Result<(), FsError> {
    call(Op::Cut, path, || file.set_len(len))
}

/// Cuts the file of this name to `len` bytes and flushes it.
pub fn cut_durable(path: &Path, len: u64) -> Result<(), FsError> {
    let file = call(Op::Open, path, || OpenOptions::new().write(true).open(path))?;
    cut(&file, path, len)?;
    flush(&file, path)
}

/// Waits until a file's bytes and size are on the disk.
pub fn flush(file: &File, path: &Path) -> Result<(), FsError> {
    call(Op::Flush, path, || file.sync_data())
}

/// Waits until a folder's entries are on the disk.
pub fn flush_dir(dir: &Path) -> Result<(), FsError> {
    call(Op::Flush, dir, || File::open(dir)?.sync_all())
}

/// Renames, without waiting for the disk.
pub fn rename(from: &Path, to: &Path) -> Result<(), FsError> {
    call(Op::Rename, to, || fs::rename(from, to))
}

/// Removes a file; none is no error.
pub fn remove(path: &Path) -> Result<(), FsError> {
    absent_is_none(call(Op::Remove, path, || fs::remove_file(path))).map(|_| ())
}

/// Creates a folder and those above it, each flushed into the one that holds it.
pub fn create_dir_durable(dir: &Path) -> Result<(), FsError> {
    if metadata(dir)?.is_some_and(|found| found.is_dir()) {
        return Ok(());
    }
    let above = parent(dir);
    if above != dir {
        create_dir_durable(above)?;
    }
    match call(Op::CreateDir, dir, || fs::create_dir(dir)) {
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
        let file = call(Op::Open, &path, || {
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
    pub fn persist(mut self, dest: &Path, mode: Mode) -> Result<(), FsError> {
        if mode == Mode::ReadOnly {
            let read_only = fs::Permissions::from_mode(0o444);
            call(Op::SetMode, &self.path, || self.file.set_permissions(read_only))?;
        }
        call(Op::Flush, &self.path, || self.file.sync_all())?;
        rename(&self.path, dest)?;
        self.persisted = true;
        flush_dir(parent(dest))
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

/// The folder that holds `path`.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

fn absent_is_none<T>(result: Result<T, FsError>) -> Result<Option<T>, FsError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Faults put at the door by this module's and its neighbours' tests; each thread has its own.
#[cfg(test)]
pub(super) mod fault {
    use std::cell::Cell;
    use std::fs::File;
    use std::io::{self, Write};

    use super::Op;

    /// Which calls fail.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// The n-th call from now, and only that one.
        Once(u32),
        /// The n-th call from now and all after it: the process died there.
        From(u32),
        /// The next write stops half way, as on a full disk, and `cut` calls fail too if `uncut`.
        FullDisk { uncut: bool },
    }

    thread_local! {
        static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }

    /// Runs `body` under a fault; gives what it gave and how many calls it made.
    pub(crate) fn with<T>(fault: Option<Fault>, body: impl FnOnce() -> T) -> (T, u32) {
        FAULT.set(fault);
        CALLS.set(0);
        let result = body();
        FAULT.set(None);
        (result, CALLS.get())
    }

    fn full() -> io::Error {
        io::Error::from(rustix::io::Errno::NOSPC)
    }

    pub(super) fn pass(op: Op) -> io::Result<()> {
        let number = CALLS.get();
        CALLS.set(number + 1);
        match FAULT.get() {
            Some(Fault::Once(n)) if n == number && op != Op::Write => Err(full()),
            Some(Fault::From(n)) if n < number || (n == number && op != Op::Write) => Err(full()),
            Some(Fault::FullDisk { uncut: true }) if op == Op::Cut => Err(full()),
            _ => Ok(()),
        }
    }

    /// A write that fails leaves its first half behind, the worst of what a system may do.
    pub(super) fn write_part(mut file: &File, bytes: &[u8]) -> io::Result<()> {
        let number = CALLS.get() - 1;
        let fails = match FAULT.get() {
            Some(Fault::Once(n) | Fault::From(n)) => n == number,
            Some(Fault::FullDisk { .. }) => true,
            None => false,
        };
        if !fails {
            return Ok(());
        }
        file.write_all(&bytes[..bytes.len() / 2])?;
        Err(full())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::fault::Fault;
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
