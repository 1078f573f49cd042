//! A build that has something to run: the cache is locked, what killed runs have left is put in order, and all is judged once
//! more.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use super::live::Live;
use super::outcome::conclude_fresh;
use super::{How, refuse_unrunnable};
use crate::cache::{Holder, LockGuard, RunDir, RunId, Store, Wait, lock, run as runs};
use crate::cli::asked::Asked;
use crate::cli::failure::Failure;
use crate::cli::remote::Shared;
use crate::cli::workspace::{Workspace, WorkspaceArgs, refuse_broken};
use crate::exec::build::Build;
use crate::exec::docker::Note;
use crate::exec::leftover::{Leftover, end_leftover};
use crate::exec::process::Owned;
use crate::exec::verify::take_damaged_away;
use crate::exec::{adopt, outcome_of_fresh};
use crate::graph::{Graph, Selection};
use crate::plan::Plan;

/// A build that has something to run.
pub(super) struct Attempt<'a> {
    pub(super) arguments: &'a WorkspaceArgs,
    pub(super) asked: &'a Asked<'a>,
    pub(super) how: How,
    pub(super) cache: &'a Path,
}

impl Attempt<'_> {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        // What stands in the files is read again when the wait is over.
        let cache = self.cache;
        let lock = self.lock()?;
        let workspace = Workspace::open_quietly(self.arguments)?;
        let mut shared = Shared::open(&workspace)?;
        let id = RunId::generate();
        let (mut healed, killed) = end_leftovers(cache)?;
        let mut store = Store::open_write(cache, id.clone(), lock, SystemTime::now())?;
        healed.extend(store.damage().iter().map(ToString::to_string));
        let mut left_containers = false;
        for run in killed {
            for record in adopt(&mut store, &run)? {
                healed.push(format!(
                    "run {run} was killed after it had measured `{}`; the result is kept",
                    record.target
                ));
                shared
                    .iter()
                    .try_for_each(|shared| shared.note(&store, &record))?;
            }
            let mut dir = RunDir::of(cache, run);
            left_containers |= Note::is_left_in(&dir.attempts())?;
            dir.mark_ended()?;
        }
        // Whoever held the lock before may have built it all.
        let (mut graph, mut selection, mut plan) = self.plan(&workspace, &mut store)?;
        if let Some(shared) = &mut shared {
            // What is forced is measured here, whoever has measured it.
            if !self.asked.policy().rerun && shared.fetch(&mut store, &graph, &plan)? > 0 {
                (graph, selection, plan) = self.plan(&workspace, &mut store)?;
            }
            refuse_unrunnable(&workspace, &graph, &selection, &plan)?;
        }
        let damaged = take_damaged_away(&store, &graph, &plan)?;
        if !damaged.is_empty() {
            (graph, selection, plan) = self.plan(&workspace, &mut store)?;
        }
        healed.extend(damaged);
        refuse_broken(&graph, &selection)?;
        let work = Build {
            graph: &graph,
            selection: &selection,
            plan: &plan,
            profile: workspace.profile().1,
            results: workspace.results(&selection.name),
            left_containers,
        };
        if plan.is_fresh() {
            let outcome = outcome_of_fresh(&store, &work)?;
            return Ok(conclude_fresh(&workspace, &outcome, self.how.format));
        }
        let live = Live {
            workspace: &workspace,
            asked: self.asked,
            format: self.how.format,
        };
        let ended = live.run_sessions(store, id, &work, healed, shared);
        // As above.
        std::mem::forget((graph, selection, plan, workspace));
        ended
    }

    fn lock(&self) -> Result<LockGuard, Failure> {
        let mut say = |holder: &Holder| eprintln!("waiting for the cache: {holder}");
        let wait = if self.how.no_wait {
            Wait::No
        } else {
            Wait::Block(&mut say)
        };
        Ok(lock::acquire(self.cache, wait, &Holder::this_process())?)
    }

    fn plan(&self, workspace: &Workspace, store: &mut Store) -> Result<(Graph, Selection, Plan), Failure> {
        let mut graph = workspace.graph_with(&mut |path| store.digest(path));
        let selection = self.asked.select(workspace, &graph)?;
        let plan = self.asked.plan(workspace, &mut graph, &selection, store)?;
        Ok((graph, selection, plan))
    }
}

/// Ends what runs that were killed have left behind: what to say of it, and those runs.
fn end_leftovers(cache: &Path) -> Result<(Vec<String>, Vec<RunId>), Failure> {
    const LIMIT: Duration = Duration::from_secs(30);
    let mut healed = Vec::new();
    let left = runs::leftovers::<Owned>(cache)?;
    for (run, owned) in &left {
        match end_leftover(owned, LIMIT).map_err(Failure::machinery)? {
            Leftover::Nothing => {}
            Leftover::Guarded => healed.push(format!("run {run} was killed; its server has ended")),
            Leftover::Killed(count) => {
                healed.push(format!(
                    "run {run} was killed; {count} processes that it left were ended"
                ));
            }
        }
    }
    Ok((healed, runs::cut_off(cache)?))
}
