//! `sweep why`: the reason, input by input, old and new.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::failure::Failure;
use super::ls::Format;
use super::print::{json, out};
use super::report::counted;
use super::workspace::{Workspace, WorkspaceArgs};
use crate::graph::Kind;
use crate::plan::Policy;
use crate::plan::explain::{Answer, Made, Root, explain};
use crate::plan::reason::change_lines;

/// Say why a target is stale, or what had changed when it was built last.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep why dsr1-fp8-h200-sglang/8k1k/tp8/c64      image: lmsysorg/sglang:v0.5.8 → v0.5.9
  sweep why collect:nightly                        all causes behind a sweep, apart from cascades
  sweep why server:dsr1-fp8-h200-sglang/8k1k/tp8/c64 --format json

It works before a build (what would run, and why) and after it (what had changed).")]
pub(super) struct WhyArgs {
    /// A target's id, a point's id for its bench, or `collect:SWEEP`.
    pub target: String,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &WhyArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(workspace)?;
    let mut graph = workspace.graph();
    let store = workspace.store()?;
    let sweep = Workspace::sweep_words(&store, &args.target);
    let (words, target) = match &sweep {
        Some((_, words)) => (words.clone(), None),
        None => {
            let id = workspace.target(&graph, &args.target)?;
            if id.kind == Kind::Eval {
                return Err(Failure::wrong(format!(
                    "`{id}` is planned, but this version of sweep runs no evals: there is nothing to be stale"
                )));
            }
            let words = match id.kind {
                Kind::Bench | Kind::Process => vec![format!("{}:{}", Kind::Process, id.name)],
                // What asks for a service may be any point.
                _ => Vec::new(),
            };
            (words, Some(id))
        }
    };
    let selection = workspace.select(&graph, &words)?;
    let plan = workspace.plan(&mut graph, &selection, &store, Policy::default())?;
    let node = match (&target, &sweep, &plan.sweep) {
        (Some(id), ..) => graph.find(id),
        (None, Some((Kind::Summarize, _)), Some(sweep)) => Some(sweep.summarize),
        (None, _, sweep) => sweep.as_ref().map(|sweep| sweep.collect),
    };
    let node = node.ok_or_else(|| Failure::machinery(format!("`{}` is not in the graph", args.target)))?;
    let answer = explain(&graph, &plan, &store, node);
    match args.format {
        Format::Json => json(&answer),
        Format::Text => out(&text(&answer)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &Answer) -> String {
    match answer {
        Answer::Idle { target } => format!("{target} is idle: nothing stale needs it\n"),
        Answer::Fresh { target, made } => fresh_text(target, made),
        Answer::Stale {
            target,
            roots,
            cascades,
        } => {
            let mut text = format!("{target} is stale\n");
            text.push_str(&roots_text(roots));
            if !cascades.is_empty() {
                let cascades = counted(cascades.len(), "target");
                text.push_str(&format!("cascades: {cascades} that need these\n"));
            }
            text
        }
    }
}

/// Root causes, the widest first, each with the targets that it makes stale by itself.
pub(super) fn roots_text(roots: &[Root]) -> String {
    let mut text = String::new();
    for root in roots {
        for line in root.reason.lines() {
            text.push_str(&format!("  {line}\n"));
        }
        match root.targets.as_slice() {
            [one] => text.push_str(&format!("    for {one}\n")),
            several => {
                text.push_str(&format!(
                    "    for {} targets, {} the first\n",
                    several.len(),
                    several[0]
                ));
            }
        }
    }
    text
}

fn fresh_text(target: &str, made: &Made) -> String {
    let when = i64::try_from(made.started_unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let when = when
        .map(|t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
        .unwrap_or_default();
    let mut text = format!("{target} is fresh: run {} on {}, {when}\n", made.run, made.host);
    match &made.changes {
        _ if made.reused => {
            text.push_str("  its inputs are again those of an earlier result, which is used as it is\n");
        }
        None => text.push_str("  it was built then for the first time\n"),
        Some(changes) if changes.is_empty() => text.push_str("  it was built again with the same inputs\n"),
        Some(changes) => {
            text.push_str("  it was built then because of\n");
            for line in changes.iter().flat_map(change_lines) {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    text
}
