//! The command line: one file a subcommand, wiring and printing only.

mod asked;
pub mod bench;
mod build;
mod cache;
mod changed;
mod check;
mod ci;
mod clean;
mod completions;
mod doctor;
pub mod failure;
mod graph;
pub mod guard;
mod inferencex;
mod lock;
pub mod log;
mod ls;
mod migrate;
mod null_build;
mod plan;
mod print;
mod pull;
mod remote;
pub mod report;
mod results;
pub mod runs;
mod schema;
mod show;
pub mod sim;
pub mod status;
mod why;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config;
use failure::Failure;
use workspace::{Workspace, WorkspaceArgs};

/// Build LLM inference benchmark sweeps like programs: only what is stale runs.
///
/// Master configs compile into a content-hashed graph: image, server, bench, process, collect, summarize. Points whose
/// resolved server command is equal share a server; finished points survive a crash, a cancel and a new CI job.
#[derive(Debug, Parser)]
#[command(
    name = "sweep",
    version,
    after_help = "Examples:
  sweep build 'dsr1-fp8-*'                         measure what is stale, print the summary
  sweep plan  'dsr1-*'                             what would run, why, on what, how long
  sweep why dsr1-fp8-h200-sglang/8k1k/tp8/c64      the reason, input by input
  sweep results 'dsr1-fp8-*' --format csv          what was measured

Exit codes:
  0         all asked for is fresh
  1         some targets failed, the rest was built
  2         what was written is wrong
  3         the machinery failed: an executor, the cache, the disk
  4         nothing matches
  130, 143  interrupted"
)]
struct Cli {
    #[command(flatten)]
    workspace: WorkspaceArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::BuildArgs),
    Plan(plan::PlanArgs),
    Why(why::WhyArgs),
    Ls(ls::LsArgs),
    Show(show::ShowArgs),
    Graph(graph::GraphArgs),
    Results(results::ResultsArgs),
    Status(status::StatusArgs),
    Log(log::LogArgs),
    Cache(cache::CacheArgs),
    Clean(clean::CleanArgs),
    Lock(lock::LockArgs),
    Pull(pull::PullArgs),
    Doctor(doctor::DoctorArgs),
    Ci(ci::CiArgs),
    Check(check::CheckArgs),
    Migrate(migrate::MigrateArgs),
    Schema(schema::SchemaArgs),
    Bench(bench::BenchArgs),
    Sim(sim::SimArgs),
    Inferencex(inferencex::InferencexArgs),
    Completions(completions::CompletionsArgs),
}

/// Parses the command line, runs the subcommand and turns its outcome into an exit code.
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    // A guard starts beside every server and must be up in a few milliseconds. Nobody types it, nor a container's
    // keeper: clap need not know them.
    if words.first().is_some_and(|word| word == "guard") {
        return guard::run_guard();
    }
    if words.first().is_some_and(|word| word == "container") {
        return guard::run_keeper();
    }
    if words.first().is_some_and(|word| word == "inferencex") {
        return inferencex::main(&words);
    }
    let outcome = plain(&words).unwrap_or_else(|| run(&Cli::parse()));
    outcome.unwrap_or_else(|failure| failure.report())
}

/// Runs what is typed most, and has to cost nothing where there is nothing to do, where it has no options: making the parser
/// of all commands takes as long as looking at some hundred files.
fn plain(words: &[OsString]) -> Option<Result<ExitCode, Failure>> {
    let (command, patterns) = words.split_first()?;
    let is_pattern = |word: &&str| !word.starts_with('-');
    let patterns = patterns
        .iter()
        .map(|word| word.to_str().filter(is_pattern).map(str::to_owned));
    let patterns: Vec<String> = patterns.collect::<Option<_>>()?;
    let workspace = WorkspaceArgs::default();
    match command.to_str()? {
        "build" => Some(build::run(&workspace, &build::BuildArgs::plain(patterns))),
        "plan" => Some(plan::run(&workspace, &plan::PlanArgs::plain(patterns))),
        _ => None,
    }
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let workspace = &cli.workspace;
    match &cli.command {
        Command::Build(args) => build::run(workspace, args),
        Command::Plan(args) => plan::run(workspace, args),
        Command::Why(args) => why::run(workspace, args),
        Command::Ls(args) => ls::run(workspace, args),
        Command::Show(args) => show::run(workspace, args),
        Command::Graph(args) => graph::run(workspace, args),
        Command::Results(args) => results::run(workspace, args),
        Command::Status(args) => {
            let cache = Workspace::open(workspace)?.cache;
            print::out(&status::run(&cache, args).map_err(Failure::machinery)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Log(args) => {
            let cache = Workspace::open(workspace)?.cache;
            log::run(&cache, args, &mut std::io::stdout()).map_err(log_failure)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Cache(args) => cache::run(workspace, args),
        Command::Clean(args) => clean::run(workspace, args),
        Command::Lock(args) => lock::run(workspace, args),
        Command::Pull(args) => pull::run(workspace, args),
        Command::Doctor(args) => doctor::run(workspace, args),
        Command::Ci(args) => ci::run(workspace, args),
        Command::Check(args) => check::run(workspace, args),
        Command::Migrate(args) => migrate::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Bench(args) => bench::run(args).map_err(Failure::machinery),
        Command::Sim(args) => sim::run(args)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| match error {
                sim::SimError::Serve(crate::sim::ServeError::Config(_))
                | sim::SimError::Gpus { .. }
                | sim::SimError::Curve { .. }
                | sim::SimError::EmptyCurve => Failure::wrong(error),
                other => Failure::machinery(other),
            }),
        Command::Inferencex(args) => inferencex::run(workspace, args),
        Command::Completions(args) => completions::run(&mut Cli::command(), args),
    }
}

fn log_failure(error: log::LogError) -> Failure {
    match error {
        log::LogError::NoLog { .. } => Failure::wrong(error),
        log::LogError::Unknown { .. } | log::LogError::NotStarted { .. } => {
            Failure::Unmatched(config::diagnostic::Diagnostic::error(error.to_string()))
        }
        other => Failure::machinery(other),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn words_without_an_option_mean_what_the_parser_says() {
        for words in [&[][..], &["a-*"], &["nightly", "!*/**/c1"], &["bench:x", ""]] {
            let parsed = |command| {
                let line = ["sweep", command].into_iter().chain(words.iter().copied());
                let parsed = Cli::try_parse_from(line).unwrap();
                format!("{:?} {:?}", parsed.workspace, parsed.command)
            };
            let patterns: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let plain = |command| format!("{:?} {command:?}", WorkspaceArgs::default());
            let build = Command::Build(build::BuildArgs::plain(patterns.clone()));
            assert_eq!(plain(build), parsed("build"));
            assert_eq!(
                plain(Command::Plan(plan::PlanArgs::plain(patterns))),
                parsed("plan")
            );
        }
    }
}
