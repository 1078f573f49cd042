//! Caches that grow apart, shrink, forget, crash and are merged, against a model: a set of records and a set of the
//! forgotten ones.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use object_store::memory::InMemory;
use proptest::prelude::*;

use super::archive::{Choice, Limits, export, import};
use super::forget::forget;
use super::fs::fault::{self, Fault};
use super::gc::{collect, garbage};
use super::merge::merge_folder;
use super::record::tests::example;
use super::remote::tests::settings;
use super::remote::{Client, fetch, push};
use super::store::tests::try_open;
use super::{Digest, Output, Record, Source, Store, Verdict};

const LIMITS: Limits<'static> = Limits {
    most: 1 << 20,
    key: None,
};

/// The record of an attempt, told from all others by its number, and the bytes it put out.
fn attempt(number: u32, target: u8, seed: u8, passed: bool) -> (Record, Vec<u8>) {
    let mut record = example(&format!("bench:t/{target}"), u64::from(seed));
    record.provenance.attempt = number;
    let bytes = format!("what attempt {number} has measured").into_bytes();
    let digest = Digest::of(&bytes);
    if passed {
        record.outputs.push(Output {
            name: "trace".to_owned(),
            digest,
            size: bytes.len() as u64,
        });
    } else {
        record.verdict = Verdict::Failed {
            reason: "died".to_owned(),
            log: Some(digest),
        };
    }
    (record, bytes)
}

/// One machine's cache, and what ought to be in it.
struct Machine {
    dir: tempfile::TempDir,
    records: BTreeMap<u32, u8>,
    forgotten: BTreeSet<u32>,
}

