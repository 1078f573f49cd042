//! The store under processes that die, or are hit by one failure, at any of their file-system calls.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::fs::fault::{self, Fault};
use super::record::tests::example;
use super::store::tests::{is_hit, publish, try_open};
use super::{Digest, Finished, Output, Record, Source, Store};

/// A build of three targets; tells which of them it found or kept.
fn build(dir: &Path) -> Vec<u64> {
    let Ok(mut store) = try_open(dir) else {
        return Vec::new();
    };
    (1..=3)
        .filter(|n| is_hit(&store, *n) || publish(&mut store, *n).is_ok())
        .collect()
}

#[test]
fn a_crash_at_any_call_leaves_a_truth_that_the_next_build_completes() {
    let (_, calls) = fault::with(None, || build(tempfile::tempdir().unwrap().path()));
    assert!(calls > 40, "only {calls} calls passed the door");
    for n in 0..calls {
        for fault in [Fault::From(n), Fault::Once(n)] {
            let dir = tempfile::tempdir().unwrap();
            let (told, _) = fault::with(Some(fault), || build(dir.path()));
            let store = try_open(dir.path()).unwrap();
            for kept in &told {
                assert!(is_hit(&store, *kept), "{fault:?} lost target {kept}");
            }
            drop(store);
            assert_eq!(build(dir.path()), [1, 2, 3], "{fault:?}");
            let store = Store::open_read(dir.path()).unwrap();
            assert!((1..=3).all(|n| is_hit(&store, n)), "{fault:?}");
            assert!(store.damage().is_empty(), "{fault:?}");
        }
    }
}

/// The result of a target, told from all others of it by the attempt's number, and its bytes.
fn measured(target: u8, attempt: u32) -> (Record, Vec<u8>) {
    let bytes = format!("what attempt {attempt} has measured").into_bytes();
    let mut record = example(&format!("bench:t/{target}"), u64::from(target));
    record.provenance.attempt = attempt;
    record.outputs.push(Output {
        name: "trace".to_owned(),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
    });
    (record, bytes)
}

/// What a build did.
#[derive(Default)]
struct Done {
    /// What it measured, in order.
    attempts: Vec<u32>,
    /// Those of them which it was told are kept.
    told: Vec<u32>,
    /// The targets that it found.
    found: Vec<u8>,
}

/// Builds these targets in this order, numbering what it measures from `attempt` on, and keeps so many together.
fn measure(dir: &Path, targets: &[u8], attempt: u32, together: usize) -> Done {
    let mut done = Done::default();
    let Ok(mut store) = try_open(dir) else {
        return done;
    };
    let mut group = Vec::<(Record, Vec<u8>)>::new();
    for target in targets {
        let number = attempt + done.attempts.len() as u32;
        let (record, bytes) = measured(*target, number);
        if group.len() == together || group.iter().any(|(other, _)| other.key == record.key) {
            keep(&mut store, &mut group, &mut done);
        }
        match store.lookup(&record.key) {
            Ok(Some(_)) => done.found.push(*target),
            // Whoever cannot look cannot know: it fails here, as a build would.
            Err(_) => return done,
            Ok(None) => {
                done.attempts.push(number);
                group.push((record, bytes));
            }
        }
    }
    keep(&mut store, &mut group, &mut done);
    done
}

fn keep(store: &mut Store, group: &mut Vec<(Record, Vec<u8>)>, done: &mut Done) {
    let blobs: Vec<_> = group.iter().map(|(_, bytes)| [Source::Bytes(bytes)]).collect();
    let results: Vec<_> = group
        .iter()
        .zip(&blobs)
        .map(|((record, _), blobs)| Finished { record, blobs })
        .collect();
    let outcomes = store.publish_all(&results);
    for ((record, _), outcome) in group.iter().zip(outcomes) {
        if outcome.is_ok() {
            done.told.push(record.provenance.attempt);
        }
    }
    group.clear();
}

/// The attempts on record, in order, each with its bytes.
fn on_record(dir: &Path) -> Vec<u32> {
    let store = Store::open_read(dir).unwrap();
    let attempt = |record: super::RecordRef<'_>| {
        for (digest, _) in record.blobs() {
            let fetched = store.cas().get(&digest).unwrap();
            assert!(fetched.found().is_some(), "a record without its bytes");
        }
        record.decode().unwrap().provenance.attempt
    };
    store.records().iter().map(attempt).collect()
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        1 => Just(None),
        3 => (0..60_u32).prop_map(|n| Some(Fault::From(n))),
        2 => (0..60_u32).prop_map(|n| Some(Fault::Once(n))),
        1 => any::<bool>().prop_map(|uncut| Some(Fault::FullDisk { uncut })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The model: what builds were told is kept. After each build the log holds it, in order, and of the build that
    /// died a beginning of what it measured, nothing else; and no build measures what was kept.
    #[test]
    fn after_any_crashes_the_records_are_a_beginning_of_what_was_done(
        builds in prop::collection::vec((prop::collection::vec(0..5_u8, 1..5), fault()), 1..6),
        together in 1..4_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut kept, mut finished, mut attempt) = (Vec::<u32>::new(), BTreeSet::<u8>::new(), 0);
        for (targets, fault) in builds {
            let (done, _) = fault::with(fault, || measure(dir.path(), &targets, attempt, together));
            attempt += done.attempts.len() as u32;
            let found = on_record(dir.path());
            prop_assert!(found.starts_with(&kept), "{kept:?} became {found:?}");
            let new = &found[kept.len()..];
            match fault {
                // It died: what is on record is a beginning of what it did, and goes as far as it was told, at least.
                Some(Fault::From(_)) => {
                    prop_assert!(done.attempts.starts_with(new), "{:?} left {new:?}", done.attempts);
                    prop_assert!(new.starts_with(&done.told), "{:?} were told, {new:?} are there", done.told);
                }
                // It went on: exactly what it was told is there.
                _ => prop_assert_eq!(new, &done.told[..]),
            }
            let store = Store::open_read(dir.path()).unwrap();
            for target in 0..5 {
                let is_there = store.lookup(&measured(target, 0).0.key).unwrap().is_some();
                prop_assert!(is_there || !finished.contains(&target), "target {target} is lost");
                if is_there {
                    finished.insert(target);
                }
            }
            // One result a target: what was finished was found, not measured again.
            prop_assert_eq!(finished.len(), found.len());
            prop_assert!(done.found.iter().all(|target| finished.contains(target)));
            kept = found;
        }
        let last = measure(dir.path(), &[0, 1, 2, 3, 4], attempt, together);
        prop_assert_eq!(last.told.len(), 5 - finished.len());
        prop_assert_eq!(on_record(dir.path()).len(), 5);
        prop_assert!(Store::open_read(dir.path()).unwrap().damage().is_empty());
    }
}
