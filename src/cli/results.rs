//! `sweep results`: the rows that are fresh now, out of the cache.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::failure::{Failure, wants_color};
use super::print::out;
use super::report::counted;
use super::workspace::{Workspace, WorkspaceArgs};
use crate::exec::gather::gather;
use crate::plan::{Policy, State};
use crate::results::{Collection, Look, Nature, csv, markdown, terminal};

/// Print results from the cache; nothing runs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep results                                     everything measured
  sweep results 'dsr1-fp8-*' --format json | jq length
  sweep results nightly --format csv > nightly.csv
  sweep results '**/c64' --format md

Only rows whose every input is as it was when they were measured are printed; how many are left
out is said on standard error. Tables, CSV and Markdown never mix measured and simulated rows.")]
pub(super) struct ResultsArgs {
    /// Patterns or names of sweeps; everything without any.
    pub patterns: Vec<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
    Csv,
    Md,
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &ResultsArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(workspace)?;
    let mut graph = workspace.graph();
    let store = workspace.store()?;
    let selection = workspace.select(&graph, &args.patterns)?;
    let plan = workspace.plan(&mut graph, &selection, &store, Policy::default())?;
    let processes = plan
        .sweep
        .as_ref()
        .map(|sweep| sweep.processes.clone())
        .unwrap_or_default();
    let rows = gather(&store, &graph, &plan.states, &processes, None)?;
    let stale = processes
        .iter()
        .filter(|n| plan.states.get(n).is_none_or(State::is_stale))
        .count();
    let lost = rows.lost.len();
    let collection = Collection::new(rows.rows.into_iter().map(|row| row.collected).collect());
    print(&collection, args.format);
    if stale + lost > 0 {
        eprintln!(
            "{}; {} without a fresh one: `sweep plan` says why",
            counted(collection.rows().len(), "row"),
            counted(stale + lost, "point")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn print(collection: &Collection, format: Format) {
    match format {
        Format::Json => out(&format!("{}\n", collection.to_json().trim_end())),
        Format::Table => out(&terminal(collection, look())),
        Format::Csv | Format::Md => {
            let rows = collection.leading();
            out(&if format == Format::Csv {
                csv(&rows)
            } else {
                markdown(&rows)
            });
            let left_out = collection.rows().len() - rows.len();
            if left_out > 0 {
                eprintln!("{left_out} simulated rows are left out; `--format json` holds both kinds, marked");
            } else if rows.nature() == Nature::Simulated && !rows.is_empty() {
                eprintln!("all rows are simulated");
            }
        }
    }
}

/// How standard output wants its tables.
pub(super) fn look() -> Look {
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let width = rustix::termios::tcgetwinsize(&stdout)
        .ok()
        .map(|size| size.ws_col)
        .filter(|c| *c > 0);
    Look {
        width: width.filter(|_| terminal),
        utf8: terminal,
        colour: wants_color(&stdout),
    }
}
