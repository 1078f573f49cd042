//! `sweep build`: measure what is stale, print the summary.

mod attempt;
mod live;
mod outcome;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::asked::Asked;
use super::changed::ChangedArgs;
use super::ci::{Handed, PlanFileArg};
use super::failure::{Failure, print_all};
use super::lock::{pin_missing, refuse_unpinned, unpinned};
use super::ls;
use super::null_build::{NullBuild, say_hit};
use super::plan;
use super::remote::{configured, send_left};
use super::report::{Format, counted};
use super::workspace::{Workspace, WorkspaceArgs, refuse_broken};
use crate::config::diagnostic::Diagnostic;
use crate::config::quantity::parse_duration;
use crate::config::reference::Reference;
use crate::exec::build::Build;
use crate::exec::image::venv_key;
use crate::exec::outcome_of_fresh;
use crate::exec::run::unix_ms;
use crate::graph::spec::{Image, NO_EVALS};
use crate::graph::{Graph, Selection};
use crate::plan::compiled::Found;
use crate::plan::{Plan, Policy};
use attempt::Attempt;
use outcome::{answer, conclude_fresh};

/// Measure what is stale and print the summary.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep build 'dsr1-fp8-*'             the configs that match
  sweep build nightly                  a sweep of the Sweepfile
  sweep build '**/c64' '!*-trt'        points by id, without some
  sweep build 'dsr1-*' -n              only say what would run, and why
  sweep build --changed origin/main..HEAD   what new changelog entries ask for
  sweep build --max-age 7d nightly     measure again what is older than a week
  sweep build --shard h200-2of8-1c9f02ab   one job's part of a sweep that `sweep ci plan` dealt out
  sweep build nightly --format json    events as JSON lines

