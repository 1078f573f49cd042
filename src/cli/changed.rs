//! `--changed`, `--trim-conc` and `--evals`: which of the selected points are measured and which are checked.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::failure::Failure;
use super::workspace::Workspace;
use crate::config::changelog::{Addition, additions};
use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::git::{Git, GitError};
use crate::config::source::{Source, SourceError};
use crate::graph::{Graph, Selection};
use crate::matrix::{Changed, EvalPolicy, Point, changed, expand, lowest};

/// Narrowing a selection to what changed, and the checks of accuracy beside it.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ChangedArgs {
    /// Only what the changelog entries added between two commits ask for, as `origin/main..HEAD`; of several ranges the
    /// union.
    #[arg(long, value_name = "BASE..HEAD")]
    pub changed: Vec<String>,
    /// Of points that differ in concurrency only, the lowest.
    #[arg(long)]
    pub trim_conc: bool,
    /// Which points are checked for accuracy: planned, but not run by this version. Without it `default`; with
    /// `--changed` what the entries ask for.
    #[arg(long, value_enum, value_name = "MODE")]
    pub evals: Option<EvalPolicy>,
}

impl ChangedArgs {
    /// What the words select, narrowed, with the checks of accuracy. That no changelog entry was added is a failure.
    pub(super) fn select(
        &self,
        workspace: &Workspace,
        graph: &Graph,
        words: &[String],
    ) -> Result<Selection, Failure> {
        self.select_added(workspace, graph, words)?.ok_or_else(|| {
            let ranges = self.changed.join(", ");
            Failure::Unmatched(
                Diagnostic::error(format!("no changelog entry was added in {ranges}"))
                    .help("entries count once they are committed"),
            )
        })
    }

    /// The same; none where no changelog entry was added.
    pub(super) fn select_added(
        &self,
        workspace: &Workspace,
        graph: &Graph,
        words: &[String],
    ) -> Result<Option<Selection>, Failure> {
        let mut selection = workspace.select_unchecked(graph, words)?;
        let policy = self.evals.unwrap_or_default();
        let selected: BTreeSet<usize> = selection
            .points
            .iter()
            .chain(&selection.broken)
            .copied()
            .collect();
        let (mut measure, check) = match self.changed.is_empty() {
            true if policy == EvalPolicy::Only => (BTreeSet::new(), selection.marked(graph, policy)),
            true => (selected, selection.marked(graph, policy)),
            false => {
                let Some(asked) = self.asked(workspace, graph, policy)? else {
                    return Ok(None);
                };
                let checkable: BTreeSet<usize> = selection.checkable().collect();
                let measure = asked.measure.intersection(&selected).copied().collect();
                (measure, asked.evals.intersection(&checkable).copied().collect())
            }
        };
        if self.trim_conc {
            measure = lowest(&graph.points, &measure);
        }
        let narrowed = self.trim_conc || !self.changed.is_empty();
        if narrowed || policy == EvalPolicy::Only {
            selection.restrict(graph, &measure, &check);
        }
        selection.add_evals(graph, &check);
        if narrowed {
            let trimmed = self.trim_conc.then(|| "trim-conc".to_owned());
            let named = words.iter().chain(&self.changed).cloned().chain(trimmed);
            selection.rename(&named.collect::<Vec<_>>(), graph);
        }
        let had_points = selection.checkable().next().is_some();
        if had_points && !narrowed && selection.targets.is_empty() && selection.broken.is_empty() {
            return Err(Failure::Unmatched(
                Diagnostic::error("none of the selected points is chosen for a check of accuracy")
                    .help("`--evals all` takes every one that can be checked: 8k1k and agentic-coding"),
            ));
        }
        Ok(Some(selection))
    }

    /// What the entries of all ranges ask for; none where there are none.
    fn asked(
        &self,
        workspace: &Workspace,
        graph: &Graph,
        policy: EvalPolicy,
    ) -> Result<Option<Changed>, Failure> {
        let mut asked = Changed::default();
        let mut entries = 0;
        for range in &self.changed {
            let range = Range::parse(range)?;
            let added = range.additions(workspace)?;
            entries += added.len();
            let before = match added.iter().any(|addition| addition.entry.append_only) {
                true => range.points_before(workspace)?,
                false => Vec::new(),
            };
            let one = changed(&graph.points, &before, &added, policy);
            asked.measure.extend(one.measure);
            asked.evals.extend(one.evals);
        }
        Ok((entries > 0).then_some(asked))
    }
}

/// A range of commits.
struct Range<'a> {
    text: &'a str,
    base: &'a str,
    head: &'a str,
    /// `A...B`: from where the two part.
    from_fork: bool,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Result<Self, Failure> {
        let parts = match text.split_once("...") {
            Some(parts) => Some((parts, true)),
            None => text.split_once("..").map(|parts| (parts, false)),
        };
        match parts {
            Some(((base, head), from_fork)) if !text.starts_with('-') => Ok(Self {
                text,
                base: or_head(base),
                head: or_head(head),
                from_fork,
            }),
            _ => Err(Diagnostic::error(format!("`{text}` is no range of commits"))
                .help("write `BASE..HEAD`, as `origin/main..HEAD`")
                .into()),
        }
    }

    /// The entries that it adds to the changelog.
    fn additions(&self, workspace: &Workspace) -> Result<Vec<Addition>, Failure> {
        let project = &workspace.project;
        let Some(path) = &project.sweepfile.changelog else {
            return Err(Diagnostic::error("this project has no changelog")
                .help("name it in the Sweepfile: `changelog: perf-changelog.yaml`")
                .into());
        };
        let diff = Git(&project.root)
            .diff(&[self.text], path)
            .map_err(|error| self.failed(&error))?;
        let configs: Vec<&str> = project.configs.iter().map(|config| config.key.as_str()).collect();
        Ok(additions(path, &diff, &configs)?)
    }

    /// The points of the configs at its beginning.
    fn points_before(&self, workspace: &Workspace) -> Result<Vec<Point>, Failure> {
        let git = Git(&workspace.project.root);
        let base = match self.from_fork {
            true => git
                .merge_base(self.base, self.head)
                .map_err(|error| self.failed(&error))?,
            false => self.base.to_owned(),
        };
        let at_base = |path: &Path| match git.show(&base, path) {
            Ok(text) => Ok(Arc::new(Source {
                path: format!("{base}:{}", path.display()).into(),
                text,
            })),
            Err(_) => Err(SourceError::Missing {
                path: path.to_path_buf(),
            }),
        };
        let (configs, runners) = workspace
            .project
            .configs_from(&at_base)
            .map_err(|Diagnostics(wrong)| {
                let help = "an append-only entry asks for the points that this commit does not have";
                Failure::Wrong(Diagnostics(wrong.into_iter().map(|d| d.help(help)).collect()))
            })?;
        Ok(expand(&configs, &runners).points)
    }

    fn failed(&self, error: &GitError) -> Failure {
        match error {
            GitError::Spawn(_) => Failure::machinery(error),
            _ => Diagnostic::error(format!("git cannot compare `{}`: {error}", self.text))
                .help("fetch both commits; a shallow clone has few")
                .into(),
        }
    }
}

fn or_head(revision: &str) -> &str {
    match revision {
        "" => "HEAD",
        revision => revision,
    }
}
