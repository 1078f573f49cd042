//! A remote in memory: writers at the same time, a store that is slow, a sender that has to wait.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::poll;
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::{mpsc, watch};

use super::super::record::tests::example;
use super::super::store::tests::try_open;
use super::super::{Cas, Digest, Key, Output, Record, Source, Store};
use super::client::runtime;
use super::parcel::Parcel;
use super::sender::{Gate, Work};
use super::unsent::Unsent;
use super::{Client, Settings, fetch, push};

pub(in super::super) fn settings() -> Settings {
    Settings {
        url: "s3://bucket".to_owned(),
        read_only: false,
        timeout: Duration::from_secs(60),
        concurrency: 4,
        key: None,
        max_bytes: 1 << 20,
    }
}

/// A record of target `n` that tells its attempt, and the bytes it put out.
fn measured(n: u64, attempt: u32) -> (Record, Vec<u8>) {
    let bytes = format!("what attempt {attempt} measured of {n}").into_bytes();
    let mut record = example(&format!("bench:x/c{n}"), n);
    record.provenance.attempt = attempt;
    record.outputs.push(Output {
        name: "trace".to_owned(),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
    });
    (record, bytes)
}

fn key(n: u64) -> Key {
    measured(n, 0).0.key
}

/// A cache folder in which attempt `attempt` has measured these targets.
fn machine(attempt: u32, targets: &[u64]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut store = try_open(dir.path()).unwrap();
    for n in targets {
        let (record, bytes) = measured(*n, attempt);
        store.publish(&record, &[Source::Bytes(&bytes)]).unwrap();
    }
    dir
}

#[test]
fn writers_at_the_same_time_leave_one_whole_result_of_each_key() {
    let remote: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let targets: Vec<u64> = (0..20).collect();
    let machines: Vec<_> = (1..=4).map(|attempt| machine(attempt, &targets)).collect();
    std::thread::scope(|scope| {
        for machine in &machines {
            let client = Client::over(remote.clone(), settings());
            scope.spawn(move || {
                let store = Store::open_read(machine.path()).unwrap();
                let pushed = push(&client, &store, |_| true).unwrap();
                assert_eq!((pushed.sent + pushed.there, pushed.failed), (20, 0), "{pushed:?}");
            });
        }
    });
    let into = tempfile::tempdir().unwrap();
    let mut store = try_open(into.path()).unwrap();
    let keys: Vec<Key> = targets.iter().copied().map(key).collect();
    let fetched = fetch(&Client::over(remote, settings()), &mut store, &keys).unwrap();
    assert_eq!((fetched.results, fetched.blobs), (20, 20), "{fetched:?}");
    assert!(fetched.trouble.is_empty(), "{fetched:?}");
    for n in targets {
        let found = store.lookup(&key(n)).unwrap().unwrap().decode().unwrap();
        let (record, bytes) = measured(n, found.provenance.attempt);
        assert_eq!(found, record);
        assert_eq!(
            store.cas().get(&Digest::of(&bytes)).unwrap().found().unwrap(),
            bytes
        );
    }
    // Once more brings nothing new, and what is forgotten stays so.
    let records = store.records().len();
    fetch(
        &Client::over(Arc::new(InMemory::new()), settings()),
        &mut store,
        &keys,
    )
    .unwrap();
    assert_eq!(store.records().len(), records);
}

#[test]
fn what_was_forgotten_here_does_not_come_back() {
    let remote: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let client = Client::over(remote, settings());
    let machine = machine(1, &[1, 2]);
    let mut store = try_open(machine.path()).unwrap();
    push(&client, &store, |_| true).unwrap();
    let now = std::time::SystemTime::now();
    super::super::forget::forget(&mut store, now, |target| target == "bench:x/c1").unwrap();
    fetch(&client, &mut store, &[key(1), key(2)]).unwrap();
    assert!(store.lookup(&key(1)).unwrap().is_none());
    assert!(store.lookup(&key(2)).unwrap().is_some());
}

#[test]
fn a_slow_remote_is_waited_for_once_not_once_a_key() {
    let slow = ThrottleConfig {
        wait_get_per_call: Duration::from_secs(3600),
        ..ThrottleConfig::default()
    };
    let remote = Arc::new(ThrottledStore::new(InMemory::new(), slow));
    let limit = Duration::from_millis(200);
    let settings = Settings {
        timeout: limit,
        ..settings()
    };
    let into = tempfile::tempdir().unwrap();
    let mut store = try_open(into.path()).unwrap();
    let keys: Vec<Key> = (0..1000).map(key).collect();
    let fetched = fetch(&Client::over(remote, settings), &mut store, &keys).unwrap();
    assert_eq!(fetched.results, 0);
    assert_eq!(fetched.trouble.len(), 1, "{fetched:?}");
    // One after another they would take 50 s.
    assert!(fetched.in_vain < Duration::from_secs(10), "{fetched:?}");
}

#[test]
fn nothing_is_sent_while_a_bench_must_not_be_disturbed() {
    let remote = Arc::new(InMemory::new());
    let machine = machine(1, &[1]);
    let store = Store::open_read(machine.path()).unwrap();
    let unsent = Unsent::of(machine.path());
    unsent.note(&key(1)).unwrap();
    let (gate, at_gate) = watch::channel(Gate::Held);
    let (parcels, to_send) = mpsc::unbounded_channel();
    let work = Work {
        client: Client::over(remote.clone(), settings()),
        cas: Cas::read_only(machine.path().join("cas")),
        unsent: unsent.clone(),
        gate: at_gate,
        say: |error: &super::RemoteError| panic!("{error}"),
    };
    for parcel in Parcel::of_keys(&store, [key(1)]) {
        parcels.send(parcel).unwrap();
    }
    drop(parcels);
    let record = Client::over(remote.clone(), settings()).record(&key(1));
    runtime().unwrap().block_on(async {
        let mut running = std::pin::pin!(work.run(to_send));
        // A store in memory answers at once: whatever it may do, it does when it is polled.
        for _ in 0..10 {
            assert!(poll!(&mut running).is_pending());
        }
        assert!(remote.get(&record).await.is_err());
        gate.send_replace(Gate::Open);
        assert_eq!(running.await.results, 1);
        assert!(remote.get(&record).await.is_ok());
    });
    assert!(unsent.is_empty().unwrap());
}
