//! The bytes of a segment: a header, then frames.
//!
//! ```text
//! header  "sweeplog" | format u32 | generation u64 | checksum 8      (28 bytes, this layout for ever)
//! frame   length u32 | checksum 8 | payload
//! ```
//!
//! Numbers are little-endian. A checksum is the first 8 bytes of BLAKE3 over everything else in its header or frame.

use std::ops::Range;

use thiserror::Error;

/// The latest format that this sweep reads.
pub const FORMAT: u32 = 2;

/// What the frames of a segment hold, told by the format in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Format 1: a record each, appended by one run.
    Records,
    /// Format 2: entries of a [pack](super::pack), written whole.
    Pack,
}

impl Layout {
    fn format(self) -> u32 {
        match self {
            Layout::Records => 1,
            Layout::Pack => 2,
        }
    }
}

const MAGIC: &[u8; 8] = b"sweeplog";
const CHECKSUM: usize = 8;
const HEADER: usize = 8 + 4 + 8 + CHECKSUM;
const FRAME_HEAD: usize = 4 + CHECKSUM;

/// What ends a segment before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Damaged {
    /// The header is cut short or is not one.
    #[error("it does not begin like a record log")]
    Header,
    /// A frame that was not written to its end: a crash, a full disk, or a writer still at it.
    #[error("its last record is cut short")]
    Torn,
    /// Bytes that are not those which were written.
    #[error("a record's checksum does not match")]
    Checksum,
    /// A whole frame that holds no record.
    #[error("a record's head is malformed")]
    Payload,
}

/// What a segment's bytes hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) layout: Layout,
    /// How many writers' work this segment's writer had seen in a row, itself included; from 1.
    pub(super) generation: u64,
    /// Where the whole payloads lie, in the order they were written.
    pub(super) payloads: Vec<Range<usize>>,
    /// Where the last whole frame ends.
    pub(super) good: usize,
    /// Why the bytes after that are no frames; `None` if there are none.
    pub(super) damaged: Option<Damaged>,
}

/// When the checksums of frames are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksums {
    Now,
    /// They were, when the file looked as it does now, and all of them matched.
    Before,
}

/// A segment of a later sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newer(pub(super) u32);

/// The header of a new segment.
pub(super) fn header(layout: Layout, generation: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&layout.format().to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    let sum = checksum(&[&bytes]);
    bytes.extend_from_slice(&sum);
    bytes
}

/// A payload as a frame; `None` if it is too long for one (4 GiB).
pub(super) fn frame(payload: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(payload.len()).ok()?.to_le_bytes();
    let mut bytes = Vec::with_capacity(FRAME_HEAD + payload.len());
    bytes.extend_from_slice(&len);
    bytes.extend_from_slice(&checksum(&[&len, payload]));
    bytes.extend_from_slice(payload);
    Some(bytes)
}

/// Finds the whole frames. Any bytes will do: what follows the first bad one is left out.
pub(super) fn scan(bytes: &[u8], checksums: Checksums) -> Result<Scan, Newer> {
    let mut scan = Scan {
        layout: Layout::Records,
        generation: 0,
        payloads: Vec::new(),
        good: 0,
        damaged: None,
    };
    if bytes.is_empty() {
        // Its writer died between creating and writing it: nothing was lost.
        return Ok(scan);
    }
    let Some((layout, generation)) = read_header(bytes)? else {
        scan.damaged = Some(Damaged::Header);
        return Ok(scan);
    };
    scan.layout = layout;
    scan.generation = generation;
    scan.good = HEADER;
    while scan.good < bytes.len() {
        match read_frame(&bytes[scan.good..], checksums) {
            Ok(payload) => {
                let start = scan.good + FRAME_HEAD;
                scan.good = start + payload.len();
                scan.payloads.push(start..scan.good);
            }
            Err(damaged) => {
                scan.damaged = Some(damaged);
                break;
            }
        }
    }
    Ok(scan)
}

/// Where the frame of this payload begins.
pub(super) fn start_of(payload: &Range<usize>) -> usize {
    payload.start - FRAME_HEAD
}

