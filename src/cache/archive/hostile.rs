//! Archives that no sweep wrote: refused, with nothing changed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tar::EntryType;

use super::super::log::{Origin, Pack};
use super::super::payload;
use super::super::record::tests::example;
use super::super::store::tests::{is_hit, publish, try_open};
use super::super::{Digest, Record, Store};
use super::manifest::{Manifest, Part, blob_name};
use super::{ArchiveError, Choice, Limits, export, import};

const LIMITS: Limits<'static> = Limits {
    most: 1 << 20,
    key: None,
};

const EVERYTHING: Choice<'static> = Choice {
    target: &|_| true,
    since: None,
    key: None,
};

/// A cache with three results, as an archive's bytes.
fn honest() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut store = try_open(dir.path()).unwrap();
    (1..=3).for_each(|n| publish(&mut store, n).unwrap());
    drop(store);
    archived(dir.path())
}

fn archived(cache: &Path) -> Vec<u8> {
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("x.tar.zst");
    export(&Store::open_read(cache).unwrap(), &EVERYTHING, &path).unwrap();
    fs::read(path).unwrap()
}

/// Every file of a folder with its bytes, but for the lock's.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = files(&entry.path()).into_iter();
            found.extend(below.map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else if name != "lock" {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// Imports into a cache that has a result of its own; a refusal must leave it as it was.
fn take(bytes: &[u8]) -> Result<(tempfile::TempDir, Store), ArchiveError> {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("project/.cache");
    publish(&mut try_open(&cache).unwrap(), 1).unwrap();
    let file = dir.path().join("x.tar.zst");
    fs::write(&file, bytes).unwrap();
    let before = files(dir.path());
    let mut store = try_open(&cache).unwrap();
    match import(&mut store, &file, LIMITS) {
        Ok(_) => Ok((dir, store)),
        Err(error) => {
            drop(store);
            assert_eq!(files(dir.path()), before, "{error}");
            Err(error)
        }
    }
}

fn refusal(bytes: &[u8]) -> String {
    take(bytes).map(|_| ()).unwrap_err().to_string()
}

type Entries = Vec<(EntryType, String, Vec<u8>)>;

/// The entries of an archive.
fn unpack(bytes: &[u8]) -> Entries {
    let mut archive = tar::Archive::new(zstd::Decoder::new(bytes).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        (entry.header().entry_type(), name, bytes)
    });
    entries.collect()
}

fn repack(entries: &Entries) -> Vec<u8> {
    let encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let mut tar = tar::Builder::new(encoder);
    for (kind, name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        // As set_path would refuse what is wanted here.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("../../../etc/passwd").unwrap();
        }
        header.set_cksum();
        tar.append(&header, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// The honest archive with one change.
fn changed(change: impl FnOnce(&mut Entries)) -> Vec<u8> {
    let mut entries = unpack(&honest());
    change(&mut entries);
    repack(&entries)
}

fn with_manifest(entries: &mut Entries, change: impl FnOnce(&mut Manifest)) {
    let Ok(mut manifest) = Manifest::parse(&entries[0].2) else {
        panic!("the honest manifest")
    };
    change(&mut manifest);
    entries[0].2 = manifest.to_bytes();
}

#[test]
fn an_honest_archive_is_taken_however_it_was_packed() {
    for bytes in [honest(), changed(|_| {})] {
        let (_dir, store) = take(&bytes).unwrap();
        assert!((1..=3).all(|n| is_hit(&store, n)));
    }
}

#[test]
fn the_same_records_give_the_same_bytes_whatever_way_they_came() {
    let [first, second] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let mut store = try_open(first.path()).unwrap();
    (1..=2).for_each(|n| publish(&mut store, n).unwrap());
    drop(store);
    let bytes = archived(first.path());
    let file = second.path().join("x.tar.zst");
    fs::write(&file, &bytes).unwrap();
    let cache = second.path().join("cache");
    drop(import(&mut try_open(&cache).unwrap(), &file, LIMITS).unwrap());
    assert_eq!(archived(&cache), bytes);
    assert_eq!(archived(first.path()), bytes);
}

#[test]
fn paths_and_links_are_refused() {
    for name in [
        "../../evil",
        "/etc/evil",
        "cas/../../evil",
        "log/evil.log",
        ".cache/lock",
        "./manifest.json",
    ] {
        for at in 0..3 {
            let bytes = changed(|entries| entries[at].1 = name.to_owned());
            let said = refusal(&bytes);
            assert!(
                said.contains("has to be") && said.contains("nothing was changed"),
                "{said}"
            );
            let added = changed(|entries| {
                entries.insert(at, (EntryType::Regular, name.to_owned(), b"evil".to_vec()));
            });
            refusal(&added);
        }
    }
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Char,
        EntryType::Fifo,
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::GNUSparse,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        for at in 0..3 {
            refusal(&changed(|entries| entries[at].0 = kind));
            refusal(&changed(|entries| {
                let name = entries[at].1.clone();
                entries.insert(at, (kind, name, b"30 path=../../../../tmp/evil\n".to_vec()));
            }));
        }
    }
}

#[test]
fn wrong_bytes_are_refused() {
    for at in 1..5 {
        let flipped = changed(|entries| *entries[at].2.last_mut().unwrap() ^= 1);
        assert!(refusal(&flipped).contains("not those of its digest"));
    }
    let missing = changed(|entries| drop(entries.pop()));
    assert!(refusal(&missing).contains("it ends before `cas/"));
    let more = changed(|entries| {
        let again = entries[2].clone();
        entries.push(again);
    });
    assert!(refusal(&more).contains("more than its manifest tells"));
    let swapped = changed(|entries| entries.swap(2, 3));
    assert!(refusal(&swapped).contains("has to be"));
    assert!(refusal(b"").contains("refused"));
    assert!(refusal(b"PK\x03\x04 a zip file").contains("cut short or damaged"));
}

#[test]
fn an_archive_of_a_later_format_says_what_to_do() {
    let later = changed(|entries| entries[0].2 = br#"{"format":7,"records":"elsewhere"}"#.to_vec());
    assert!(refusal(&later).contains("has format 7 and this sweep reads up to 1: update sweep"));
    let none = changed(|entries| with_manifest(entries, |manifest| manifest.format = 0));
    assert!(refusal(&none).contains("there was no format 0"));
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    // A manifest that tells the truth about too much.
    let told = changed(|entries| with_manifest(entries, |manifest| manifest.blobs[0].bytes = 1 << 40));
    assert!(matches!(
        take(&told).map(|_| ()).unwrap_err(),
        ArchiveError::TooLarge { .. }
    ));
    let overflow = changed(|entries| {
        with_manifest(entries, |manifest| {
            manifest.blobs.iter_mut().for_each(|part| part.bytes = u64::MAX);
        });
    });
    assert!(matches!(
        take(&overflow).map(|_| ()).unwrap_err(),
        ArchiveError::TooLarge { .. }
    ));
    // An entry that is more than its manifest tells, and zeros after the end.
    let zeros = vec![0; 64 << 20];
    let entry = changed(|entries| entries[2].2.clone_from(&zeros));
    assert!(refusal(&entry).contains("not what was told"));
    let plain = zstd::decode_all(honest().as_slice()).unwrap();
    let long = [plain.as_slice(), &zeros].concat();
    let long = zstd::encode_all(long.as_slice(), 1).unwrap();
    assert!(long.len() < 100_000);
    assert!(refusal(&long).contains("goes on after its end"));
}

/// The honest archive with a log of one's own.
fn with_log(log: Vec<u8>, blobs: &[&[u8]]) -> Vec<u8> {
    let part = |bytes: &[u8]| Part {
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
    };
    let mut blobs = blobs.to_vec();
    blobs.sort_by_key(|bytes| Digest::of(bytes));
    let manifest = Manifest {
        format: 1,
        log: part(&log),
        blobs: blobs.iter().map(|bytes| part(bytes)).collect(),
        signature: None,
    };
    let plain = EntryType::Regular;
    let mut entries = vec![
        (plain, "manifest.json".to_owned(), manifest.to_bytes()),
        (plain, "log/records.log".to_owned(), log),
    ];
    entries.extend(
        blobs
            .iter()
            .map(|bytes| (plain, blob_name(&Digest::of(bytes)), bytes.to_vec())),
    );
    repack(&entries)
}

fn pack(record: &Record, segment: &str, generation: u64) -> Vec<u8> {
    let origin = Origin {
        generation,
        segment: segment.to_owned(),
    };
    let payload = payload::encode(record);
    let mut pack = Pack::new(0);
    pack.record(&origin, 0, &payload);
    pack.encode().unwrap()
}

#[test]
fn forged_records_are_refused() {
    let fine = example("bench:x", 1);
    let name = "20261122T040412Z-0a1b2c.00000000.log";
    assert!(take(&with_log(pack(&fine, name, 1), &[])).is_ok());
    let mut forged = fine.clone();
    forged.key = example("bench:x", 2).key;
    assert!(refusal(&with_log(pack(&forged, name, 1), &[])).contains("its key contradicts the rest of it"));
    for segment in ["../../x.log", "x", "a\nb.log", ""] {
        assert!(refusal(&with_log(pack(&fine, segment, 1), &[])).contains("which none is"));
    }
    assert!(refusal(&with_log(pack(&fine, name, u64::MAX), &[])).contains("generation"));
    assert!(refusal(&with_log(pack(&fine, name, 1), &[b"stray"])).contains("no record in it names"));
    assert!(refusal(&with_log(b"sweeplog".to_vec(), &[])).contains("cannot be read"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_damage_is_refused_or_harmless(at: prop::sample::Index, mask in 1..=255u8, cut: bool) {
        let mut bytes = honest();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= mask }
        if let Ok((_dir, store)) = take(&bytes) {
            prop_assert!((1..=3).all(|n| is_hit(&store, n)));
        }
    }
}
