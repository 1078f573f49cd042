//! Appending to a segment of one's own.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::fs::{self, FsError};
use super::super::run::RunId;
use super::frame::{self, Layout};
use super::pack::Origin;
use super::reader::{LogError, SUFFIX};

/// Appends one run's records; its segment is created with the first of them.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    run: RunId,
    generation: u64,
    segment: Option<Open>,
}

/// A segment that ends with a whole frame at byte `good`.
#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    origin: Origin,
    good: u64,
    /// How many records it holds.
    records: u32,
}

/// Where a record was first written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// In which segment.
    pub origin: Origin,
    /// How many records the segment held before it.
    pub place: u32,
}

impl LogWriter {
    /// A writer for `run` that has read segments up to generation `seen`; touches nothing yet.
    pub fn new(dir: impl Into<PathBuf>, run: RunId, seen: u64) -> LogWriter {
        LogWriter {
            dir: dir.into(),
            run,
            generation: seen.saturating_add(1),
            segment: None,
        }
    }

    /// Goes on in a new segment, after those up to generation `seen`.
    pub fn follow(&mut self, seen: u64) {
        self.generation = self.generation.max(seen.saturating_add(1));
        self.segment = None;
    }

    /// Appends a payload; see [`LogWriter::append_all`].
    pub fn append(&mut self, payload: &[u8]) -> Result<Written, LogError> {
        let written = self.append_all(&[payload])?;
        Ok(written.into_iter().next().expect("one was appended"))
    }

    /// Appends payloads in one write, waits until they are on the disk, and tells where each is.
    ///
    /// After an error none of them counts as written and the log is readable: what was written is cut off, or, where
    /// even that fails, the next append goes to a new segment.
    pub fn append_all(&mut self, payloads: &[impl AsRef<[u8]>]) -> Result<Vec<Written>, LogError> {
        let mut bytes = Vec::new();
        for payload in payloads {
            let payload = payload.as_ref();
            bytes.extend(frame::frame(payload).ok_or(LogError::TooLong(payload.len()))?);
        }
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => self.create()?,
        };
        match segment.append(&bytes) {
            Ok(()) => {
                let written = payloads.iter().map(|_| segment.count()).collect();
                self.segment = Some(segment);
                Ok(written)
            }
            Err(error) => {
                if fs::cut(&segment.file, &segment.path, segment.good).is_ok() {
                    self.segment = Some(segment);
                } else {
                    // Later than what it follows, as its name does not tell which came first.
                    self.generation = self.generation.saturating_add(1);
                }
                Err(error.into())
            }
        }
    }

    fn create(&self) -> Result<Open, FsError> {
        fs::create_dir_durable(&self.dir)?;
        // The run's id tells people whose it is; the rest makes sure that copies of folders never meet in a name.
        let name = format!("{}.{:08x}{SUFFIX}", self.run, rand::random::<u32>());
        let path = self.dir.join(&name);
        let file = fs::create_append(&path)?;
        let header = frame::header(Layout::Records, self.generation);
        match begin(&file, &path, &header, &self.dir) {
            Ok(()) => Ok(Open {
                file,
                path,
                origin: Origin {
                    generation: self.generation,
                    segment: name,
                },
                good: header.len() as u64,
                records: 0,
            }),
            Err(error) => {
                // Left behind, it reads as an empty or a damaged segment: nothing is lost by either.
                let _ = fs::remove(&path);
                Err(error)
            }
        }
    }
}

fn begin(file: &File, path: &Path, header: &[u8], dir: &Path) -> Result<(), FsError> {
    fs::write_all(file, path, header)?;
    fs::flush(file, path)?;
    fs::flush_dir(dir)
}

impl Open {
    /// Appends whole frames.
    fn append(&mut self, bytes: &[u8]) -> Result<(), FsError> {
        fs::write_all(&self.file, &self.path, bytes)?;
        fs::flush(&self.file, &self.path)?;
        self.good += bytes.len() as u64;
        Ok(())
    }

