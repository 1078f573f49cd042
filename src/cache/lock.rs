//! The lock of a cache folder: held while building, and it says by whom.
//!
//! It is the kernel's lock on an open file (`flock`), gone with the process however that ends, so a lock is never
//! stale and there is nothing to unlock by hand. The file itself stays. Reading commands take no lock.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::fs::{self, FsError, Op};

/// Who holds the lock, as the holder wrote it; what a crash left unwritten is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its process, on its host.
    pub pid: Option<u32>,
    /// Its host.
    pub host: Option<String>,
    /// When it took the lock, by its clock, as text for people.
    pub since: Option<String>,
    /// Its command line.
    pub command: Option<String>,
}

impl Holder {
    /// This process, as it was started.
    pub fn this_process() -> Holder {
        let arguments: Vec<_> = std::env::args_os()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second());
        Holder {
            pid: Some(std::process::id()),
            host: Some(super::host::host_name()),
            since: now.ok().map(|now| now.to_string()),
            command: Some(shell_words::join(arguments)),
        }
    }

    /// One `word value` a line; the command is last because it may hold line breaks.
    fn to_text(&self) -> String {
        let mut text = String::new();
        let pid = self.pid.map(|pid| pid.to_string());
        let lines = [
            ("pid", &pid),
            ("host", &self.host),
            ("since", &self.since),
            ("command", &self.command),
        ];
        for (word, value) in lines {
            if let Some(value) = value {
                text.push_str(&format!("{word} {value}\n"));
            }
        }
        text
    }

    fn parse(text: &str) -> Holder {
        let mut holder = Holder::default();
        let mut rest = text;
        while let Some((word, after)) = rest.split_once(' ') {
            if word == "command" {
                holder.command = Some(after.trim_end().to_owned());
                break;
            }
            let Some((value, next)) = after.split_once('\n') else {
                break;
            };
            match word {
                "pid" => holder.pid = value.parse().ok(),
                "host" => holder.host = Some(value.to_owned()),
                "since" => holder.since = Some(value.to_owned()),
                _ => {}
            }
            rest = next;
        }
        holder
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("another process")?,
        }
        if let Some(host) = &self.host {
            write!(f, " on {host}")?;
        }
        if let Some(since) = &self.since {
            write!(f, " since {since}")?;
        }
        if let Some(command) = &self.command {
            write!(f, " (`{command}`)")?;
        }
        Ok(())
    }
}

/// What to do while another holds the lock.
pub enum Wait<'a> {
    /// Wait for it, once the holder has been told to the callback. A signal that ends the process ends the wait;
    /// one with a handler of its own does not.
    Block(&'a mut dyn FnMut(&Holder)),
    /// Give up at once.
    No,
}

/// Why the lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process builds here.
    #[error("another build uses this cache folder: {0}; wait for it, or choose another cache folder")]
    Held(Holder),
    /// The file system has no locks.
    #[error(
        "the file system of `{}` refuses locks ({cause}): put the cache folder on a local disk, and move results \
         with an archive or a remote cache",
        path.display()
    )]
    Unsupported {
        /// The lock file.
        path: PathBuf,
        /// What the system answered.
        cause: io::Error,
    },
    /// Another file-system call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// The lock, until it is dropped.
#[derive(Debug)]
pub struct LockGuard {
    file: File,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        // Between our end and the next holder's first word nobody is named. The kernel unlocks as the file closes.
        let _ = self.file.set_len(0);
    }
}

/// Takes the lock of the cache folder `dir`, creating both where needed, and writes who holds it.
pub fn acquire(dir: &Path, wait: Wait<'_>, me: &Holder) -> Result<LockGuard, LockError> {
    fs::create_dir_durable(dir)?;
    let path = dir.join("lock");
    let mut wait = wait;
    loop {
        let mut file = fs::open_read_write(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read_holder(&mut file);
                let Wait::Block(on_wait) = &mut wait else {
                    return Err(LockError::Held(holder));
                };
                on_wait(&holder);
                lock(&file).map_err(|cause| refused(&path, cause))?;
            }
            Err(TryLockError::Error(cause)) => return Err(refused(&path, cause)),
        }
        // Somebody may have removed the whole folder while we waited: then this lock guards nothing.
        if is_at(&file, &path)? {
            fs::cut(&file, &path, 0)?;
            fs::write_all(&file, &path, me.to_text().as_bytes())?;
            return Ok(LockGuard { file });
        }
        fs::create_dir_durable(dir)?;
    }
}

