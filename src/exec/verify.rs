//! What a plan takes from the cache, read before anything rests on it.
//!
//! A record is found by its key and its outputs by their sizes; that a blob's bytes are what they were is only known
//! once they are read. So a build reads the rows that it is about to hand on, and the traces from which it computes
//! missing ones: what is damaged is taken away and is a miss like any other, and the plan is made again without it.

use petgraph::graph::NodeIndex;

use crate::cache::{Digest, Fetched, FsError, Store};
use crate::graph::{Graph, Spec};
use crate::plan::{Plan, State};

/// Reads the blobs that the plan rests on and takes damaged ones away; one line for each. Empty: the plan holds.
///
/// The store has to be open for writing: one that only reads takes nothing away.
pub fn take_damaged_away(store: &Store, graph: &Graph, plan: &Plan) -> Result<Vec<String>, FsError> {
    let mut damaged = Vec::new();
    let mut is_intact = |digest: Digest, what: &str| -> Result<bool, FsError> {
        let fetched = store.cas().get(&digest)?;
        if let Fetched::Damaged(_) = fetched {
            damaged.push(format!(
                "{what} is damaged in the cache ({}) and is made again",
                digest.short()
            ));
        }
        Ok(matches!(fetched, Fetched::Found(_)))
    };
    for node in plan.sweep.iter().flat_map(|sweep| &sweep.processes) {
        let Spec::Process { point } = graph.dag[*node].spec else {
            continue;
        };
        let Ok(chain) = &graph.chains[point] else {
            continue;
        };
        let output = |node| plan.states.get(node).and_then(State::output);
        let id = |node: NodeIndex| &graph.dag[node].id;
        if let Some(row) = output(node)
            && is_intact(row, &format!("the row of `{}`", id(*node)))?
        {
            continue;
        }
        if let Some(trace) = output(&chain.bench) {
            is_intact(trace, &format!("the trace of `{}`", id(chain.bench)))?;
        }
    }
    Ok(damaged)
}
