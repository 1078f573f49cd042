//! Taking an archive: all of it or nothing.
//!
//! What may come next is known before it comes: the manifest tells every other entry's name, size and digest, and its
//! own total is limited. So there is no name to follow, no link, no entry that unpacks to more than was told, and
//! nothing after the last one. Blobs wait in a stage until the last byte has been verified.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::super::fs::{self, FsError};
use super::super::incoming::{NotTaken, read_pack};
use super::super::index::Records;
use super::super::log::LogError;
use super::super::merge::{Merged, Stage, commit};
use super::super::store::Store;
use super::super::{Digest, Hasher, SigningKey};
use super::ArchiveError;
use super::manifest::{LOG, LONGEST, Manifest, NAME, NotAManifest, Part, blob_name};

/// The most memory that the archive may ask for to be unpacked, as a power of two: what `zstd` takes without `--long`.
const WINDOW_LOG: u32 = 27;

/// Records are read into memory; a million of them take half of this.
const LONGEST_LOG: u64 = 4 << 30;

/// What may follow the last entry: the padding of tar's records.
const PADDING: u64 = 1 << 20;

/// What is taken of archives.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// The most bytes, unpacked.
    pub most: u64,
    /// Only archives that this key has signed.
    pub key: Option<&'a SigningKey>,
}

/// Adds what the archive at `path` holds.
pub fn import(store: &mut Store, path: &Path, limits: Limits<'_>) -> Result<Merged, ArchiveError> {
    store.require_lock()?;
    let Some(file) = fs::open(path)? else {
        return Err(ArchiveError::Absent(path.to_owned()));
    };
    let stage = Stage::create(store.dir())?;
    let read = Reading { store, stage, limits };
    let (records, stage) = read.read(BufReader::new(file)).map_err(|error| error.of(path))?;
    Ok(commit(store, &[records], stage)?)
}

/// What went wrong with an archive whose path is told later.
enum Wrong {
    /// Reading or unpacking, or what the archive holds.
    Refused(String),
    Newer(u64),
    TooLarge(u64, u64),
    /// This side's disk.
    Fs(FsError),
    Log(LogError),
}

impl Wrong {
    fn of(self, path: &Path) -> ArchiveError {
        let path = path.to_owned();
        match self {
            Wrong::Refused(reason) => ArchiveError::Refused { path, reason },
            Wrong::Newer(found) => ArchiveError::Newer { path, found },
            Wrong::TooLarge(bytes, most) => ArchiveError::TooLarge { path, bytes, most },
            Wrong::Fs(error) => error.into(),
            Wrong::Log(error) => error.into(),
        }
    }
}

impl From<FsError> for Wrong {
    fn from(error: FsError) -> Wrong {
        Wrong::Fs(error)
    }
}

impl From<NotTaken> for Wrong {
    fn from(error: NotTaken) -> Wrong {
        match error {
            NotTaken::Wrong(reason) => Wrong::Refused(reason),
            NotTaken::Log(error) => Wrong::Log(error),
        }
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Wrong {
        Wrong::Refused(format!("it is cut short or damaged ({error})"))
    }
}

fn refused<T>(reason: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::Refused(reason.into()))
}

struct Reading<'a> {
    store: &'a Store,
    stage: Stage,
    limits: Limits<'a>,
}

