//! A plan after an edit: only the edited configs are read and planned, the others are as they were when all was fresh.

use std::path::Path;

use super::report::Report;
use crate::cache::Store;
use crate::cli::changed::ChangedArgs;
use crate::cli::lock::unpinned;
use crate::cli::workspace::{Workspace, WorkspaceArgs, root};
use crate::config::project::Project;
use crate::plan::compiled::{Question, ask_edited};

/// What a build keeps the parts of its plan for, and `sweep plan` asks after an edit.
pub(in crate::cli) fn question(
    root: &Path,
    arguments: &WorkspaceArgs,
    patterns: &[String],
    changed: &ChangedArgs,
) -> Option<Question> {
    // What git tells is not known without asking it.
    let is_plain = changed.changed.is_empty() && !changed.trim_conc && changed.evals.is_none();
    let profile = format!("parts on {:?}", arguments.profile);
    let words = patterns.iter().map(String::as_bytes);
    let parts = std::iter::once(profile.as_bytes()).chain(words);
    is_plain.then(|| Question::new(root, parts)).flatten()
}

/// The whole plan, where nothing but configs was edited and these have nothing in common with others. Where that is not
/// so, or anything is wrong or worth a warning, `None`: reading everything tells.
pub(super) fn report(
    arguments: &WorkspaceArgs,
    patterns: &[String],
    changed: &ChangedArgs,
    locked: bool,
) -> Option<Report> {
    let root = root(arguments).ok()?;
    let edited = ask_edited(&question(&root, arguments, patterns, changed)?)?;
    if edited.is_as_it_was() {
        return Some(Report::of_kept(edited.kept()));
    }
    let project = Project::load_part(&root, &edited.masters).ok()?;
    let workspace = Workspace::of(project, arguments).ok()?;
    let mut graph = workspace.graph();
    let selection = changed.select(&workspace, &graph, patterns).ok()?;
    if locked && !unpinned(&graph, &selection).is_empty() {
        return None;
    }
    let store = Store::open_unchanged(&workspace.cache).ok()?;
    let (_, profile) = workspace.profile();
    let (plan, parts) = edited.plan(&workspace.project, profile, &mut graph, &selection, &store)?;
    Some(Report::of(&graph, &selection, &plan, profile).joined(&parts))
}
