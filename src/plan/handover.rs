//! What a job that plans tells the jobs that measure and the one that collects.
//!
//! Shards are dealt once. Their points and inputs stand here, so that a shard stays what it is when another one is
//! done, and no job measures anything else than was planned.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reason::change_lines;
use super::shard::Shard;
use super::state::Policy;
use crate::cache::{Change, Digest, Inputs};
use crate::graph::{Chain, Graph, Kind, Selection, Spec, TargetId, file_name};

/// The version of [`Handover`]; a reader refuses any other.
pub const FORMAT: u32 = 1;

/// A sweep whose stale sessions were dealt out to shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handover {
    pub format: u32,
    /// The sweep that planned it.
    pub sweep_version: String,
    pub profile: String,
    /// The sweep's name and the words that select it.
    pub sweep: String,
    pub words: Vec<String>,
    /// Ids of the points whose rows are collected, fresh or not.
    pub points: Vec<String>,
    /// Results from before this are stale, in ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_before_unix_ms: Option<u64>,
    pub shards: Vec<PlannedShard>,
}

/// What one job measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedShard {
    /// Says its pool, its place among the shards of that pool, and digests what it measures:
    /// `h200-2of8-1c9f02ab`.
    pub id: String,
    /// The only pool to run on, where pools were told apart.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pool: Option<String>,
    pub benches: Vec<PlannedBench>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedBench {
    /// The point's id.
    pub point: String,
    pub inputs: Inputs,
}

/// Why a project is not the one that was planned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotAsPlanned {
    #[error("`{0}` was planned and is not in this project")]
    Absent(TargetId),
    #[error("`{target}` was planned with other inputs: {}", said(changes))]
    Differs { target: TargetId, changes: Vec<Change> },
}

impl Handover {
    /// Writes down how a selection was dealt out.
    pub fn new(
        graph: &Graph,
        selection: &Selection,
        shards: &[Shard],
        not_before_unix_ms: Option<u64>,
    ) -> Self {
        let rows = selection.points.iter().filter(|point| {
            let chain = graph.chains[**point].as_ref();
            chain.is_ok_and(|chain| selection.targets.contains(&chain.process))
        });
        let shards = shards.iter().enumerate().map(|(i, shard)| {
            let of_pool = |shards: &[Shard]| shards.iter().filter(|other| other.pool == shard.pool).count();
            let (place, count) = (of_pool(&shards[..=i]), of_pool(shards));
            let benches = benches(graph, shard);
            let keys: Vec<u8> = benches.iter().flat_map(|bench| bench.inputs.key().0).collect();
            let pool = file_name(shard.pool.as_deref().unwrap_or("all"));
            PlannedShard {
                id: format!("{pool}-{place}of{count}-{}", &Digest::of(&keys).to_string()[..8]),
                pool: shard.pool.clone(),
                benches,
            }
        });
        Self {
            format: FORMAT,
            sweep_version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: graph.profile.clone(),
            sweep: selection.name.clone(),
            words: selection.words.clone(),
            points: rows.map(|point| graph.points[*point].id()).collect(),
            not_before_unix_ms,
            shards: shards.collect(),
        }
    }

    pub fn shard(&self, id: &str) -> Option<&PlannedShard> {
        self.shards.iter().find(|shard| shard.id == id)
    }

    /// What beyond the key makes a result stale, at a time in ms since 1970.
    pub fn policy(&self, now_unix_ms: u64) -> Policy {
        let age = |since| Duration::from_millis(now_unix_ms.saturating_sub(since));
        Policy {
            rerun: false,
            max_age: self.not_before_unix_ms.map(age),
            now_unix_ms,
        }
    }

    /// The ids of all that the sweep consists of.
    pub fn targets(&self) -> BTreeSet<String> {
        let of_sweep = [Kind::Collect, Kind::Summarize].map(|kind| TargetId::new(kind, self.sweep.clone()));
        let of_points = self.points.iter().flat_map(|point| of_point(point));
        of_points.chain(of_sweep).map(|id| id.to_string()).collect()
    }

    /// The sweep's rows. Points that the project no longer has are left out; [`PlannedShard::differences`] tells.
    pub fn rows(&self, graph: &Graph) -> Selection {
        let chains = self.points.iter().filter_map(|point| chain_of(graph, point));
        let rows = chains.map(|chain| chain.process).collect();
        Selection::of_targets(graph, self.sweep.clone(), self.words.clone(), rows)
    }
}

impl PlannedShard {
    /// What this project would measure in another way than was planned.
    pub fn differences(&self, graph: &Graph) -> Vec<NotAsPlanned> {
        let differences = self.benches.iter().filter_map(|bench| bench.difference(graph));
        differences.collect()
    }

    /// The ids of its measurements and of their rows.
    pub fn targets(&self) -> BTreeSet<String> {
        let ids = self.benches.iter().flat_map(|bench| of_point(&bench.point));
        ids.map(|id| id.to_string()).collect()
    }

    /// Its measurements, without their rows.
    pub fn measurements(&self, graph: &Graph) -> Selection {
        let points = || self.benches.iter().map(|bench| bench.point.as_str());
        let chains = points().filter_map(|point| chain_of(graph, point));
        let benches = chains.map(|chain| chain.bench).collect();
        let words = points().map(|point| format!("{}:{point}", Kind::Bench)).collect();
        Selection::of_targets(graph, self.id.clone(), words, benches)
    }
}

impl PlannedBench {
    fn difference(&self, graph: &Graph) -> Option<NotAsPlanned> {
        let target = TargetId::new(Kind::Bench, self.point.clone());
        let Some(chain) = chain_of(graph, &self.point) else {
            return Some(NotAsPlanned::Absent(target));
        };
        let inputs = inputs(graph, chain);
        (inputs.key() != self.inputs.key()).then(|| NotAsPlanned::Differs {
            target,
            changes: Inputs::diff(&self.inputs, &inputs),
        })
    }
}

fn benches(graph: &Graph, shard: &Shard) -> Vec<PlannedBench> {
    let points = shard.sessions.iter().flat_map(|session| &session.points);
    let bench = |point: &usize| {
        let chain = graph.chains[*point].as_ref().ok()?;
        Some(PlannedBench {
            point: graph.points[*point].id(),
            inputs: inputs(graph, chain),
        })
    };
    points.filter_map(bench).collect()
}

/// A point's measurement and row.
fn of_point(point: &str) -> [TargetId; 2] {
    [Kind::Bench, Kind::Process].map(|kind| TargetId::new(kind, point))
}

fn inputs(graph: &Graph, chain: &Chain) -> Inputs {
    graph.bench(chain.bench).inputs(graph.server(chain.server))
}

fn chain_of<'a>(graph: &'a Graph, point: &str) -> Option<&'a Chain> {
    let node = graph.find(&TargetId::new(Kind::Bench, point))?;
    match graph.dag[node].spec {
        Spec::Bench { point, .. } => graph.chains[point].as_ref().ok(),
        _ => None,
    }
}

/// The first changes, in words.
fn said(changes: &[Change]) -> String {
    const MOST: usize = 3;
    let lines: Vec<String> = changes.iter().flat_map(change_lines).collect();
    match lines.len() {
        0 => "in another order".to_owned(),
        count if count > MOST => format!("{}, and {} more", lines[..MOST].join(", "), count - MOST),
        _ => lines.join(", "),
    }
}
