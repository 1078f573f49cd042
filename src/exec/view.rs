//! `results/<sweep>/`: what a person or a later step reads. Made anew from the cache by every build; a file is written
//! only when its text differs.

use std::path::{Path, PathBuf};

use crate::cache::{FsError, fs};
use crate::results::{Absent, Collection, Nature, export_name, summary};

/// What was written, or was there already.
#[derive(Debug)]
pub struct View {
    /// `agg_bmk.json`, one file for measured rows and one for simulated ones.
    pub collections: Vec<PathBuf>,
    /// Of a nature that has no rows, whose file is not there.
    pub absent: Vec<PathBuf>,
    pub summary: PathBuf,
    pub summary_text: String,
}

/// The name of the collection's file before its nature is put in.
const COLLECTION: &str = "agg_bmk.json";

/// Brings the folder in line with the collection.
pub(super) fn write(
    folder: &Path,
    title: &str,
    collection: &Collection,
    absent: &[Absent],
) -> Result<View, FsError> {
    fs::create_dir_durable(folder)?;
    let exports = collection.exports();
    let (mut collections, mut without_rows) = (Vec::new(), Vec::new());
    for nature in [Nature::Measured, Nature::Simulated] {
        let name = export_name(COLLECTION, nature);
        let path = folder.join(&name);
        match exports.iter().find(|export| export.name == name) {
            Some(export) => {
                write_if_changed(&path, export.text.as_bytes())?;
                collections.push(path);
            }
            // What an earlier build left would pass for this one's.
            None => {
                if fs::metadata(&path)?.is_some() {
                    fs::remove(&path)?;
                }
                without_rows.push(path);
            }
        }
    }
    let summary_text = summary(title, collection, absent);
    let summary = folder.join("summary.md");
    write_if_changed(&summary, summary_text.as_bytes())?;
    Ok(View {
        collections,
        absent: without_rows,
        summary,
        summary_text,
    })
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    match fs::read(path)? {
        Some(there) if there == bytes => Ok(()),
        _ => fs::write_atomic(path, bytes),
    }
}