impl Reading<'_> {
    fn read(mut self, file: impl io::BufRead) -> Result<(Records, Stage), Wrong> {
        let mut decoder = zstd::Decoder::with_buffer(file)?;
        decoder.window_log_max(WINDOW_LOG)?;
        let mut archive = tar::Archive::new(decoder);
        let records = {
            // Raw: an entry that only changes the name or the size of the next is an entry that was not told.
            let mut entries = archive.entries()?.raw(true);
            let bytes = read_to_memory(entries.next(), NAME, LONGEST, None)?;
            let manifest = Manifest::parse(&bytes).map_err(|error| match error {
                NotAManifest::Newer(found) => Wrong::Newer(found),
                NotAManifest::Malformed(reason) => Wrong::Refused(reason),
            })?;
            if let Some(key) = self.limits.key {
                manifest.verify(key).or_else(refused)?;
            }
            if manifest.bytes() > self.limits.most {
                return Err(Wrong::TooLarge(manifest.bytes(), self.limits.most));
            }
            if manifest.log.bytes > LONGEST_LOG {
                return Err(Wrong::TooLarge(manifest.log.bytes, LONGEST_LOG));
            }
            let log = read_to_memory(entries.next(), LOG, manifest.log.bytes, Some(manifest.log.bytes))?;
            if Digest::of(&log) != manifest.log.digest {
                return refused(format!("the bytes of `{LOG}` are not those of its digest"));
            }
            let records = read_pack(LOG, log)?;
            only_named(&records, &manifest)?;
            for part in &manifest.blobs {
                self.blob(entries.next(), part)?;
            }
            if entries.next().is_some() {
                return refused("it holds more than its manifest tells");
            }
            records
        };
        let mut rest = archive.into_inner().take(PADDING);
        if io::copy(&mut rest, &mut io::sink())? == PADDING {
            return refused("it goes on after its end");
        }
        Ok((records, self.stage))
    }

    /// Reads and verifies a blob; keeps it in the stage unless it is here already.
    fn blob<R: Read>(&mut self, entry: Next<'_, R>, part: &Part) -> Result<(), Wrong> {
        let name = blob_name(&part.digest);
        let mut entry = expect(entry, &name, part.bytes, Some(part.bytes))?;
        let mut temp = if self.store.cas().is_intact(&part.digest) {
            None
        } else {
            Some(self.stage.begin()?)
        };
        let (mut hasher, mut size, mut piece) = (Hasher::new(), 0, vec![0; 128 * 1024]);
        loop {
            let read = entry.read(&mut piece)?;
            if read == 0 {
                break;
            }
            hasher.update(&piece[..read]);
            size += read as u64;
            if let Some(temp) = &mut temp {
                temp.write_all(&piece[..read])?;
            }
        }
        if size != part.bytes || hasher.finish() != part.digest {
            return refused(format!("the bytes of `{name}` are not those of its digest"));
        }
        if let Some(temp) = temp {
            self.stage.keep(temp, part.digest, size)?;
        }
        Ok(())
    }
}

type Next<'a, R> = Option<io::Result<tar::Entry<'a, R>>>;

/// The next entry, if it is a plain file of this very name and size.
fn expect<'a, R: Read>(
    entry: Next<'a, R>,
    name: &str,
    most: u64,
    exactly: Option<u64>,
) -> Result<tar::Entry<'a, R>, Wrong> {
    let Some(entry) = entry else {
        return refused(format!("it ends before `{name}`"));
    };
    let entry = entry?;
    let found = entry.path_bytes();
    if *found != *name.as_bytes() {
        let found = String::from_utf8_lossy(&found).escape_debug().to_string();
        return refused(format!("it holds `{found}` where `{name}` has to be"));
    }
    if entry.header().entry_type() != tar::EntryType::Regular {
        return refused(format!("`{name}` in it is no plain file"));
    }
    let size = entry.size();
    if size > most || exactly.is_some_and(|exactly| exactly != size) {
        return refused(format!("`{name}` in it has {size} bytes, not what was told"));
    }
    Ok(entry)
}

fn read_to_memory<R: Read>(
    entry: Next<'_, R>,
    name: &str,
    most: u64,
    exactly: Option<u64>,
) -> Result<Vec<u8>, Wrong> {
    let entry = expect(entry, name, most, exactly)?;
    let size = entry.size();
    let mut bytes = Vec::new();
    entry.take(most).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        refused(format!("it ends within `{name}`"))
    }
}

/// Refuses blobs that no record names, or of another size than it names.
fn only_named(records: &Records, manifest: &Manifest) -> Result<(), Wrong> {
    let named: HashMap<Digest, Option<u64>> = records.iter().flat_map(|record| record.blobs()).collect();
    for part in &manifest.blobs {
        let fits = named
            .get(&part.digest)
            .is_some_and(|size| size.is_none_or(|size| size == part.bytes));
        if !fits {
            return refused(format!("no record in it names the blob {}", part.digest.short()));
        }
    }
    Ok(())
}
