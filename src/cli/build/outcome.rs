//! What came of a build: what is printed, and the exit code.

use std::process::ExitCode;

use crate::cli::failure::{FRESH, MACHINERY, SOME_FAILED, print_all};
use crate::cli::null_build::{print, say_finished};
use crate::cli::report::{Format, counted};
use crate::cli::results::look;
use crate::cli::workspace::Workspace;
use crate::config::diagnostic::Diagnostic;
use crate::exec::build::Outcome;
use crate::plan::compiled::Answer;
use crate::results::{Collection, Nature, terminal};

/// The end of a build that had nothing to run.
pub(super) fn conclude_fresh(workspace: &Workspace, outcome: &Outcome, format: Format) -> ExitCode {
    say_finished(outcome.fresh, outcome.skipped, format);
    conclude(workspace, outcome, format, None)
}

/// Prints what came of it and decides the exit code.
pub(super) fn conclude(
    workspace: &Workspace,
    outcome: &Outcome,
    format: Format,
    interrupted: Option<u8>,
) -> ExitCode {
    // Measurements alone have no table.
    let has_table = outcome.view.is_some() || interrupted.is_some();
    print(&answer(workspace, outcome, format, has_table), format);
    if let (Format::Human, Some(reason)) = (format, &outcome.machinery) {
        print_all(&[Diagnostic::error(reason)]);
    }
    match interrupted {
        Some(code) => ExitCode::from(code),
        None if outcome.machinery.is_some() => ExitCode::from(MACHINERY),
        None if outcome.failed + outcome.skipped > 0 || !outcome.absent.is_empty() => {
            ExitCode::from(SOME_FAILED)
        }
        None => ExitCode::from(FRESH),
    }
}

/// What is printed of an outcome.
pub(super) fn answer(workspace: &Workspace, outcome: &Outcome, format: Format, has_table: bool) -> Answer {
    let mut answer = Answer {
        fresh: outcome.fresh,
        ..Answer::default()
    };
    if let Some(view) = &outcome.view {
        answer.summary.clone_from(&view.summary);
    }
    if format == Format::Human {
        answer.table = match outcome.collection.rows().len() {
            _ if !has_table => String::new(),
            0..=MOST_ROWS => terminal(&outcome.collection, look()),
            _ => too_many_rows(&outcome.collection),
        };
        for absent in &outcome.absent {
            answer
                .closing
                .push_str(&format!("{}: {}\n", absent.target, absent.reason));
        }
        answer.closing.push_str(&closing_line(workspace, outcome));
        answer.closing.push('\n');
    }
    answer
}

/// Rows that a build prints at most. A longer table is looked up, not read: its files and `sweep results` have it.
const MOST_ROWS: usize = 250;

fn too_many_rows(collection: &Collection) -> String {
    let of = |nature| collection.of(nature).len();
    let (measured, simulated) = (of(Nature::Measured), of(Nature::Simulated));
    let mut counts = Vec::new();
    if measured > 0 {
        counts.push(format!("{measured} measured"));
    }
    if simulated > 0 {
        counts.push(format!("{simulated} SIMULATED, not measured on this hardware"));
    }
    let all = counted(measured + simulated, "row");
    format!(
        "{all}: {}\ntoo many to show here: `sweep results PATTERN` prints some\n",
        counts.join(", ")
    )
}

fn closing_line(workspace: &Workspace, outcome: &Outcome) -> String {
    let Outcome {
        passed,
        fresh,
        failed,
        skipped,
        servers_started,
        ..
    } = outcome;
    let mut line = format!(
        "{passed} measured, {fresh} from the cache, {failed} failed, {skipped} skipped; {} started",
        counted(*servers_started, "server")
    );
    if let Some(view) = &outcome.view {
        for path in view.collections.iter().chain([&view.summary]) {
            let shown = path.strip_prefix(&workspace.project.root).unwrap_or(path);
            line.push_str(&format!("\n{}", shown.display()));
        }
    }
    line
}
