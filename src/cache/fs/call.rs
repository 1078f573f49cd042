//! One function a system call.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};

use super::super::seen::Seen;
use super::door::{FsError, Op, pass};

/// Opens for reading; `None` where there is no such file.
pub fn open(path: &Path) -> Result<Option<File>, FsError> {
    absent_is_none(pass(Op::Open, path, || File::open(path)))
}

/// The whole file; `None` where there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FsError> {
    let Some(mut file) = open(path)? else {
        return Ok(None);
    };
    pass(Op::Read, path, || {
        let len = file.metadata()?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    })
    .map(Some)
}

/// Reads some bytes of an open file; 0 at its end.
pub fn read_some(file: &mut File, path: &Path, buffer: &mut [u8]) -> Result<usize, FsError> {
    pass(Op::Read, path, || {
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
    absent_is_none(pass(Op::Read, path, || fs::metadata(path)))
}

/// What the path leads to looks like; `None` where there is nothing.
pub fn seen(path: &Path) -> Result<Option<Seen>, FsError> {
    Ok(metadata(path)?.map(|found| Seen::of(&found)))
}

/// An open folder, for looking at many files in it.
#[derive(Debug)]
pub struct Folder {
    open: File,
    path: PathBuf,
}

impl Folder {
    /// Opens it; `None` where there is none.
    pub fn open(path: &Path) -> Result<Option<Folder>, FsError> {
        let path = path.to_path_buf();
        Ok(open(&path)?.map(|open| Folder { open, path }))
    }

    /// A folder in it; `None` where there is none.
    pub fn folder(&self, name: &CStr) -> Result<Option<Folder>, FsError> {
        let path = self.path.join(OsStr::from_bytes(name.to_bytes()));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = pass(Op::Open, &path, || {
            Ok(openat(&self.open, name, flags, Mode::empty())?)
        });
        Ok(absent_is_none(opened)?.map(|open| Folder {
            open: open.into(),
            path,
        }))
    }

    /// What a name in it leads to looks like; `None` where there is nothing.
    pub fn seen(&self, name: &CStr) -> Result<Option<Seen>, FsError> {
        let found = pass(Op::Read, &self.path, || {
            Ok(statat(&self.open, name, AtFlags::empty())?)
        });
        Ok(absent_is_none(found)?.map(|found| Seen::of_stat(&found)))
    }
}

/// The names in a folder, sorted, with whether each is a plain file; empty where there is no such folder.
pub fn list(dir: &Path) -> Result<Vec<(String, bool)>, FsError> {
    let listed = pass(Op::List, dir, || {
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

/// Creates a folder and those above it, without waiting for the disk; one that is there already is no error.
pub fn create_dir(dir: &Path) -> Result<(), FsError> {
    pass(Op::CreateDir, dir, || fs::create_dir_all(dir))
}

/// Writes a file in place, without waiting for the disk: for files that nobody else reads yet.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let file = pass(Op::Open, path, || File::create(path))?;
    write_all(&file, path, bytes)
}

/// Creates a file that is only ever appended to; it must not exist.
pub fn create_append(path: &Path) -> Result<File, FsError> {
    pass(Op::Open, path, || {
        OpenOptions::new().append(true).create_new(true).open(path)
    })
}

/// Opens a file to append to it, creating it where needed.
pub fn open_append(path: &Path) -> Result<File, FsError> {
    pass(Op::Open, path, || {
        OpenOptions::new().append(true).create(true).open(path)
    })
}

/// Opens a file to read and to write it, creating it where needed and leaving its bytes as they are.
pub fn open_read_write(path: &Path) -> Result<File, FsError> {
    pass(Op::Open, path, || {
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
    pass(Op::Write, path, || {
        #[cfg(test)]
        super::fault::write_part(file, bytes)?;
        file.write_all(bytes)
    })
}

/// Cuts a file to `len` bytes.
pub fn cut(file: &File, path: &Path, len: u64) -> Result<(), FsError> {
    pass(Op::Cut, path, || file.set_len(len))
}

/// Cuts the file of this name to `len` bytes and flushes it.
pub fn cut_durable(path: &Path, len: u64) -> Result<(), FsError> {
    let file = pass(Op::Open, path, || OpenOptions::new().write(true).open(path))?;
    cut(&file, path, len)?;
    flush(&file, path)
}

/// Waits until a file's bytes and size are on the disk.
pub fn flush(file: &File, path: &Path) -> Result<(), FsError> {
    pass(Op::Flush, path, || file.sync_data())
}

/// Waits until a folder's entries are on the disk.
pub fn flush_dir(dir: &Path) -> Result<(), FsError> {
    pass(Op::Flush, dir, || File::open(dir)?.sync_all())
}

/// Renames, without waiting for the disk.
pub fn rename(from: &Path, to: &Path) -> Result<(), FsError> {
    pass(Op::Rename, to, || fs::rename(from, to))
}

/// Removes a file; none is no error.
pub fn remove(path: &Path) -> Result<(), FsError> {
    absent_is_none(pass(Op::Remove, path, || fs::remove_file(path))).map(|_| ())
}

/// Removes a folder with all that is in it, following no link; none is no error.
pub fn remove_tree(dir: &Path) -> Result<(), FsError> {
    absent_is_none(pass(Op::Remove, dir, || fs::remove_dir_all(dir))).map(|_| ())
}

fn absent_is_none<T>(result: Result<T, FsError>) -> Result<Option<T>, FsError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
