//! The command line: one file a subcommand, wiring and printing only.

pub mod bench;
pub mod guard;
pub mod sim;

use std::process::ExitCode;

/// Parses the command line, runs the subcommand and turns its outcome into an exit code.
pub fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("guard") => guard::run_guard(),
        _ => ExitCode::SUCCESS,
    }
}
