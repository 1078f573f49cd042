//! `sweep guard`, hidden: runs between `sweep` and what it starts.

use std::process::ExitCode;

use crate::exec::guard;

/// Runs the guard; see [`guard`].
pub fn run_guard() -> ExitCode {
    guard::run()
}
