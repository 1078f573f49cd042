//! The store under a process that dies, or is hit by one failure, at any of its file-system calls.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use super::fs::fault::{self, Fault};
use super::store::Store;
use super::store::tests::{is_hit, publish, try_open};

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
