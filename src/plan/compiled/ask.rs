//! Asking a kept plan: is all that its answer rests on as it was?

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::super::Policy;
use super::format::{Compiled, Watch, Watched};
use super::{Answer, Question};
use crate::cache::cas::Cas;
use crate::cache::fs::{self, Folder, FsError};
use crate::cache::host::cpu_model;
use crate::cache::{Digest, Seen};

/// An answer that still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    pub answer: Answer,
    /// How many files and folders were looked at: what users wrote, the log and the results.
    pub inputs: usize,
    /// How many blobs were looked at.
    pub outputs: usize,
}

/// The kept answer to a question, if it holds under this policy. Whatever is wrong with it, `None`.
pub fn ask(question: &Question, policy: &Policy) -> Option<Hit> {
    let bytes = fs::read(&question.path()).ok()??;
    let compiled = Compiled::read(&bytes, &question.digest)?;
    let answer = Answer::from_bytes(compiled.answer)?;
    let too_old = policy.too_old(answer.oldest_unix_ms).is_some();
    if policy.rerun || too_old || !holds(&compiled, question).unwrap_or(false) {
        return None;
    }
    Some(Hit {
        inputs: compiled.watched_count(),
        outputs: compiled.blobs().len(),
        answer,
    })
}

fn holds(compiled: &Compiled<'_>, question: &Question) -> Result<bool, FsError> {
    changes(compiled, question, |_| Change::Unusual)
}

/// What to make of a path that is not as it was.
pub(super) enum Change {
    /// The answer rests on what is there now in the place of what was.
    Usual,
    /// There is no answer.
    Unusual,
}

/// Whether nothing that a plan rests on changed but what `judge` takes for usual: it is asked of each path whose text has
/// other bytes.
pub(super) fn changes(
    compiled: &Compiled<'_>,
    question: &Question,
    mut judge: impl FnMut(&CStr) -> Change,
) -> Result<bool, FsError> {
    if !compiled.processor.is_empty() && compiled.processor != cpu_model() {
        return Ok(false);
    }
    let Some(root) = Folder::open(&question.root)? else {
        return Ok(false);
    };
    for Watched { path, watch } in compiled.watched() {
        if !is_as_it_was(question, &root, path, watch)?
            && (!matches!(watch, Watch::Text(..)) || matches!(judge(path), Change::Unusual))
        {
            return Ok(false);
        }
    }
    let cas = Cas::read_only(question.cache().join("cas"));
    let Some(mut blobs) = cas.looking(compiled.blobs().len())? else {
        return Ok(false);
    };
    for (digest, seen) in compiled.blobs() {
        if blobs.seen(&digest)? != Some(seen) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_as_it_was(question: &Question, root: &Folder, path: &CStr, watch: Watch) -> Result<bool, FsError> {
    let full = || question.root.join(OsStr::from_bytes(path.to_bytes()));
    let found = root.seen(path)?;
    Ok(match watch {
        Watch::Looks(seen) => found == Some(seen),
        Watch::Text(seen, digest) => found == Some(seen) || text_digest(&full())? == Some(digest),
        Watch::Names(seen, digest) => found == Some(seen) || names_digest(&full())? == Some(digest),
        Watch::File => fs::metadata(&full())?.is_some_and(|found| found.is_file()),
        Watch::Nothing => found.is_none(),
    })
}

/// The digest of a plain file's bytes.
fn text_digest(path: &Path) -> Result<Option<Digest>, FsError> {
    // A pipe would keep us waiting, a device might never end.
    if !fs::metadata(path)?.is_some_and(|found| found.is_file()) {
        return Ok(None);
    }
    Ok(fs::read(path)?.map(|bytes| Digest::of(&bytes)))
}

/// The digest of the names in a folder.
fn names_digest(path: &Path) -> Result<Option<Digest>, FsError> {
    if fs::seen(path)?.is_none() {
        return Ok(None);
    }
    let names = fs::list(path)?;
    Ok(Some(digest_of_names(names.iter().map(|(name, _)| name.as_str()))))
}

/// One digest of names in their order; no name holds a slash.
pub(super) fn digest_of_names<'a>(names: impl Iterator<Item = &'a str>) -> Digest {
    let joined: Vec<&str> = names.collect();
    Digest::of(joined.join("/").as_bytes())
}

/// What does not look the same at all times: never equal to what the file system tells.
pub(super) const UNSETTLED: Seen = Seen {
    dev: u64::MAX,
    ino: u64::MAX,
    size: u64::MAX,
    mtime_ns: i64::MIN,
    ctime_ns: i64::MIN,
};
