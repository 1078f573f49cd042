//! A run's folder: its attempts, and a journal of what it owns, so that the next run can end what a crash left.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::fs::{self, FsError};

/// The journal of a run that is going on, or that was cut off.
const JOURNAL: &str = "owned.jsonl";

/// What the journal is renamed to at the end: nothing in it is owned any more.
const ENDED: &str = "owned-ended.jsonl";

/// The name of a run: when it started (UTC) and six digits, `20261122T040412Z-0a1b2c`. The digits begin with the
/// millisecond and end with chance, so that the names of a host's runs sort by time, also within a second.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RunId(String);

/// What stands in for a run id that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a run id: expected one like `20261122T040412Z-0a1b2c`")]
pub struct NotARunId(String);

impl RunId {
    /// The id of a run that starts at `now`, with the lower 14 bits of `random`.
    pub fn new(now: Timestamp, random: u32) -> RunId {
        // 0 to 999, in the upper 10 of 24 bits.
        let millisecond = now.as_millisecond().rem_euclid(1000);
        RunId(format!(
            "{}-{:06x}",
            now.strftime("%Y%m%dT%H%M%SZ"),
            (millisecond << 14) | i64::from(random & 0x3fff)
        ))
    }

    /// The id of a run that starts now.
    pub fn generate() -> RunId {
        RunId::new(Timestamp::now(), rand::random())
    }

    /// When the run started, by its host's clock.
    pub fn started(&self) -> Option<Timestamp> {
        let (time, _) = self.0.split_once('-')?;
        let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for RunId {
    type Err = NotARunId;

    fn from_str(text: &str) -> Result<RunId, NotARunId> {
        // It is a file name, so nothing but this shape may pass.
        let shape = b"00000000T000000Z-xxxxxx";
        let fits = text.len() == shape.len()
            && text.bytes().zip(shape).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'x' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                _ => byte == *shape,
            });
        if fits {
            Ok(RunId(text.to_owned()))
        } else {
            Err(NotARunId(text.to_owned()))
        }
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.0
    }
}

impl TryFrom<String> for RunId {
    type Error = NotARunId;

    fn try_from(text: String) -> Result<RunId, NotARunId> {
        text.parse()
    }
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry<T> {
    Owns(T),
    Released(T),
}

/// A run's folder, `runs/<id>/`.
#[derive(Debug)]
pub struct RunDir {
    id: RunId,
    path: PathBuf,
    journal: Option<File>,
}

impl RunDir {
    /// Creates the folder of a new run in the cache folder `cache`.
    pub fn create(cache: &Path, id: RunId) -> Result<RunDir, FsError> {
        let path = runs(cache).join(id.as_str());
        fs::create_dir_durable(&path.join("attempts"))?;
        Ok(RunDir {
            id,
            path,
            journal: None,
        })
    }

    /// The folder of an earlier run.
    pub fn of(cache: &Path, id: RunId) -> RunDir {
        let path = runs(cache).join(id.as_str());
        RunDir {
            id,
            path,
            journal: None,
        }
    }

    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where each attempt has a folder of its own.
    pub fn attempts(&self) -> PathBuf {
        self.path.join("attempts")
    }

    /// Writes down, before anything can go wrong with it, that the run owns `owned`: something that outlives it if
    /// nobody ends it. In the system's hands when it returns, and not on the disk: with the power goes what is owned.
    pub fn journal(&mut self, owned: &impl Serialize) -> Result<(), FsError> {
        self.append(&Entry::Owns(owned))
    }

    /// Writes down that `owned` has been seen to be gone.
    pub fn release(&mut self, owned: &impl Serialize) -> Result<(), FsError> {
        self.append(&Entry::Released(owned))
    }

    /// Writes down that the run owns nothing any more: it ended, or another has ended what it left.
    pub fn mark_ended(&mut self) -> Result<(), FsError> {
        self.journal = None;
        let journal = self.path.join(JOURNAL);
        if fs::metadata(&journal)?.is_some() {
            fs::rename(&journal, &self.path.join(ENDED))?;
            fs::flush_dir(&self.path)?;
        }
        Ok(())
    }

