//! Reading every segment, each once, in an order that does not depend on the machine.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::super::fs::{self, FsError};
use super::super::payload::{Head, PayloadError};
use super::super::record::FORMAT as RECORD_FORMAT;
use super::frame::{self, Checksums, Damaged, FORMAT, Layout, Newer};
use super::pack::{Entry, Forgotten, Origin};

/// How the names of segments end.
pub(super) const SUFFIX: &str = ".log";

/// How often the folder is listed again because a segment went between listing and reading it.
const LISTS: u32 = 8;

/// A segment in memory.
#[derive(Debug)]
pub struct Segment {
    /// The file's name.
    pub name: String,
    /// One more than that of every segment its writer had read: a later generation saw the earlier ones' records.
    /// Of a pack: that of the latest segment that was seen when it was written.
    pub generation: u64,
    bytes: Vec<u8>,
    origins: Vec<Origin>,
    records: Vec<Placed>,
    forgotten: Vec<Forgotten>,
}

/// Where a record's payload lies in a segment, and where it was first written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Which of the segment's origins.
    pub origin: u32,
    /// How many records the origin holds before it.
    pub place: u32,
    /// Within the segment's bytes.
    pub payload: Range<usize>,
}

/// A segment taken apart.
pub(in super::super) struct Parts {
    pub(in super::super) bytes: Vec<u8>,
    pub(in super::super) origins: Vec<Origin>,
    pub(in super::super) records: Vec<Placed>,
    pub(in super::super) forgotten: Vec<Forgotten>,
}

impl Segment {
    /// The payloads of its records in the order they were written; each has a sound [`Head`].
    pub fn payloads(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.records
            .iter()
            .map(|placed| &self.bytes[placed.payload.clone()])
    }

    /// Where records of this segment were first written.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    pub(in super::super) fn into_parts(self) -> Parts {
        Parts {
            bytes: self.bytes,
            origins: self.origins,
            records: self.records,
            forgotten: self.forgotten,
        }
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
        "`{}` has format {found} and this sweep reads up to {reads}: update sweep, or choose another cache folder",
        path.display()
    )]
    Newer {
        /// The segment's file.
        path: PathBuf,
        /// Its format, or that of a record in it.
        found: u32,
        /// The latest that this sweep reads.
        reads: u32,
    },
    /// A record that does not fit into a frame.
    #[error("a record of {0} bytes is too long for the log (at most 4 GiB)")]
    TooLong(usize),
}

/// Segments, and what of them is left out.
type Read = (Vec<Segment>, Vec<Damage>);

/// Reads all segments of a folder, ordered by generation and, where neither writer had seen the other's work, by
/// name, which begins with the time its run started. No folder, no segments.
///
/// Damage is told, not an error: only what the file system refuses and a later format are.
pub fn read_all(dir: &Path) -> Result<(Vec<Segment>, Vec<Damage>), LogError> {
    read_with(dir, Checksums::Now)
}

/// The same of a folder that looks as it did when it was read before without any damage: checksums are not compared again.
pub fn read_unchanged(dir: &Path) -> Result<(Vec<Segment>, Vec<Damage>), LogError> {
    read_with(dir, Checksums::Before)
}

fn read_with(dir: &Path, checksums: Checksums) -> Result<Read, LogError> {
    for _ in 1..LISTS {
        if let Some(read) = read_listed(dir, true, checksums)? {
            return Ok(read);
        }
    }
    Ok(read_listed(dir, false, checksums)?.unwrap_or_default())
}

/// Reads what the folder lists; `None` where one went meanwhile, as when a compaction replaces segments by a pack that
/// this list does not hold yet.
fn read_listed(dir: &Path, whole: bool, checksums: Checksums) -> Result<Option<Read>, LogError> {
    let mut segments = Vec::new();
    let mut damages = Vec::new();
    for (name, is_file) in fs::list(dir)? {
        if !is_file || !name.ends_with(SUFFIX) {
            continue;
        }
        let path = dir.join(&name);
        let Some(bytes) = fs::read(&path)? else {
            if whole {
                return Ok(None);
            }
            continue;
        };
        let (segment, damage) = read_segment(name, bytes, path, checksums)?;
        segments.push(segment);
        damages.extend(damage);
    }
    // The names are in order already and the sort is stable.
    segments.sort_by_key(|segment| segment.generation);
    Ok(Some((segments, damages)))
}

/// Reads the bytes of the segment `name`, which lies at `path`.
pub fn read_bytes(
    name: String,
    bytes: Vec<u8>,
    path: PathBuf,
) -> Result<(Segment, Option<Damage>), LogError> {
    read_segment(name, bytes, path, Checksums::Now)
}

fn read_segment(
    name: String,
    bytes: Vec<u8>,
    path: PathBuf,
    checksums: Checksums,
) -> Result<(Segment, Option<Damage>), LogError> {
    let newer = |path: PathBuf, found, reads| LogError::Newer { path, found, reads };
    let scan = match frame::scan(&bytes, checksums) {
        Ok(scan) => scan,
        Err(Newer(found)) => return Err(newer(path, found, FORMAT)),
    };
    let mut segment = Segment {
        name,
        generation: scan.generation,
        bytes,
        origins: Vec::new(),
        records: Vec::with_capacity(scan.payloads.len()),
        forgotten: Vec::new(),
    };
    if scan.layout == Layout::Records {
        segment.origins.push(Origin {
            generation: scan.generation,
            segment: segment.name.clone(),
        });
    }
    let (mut good, mut damaged) = (scan.good, scan.damaged);
    for frame in &scan.payloads {
        match segment.enter(scan.layout, frame.clone()) {
            Ok(()) => {}
            Err(PayloadError::Newer { found }) => return Err(newer(path, found, RECORD_FORMAT)),
            Err(_) => {
                good = frame::start_of(frame);
                damaged = Some(Damaged::Payload);
                break;
            }
        }
    }
    let damage = damaged.map(|reason| Damage {
        segment: path,
        offset: good as u64,
        lost: (segment.bytes.len() - good) as u64,
        reason,
    });
    Ok((segment, damage))
}

impl Segment {
    /// Enters what a frame holds.
    fn enter(&mut self, layout: Layout, frame: Range<usize>) -> Result<(), PayloadError> {
        let (place, payload) = match layout {
            Layout::Records => (self.records.len(), frame),
            Layout::Pack => match Entry::read(&self.bytes[frame.clone()]).ok_or(PayloadError::Head)? {
                Entry::Origin(origin) => {
                    self.origins.push(origin);
                    return Ok(());
                }
                Entry::Forgotten(forgotten) => {
                    self.forgotten.push(forgotten);
                    return Ok(());
                }
                Entry::Record { place, payload } => (place as usize, frame.end - payload.len()..frame.end),
            },
        };
        Head::read(&self.bytes[payload.clone()])?;
        let number = |n: usize| u32::try_from(n).map_err(|_| PayloadError::Head);
        self.records.push(Placed {
            // A record before any origin is none that a pack is written with.
            origin: number(self.origins.len())?
                .checked_sub(1)
                .ok_or(PayloadError::Head)?,
            place: number(place)?,
            payload,
        });
        Ok(())
    }
}
