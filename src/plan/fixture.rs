//! Records of targets that were built, without building them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use petgraph::graph::NodeIndex;
use tempfile::TempDir;

use super::{Judge, Plan, Policy, SERVER_START_MS, State, process_inputs};
use crate::cache::record::FORMAT;
use crate::cache::{
    Digest, Holder, Inputs, Output, Provenance, Record, RunId, Source, Store, Verdict, Wait, lock,
};
use crate::graph::fixture::Fixture;
use crate::graph::{Chain, Graph, Kind, TargetId};

/// When every record of these tests was made, in ms since 1970.
pub(super) const MADE_MS: u64 = 1_795_320_252_000;

/// How long every bench of these tests took, and its server's start.
pub(super) const BENCH_MS: u64 = 1500;
pub(super) const START_MS: u64 = 400;

/// A cache folder that is open to build.
pub(super) struct Cache {
    pub(super) store: Store,
    _dir: Option<TempDir>,
}

impl Cache {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Self::open(dir.path());
        Self {
            _dir: Some(dir),
            ..cache
        }
    }

    /// In a folder that outlives it.
    pub(super) fn open(dir: &Path) -> Self {
        let lock = lock::acquire(dir, Wait::No, &Holder::default()).unwrap();
        let run = RunId::generate();
        let store = Store::open_write(dir, run, lock, SystemTime::now()).unwrap();
        Self { store, _dir: None }
    }

    /// Keeps a record of a target whose one output holds `bytes`.
    pub(super) fn keep(&mut self, target: &TargetId, inputs: Inputs, verdict: Verdict, bytes: &str) {
        let outputs = match verdict {
            Verdict::Passed => vec![Output {
                name: "output".to_owned(),
                digest: Digest::of(bytes.as_bytes()),
                size: bytes.len() as u64,
            }],
            Verdict::Failed { .. } => Vec::new(),
        };
        let record = Record {
            format: FORMAT,
            target: target.to_string(),
            key: inputs.key(),
            inputs,
            deps: Vec::new(),
            outputs,
            verdict,
            provenance: Provenance {
                run: "20261122T040412Z-0a1b2c".to_owned(),
                host: "node1".to_owned(),
                started_unix_ms: MADE_MS,
                elapsed_ms: BENCH_MS,
                sweep_version: "0.1.0".to_owned(),
                simulated: true,
                attempt: 1,
            },
            facts: BTreeMap::from([(SERVER_START_MS.to_owned(), START_MS.to_string())]),
        };
        self.store
            .publish(&record, &[Source::Bytes(bytes.as_bytes())])
            .unwrap();
    }

    /// Keeps a good measurement of a point and its row.
    pub(super) fn build(&mut self, graph: &Graph, point: usize) {
        let inputs = judge(graph, &self.store).bench_inputs(&chain(graph, point));
        let trace = format!("trace of {}", inputs.key());
        self.keep(&bench_id(graph, point), inputs, Verdict::Passed, &trace);
        let row = process_inputs(&graph.points[point], "trace", Digest::of(trace.as_bytes()));
        let id = TargetId::new(Kind::Process, graph.points[point].id());
        let text = format!("row of {}", row.key());
        self.keep(&id, row, Verdict::Passed, &text);
    }

    /// Removes the trace of a point that was built.
    pub(super) fn lose_trace(&self, graph: &Graph, point: usize) -> Digest {
        let key = judge(graph, &self.store).bench_inputs(&chain(graph, point)).key();
        let digest = Digest::of(format!("trace of {key}").as_bytes());
        std::fs::remove_file(self.store.cas().path(&digest)).unwrap();
        digest
    }

    pub(super) fn plan(&self, fixture: &Fixture, graph: &mut Graph, words: &[&str], policy: Policy) -> Plan {
        let selection = fixture.select(graph, words);
        let (_, profile) = fixture.project.profile(None).unwrap();
        Plan::new(&fixture.project, profile, graph, &selection, &self.store, policy).unwrap()
    }
}

fn judge<'a>(graph: &'a Graph, store: &'a Store) -> Judge<'a> {
    Judge {
        graph,
        store,
        policy: Policy::default(),
    }
}

pub(super) fn chain(graph: &Graph, point: usize) -> Chain {
    *graph.chains[point].as_ref().unwrap()
}

pub(super) fn bench_id(graph: &Graph, point: usize) -> TargetId {
    graph.dag[chain(graph, point).bench].id.clone()
}

/// A target's state in a plan.
pub(super) fn state(plan: &Plan, node: NodeIndex) -> &State {
    &plan.states[&node]
}
