//! `--changed` and `--trim-conc`: the points that new changelog entries ask for.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::Args;
use petgraph::graph::NodeIndex;

use super::failure::Failure;
use super::workspace::Workspace;
use crate::config::changelog::{Addition, additions};
use crate::config::diagnostic::Diagnostic;
use crate::graph::{Graph, Selection, Spec};
use crate::matrix::{changed, lowest};

/// Narrowing a selection to what changed.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ChangedArgs {
    /// Only what the changelog entries added between two commits ask for, as `origin/main..HEAD`; of several ranges the
    /// union.
    #[arg(long, value_name = "BASE..HEAD")]
    pub changed: Vec<String>,
    /// Of points that differ in concurrency only, the lowest.
    #[arg(long)]
    pub trim_conc: bool,
}

/// A selection with what was asked for beside measurements.
pub(super) struct Narrowed {
    pub selection: Selection,
    /// Points to be checked for accuracy.
    pub evals: Vec<usize>,
}

impl ChangedArgs {
    /// What the words select, narrowed. That no changelog entry was added is a failure.
    pub(super) fn select(
        &self,
        workspace: &Workspace,
        graph: &Graph,
        words: &[String],
    ) -> Result<Narrowed, Failure> {
        let narrowed = self.select_added(workspace, graph, words)?;
        narrowed.ok_or_else(|| {
            let ranges = self.changed.join(", ");
            Failure::Unmatched(
                Diagnostic::error(format!("no changelog entry was added in {ranges}"))
                    .help("entries count once they are committed"),
            )
        })
    }

    /// What the words select, narrowed; none where no changelog entry was added.
    pub(super) fn select_added(
        &self,
        workspace: &Workspace,
        graph: &Graph,
        words: &[String],
    ) -> Result<Option<Narrowed>, Failure> {
        let mut selection = workspace.select(graph, words)?;
        let mut evals: BTreeSet<usize> = selection
            .targets
            .iter()
            .filter_map(|n| eval_of(graph, *n))
            .collect();
        if !self.changed.is_empty() {
            let asked = changed(&graph.points, &self.additions(workspace)?);
            let measured = selection
                .points
                .iter()
                .chain(&selection.broken)
                .copied()
                .collect();
            let keep = asked.measure.intersection(&measured).copied().collect();
            evals.extend(asked.evals.intersection(&measured));
            if asked.measure.is_empty() && asked.evals.is_empty() {
                return Ok(None);
            }
            selection.restrict(graph, &keep);
        }
        if self.trim_conc {
            let all = selection
                .points
                .iter()
                .chain(&selection.broken)
                .copied()
                .collect();
            selection.restrict(graph, &lowest(&graph.points, &all));
        }
        if self.narrows() {
            let trimmed = self.trim_conc.then(|| "trim-conc".to_owned());
            let named = words.iter().chain(&self.changed).cloned().chain(trimmed);
            selection.rename(&named.collect::<Vec<_>>(), graph);
        }
        let evals = evals.into_iter().collect();
        Ok(Some(Narrowed { selection, evals }))
    }

    fn narrows(&self) -> bool {
        self.trim_conc || !self.changed.is_empty()
    }

    fn additions(&self, workspace: &Workspace) -> Result<Vec<Addition>, Failure> {
        let project = &workspace.project;
        let Some(path) = &project.sweepfile.changelog else {
            return Err(Diagnostic::error("this project has no changelog")
                .help("name it in the Sweepfile: `changelog: perf-changelog.yaml`")
                .into());
        };
        let configs: Vec<&str> = project.configs.iter().map(|config| config.key.as_str()).collect();
        let mut all = Vec::new();
        for range in &self.changed {
            let diff = git_diff(&project.root, range, path)?;
            all.extend(additions(path, &diff, &configs)?);
        }
        Ok(all)
    }
}

/// The point that a selected target checks.
fn eval_of(graph: &Graph, node: NodeIndex) -> Option<usize> {
    match graph.dag[node].spec {
        Spec::Eval { point } => Some(point),
        _ => None,
    }
}

/// git's diff of one file over a range of commits.
fn git_diff(root: &Path, range: &str, path: &Path) -> Result<String, Failure> {
    if range.starts_with('-') || !range.contains("..") {
        return Err(Diagnostic::error(format!("`{range}` is no range of commits"))
            .help("write `BASE..HEAD`, as `origin/main..HEAD`")
            .into());
    }
    // A user's settings for diffs must not change what is read here.
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args([
            "diff",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            "--unified=3",
            range,
            "--",
        ])
        .arg(path)
        .output()
        .map_err(|e| Failure::machinery(format!("run git: {e}; `--changed` reads the history with it")))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(
            Diagnostic::error(format!("git cannot compare `{range}`: {}", reason.trim()))
                .help("fetch both commits; a shallow clone has few")
                .into(),
        );
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Diagnostic::error(format!("`{}` is not UTF-8", path.display())).into())
}
