//! `sweep check`: what is wrong or suspicious in what was written.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::failure::{FRESH, Failure, SOME_FAILED, WRONG_INPUT, wants_color};
use super::ls::Format;
use super::print::json;
use super::report::counted;
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
  sweep check --format json | jq '.diagnostics[].message'

Warned of: labels that no runner has, labels without the hardware facts that offload needs,
lengths that InferenceX's workflow drops, points without a recipe, points that stand twice,
patterns of sweeps that match no point, recipes that name another image than their rows or take fewer requests at a time, files of an
earlier form.

Exit codes: 0 nothing is wrong, warnings or not; 1 with --strict and a warning; 2 something is wrong.")]
pub(super) struct CheckArgs {
    /// Warnings are failures too.
    #[arg(long)]
    pub strict: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// What was checked and what was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    version: u32,
    configs: usize,
    points: usize,
    diagnostics: Vec<Told>,
}

/// A message as programs read it.
#[derive(Debug, Serialize)]
struct Told {
    severity: &'static str,
    message: String,
    places: Vec<ToldPlace>,
    help: Vec<String>,
}

/// Line and column count from 1.
#[derive(Debug, Serialize)]
struct ToldPlace {
    file: String,
    line: u32,
    column: u32,
    label: String,
}

impl From<&Diagnostic> for Told {
    fn from(diagnostic: &Diagnostic) -> Self {
        let places = diagnostic.places.iter().map(|place| ToldPlace {
            file: place.source.path.display().to_string(),
            line: place.span.line,
            column: place.span.column,
            label: place.label.clone(),
        });
        Self {
            severity: match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "info",
            },
            message: diagnostic.message.clone(),
            places: places.collect(),
            help: diagnostic.help.clone(),
        }
    }
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &CheckArgs) -> Result<ExitCode, Failure> {
    let root = root(workspace)?;
    let (mut report, found) = match checked(&root) {
        Ok(checked) => checked,
        Err(Diagnostics(wrong)) => (Report::default(), wrong),
    };
    let count = |severity| found.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match args.format {
        Format::Json => {
            report.version = 1;
            report.diagnostics = found.iter().map(Told::from).collect();
            json(&report);
        }
        Format::Text => {
            let color = wants_color(&std::io::stderr());
            for diagnostic in &found {
                eprintln!("{}\n", diagnostic.render(color));
            }
            if errors == 0 {
                eprintln!(
                    "{}, {}: {}",
                    counted(report.configs, "config"),
                    counted(report.points, "point"),
                    counted(warnings, "warning"),
                );
            }
        }
    }
    Ok(ExitCode::from(match (errors, warnings) {
        (1.., _) => WRONG_INPUT,
        (0, 1..) if args.strict => SOME_FAILED,
        _ => FRESH,
    }))
}

/// Everything that is found in a project that can be read; else what keeps it from being read.
fn checked(root: &std::path::Path) -> Result<(Report, Vec<Diagnostic>), Diagnostics> {
    let project = Project::load(root)?;
    project.changelog()?;
    let matrix = expand(&project.configs, &project.runners);
    let mut found: Vec<Diagnostic> = project.warnings.0.clone();
    found.extend(advice::advice(&project));
    found.extend(graph::advice::advice(&project, &matrix));
    found.extend(graph::advice::expanded(&project, &matrix.points));
    if let Err(Diagnostics(wrong)) = graph::check_patterns(&project) {
        found.extend(wrong);
    }
    let report = Report {
        configs: project.configs.len(),
        points: matrix.points.len() + matrix.duplicates.len(),
        ..Report::default()
    };
    Ok((report, found))
}
