//! Rows out of the cache, each with where it comes from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use petgraph::graph::NodeIndex;

use crate::cache::{Digest, Fetched, FsError, Key, Store};
use crate::graph::{Graph, Spec};
use crate::plan::State;
use crate::results::{self, Collected, Provenance, Row};

/// A fresh row.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// The process target.
    pub process: String,
    pub digest: Digest,
    pub collected: Collected,
}

/// Rows, and what was wrong with those that are missing although they should be there.
#[derive(Debug, Default)]
pub struct Rows {
    pub rows: Vec<Gathered>,
    pub lost: Vec<String>,
}

/// The rows of the fresh ones among `processes`, in that order. A row is `fresh` when its bench ran in `run`.
pub fn gather(
    store: &Store,
    graph: &Graph,
    states: &BTreeMap<NodeIndex, State>,
    processes: &[NodeIndex],
    run: Option<&str>,
) -> Result<Rows, FsError> {
    let mut rows = Rows::default();
    for node in processes {
        let id = graph.dag[*node].id.to_string();
        let Some(digest) = states.get(node).and_then(State::output) else {
            continue;
        };
        let Some(bench) = bench_evidence(graph, states, *node) else {
            continue;
        };
        let row = match store.cas().get(&digest)? {
            Fetched::Found(bytes) => serde_json::from_slice::<Row>(&bytes).ok(),
            Fetched::Missing | Fetched::Damaged(_) => None,
        };
        match row.zip(provenance(store, &bench, run, &id)) {
            Some((row, provenance)) => {
                rows.rows.push(Gathered {
                    process: id,
                    digest,
                    collected: Collected { row, provenance },
                });
            }
            None => rows.lost.push(id),
        }
    }
    Ok(rows)
}

fn bench_evidence(graph: &Graph, states: &BTreeMap<NodeIndex, State>, process: NodeIndex) -> Option<Key> {
    let Spec::Process { point } = graph.dag[process].spec else {
        return None;
    };
    let chain = graph.chains[point].as_ref().ok()?;
    match states.get(&chain.bench)? {
        State::Fresh(evidence) => Some(evidence.key),
        _ => None,
    }
}

/// The number was measured when its bench ran, however often its row was computed since.
fn provenance(store: &Store, bench: &Key, run: Option<&str>, process: &str) -> Option<Provenance> {
    let record = store.lookup(bench).ok()??.decode().ok()?;
    let from = record.provenance;
    let ended_ms = from.started_unix_ms.saturating_add(from.elapsed_ms);
    Some(Provenance {
        state: if run == Some(from.run.as_str()) {
            results::State::Fresh
        } else {
            results::State::Cached
        },
        run: from.run,
        date: Timestamp::from_millisecond(i64::try_from(ended_ms).ok()?).ok()?,
        host: from.host,
        target: process.to_owned(),
    })
}
