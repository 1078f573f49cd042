//! `sweep guard` and `sweep container`, hidden: they run between `sweep` and what it starts.

use std::process::ExitCode;

use crate::exec::{docker, guard};

/// Runs the guard; see [`guard`].
pub fn run_guard() -> ExitCode {
    guard::run()
}

/// Runs a container's keeper; see [`docker`].
pub fn run_keeper() -> ExitCode {
    docker::keeper::run()
}
