//! `sweep check`: what is wrong or suspicious in what was written.

use std::process::ExitCode;

use clap::Args;

use super::failure::{FRESH, Failure, SOME_FAILED, wants_color};
use super::workspace::{WorkspaceArgs, root};
use crate::config::advice;
use crate::config::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::config::project::Project;
use crate::graph;
use crate::matrix::expand;

/// Check all files of the project: errors, and what is valid but suspicious.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep check            errors and warnings; only errors fail
  sweep check --strict   warnings fail too

Warned of: labels that no runner has, labels without the hardware facts that offload needs,
points without a recipe, points that stand twice, files of an earlier form.

Exit codes: 0 nothing is wrong, warnings or not; 1 with --strict and a warning; 2 something is wrong.")]
pub(super) struct CheckArgs {
    /// Warnings are failures too.
    #[arg(long)]
    pub strict: bool,
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &CheckArgs) -> Result<ExitCode, Failure> {
    let project = Project::load(&root(workspace)?)?;
    project.changelog()?;
    let matrix = expand(&project.configs, &project.runners);
    let mut found: Vec<Diagnostic> = project.warnings.0.clone();
    found.extend(advice::advice(&project));
    found.extend(graph::advice::advice(&project, &matrix));
    let color = wants_color(&std::io::stderr());
    for diagnostic in &found {
        eprintln!("{}\n", diagnostic.render(color));
    }
    graph::check_patterns(&project)?;
    let broken = graph::advice::broken_recipes(&project, &matrix.points);
    if !broken.is_empty() {
        return Err(Failure::Wrong(Diagnostics(broken)));
    }
    let count = |severity| found.iter().filter(|d| d.severity == severity).count();
    let warnings = count(Severity::Warning);
    eprintln!(
        "{} configs, {} points: {warnings} warnings, {} notes",
        project.configs.len(),
        matrix.points.len() + matrix.duplicates.len(),
        count(Severity::Info),
    );
    Ok(ExitCode::from(if args.strict && warnings > 0 {
        SOME_FAILED
    } else {
        FRESH
    }))
}