fn read_header(bytes: &[u8]) -> Result<Option<(Layout, u64)>, Newer> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let (told, sum) = header.split_at(HEADER - CHECKSUM);
    if !told.starts_with(MAGIC) || checksum(&[told]) != sum {
        return Ok(None);
    }
    let format = u32::from_le_bytes([told[8], told[9], told[10], told[11]]);
    let generation = told[12..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let layout = match format {
        0 => return Ok(None),
        1 => Layout::Records,
        2 => Layout::Pack,
        newer => return Err(Newer(newer)),
    };
    Ok(generation.map(|generation| (layout, generation)))
}

fn read_frame(bytes: &[u8], checksums: Checksums) -> Result<&[u8], Damaged> {
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or(Damaged::Torn)?;
    let (sum, rest) = rest.split_first_chunk::<CHECKSUM>().ok_or(Damaged::Torn)?;
    let payload = rest
        .get(..u32::from_le_bytes(*len) as usize)
        .ok_or(Damaged::Torn)?;
    if checksums == Checksums::Before || checksum(&[len, payload]) == *sum {
        Ok(payload)
    } else {
        Err(Damaged::Checksum)
    }
}

fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut sum = [0; CHECKSUM];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn now(bytes: &[u8]) -> Result<Scan, Newer> {
        scan(bytes, Checksums::Now)
    }

    fn segment(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = header(Layout::Records, 7);
        for payload in payloads {
            bytes.extend(frame(payload).unwrap());
        }
        bytes
    }

    fn found(bytes: &[u8]) -> Vec<Vec<u8>> {
        let scan = now(bytes).unwrap();
        assert!(scan.good <= bytes.len());
        scan.payloads
            .into_iter()
            .map(|range| bytes[range].to_vec())
            .collect()
    }

    #[test]
    fn a_segment_of_a_later_format_is_told() {
        let mut bytes = header(Layout::Records, 1);
        bytes[8] = 3;
        let sum = checksum(&[&bytes[..HEADER - CHECKSUM]]);
        bytes[HEADER - CHECKSUM..].copy_from_slice(&sum);
        assert_eq!(now(&bytes), Err(Newer(3)));
        // The same byte changed by a fault, not by a later sweep.
        let mut bytes = header(Layout::Records, 1);
        bytes[8] = 3;
        assert_eq!(now(&bytes).unwrap().damaged, Some(Damaged::Header));
    }

    #[test]
    fn the_bytes_of_a_known_segment_never_change() {
        let hex: String = segment(&[b"ab".to_vec()])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        insta::assert_snapshot!(hex, @"73776565706c6f67010000000700000000000000e4c1851e7801ccd002000000b78fb10bde160f926162");
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(payloads in payloads()) {
            let bytes = segment(&payloads);
            let scan = now(&bytes).unwrap();
            prop_assert_eq!((scan.generation, scan.good, scan.damaged), (7, bytes.len(), None));
            prop_assert_eq!(found(&bytes), payloads);
        }

        #[test]
        fn a_cut_leaves_the_whole_frames_before_it(payloads in payloads(), cut: prop::sample::Index) {
            let bytes = segment(&payloads);
            let cut = cut.index(bytes.len() + 1);
            let left = found(&bytes[..cut]);
            prop_assert_eq!(&left[..], &payloads[..left.len()]);
            // No whole frame is lost.
            if let Some(lost) = payloads.get(left.len()) {
                prop_assert!(cut < segment(&payloads[..left.len()]).len() + FRAME_HEAD + lost.len());
            }
        }

        #[test]
        fn a_flip_never_gives_a_wrong_record(
            payloads in payloads(), at: prop::sample::Index, mask in 1..=255u8,
        ) {
            let mut bytes = segment(&payloads);
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            let left = found(&bytes);
            prop_assert_eq!(&left[..], &payloads[..left.len()]);
            prop_assert!(left.len() < payloads.len() || payloads.is_empty() || at < HEADER);
            prop_assert!(now(&bytes).unwrap().damaged.is_some());
        }

        #[test]
        fn garbage_after_the_end_is_left_out(
            payloads in payloads(), garbage in prop::collection::vec(any::<u8>(), 1..60),
        ) {
            let mut bytes = segment(&payloads);
            let end = bytes.len();
            bytes.extend(garbage);
            prop_assert_eq!(found(&bytes), payloads);
            prop_assert_eq!(now(&bytes).unwrap().good, end);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, framed in payloads()) {
            let _ = now(&bytes);
            let mut whole = segment(&framed);
            whole.extend(bytes);
            let _ = now(&whole);
        }
    }
}
