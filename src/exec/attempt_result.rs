//! What an attempt leaves: `result.json`, renamed into place before anything else is told of it. Should this program be
//! killed before the cache has the result, the next build adopts it from here.

use std::path::Path;

use super::run::Attempt;
use crate::cache::{FsError, Record, RunDir, RunId, Source, Store, StoreError, fs};

const RESULT: &str = "result.json";

/// The file in which a bench's output of this name lies until the cache has it.
fn file_of(output: &str) -> &'static str {
    match output {
        "client.json" => "client.json",
        _ => "trace.zst",
    }
}

/// Writes what a bench left, whether or not it will count; `output` is its [name](crate::graph::spec::Client::output).
pub(super) fn write_output(folder: &Path, output: &str, bytes: &[u8]) -> Result<(), FsError> {
    fs::write_atomic(&folder.join(file_of(output)), bytes)
}

/// Writes what came of the attempt.
pub(super) fn write(folder: &Path, record: &Record) -> Result<(), FsError> {
    let json = serde_json::to_vec_pretty(record).expect("a record is plain data");
    fs::write_atomic(&folder.join(RESULT), &json)
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
        let file = folder.join(file_of(&output.name));
        if !record.passed() || store.lookup(&record.key)?.is_some() || fs::metadata(&file)?.is_none() {
            continue;
        }
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
    pub(super) fn temporary(&self, run: &Path) -> std::path::PathBuf {
        run.join(format!("t{}", self.number))
    }
}
