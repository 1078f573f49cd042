//! The bytes of a compiled plan, read whole and looked up in place.
//!
//! ```text
//! "sweepplan" 0 0 2 | question 32
//! | answer, processor: length u32 and bytes each
//! | watched u32, each: watch u8, seen 40, digest 32, path: length u32 and bytes with a zero at the end
//! | blobs u32, each: digest 32, seen 40
//! | BLAKE3 of all that, 32
//! ```
//!
//! Numbers are little-endian. `seen` is device, inode, size, mtime and ctime in ns. The number after the name is the
//! format; another one is a miss.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::cache::take::{push_counted, take, take_counted};
use crate::cache::{Digest, Seen};

const MAGIC: &[u8; 12] = b"sweepplan\0\0\x02";
const CHECKSUM: usize = 32;
const BLOB: usize = 32 + Seen::BYTES;

/// How a path is known to be as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// It looks as it did.
    Looks(Seen),
    /// The same, or it is a plain file whose bytes have this digest.
    Text(Seen, Digest),
    /// The same, or it is a folder whose names have this digest.
    Names(Seen, Digest),
    /// There is a plain file.
    File,
    Nothing,
}

/// A path, relative to the project's root or absolute, and what is to be found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watched<P> {
    pub(super) path: P,
    pub(super) watch: Watch,
}

/// A plan in the bytes of its file.
#[derive(Debug)]
pub(super) struct Compiled<'a> {
    /// The bytes of the answer.
    pub(super) answer: &'a [u8],
    /// The model of the processor that is a fact of a pool; empty where none is.
    pub(super) processor: &'a str,
    watched_count: u32,
    watched: &'a [u8],
    blobs: &'a [[u8; BLOB]],
}

/// What an answer rests on.
#[derive(Debug)]
pub(super) struct RestsOn {
    /// The model of the processor that is a fact of a pool; empty where none is.
    pub(super) processor: String,
    pub(super) watched: Vec<Watched<PathBuf>>,
    /// In the order of the digests.
    pub(super) blobs: Vec<(Digest, Seen)>,
}

/// The bytes of a plan. Paths hold no zero: they came from the file system.
pub(super) fn to_bytes(question: &Digest, answer: &[u8], rests_on: &RestsOn) -> Vec<u8> {
    let RestsOn {
        processor,
        watched,
        blobs,
    } = rests_on;
    let mut bytes = Vec::with_capacity(4096 + answer.len() + watched.len() * 128 + blobs.len() * BLOB);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&question.0);
    push_counted(&mut bytes, answer);
    push_counted(&mut bytes, processor.as_bytes());
    push_count(&mut bytes, watched.len());
    for Watched { path, watch } in watched {
        push_watch(&mut bytes, *watch);
        let path = path.as_os_str().as_bytes();
        push_count(&mut bytes, path.len() + 1);
        bytes.extend_from_slice(path);
        bytes.push(0);
    }
    push_count(&mut bytes, blobs.len());
    for (digest, seen) in blobs {
        bytes.extend_from_slice(&digest.0);
        bytes.extend_from_slice(&seen.to_bytes());
    }
    let sum = Digest::of(&bytes);
    bytes.extend_from_slice(&sum.0);
    bytes
}

fn push_count(bytes: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("texts and tables of a plan are far below 4 Gi");
    bytes.extend_from_slice(&count.to_le_bytes());
}

fn push_watch(bytes: &mut Vec<u8>, watch: Watch) {
    let none = (
        Seen {
            dev: 0,
            ino: 0,
            size: 0,
            mtime_ns: 0,
            ctime_ns: 0,
        },
        Digest([0; 32]),
    );
    let (tag, (seen, digest)) = match watch {
        Watch::Looks(seen) => (0, (seen, none.1)),
        Watch::Text(seen, digest) => (1, (seen, digest)),
        Watch::Names(seen, digest) => (2, (seen, digest)),
        Watch::File => (3, none),
        Watch::Nothing => (4, none),
    };
    bytes.push(tag);
    bytes.extend_from_slice(&seen.to_bytes());
    bytes.extend_from_slice(&digest.0);
}

impl<'a> Compiled<'a> {
    /// Reads the bytes of a plan that answers this question; `None` where they are anything else.
    pub(super) fn read(bytes: &'a [u8], question: &Digest) -> Option<Self> {
        let (told, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
        let mut rest = told.strip_prefix(MAGIC)?;
        if take(&mut rest)? != question.0 || Digest::of(told).0 != *sum {
            return None;
        }
        let answer = take_counted(&mut rest, 1)?;
        let processor = std::str::from_utf8(take_counted(&mut rest, 1)?).ok()?;
        let watched_count = u32::from_le_bytes(take(&mut rest)?);
        let mut watched = rest;
        for _ in 0..watched_count {
            take_watched(&mut rest)?;
        }
        watched = &watched[..watched.len() - rest.len()];
        let (blobs, []) = take_counted(&mut rest, BLOB)?.as_chunks::<BLOB>() else {
            return None;
        };
        rest.is_empty().then_some(Self {
            answer,
            processor,
            watched_count,
            watched,
            blobs,
        })
    }

    pub(super) fn watched(&self) -> impl Iterator<Item = Watched<&'a CStr>> {
        let mut rest = self.watched;
        (0..self.watched_count).map_while(move |_| take_watched(&mut rest))
    }

