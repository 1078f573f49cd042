//! What a build was asked for: what patterns select, a shard that another job planned, or the rows of all shards.

use super::changed::ChangedArgs;
use super::ci::Handed;
use super::failure::Failure;
use super::workspace::Workspace;
use crate::cache::{FsError, Store};
use crate::exec::run::unix_ms;
use crate::graph::{Graph, Selection};
use crate::plan::{Plan, PlannedShard, Policy};

/// What a build was asked for.
#[derive(Debug)]
pub(super) enum Asked<'a> {
    /// What these select.
    Patterns {
        words: &'a [String],
        changed: &'a ChangedArgs,
        policy: Policy,
    },
    /// The measurements of one shard.
    Shard {
        handed: &'a Handed,
        shard: &'a PlannedShard,
    },
    /// What follows from the measurements of all shards; nothing is measured.
    Rows { handed: &'a Handed },
}

impl Asked<'_> {
    /// What is selected; refused where the project is not the one that was planned.
    pub(super) fn select(&self, workspace: &Workspace, graph: &Graph) -> Result<Selection, Failure> {
        Ok(match self {
            Self::Patterns { words, changed, .. } => return changed.select(workspace, graph, words),
            Self::Shard { handed, shard } => {
                handed.refuse_other_project(graph, std::slice::from_ref(*shard))?;
                shard.measurements(graph)
            }
            Self::Rows { handed } => {
                handed.refuse_other_project(graph, &handed.handover.shards)?;
                handed.handover.rows(graph)
            }
        })
    }

    /// What there is to do of it.
    pub(super) fn plan(
        &self,
        workspace: &Workspace,
        graph: &mut Graph,
        selection: &Selection,
        store: &Store,
    ) -> Result<Plan, FsError> {
        let mut plan = workspace.plan(graph, selection, store, self.policy())?;
        match self {
            Self::Patterns { .. } => {}
            Self::Shard { shard, .. } => {
                if let Some(pool) = &shard.pool {
                    for session in &mut plan.sessions {
                        session.pools.retain(|name| name == pool);
                    }
                }
            }
            Self::Rows { .. } => plan.sessions.clear(),
        }
        Ok(plan)
    }

    /// The words, for the run's story.
    pub(super) fn words(&self) -> Vec<String> {
        match self {
            Self::Patterns { words, .. } => words.to_vec(),
            Self::Shard { shard, .. } => vec![shard.id.clone()],
            Self::Rows { handed } => handed.handover.words.clone(),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        match self {
            Self::Patterns { policy, .. } => *policy,
            Self::Shard { handed, .. } | Self::Rows { handed } => handed.handover.policy(unix_ms()),
        }
    }
}
