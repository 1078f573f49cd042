//! Reading every segment, each once, in an order that does not depend on the machine.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::super::fs::{self, FsError};
use super::super::payload::{Head, PayloadError};
use super::frame::{self, Damaged, FORMAT, Newer};

/// How the names of segments end.
pub(super) const SUFFIX: &str = ".log";

/// A segment in memory.
#[derive(Debug)]
pub struct Segment {
    /// The file's name.
    pub name: String,
    /// One more than that of every segment its writer had read: a later generation saw the earlier ones' records.
    pub generation: u64,
    bytes: Vec<u8>,
    payloads: Vec<Range<usize>>,
}

impl Segment {
    /// The payloads of its records in the order they were written; each has a sound [`Head`].
    pub fn payloads(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.payloads.iter().map(|range| &self.bytes[range.clone()])
    }

    /// The bytes and where the payloads lie in them.
    pub(in super::super) fn into_parts(self) -> (Vec<u8>, Vec<Range<usize>>) {
        (self.bytes, self.payloads)
    }
}

/// The part of a segment that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub segment: PathBuf,
    /// Where its last whole record ends, in bytes from its start.
    pub offset: u64,
    /// How many bytes are left out.
    pub lost: u64,
    /// What is wrong there.
    pub reason: Damaged,
}

impl Damage {
    /// Sets the bytes after the last whole record aside, in `<segment>.damaged`, then cuts them off.
    ///
    /// Only for the holder of the folder's lock: the segment's writer has ended.
    pub fn mend(&self) -> Result<(), FsError> {
        let Some(bytes) = fs::read(&self.segment)? else {
            return Ok(());
        };
        let lost = usize::try_from(self.offset)
            .ok()
            .and_then(|offset| bytes.get(offset..));
        let Some(lost) = lost else { return Ok(()) };
        fs::write_atomic(&self.segment.with_added_extension("damaged"), lost)?;
        fs::cut_durable(&self.segment, self.offset)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage {
            segment,
            offset,
            lost,
            reason,
        } = self;
        write!(
            f,
            "the last {lost} bytes of `{}` are ignored, from byte {offset}: {reason}",
            segment.display()
        )
    }
}

/// Why the log cannot be used.
#[derive(Debug, Error)]
pub enum LogError {
    /// A file-system call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A later sweep wrote here.
    #[error(
        "`{}` has format {found} and this sweep reads up to {FORMAT}: update sweep, or choose another cache folder",
        path.display()
    )]
    Newer {
        /// The segment's file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A record that does not fit into a frame.
    #[error("a record of {0} bytes is too long for the log (at most 4 GiB)")]
    TooLong(usize),
}

/// Reads all segments of a folder, ordered by generation and, where neither writer had seen the other's work, by
/// name, which begins with the time its run started. No folder, no segments.
///
/// Damage is told, not an error: only what the file system refuses and a later format are.
pub fn read_all(dir: &Path) -> Result<(Vec<Segment>, Vec<Damage>), LogError> {
    let mut segments = Vec::new();
    let mut damages = Vec::new();
    for (name, is_file) in fs::list(dir)? {
        if !is_file || !name.ends_with(SUFFIX) {
            continue;
        }
        let path = dir.join(&name);
        let Some(bytes) = fs::read(&path)? else { continue };
        let (segment, damage) = read(name, bytes, path)?;
        segments.push(segment);
        damages.extend(damage);
    }
    // The names are in order already and the sort is stable.
    segments.sort_by_key(|segment| segment.generation);
    Ok((segments, damages))
}

fn read(name: String, bytes: Vec<u8>, path: PathBuf) -> Result<(Segment, Option<Damage>), LogError> {
    let mut scan = match frame::scan(&bytes) {
        Ok(scan) => scan,
        Err(Newer(found)) => return Err(LogError::Newer { path, found }),
    };
    for (n, payload) in scan.payloads.iter().enumerate() {
        match Head::read(&bytes[payload.clone()]) {
            Ok(_) => {}
            Err(PayloadError::Newer { found }) => return Err(LogError::Newer { path, found }),
            Err(_) => {
                scan.good = frame::start_of(payload);
                scan.damaged = Some(Damaged::Payload);
                scan.payloads.truncate(n);
                break;
            }
        }
    }
    let damage = scan.damaged.map(|reason| Damage {
        segment: path,
        offset: scan.good as u64,
        lost: (bytes.len() - scan.good) as u64,
        reason,
    });
    Ok((
        Segment {
            name,
            generation: scan.generation,
            bytes,
            payloads: scan.payloads,
        },
        damage,
    ))
}