    /// How many things are looked at beside blobs.
    pub(super) fn watched_count(&self) -> usize {
        self.watched_count as usize
    }

    /// In the order of the digests.
    pub(super) fn blobs(&self) -> impl ExactSizeIterator<Item = (Digest, Seen)> + use<'a> {
        self.blobs.iter().map(|blob| {
            let (digest, seen) = blob.split_at(32);
            let digest = Digest(digest.try_into().expect("the first 32 of 72 bytes"));
            let seen = seen.try_into().expect("the last 40 of 72 bytes");
            (digest, Seen::from_bytes(seen))
        })
    }
}

fn take_watched<'a>(rest: &mut &'a [u8]) -> Option<Watched<&'a CStr>> {
    let [tag] = take(rest)?;
    let seen = Seen::from_bytes(&take(rest)?);
    let digest = Digest(take(rest)?);
    let watch = match tag {
        0 => Watch::Looks(seen),
        1 => Watch::Text(seen, digest),
        2 => Watch::Names(seen, digest),
        3 => Watch::File,
        4 => Watch::Nothing,
        _ => return None,
    };
    let path = CStr::from_bytes_with_nul(take_counted(rest, 1)?).ok()?;
    Some(Watched { path, watch })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    const QUESTION: Digest = Digest([7; 32]);

    fn example() -> Vec<u8> {
        let seen = Seen {
            dev: 1,
            ino: 2,
            size: 3,
            mtime_ns: 4,
            ctime_ns: -5,
        };
        let digest = Digest([6; 32]);
        let watches = [
            Watch::Looks(seen),
            Watch::Text(seen, digest),
            Watch::Names(seen, digest),
            Watch::File,
            Watch::Nothing,
        ];
        let watched = watches.map(|watch| Watched {
            path: PathBuf::from("configs/a.yaml"),
            watch,
        });
        let rests_on = RestsOn {
            processor: "EPYC".to_owned(),
            watched: watched.to_vec(),
            blobs: vec![(digest, seen); 2],
        };
        to_bytes(&QUESTION, b"48 fresh", &rests_on)
    }

    #[test]
    fn what_is_written_reads_back() {
        let bytes = example();
        let compiled = Compiled::read(&bytes, &QUESTION).unwrap();
        assert_eq!((compiled.answer, compiled.processor), (&b"48 fresh"[..], "EPYC"));
        let watched: Vec<_> = compiled.watched().collect();
        let again: Vec<_> = watched
            .iter()
            .map(|one| Watched {
                path: PathBuf::from(one.path.to_str().unwrap()),
                watch: one.watch,
            })
            .collect();
        let blobs: Vec<_> = compiled.blobs().collect();
        assert_eq!((watched.len(), blobs.len()), (5, 2));
        let rests_on = RestsOn {
            processor: compiled.processor.to_owned(),
            watched: again,
            blobs,
        };
        assert_eq!(to_bytes(&QUESTION, compiled.answer, &rests_on), bytes);
    }

    #[test]
    fn an_older_or_newer_format_and_the_answer_to_another_question_are_none() {
        let resealed = |bytes: &mut Vec<u8>| {
            bytes.truncate(bytes.len() - CHECKSUM);
            let sum = Digest::of(bytes);
            bytes.extend_from_slice(&sum.0);
        };
        for format in [1, 3] {
            let mut bytes = example();
            bytes[11] = format;
            resealed(&mut bytes);
            assert!(Compiled::read(&bytes, &QUESTION).is_none());
        }
        assert!(Compiled::read(&example(), &Digest([8; 32])).is_none());
    }

    proptest! {
        #[test]
        fn damage_is_none_and_no_bytes_make_it_panic(
            at: prop::sample::Index, mask in 1..=255u8, cut: bool, noise: Vec<u8>, sealed: bool,
        ) {
            let mut bytes = example();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= mask }
            prop_assert!(Compiled::read(&bytes, &QUESTION).is_none());
            // Even with a checksum that is right.
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&QUESTION.0);
            bytes.extend(noise);
            if sealed {
                let sum = Digest::of(&bytes);
                bytes.extend_from_slice(&sum.0);
            }
            let _ = Compiled::read(&bytes, &QUESTION);
        }
    }
}