fn lock(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn refused(path: &Path, cause: io::Error) -> LockError {
    use rustix::io::Errno;
    let unsupported = [Errno::NOSYS, Errno::NOTSUP, Errno::NOLCK, Errno::INVAL].map(Errno::raw_os_error);
    let path = path.to_owned();
    match cause.raw_os_error() {
        Some(code) if unsupported.contains(&code) => LockError::Unsupported { path, cause },
        _ if cause.kind() == io::ErrorKind::Unsupported => LockError::Unsupported { path, cause },
        _ => LockError::Fs(FsError {
            op: Op::Lock,
            path,
            cause,
        }),
    }
}

fn read_holder(file: &mut File) -> Holder {
    let mut bytes = Vec::new();
    // It is only told to people: what cannot be read is unknown.
    let _ = file
        .rewind()
        .and_then(|()| file.take(64 * 1024).read_to_end(&mut bytes));
    Holder::parse(&String::from_utf8_lossy(&bytes))
}

fn is_at(file: &File, path: &Path) -> Result<bool, FsError> {
    let held = file.metadata().map_err(|cause| FsError {
        op: Op::Read,
        path: path.to_owned(),
        cause,
    })?;
    Ok(fs::metadata(path)?.is_some_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino())))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::mpsc;

    use proptest::prelude::*;

    use super::*;

    fn me(command: &str) -> Holder {
        Holder {
            pid: Some(42),
            host: Some("node1".into()),
            since: Some("2026-11-22T04:04:12Z".into()),
            command: Some(command.into()),
        }
    }

    #[test]
    fn the_second_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let guard = acquire(dir.path(), Wait::No, &me("sweep build 'dsr1-*'")).unwrap();
        let refused = acquire(dir.path(), Wait::No, &me("sweep build")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "another build uses this cache folder: process 42 on node1 since 2026-11-22T04:04:12Z \
             (`sweep build 'dsr1-*'`); wait for it, or choose another cache folder"
        );
        drop(guard);
        assert!(dir.path().join("lock").exists());
        acquire(dir.path(), Wait::No, &me("sweep build")).unwrap();
    }

    #[test]
    fn a_waiter_gets_it_when_the_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let guard = acquire(dir.path(), Wait::No, &me("first")).unwrap();
        let (told, holder) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut on_wait = |holder: &Holder| told.send(holder.clone()).unwrap();
                acquire(dir.path(), Wait::Block(&mut on_wait), &me("second")).unwrap();
            });
            assert_eq!(holder.recv().unwrap(), me("first"));
            drop(guard);
        });
    }

    #[test]
    fn a_lock_in_a_removed_folder_is_taken_anew() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join(".cache");
        let guard = acquire(&cache, Wait::No, &me("first")).unwrap();
        std::thread::scope(|scope| {
            let (told, waits) = mpsc::channel();
            let cache = &cache;
            let waiter = scope.spawn(move || {
                let mut on_wait = |_: &Holder| told.send(()).unwrap();
                acquire(cache, Wait::Block(&mut on_wait), &me("second")).unwrap()
            });
            waits.recv().unwrap();
            std::fs::remove_dir_all(cache).unwrap();
            drop(guard);
            let second = waiter.join().unwrap();
            assert!(matches!(
                acquire(cache, Wait::No, &me("third")),
                Err(LockError::Held(_))
            ));
            drop(second);
        });
    }

    #[test]
    fn a_file_system_without_locks_is_named_as_such() {
        let cause = io::Error::from(rustix::io::Errno::NOLCK);
        assert!(matches!(
            refused(Path::new("lock"), cause),
            LockError::Unsupported { .. }
        ));
        let cause = io::Error::from(rustix::io::Errno::IO);
        assert!(matches!(refused(Path::new("lock"), cause), LockError::Fs(_)));
    }

    #[test]
    fn this_process_names_itself() {
        let holder = Holder::this_process();
        assert_eq!(holder.pid, Some(std::process::id()));
        assert_eq!(Holder::parse(&holder.to_text()), holder);
        assert_eq!(Holder::parse("").to_string(), "another process");
    }

    proptest! {
        #[test]
        fn any_text_is_a_holder(text in "\\PC*|(pid|host|command)[ \n]\\PC*") {
            let _ = Holder::parse(&text);
        }
    }
}
