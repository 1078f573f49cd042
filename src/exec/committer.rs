//! What has finished, on its way into the cache: kept in groups.
//!
//! Waiting for the disk takes longer than many a target. So one thread keeps results: whatever finishes while it waits
//! for the disk goes there together, as the next group. One that finishes alone is kept at once. Nobody is told that a
//! result is kept before it is on the disk.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::run::Run;
use crate::cache::{Finished, Key, Record, Source, StoreError};

/// How many results are kept together at most, and how many may wait for that before those that come have to wait as
/// well: a disk that is slow must not be left behind without bound.
const GROUP: usize = 128;

/// A record with the bytes of its blobs.
#[derive(Debug)]
pub(super) struct Bundle {
    pub record: Record,
    pub blobs: Vec<Vec<u8>>,
}

/// Why a result was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the thread that keeps results is gone")]
    Gone,
}

struct Waiting {
    results: Vec<Bundle>,
    told: oneshot::Sender<Vec<Result<(), StoreError>>>,
}

/// The thread, seen from those who have results.
#[derive(Debug)]
pub(super) struct Committer {
    queue: mpsc::Sender<Waiting>,
    keys: Arc<Mutex<Keys>>,
}

/// The keys of this run's passed results.
#[derive(Debug, Default)]
struct Keys {
    waiting: HashSet<Key>,
    kept: HashSet<Key>,
}

impl Committer {
    /// Starts the thread; it ends when this is dropped and all that waited is kept.
    pub(super) fn start(run: Arc<Run>) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel(GROUP);
        let keys = Arc::<Mutex<Keys>>::default();
        thread::Builder::new().name("committer".to_owned()).spawn({
            let keys = keys.clone();
            move || keep(&run, waiting, &keys)
        })?;
        Ok(Self { queue, keys })
    }

    /// Waits until there is room for one more result.
    pub(super) async fn slot(&self) -> Slot<'_> {
        Slot {
            permit: self.queue.reserve().await.ok(),
            keys: &self.keys,
        }
    }

    /// Whether a passed result of these inputs was kept in this run. Waits where it is about to be.
    pub(super) async fn has(&self, key: &Key) -> bool {
        if lock(&self.keys).waiting.contains(key) {
            // All that came before is kept when nothing is.
            let _ = self.slot().await.keep(Vec::new()).await;
        }
        lock(&self.keys).kept.contains(key)
    }
}

/// Room for one result.
pub(super) struct Slot<'a> {
    permit: Option<mpsc::Permit<'a, Waiting>>,
    keys: &'a Mutex<Keys>,
}

impl Slot<'_> {
    /// Keeps records that belong together, in order, and tells what became of each once they are on the disk.
    pub(super) async fn keep(self, results: Vec<Bundle>) -> Vec<Result<(), KeepError>> {
        let count = results.len();
        let gone = || (0..count).map(|_| Err(KeepError::Gone)).collect();
        let Some(permit) = self.permit else { return gone() };
        let passed = results.iter().filter(|result| result.record.passed());
        lock(self.keys)
            .waiting
            .extend(passed.map(|result| result.record.key));
        let (told, outcome) = oneshot::channel();
        permit.send(Waiting { results, told });
        match outcome.await {
            Ok(outcome) => outcome
                .into_iter()
                .map(|one| one.map_err(KeepError::Store))
                .collect(),
            Err(_) => gone(),
        }
    }
}

/// The thread: group after group.
fn keep(run: &Run, mut queue: mpsc::Receiver<Waiting>, keys: &Mutex<Keys>) {
    let mut group = Vec::new();
    while queue.blocking_recv_many(&mut group, GROUP) > 0 {
        let blobs: Vec<Vec<Source<'_>>> = group
            .iter()
            .flat_map(|waiting| &waiting.results)
            .map(|result| result.blobs.iter().map(|blob| Source::Bytes(blob)).collect())
            .collect();
        let finished: Vec<Finished<'_>> = group
            .iter()
            .flat_map(|waiting| &waiting.results)
            .zip(&blobs)
            .map(|(result, blobs)| Finished {
                record: &result.record,
                blobs,
            })
            .collect();
        let mut outcomes = run.publish_all(&finished).into_iter();
        for waiting in group.drain(..) {
            let told: Vec<_> = outcomes.by_ref().take(waiting.results.len()).collect();
            let mut keys = lock(keys);
            for (result, outcome) in waiting.results.iter().zip(&told) {
                keys.waiting.remove(&result.record.key);
                if outcome.is_ok() && result.record.passed() {
                    keys.kept.insert(result.record.key);
                }
            }
            drop(keys);
            // A session that was lost waits no more.
            let _ = waiting.told.send(told);
        }
    }
}

fn lock(keys: &Mutex<Keys>) -> MutexGuard<'_, Keys> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}