The first Ctrl-C ends gracefully: finished points are kept, servers are stopped. The second kills.")]
pub(super) struct BuildArgs {
    /// Patterns or names of sweeps; everything without any.
    pub patterns: Vec<String>,
    #[command(flatten)]
    pub changed: ChangedArgs,
    /// Measure a shard of `sweep ci plan`, in the place of what patterns select.
    #[arg(long, value_name = "ID", conflicts_with_all = ["patterns", "ChangedArgs", "rerun", "max_age"])]
    pub shard: Option<String>,
    #[command(flatten)]
    pub plan_file: PlanFileArg,
    /// Only show the plan; the same as `sweep plan`.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Measure again what is selected, although there are results.
    #[arg(long)]
    pub rerun: bool,
    /// Results older than this are stale, as `7d` or `12h`.
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub max_age: Option<Duration>,
    /// Fail where an image has no pin in `sweep.lock`, instead of pinning it.
    #[arg(long)]
    pub locked: bool,
    /// Fail at once when another build holds the cache, instead of waiting for it.
    #[arg(long)]
    pub no_wait: bool,
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

impl BuildArgs {
    /// What these words mean without an option.
    pub(super) fn plain(patterns: Vec<String>) -> Self {
        Self {
            patterns,
            changed: ChangedArgs::default(),
            shard: None,
            plan_file: PlanFileArg::default(),
            dry_run: false,
            rerun: false,
            max_age: None,
            locked: false,
            no_wait: false,
            format: Format::Human,
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            rerun: self.rerun,
            max_age: self.max_age,
            now_unix_ms: unix_ms(),
        }
    }
}

pub(super) fn run(arguments: &WorkspaceArgs, args: &BuildArgs) -> Result<ExitCode, Failure> {
    let policy = args.policy();
    let null = NullBuild::begin(arguments, args);
    if let Some(hit) = null.ask(&policy) {
        return Ok(say_hit(&hit, args.format));
    }
    let asks_more = args.shard.is_some() || args.rerun || args.max_age.is_some();
    if args.dry_run && !asks_more {
        let (patterns, changed) = (&args.patterns, &args.changed);
        if plan::print_of_edited(
            arguments,
            patterns,
            changed,
            args.locked,
            plan_format(args.format),
        ) {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut workspace = Workspace::open(arguments)?;
    let how = How {
        dry_run: args.dry_run,
        locked: args.locked,
        no_wait: args.no_wait,
        format: args.format,
    };
    let Some(id) = &args.shard else {
        let asked = Asked::Patterns {
            words: &args.patterns,
            changed: &args.changed,
            policy,
        };
        return run_asked(arguments, &workspace, &asked, how, Some(&null));
    };
    let handed = Handed::read(&workspace.cache, &args.plan_file)?;
    let arguments = handed.enter(&mut workspace, arguments)?;
    let shard = handed.shard(id)?;
    let asked = Asked::Shard {
        handed: &handed,
        shard,
    };
    run_asked(&arguments, &workspace, &asked, how, None)
}

/// How a plan is printed in the place of a build.
fn plan_format(format: Format) -> ls::Format {
    match format {
        Format::Json => ls::Format::Json,
        Format::Human => ls::Format::Text,
    }
}

/// How a build goes about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub dry_run: bool,
    pub locked: bool,
    pub no_wait: bool,
    pub format: Format,
}

/// Builds what was asked for. Where there was nothing to do, `null` keeps the answer.
pub(super) fn run_asked(
    arguments: &WorkspaceArgs,
    workspace: &Workspace,
    asked: &Asked<'_>,
    how: How,
    null: Option<&NullBuild>,
) -> Result<ExitCode, Failure> {
    let mut graph = workspace.graph();
    let selection = asked.select(workspace, &graph)?;
    let store = workspace.store()?;
    let (_, profile) = workspace.profile();
    let plan = asked.plan(workspace, &mut graph, &selection, &store)?;
    if how.locked {
        refuse_unpinned(&unpinned(&graph, &selection))?;
    }
    if how.dry_run {
        plan::print(&graph, &selection, &plan, profile, plan_format(how.format));
        refuse_broken(&graph, &selection)?;
        return Ok(ExitCode::SUCCESS);
    }
    refuse_broken(&graph, &selection)?;
    let missing = unpinned_to_run(&graph, &plan);
    if !missing.is_empty() {
        pin_missing(workspace, &missing)?;
        return run_asked(arguments, &Workspace::open_quietly(arguments)?, asked, how, null);
    }
    let evals_note = note_of_evals(selection.evals(&graph).count());
    print_all(evals_note.as_slice());
    if plan.is_fresh() && selection.broken.is_empty() {
        let build = Build {
            graph: &graph,
            selection: &selection,
            plan: &plan,
            profile,
            results: workspace.results(&selection.name),
            left_containers: false,
        };
        let outcome = outcome_of_fresh(&store, &build)?;
        // Where a row turns out to be damaged there is something to build after all.
        if outcome.absent.is_empty() {
            let is_settled = send_left(workspace, &store)?;
            if let (Some(null), Some(view), true) = (null, &outcome.view, is_settled) {
                let found = Found {
                    project: &workspace.project,
                    profile,
                    graph: &graph,
                    selection: &selection,
                    store: &store,
                    plan: &plan,
                    written: &[view.collections.as_slice(), std::slice::from_ref(&view.summary)].concat(),
                    absent: &view.absent,
                };
                let warnings = [workspace.project.warnings.0.as_slice(), evals_note.as_slice()].concat();
                null.keep(&warnings, answer(workspace, &outcome, how.format, true), &found);
            }
            return Ok(conclude_fresh(workspace, &outcome, how.format));
        }
    }
    // What cannot run here may have been measured elsewhere.
    if configured(&workspace.project.sweepfile.cache)?.is_none() {
        refuse_unrunnable(workspace, &graph, &selection, &plan)?;
    }
    drop(store);
    // The process ends with the build: giving all this back piece by piece is time of it.
    std::mem::forget((graph, selection, plan));
    Attempt {
        arguments,
        asked,
        how,
        cache: &workspace.cache,
    }
    .run()
}

/// The images that are about to run and have no pin: which image that is must be known before its key is.
fn unpinned_to_run(graph: &Graph, plan: &Plan) -> BTreeSet<Reference> {
    let runnable = plan.sessions.iter().filter(|session| session.blocked.is_none());
    runnable
        .filter_map(|session| graph.server(session.server).unpinned().cloned())
        .collect()
}

/// What cannot run is said before anything starts. Where the rest can, the build does that; where nothing can, it ends
/// here.
pub(super) fn refuse_unrunnable(
    workspace: &Workspace,
    graph: &Graph,
    selection: &Selection,
    plan: &Plan,
) -> Result<(), Failure> {
    for session in &plan.sessions {
        // A requirements file that no environment can be made of is the user's to mend, with its line.
        if let Image::Pypi { file, .. } = &graph.server(session.server).image
            && session.blocked.is_none()
            && !graph.server(session.server).is_simulated()
        {
            venv_key(&workspace.project.root.join(file)).map_err(Failure::wrong)?;
        }
    }
    let mut by_reason = BTreeMap::<&str, usize>::new();
    for point in &selection.broken {
        if let Err(diagnostic) = &graph.chains[*point] {
            *by_reason.entry(&diagnostic.message).or_default() += 1;
        }
    }
    for session in &plan.sessions {
        if let Some(reason) = &session.blocked {
            *by_reason.entry(reason).or_default() += session.points.len();
        }
    }
    let help = "leave them out with `!PATTERN`, or run on other pools with `--profile NAME`";
    let said = |(reason, points): (&str, usize)| format!("{} cannot run: {reason}", counted(points, "point"));
    let only_rows = plan.sessions.is_empty() && !plan.is_fresh();
    let runnable = only_rows || plan.sessions.iter().any(|session| session.blocked.is_none());
    if runnable || by_reason.is_empty() {
        let warnings = by_reason
            .into_iter()
            .map(said)
            .map(|text| Diagnostic::warning(text).help(help));
        print_all(&warnings.collect::<Vec<_>>());
        return Ok(());
    }
    let text = by_reason.into_iter().map(said).collect::<Vec<_>>().join("; ");
    Err(Failure::Machinery(Diagnostic::error(text).help(help).into()))
}

/// That accuracy is not checked. It makes no measurement stale and no build fail.
pub(super) fn note_of_evals(evals: usize) -> Option<Diagnostic> {
    (evals > 0).then(|| Diagnostic::info(format!("{} left out: {NO_EVALS}", counted(evals, "eval"))))
}
