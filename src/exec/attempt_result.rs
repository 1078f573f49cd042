//! What an attempt leaves: `result.json`, renamed into place before anything else is told of it. Should this program be
//! killed before the cache has the result, the next build adopts it from here. None of it waits for the disk: a loss of
//! power may take what the cache does not have yet, and leave torn files, which are no results.

use std::path::{Path, PathBuf};

use super::run::Attempt;
use crate::cache::{FsError, Record, RunDir, RunId, Source, Store, StoreError, fs};
use crate::config::recipe::RESULT_FILE;

const RESULT: &str = "result.json";

/// The file in which a bench's output of this name lies until the cache has it.
fn file_of(output: &str) -> &'static str {
    match output {
        "client.json" => "client.json",
        _ => "trace.zst",
    }
}

/// Writes what a bench left, whether or not it will count; `output` is its [name](crate::graph::spec::Client::output).
/// Not what the client of a script wrote itself and what is kept as it is: that lies in the folder where it ran.
pub(super) fn write_output(folder: &Path, output: &str, bytes: &[u8]) -> Result<(), FsError> {
    fs::write_whole(&folder.join(file_of(output)), bytes)
}

/// Where a bench's output of this name lies, if it is there.
fn find_output(folder: &Path, output: &str) -> Result<Option<PathBuf>, FsError> {
    for path in [
        folder.join(file_of(output)),
        folder.join("work").join(RESULT_FILE),
    ] {
        if fs::metadata(&path)?.is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Writes what came of the attempt.
pub(super) fn write(folder: &Path, record: &Record) -> Result<(), FsError> {
    let json = serde_json::to_vec_pretty(record).expect("a record is plain data");
    fs::write_whole(&folder.join(RESULT), &json)
}

/// Removes the attempt's own copy of an output that the cache has.
pub(super) fn forget_output(folder: &Path, output: &str) -> Result<(), FsError> {
    fs::remove(&folder.join(file_of(output)))
}

/// Takes the finished attempts of a run that was killed into the cache: the records adopted.
///
/// Only what passed and is whole counts; the store checks the output against its digest.
pub fn adopt(store: &mut Store, run: &RunId) -> Result<Vec<Record>, StoreError> {
    let attempts = RunDir::of(store.dir(), run.clone()).attempts();
    let mut adopted = Vec::new();
    for (name, _) in fs::list(&attempts)? {
        let folder = attempts.join(name);
        let Some(json) = fs::read(&folder.join(RESULT))? else {
            continue;
        };
        let Ok(record) = serde_json::from_slice::<Record>(&json) else {
            continue;
        };
        let Some(output) = record.outputs.first() else {
            continue;
        };
        if !record.passed() || store.lookup(&record.key)?.is_some() {
            continue;
        }
        let Some(file) = find_output(&folder, &output.name)? else {
            continue;
        };
        match store.publish(&record, &[Source::File(&file)]) {
            Ok(_) => adopted.push(record),
            // Bytes that are not those of the record: the target is measured again.
            Err(StoreError::MissingBlob { .. } | StoreError::Inconsistent(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(adopted)
}

impl Attempt {
    /// Where the attempt's processes keep their temporary files: a short path, as sockets need.
    pub(super) fn temporary(&self, run: &Path) -> PathBuf {
        run.join(format!("t{}", self.number))
    }

    /// What cannot be removed goes with the run's folder.
    pub(super) fn remove_temporary(&self, run: &Path) {
        let temporary = self.temporary(run);
        // Most leave nothing in it, and then one call is enough.
        let _ = std::fs::remove_dir(&temporary).or_else(|_| std::fs::remove_dir_all(&temporary));
    }
}
