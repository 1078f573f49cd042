//! The command line: one file a subcommand, wiring and printing only.

pub mod log;
pub mod report;
pub mod runs;
pub mod status;

use std::process::ExitCode;

/// Parses the command line, runs the subcommand and turns its outcome into an exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
