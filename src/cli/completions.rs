//! `sweep completions`: scripts for shells.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::failure::Failure;
use super::print::out;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep completions bash > ~/.local/share/bash-completion/completions/sweep
  sweep completions zsh > \"${fpath[1]}/_sweep\"
  sweep completions fish > ~/.config/fish/completions/sweep.fish")]
pub(super) struct CompletionsArgs {
    pub shell: Shell,
}

pub(super) fn run(command: &mut clap::Command, args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "sweep", &mut script);
    out(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
