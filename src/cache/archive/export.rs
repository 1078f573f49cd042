//! Writing an archive.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde::Serialize;

use super::super::cas::Fetched;
use super::super::fs::{self, FsError, Mode, Temp};
use super::super::index::RecordRef;
use super::super::log::{Origin, Pack};
use super::super::run::RunId;
use super::super::store::Store;
use super::super::{Digest, Hasher, SigningKey};
use super::ArchiveError;
use super::manifest::{FORMAT, LOG, Manifest, NAME, Part, blob_name};

/// The level of compression: traces are compressed already, the rest is small.
const LEVEL: i32 = 3;

/// Which records go into an archive.
pub struct Choice<'a> {
    /// Whether a target's do, by its id.
    pub target: &'a dyn Fn(&str) -> bool,
    /// Only what was recorded by runs that had seen this run's records.
    pub since: Option<RunId>,
    /// Signs the archive.
    pub key: Option<&'a SigningKey>,
}

/// What an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// How many records.
    pub records: usize,
    /// How many blobs.
    pub blobs: usize,
    /// Their sizes together, before compression.
    pub bytes: u64,
    /// What was chosen and is not in it because it is damaged.
    pub left_out: Vec<String>,
}

/// Writes the chosen records and the blobs that they name to `dest`, over what is there once all is written.
///
/// Every blob is read and verified first. A result that lacks one is left out and told.
pub fn export(store: &Store, choice: &Choice<'_>, dest: &Path) -> Result<Exported, ArchiveError> {
    let after = match &choice.since {
        Some(run) => Some(generation_of(store, run).ok_or_else(|| ArchiveError::UnknownRun(run.clone()))?),
        None => None,
    };
    let chosen = |(origin, _, record): &(&Origin, u32, RecordRef<'_>)| {
        after.is_none_or(|after| origin.generation > after) && (choice.target)(record.head().target)
    };
    let mut gathered = Gathered::default();
    let mut pack = Pack::new(0);
    let mut exported = Exported::default();
    for (origin, place, record) in store.records().placed().filter(chosen) {
        if let Some(reason) = gathered.gather(store, record)? {
            exported.left_out.push(reason);
            continue;
        }
        pack.record(origin, place, record.payload());
        exported.records += 1;
    }
    for forgotten in store.records().forgotten() {
        if (choice.target)(&forgotten.target) {
            pack.forget(forgotten);
        }
    }
    let log = pack.encode()?;
    let mut manifest = Manifest {
        format: FORMAT,
        log: Part {
            digest: Digest::of(&log),
            bytes: log.len() as u64,
        },
        blobs: gathered.blobs(),
        signature: None,
    };
    if let Some(key) = choice.key {
        manifest.sign(key);
    }
    exported.blobs = manifest.blobs.len();
    exported.bytes = manifest.bytes();
    write(store, &manifest, &log, dest)?;
    Ok(exported)
}

/// The generation in which a run wrote its last records.
fn generation_of(store: &Store, run: &RunId) -> Option<u64> {
    let its = |origin: &Origin| {
        let rest = origin.segment.strip_prefix(run.as_str());
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let placed = store.records().placed();
    placed
        .filter(|(origin, _, _)| its(origin))
        .map(|(origin, _, _)| origin.generation)
        .max()
}

/// The blobs that chosen records name, verified.
#[derive(Default)]
struct Gathered {
    sizes: BTreeMap<Digest, u64>,
    absent: HashSet<Digest>,
}

impl Gathered {
    /// Adds a record's blobs; the reason if it is a result that lacks one. A failure may lack its log.
    fn gather(&mut self, store: &Store, record: RecordRef<'_>) -> Result<Option<String>, FsError> {
        let mut its = Vec::new();
        for (digest, told) in record.blobs() {
            let known = self.sizes.get(&digest).copied();
            let size = match known {
                Some(size) => Some(size),
                None if self.absent.contains(&digest) => None,
                None => match store.cas().check(&digest)? {
                    Fetched::Found(size) => Some(size),
                    Fetched::Missing | Fetched::Damaged(_) => None,
                },
            };
            match size {
                Some(size) if told.is_none_or(|told| told == size) => its.push((digest, size)),
                _ => {
                    self.absent.insert(digest);
                    if record.head().passed {
                        let target = record.head().target;
                        return Ok(Some(format!(
                            "a result of `{target}`: its output {} is missing or damaged",
                            digest.short()
                        )));
                    }
                }
            }
        }
        self.sizes.extend(its);
        Ok(None)
    }

    fn blobs(&self) -> Vec<Part> {
        let parts = self.sizes.iter();
        parts
            .map(|(digest, bytes)| Part {
                digest: *digest,
                bytes: *bytes,
            })
            .collect()
    }
}

fn write(store: &Store, manifest: &Manifest, log: &[u8], dest: &Path) -> Result<(), ArchiveError> {
    let mut temp = Temp::create_in(fs::parent(dest))?;
    let failed = |cause| ArchiveError::Write {
        path: dest.to_owned(),
        cause,
    };
    let mut packed = || -> io::Result<()> {
        let file = BufWriter::with_capacity(1 << 20, Through(&mut temp));
        let mut encoder = zstd::Encoder::new(file, LEVEL)?;
        encoder.include_checksum(true)?;
        let mut tar = tar::Builder::new(encoder);
        let bytes = manifest.to_bytes();
        append(&mut tar, NAME, bytes.len() as u64, bytes.as_slice())?;
        append(&mut tar, LOG, log.len() as u64, log)?;
        for part in &manifest.blobs {
            let path = store.cas().path(&part.digest);
            let file = fs::open(&path).map_err(io::Error::other)?;
            let file = file.ok_or_else(|| gone(&path))?;
            let mut read = Hashed {
                inner: file,
                hasher: Hasher::new(),
            };
            append(&mut tar, &blob_name(&part.digest), part.bytes, &mut read)?;
            if read.hasher.finish() != part.digest {
                return Err(gone(&path));
            }
        }
        tar.into_inner()?.finish()?.flush()
    };
    packed().map_err(failed)?;
    temp.persist(dest, Mode::Writable)?;
    Ok(())
}

fn gone(path: &Path) -> io::Error {
    io::Error::other(format!("`{}` changed while it was written", path.display()))
}

/// Nothing of the file system but names and bytes: no times, owners or modes of this machine.
fn append(tar: &mut tar::Builder<impl Write>, name: &str, bytes: u64, data: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(bytes);
    header.set_mode(0o444);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    // A file that is shorter than it was leaves the archive malformed, and its digest tells.
    tar.append(&header, data.take(bytes))
}

struct Through<'a>(&'a mut Temp);

impl Write for Through<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes).map_err(|error| error.cause)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