    fn append(&mut self, entry: &Entry<impl Serialize>) -> Result<(), FsError> {
        let path = self.path.join(JOURNAL);
        let file = match self.journal.take() {
            Some(file) => file,
            None => fs::open_append(&path)?,
        };
        // The line break comes first: what a failed write left before it stays a line of its own.
        let line = serde_json::to_string(entry).expect("names and numbers are always JSON");
        fs::write_all(&file, &path, format!("\n{line}").as_bytes())?;
        self.journal = Some(file);
        Ok(())
    }
}

/// What runs that never ended still own, in the order of their ids. To be asked for under the lock: without it the
/// run that is going on looks like one that was cut off.
///
/// Once all of a run's is gone, say so with [`RunDir::of`] and [`RunDir::mark_ended`].
pub fn leftovers<T: DeserializeOwned + PartialEq>(cache: &Path) -> Result<Vec<(RunId, T)>, FsError> {
    let mut left = Vec::new();
    for id in cut_off(cache)? {
        let Some(bytes) = fs::read(&runs(cache).join(id.as_str()).join(JOURNAL))? else {
            continue;
        };
        left.extend(
            still_owned::<T>(&bytes)
                .into_iter()
                .map(|owned| (id.clone(), owned)),
        );
    }
    Ok(left)
}

/// Runs that never ended, in the order of their ids, whether or not they still own something: what they had finished may
/// not be in the cache yet. To be asked for under the lock, as [`leftovers`].
pub fn cut_off(cache: &Path) -> Result<Vec<RunId>, FsError> {
    let mut cut_off = Vec::new();
    for (name, _) in fs::list(&runs(cache))? {
        let Ok(id) = name.parse::<RunId>() else { continue };
        if is_open(cache, &id)? {
            cut_off.push(id);
        }
    }
    Ok(cut_off)
}

/// Whether the run goes on or was cut off, so that what it owned is still to be ended.
pub(super) fn is_open(cache: &Path, id: &RunId) -> Result<bool, FsError> {
    Ok(fs::metadata(&runs(cache).join(id.as_str()).join(JOURNAL))?.is_some())
}

/// What a journal's bytes say is owned. A line cut short, or of a kind that a later sweep owns, is passed over.
fn still_owned<T: DeserializeOwned + PartialEq>(journal: &[u8]) -> Vec<T> {
    let mut owned = Vec::new();
    for line in journal.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Entry::Owns(one)) => owned.push(one),
            Ok(Entry::Released(one)) => owned.retain(|other| *other != one),
            Err(_) => {}
        }
    }
    owned
}

fn runs(cache: &Path) -> PathBuf {
    cache.join("runs")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::super::fs::fault::{self, Fault};
    use super::*;

    fn id(n: u32) -> RunId {
        RunId::new(Timestamp::from_millisecond(1_795_320_252_040).unwrap(), n)
    }

    #[test]
    fn an_id_tells_when_and_stays_within_its_folder() {
        assert_eq!(id(0xffff_1b2c).as_str(), "20261122T040412Z-0a1b2c");
        assert!(RunId::generate().as_str().parse::<RunId>().is_ok());
        for wrong in [
            "",
            "../../../../etc/passwd",
            "20261122T040412Z-0A1B2C",
            "20261122T040412Z-0a1b2c/",
        ] {
            assert!(wrong.parse::<RunId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_is_read_back_to_the_second() {
        let started = Timestamp::from_second(1_795_320_252).unwrap();
        assert_eq!(id(7).started(), Some(started));
        assert_eq!(
            "20269922T040412Z-0a1b2c".parse::<RunId>().unwrap().started(),
            None
        );
    }

    #[test]
    fn only_what_a_run_left_is_left_over() {
        let cache = tempfile::tempdir().unwrap();
        assert!(leftovers::<u32>(cache.path()).unwrap().is_empty());
        let mut ended = RunDir::create(cache.path(), id(1)).unwrap();
        ended.journal(&10).unwrap();
        ended.mark_ended().unwrap();
        let mut killed = RunDir::create(cache.path(), id(2)).unwrap();
        assert!(killed.attempts().is_dir());
        for n in [20, 21, 22] {
            killed.journal(&n).unwrap();
        }
        killed.release(&21).unwrap();
        drop(killed);
        RunDir::create(cache.path(), id(3)).unwrap().mark_ended().unwrap();
        assert_eq!(
            leftovers::<u32>(cache.path()).unwrap(),
            [(id(2), 20), (id(2), 22)]
        );
        assert_eq!(cut_off(cache.path()).unwrap(), [id(2)]);
        for n in [20, 22] {
            RunDir::of(cache.path(), id(2)).release(&n).unwrap();
        }
        assert!(leftovers::<u32>(cache.path()).unwrap().is_empty());
        assert_eq!(cut_off(cache.path()).unwrap(), [id(2)]);
        RunDir::of(cache.path(), id(2)).mark_ended().unwrap();
        assert!(cut_off(cache.path()).unwrap().is_empty());
        assert!(leftovers::<u32>(cache.path()).unwrap().is_empty());
    }

    #[test]
    fn a_half_written_line_hides_no_other() {
        let cache = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(cache.path(), id(1)).unwrap();
        run.journal(&1).unwrap();
        let (failed, _) = fault::with(Some(Fault::FullDisk { uncut: false }), || run.journal(&2));
        assert!(failed.is_err());
        run.journal(&3).unwrap();
        assert_eq!(leftovers::<u32>(cache.path()).unwrap(), [(id(1), 1), (id(1), 3)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_journal(bytes: Vec<u8>) {
            let _ = still_owned::<u32>(&bytes);
        }

        #[test]
        fn ids_come_back_and_sort_by_time(first in 0..4_000_000_000_000_i64, later in 1..5000_i64, random: (u32, u32)) {
            let id = |ms, random| RunId::new(Timestamp::from_millisecond(ms).unwrap(), random);
            let (first, later) = (id(first, random.0), id(first + later, random.1));
            prop_assert_eq!(first.as_str().parse::<RunId>(), Ok(first.clone()));
            prop_assert!(first < later);
        }
    }
}