impl Machine {
    fn new() -> Machine {
        Machine {
            dir: tempfile::tempdir().unwrap(),
            records: BTreeMap::new(),
            forgotten: BTreeSet::new(),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn open(&self) -> Store {
        try_open(self.path()).unwrap()
    }

    fn run(&mut self, attempts: &[(u32, u8, u8, bool)]) {
        let mut store = self.open();
        for (number, target, seed, passed) in attempts {
            let (record, bytes) = attempt(*number, *target, *seed, *passed);
            store.publish(&record, &[Source::Bytes(&bytes)]).unwrap();
            self.records.insert(*number, *target);
        }
    }

    fn forget(&mut self, target: u8) {
        let id = format!("bench:t/{target}");
        forget(&mut self.open(), SystemTime::now(), |other| other == id).unwrap();
        let its = self.records.iter().filter(|(_, its)| **its == target);
        self.forgotten.extend(its.map(|(number, _)| number));
    }

    fn collect(&self) {
        let mut store = self.open();
        let mut garbage = garbage(&store, u64::MAX, SystemTime::now()).unwrap();
        garbage.compact_anyway();
        collect(&mut store, &garbage).unwrap();
    }

    fn take_folder(&mut self, from: &Machine) {
        merge_folder(&mut self.open(), from.path()).unwrap();
        self.know(from);
    }

    fn take_archive(&mut self, from: &Machine) {
        let file = from.path().join("all.tar.zst");
        let everything = Choice {
            target: &|_| true,
            since: None,
            key: None,
        };
        export(&Store::open_read(from.path()).unwrap(), &everything, &file).unwrap();
        import(&mut self.open(), &file, LIMITS).unwrap();
        self.know(from);
    }

    /// `cp -r`: files of the same names are overwritten.
    fn take_files(&mut self, from: &Machine) {
        copy_over(&from.path().join("log"), &self.path().join("log"));
        copy_over(&from.path().join("cas"), &self.path().join("cas"));
        self.know(from);
    }

    fn know(&mut self, from: &Machine) {
        self.records.extend(&from.records);
        self.forgotten.extend(&from.forgotten);
    }

    fn expected(&self) -> BTreeSet<u32> {
        let counts = |number: &&u32| !self.forgotten.contains(number);
        self.records.keys().filter(counts).copied().collect()
    }

    fn assert_no_blob_is_missing(&self, fault: &str) {
        let store = Store::open_read(self.path()).unwrap();
        for record in store.records().iter() {
            for (digest, _) in record.blobs() {
                let fetched = store.cas().get(&digest).unwrap();
                assert!(fetched.found().is_some(), "{fault}: a record without its blobs");
            }
        }
    }

    fn view(&self) -> View {
        View::of(&Store::open_read(self.path()).unwrap())
    }
}

fn copy_over(from: &Path, to: &Path) {
    if !from.is_dir() {
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_over(&entry.path(), &to);
        } else {
            let _ = std::fs::remove_file(&to);
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// All that a build can see of a cache: every record in order, and what is found by target and by key.
#[derive(Debug, PartialEq, Eq)]
struct View {
    order: Vec<u32>,
    latest: BTreeMap<String, (u32, Option<u32>)>,
    found: BTreeMap<String, Option<u32>>,
}

impl View {
    fn of(store: &Store) -> View {
        let number = |record: super::RecordRef<'_>| record.decode().unwrap().provenance.attempt;
        let records = store.records();
        let latest = records.iter().map(|record| {
            let target = record.head().target;
            let any = number(records.latest(target).unwrap());
            (
                target.to_owned(),
                (any, records.latest_passed(target).map(number)),
            )
        });
        let found = records.iter().map(|record| {
            let key = record.head().key;
            (key.to_string(), store.lookup(&key).unwrap().map(number))
        });
        View {
            order: records.iter().map(number).collect(),
            latest: latest.collect(),
            found: found.collect(),
        }
    }

    fn numbers(&self) -> BTreeSet<u32> {
        self.order.iter().copied().collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Run {
        on: usize,
        attempts: Vec<(u8, u8, bool)>,
    },
    Forget {
        on: usize,
        target: u8,
    },
    Collect {
        on: usize,
    },
    TakeFolder {
        on: usize,
        from: usize,
    },
    TakeArchive {
        on: usize,
        from: usize,
    },
    TakeFiles {
        on: usize,
        from: usize,
    },
}

const MACHINES: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let machine = 0..MACHINES;
    let attempts = prop::collection::vec((0..3u8, 0..2u8, any::<bool>()), 1..4);
    let two = (0..MACHINES, 1..MACHINES).prop_map(|(on, by)| (on, (on + by) % MACHINES));
    let step = prop_oneof![
        4 => (machine.clone(), attempts).prop_map(|(on, attempts)| Step::Run { on, attempts }),
        1 => (machine.clone(), 0..3u8).prop_map(|(on, target)| Step::Forget { on, target }),
        1 => machine.prop_map(|on| Step::Collect { on }),
        1 => two.clone().prop_map(|(on, from)| Step::TakeFolder { on, from }),
        1 => two.clone().prop_map(|(on, from)| Step::TakeArchive { on, from }),
        1 => two.prop_map(|(on, from)| Step::TakeFiles { on, from }),
    ];
    prop::collection::vec(step, 1..9)
}

fn play(steps: &[Step]) -> Vec<Machine> {
    let mut machines: Vec<Machine> = (0..MACHINES).map(|_| Machine::new()).collect();
    let mut number = 0;
    for step in steps {
        match step {
            Step::Run { on, attempts } => {
                let attempts: Vec<_> = attempts
                    .iter()
                    .map(|(target, seed, passed)| {
                        number += 1;
                        (number, *target, *seed, *passed)
                    })
                    .collect();
                machines[*on].run(&attempts);
            }
            Step::Forget { on, target } => machines[*on].forget(*target),
            Step::Collect { on } => machines[*on].collect(),
            Step::TakeFolder { on, from } | Step::TakeArchive { on, from } | Step::TakeFiles { on, from } => {
                let [on, from] = machines.get_disjoint_mut([*on, *from]).unwrap();
                // A machine that never ran has no cache to take.
                if !from.records.is_empty() {
                    match step {
                        Step::TakeArchive { .. } => on.take_archive(from),
                        Step::TakeFiles { .. } => on.take_files(from),
                        _ => on.take_folder(from),
                    }
                }
            }
        }
    }
    machines
}

/// The view of a new cache that took these, in this order, in one of the three ways each.
fn merged(order: &[&Machine], ways: usize) -> View {
    let mut into = Machine::new();
    for (n, from) in order.iter().enumerate() {
        if from.records.is_empty() {
            continue;
        }
        match (n + ways) % 3 {
            0 => into.take_folder(from),
            1 => into.take_archive(from),
            _ => into.take_files(from),
        }
    }
    into.view()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn caches_merge_in_any_order_any_way_and_any_number_of_times(steps in steps(), ways in 0..3usize) {
        let machines = play(&steps);
        for machine in &machines {
            prop_assert_eq!(machine.view().numbers(), machine.expected());
        }
        let [a, b, c] = &machines[..] else { unreachable!("there are three") };
        let all = merged(&[a, b, c], ways);
        prop_assert_eq!(&all, &merged(&[c, b, a], ways + 1), "commutative");
        prop_assert_eq!(&all, &merged(&[b, b, a, c, a, b], ways), "idempotent");
        let mut b_and_c = Machine::new();
        for from in [b, c] {
            if !from.records.is_empty() {
                b_and_c.take_folder(from);
            }
        }
        prop_assert_eq!(&all, &merged(&[a, &b_and_c], ways + 2), "associative");
        prop_assert_eq!(all.numbers().len(), all.order.len(), "no record counts twice");
        // What a machine saw stays in its order.
        for machine in &machines {
            let mut rest = all.order.iter();
            let seen = machine.view().order;
            let stays = seen.iter().filter(|number| all.order.contains(number));
            for number in stays {
                prop_assert!(rest.any(|other| other == number));
            }
        }
    }
}

/// Five runs, two of whose targets were forgotten in between, half of it in a pack already.
fn long_history() -> Machine {
    let mut machine = Machine::new();
    for run in 0..5_u32 {
        let attempts: Vec<_> = (0..3_u8)
            .map(|target| {
                let number = run * 3 + u32::from(target);
                (number, target, u8::from(run % 2 == 0), target != 2 || run == 4)
            })
            .collect();
        machine.run(&attempts);
        match run {
            1 => machine.forget(0),
            2 => machine.collect(),
            3 => machine.forget(1),
            _ => {}
        }
    }
    machine
}

/// Runs `change` on a copy of the long history, once for each of its calls to the file system with that call failing
/// (and, dying there, all after it), and lets `judge` look at what is left.
fn at_each_call(change: impl Fn(&mut Store), judge: impl Fn(&Machine, &View, &str)) {
    let original = long_history();
    let copy = || {
        let mut copy = Machine::new();
        copy.take_files(&original);
        copy
    };
    let first = copy();
    let mut store = first.open();
    let (_, calls) = fault::with(None, || change(&mut store));
    drop(store);
    for n in 0..calls {
        for fault in [Fault::From(n), Fault::Once(n)] {
            let machine = copy();
            let mut store = machine.open();
            fault::with(Some(fault), || change(&mut store));
            drop(store);
            let left = machine.view();
            judge(&machine, &left, &format!("{fault:?} of {calls}"));
            // The next one finishes it.
            let mut store = machine.open();
            assert!(store.damage().is_empty(), "{fault:?}");
            change(&mut store);
            drop(store);
            assert_eq!(machine.view(), first.view(), "{fault:?}");
        }
    }
}

#[test]
fn a_collection_that_dies_anywhere_loses_and_brings_back_nothing() {
    let half = |store: &mut Store| {
        let mut plan = garbage(store, 3000, SystemTime::now()).unwrap_or_default();
        plan.compact_anyway();
        let _ = collect(store, &plan);
    };
    let whole = long_history();
    let before = whole.view().order;
    let mut small = Machine::new();
    small.take_files(&whole);
    half(&mut small.open());
    let kept = small.view().order;
    assert!(
        (1..before.len()).contains(&kept.len()),
        "{} of {} fit",
        kept.len(),
        before.len()
    );
    assert_eq!(kept, before[before.len() - kept.len()..], "the newest");
    at_each_call(half, |machine, left, fault| {
        assert!(kept.iter().all(|n| left.order.contains(n)), "{fault} lost");
        assert!(
            left.numbers().is_subset(&machine.expected()),
            "{fault} brought back"
        );
        let order: Vec<_> = before
            .iter()
            .filter(|n| left.order.contains(n))
            .copied()
            .collect();
        assert_eq!(left.order, order, "{fault}");
        let found: BTreeSet<_> = left.found.values().flatten().collect();
        let newest: BTreeSet<_> = small.view().found.into_values().flatten().collect();
        assert!(newest.iter().all(|n| found.contains(n)), "{fault} lost a result");
    });
}

#[test]
fn forgetting_that_dies_anywhere_is_all_or_nothing() {
    let forget_two = |store: &mut Store| {
        let _ = forget(store, SystemTime::UNIX_EPOCH, |target| target == "bench:t/2");
    };
    let before = long_history().view().order;
    let without: Vec<_> = before.iter().filter(|n| *n % 3 != 2).copied().collect();
    at_each_call(forget_two, |_, left, fault| {
        assert!(left.order == before || left.order == without, "{fault}");
    });
}

#[test]
fn a_fetch_from_a_remote_that_dies_anywhere_adds_all_results_or_none() {
    let mut other = Machine::new();
    other.run(&[(100, 0, 7, true), (101, 1, 8, true)]);
    let remote = Arc::new(InMemory::new());
    let client = Client::over(remote, settings());
    let store = Store::open_read(other.path()).unwrap();
    push(&client, &store, |_| true).unwrap();
    let keys: Vec<_> = store.records().iter().map(|record| record.head().key).collect();
    let before = long_history().view().order.len();
    let take = |store: &mut Store| drop(fetch(&client, store, &keys));
    at_each_call(take, |machine, left, fault| {
        let count = left.order.len();
        assert!(count == before || count == before + 2, "{fault}: {count}");
        machine.assert_no_blob_is_missing(fault);
    });
}

#[test]
fn an_import_that_dies_anywhere_adds_all_records_or_none() {
    let mut other = Machine::new();
    other.run(&[(100, 0, 0, true), (101, 1, 1, false), (102, 2, 0, true)]);
    let file = other.path().join("all.tar.zst");
    let everything = Choice {
        target: &|_| true,
        since: None,
        key: None,
    };
    export(&Store::open_read(other.path()).unwrap(), &everything, &file).unwrap();
    let before = long_history().view().order.len();
    for archive in [true, false] {
        let take = |store: &mut Store| {
            if archive {
                let _ = import(store, &file, LIMITS);
            } else {
                let _ = merge_folder(store, other.path());
            }
        };
        at_each_call(take, |machine, left, fault| {
            let count = left.order.len();
            assert!(count == before || count == before + 3, "{fault}: {count}");
            machine.assert_no_blob_is_missing(fault);
        });
    }
}