    /// Counts the next of the records that were appended.
    fn count(&mut self) -> Written {
        let place = self.records;
        self.records += 1;
        Written {
            origin: self.origin.clone(),
            place,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::super::fs::fault::{self, Fault};
    use super::super::super::payload;
    use super::super::super::record::tests::example;
    use super::super::{Damaged, read_all};
    use super::*;

    fn writer(dir: &Path) -> LogWriter {
        let seen = read_all(dir)
            .unwrap()
            .0
            .iter()
            .map(|segment| segment.generation)
            .max()
            .unwrap_or(0);
        LogWriter::new(dir, "20261122T040412Z-0a1b2c".parse().unwrap(), seen)
    }

    fn payload(n: u64) -> Vec<u8> {
        payload::encode(&example("bench:x", n))
    }

    fn read(dir: &Path) -> (Vec<Vec<u8>>, Vec<Damaged>) {
        let (segments, damage) = read_all(dir).unwrap();
        let payloads = segments
            .iter()
            .flat_map(|s| s.payloads().map(<[u8]>::to_vec))
            .collect();
        (payloads, damage.into_iter().map(|damage| damage.reason).collect())
    }

    #[test]
    fn nothing_is_created_before_the_first_record() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut first = writer(&log);
        assert!(!log.exists());
        first.append(&payload(1)).unwrap();
        first.append(&payload(2)).unwrap();
        writer(&log).append(&payload(3)).unwrap();
        assert_eq!(read(&log), (vec![payload(1), payload(2), payload(3)], vec![]));
        assert_eq!(fs::list(&log).unwrap().len(), 2);
    }

    #[test]
    fn a_later_writer_comes_later_whatever_the_clocks_say() {
        let dir = tempfile::tempdir().unwrap();
        for (n, run) in ["20261122T040412Z-0a1b2c", "20010101T000000Z-0a1b2c"]
            .into_iter()
            .enumerate()
        {
            let seen = read_all(dir.path()).unwrap().0.len() as u64;
            LogWriter::new(dir.path(), run.parse().unwrap(), seen)
                .append(&payload(n as u64))
                .unwrap();
        }
        assert_eq!(read(dir.path()).0, [payload(0), payload(1)]);
    }

    #[test]
    fn nothing_is_glued_to_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        let mut dead = writer(dir.path());
        dead.append(&payload(1)).unwrap();
        dead.append(&payload(2)).unwrap();
        let path = dead.segment.unwrap().path;
        fs::cut_durable(&path, fs::metadata(&path).unwrap().unwrap().len() - 3).unwrap();
        writer(dir.path()).append(&payload(3)).unwrap();
        assert_eq!(
            read(dir.path()),
            (vec![payload(1), payload(3)], vec![Damaged::Torn])
        );
    }

    #[test]
    fn on_a_full_disk_the_log_stays_readable() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path());
        log.append(&payload(1)).unwrap();
        let full = Some(Fault::FullDisk { uncut: false });
        let (failed, _) = fault::with(full, || log.append(&payload(2)));
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .ends_with(": No space left on device")
        );
        assert_eq!(read(dir.path()), (vec![payload(1)], vec![]));
        log.append(&payload(3)).unwrap();

        let uncut = Some(Fault::FullDisk { uncut: true });
        let (failed, _) = fault::with(uncut, || log.append(&payload(4)));
        assert!(failed.is_err());
        log.append(&payload(5)).unwrap();
        assert_eq!(
            read(dir.path()),
            (vec![payload(1), payload(3), payload(5)], vec![Damaged::Torn])
        );
        assert_eq!(
            fs::list(dir.path()).unwrap().len(),
            2,
            "the torn segment was abandoned"
        );
    }

    #[test]
    fn what_is_appended_together_counts_together() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = writer(dir.path());
        log.append(&payload(1)).unwrap();
        let group = [2, 3, 4].map(payload);
        let full = Some(Fault::FullDisk { uncut: false });
        let (failed, _) = fault::with(full, || log.append_all(&group));
        assert!(failed.is_err());
        assert_eq!(
            read(dir.path()),
            (vec![payload(1)], vec![]),
            "half of it is none of it"
        );
        let written = log.append_all(&group).unwrap();
        let places: Vec<u32> = written.iter().map(|written| written.place).collect();
        assert_eq!(places, [1, 2, 3]);
        assert_eq!(log.append(&payload(5)).unwrap().place, 4);
        assert_eq!(read(dir.path()), ([1, 2, 3, 4, 5].map(payload).to_vec(), vec![]));
    }

    #[test]
    fn a_failure_at_any_call_loses_nothing_that_was_kept() {
        let (_, calls) = {
            let dir = tempfile::tempdir().unwrap();
            fault::with(None, || writer(dir.path()).append(&payload(1)).unwrap())
        };
        for n in 0..calls + 2 {
            let dir = tempfile::tempdir().unwrap();
            let mut log = writer(dir.path());
            let mut kept = Vec::new();
            fault::with(Some(Fault::Once(n)), || {
                kept.extend((0..3).filter(|record| log.append(&payload(*record)).is_ok()));
            });
            assert!(kept.len() >= 2, "one fault costs one record at most");
            let kept: Vec<_> = kept.into_iter().map(payload).collect();
            assert_eq!(read(dir.path()).0, kept, "call {n}");
        }
    }
}
