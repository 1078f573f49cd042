//! `sweep build`: measure what is stale, print the summary.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::sync::mpsc;

use super::changed::{ChangedArgs, Narrowed};
use super::failure::{FRESH, Failure, SOME_FAILED, print_all};
use super::ls;
use super::plan;
use super::print::out;
use super::report::{Format, Reporter, choose};
use super::results::look;
use super::workspace::{Workspace, WorkspaceArgs};
use crate::cache::{Holder, LockGuard, RunDir, RunId, Store, Wait, lock, run as runs};
use crate::config::diagnostic::Diagnostic;
use crate::config::quantity::parse_duration;
use crate::exec::build::{Build, Outcome, build, outcome_of_fresh, planned};
use crate::exec::event::{Event, Stamped};
use crate::exec::image::VenvMaker;
use crate::exec::journal::Journal;
use crate::exec::leftover::{Leftover, end_leftover};
use crate::exec::process::{GuardBinary, Owned};
use crate::exec::run::{Run, RunParts, unix_ms};
use crate::exec::signals::Interrupts;
use crate::graph::{Graph, Selection};
use crate::plan::{Plan, Policy};
use crate::results::terminal;

/// Measure what is stale and print the summary.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sweep build 'dsr1-fp8-*'             the configs that match
  sweep build nightly                  a sweep of the Sweepfile
  sweep build '**/c64' '!*-trt'        points by id, without some
  sweep build 'dsr1-*' -n              only say what would run, and why
  sweep build --changed origin/main..HEAD   what new changelog entries ask for
  sweep build --max-age 7d nightly     measure again what is older than a week
  sweep build nightly --format json    events as JSON lines

The first Ctrl-C ends gracefully: finished points are kept, servers are stopped. The second one kills.")]
pub(super) struct BuildArgs {
    /// Patterns or names of sweeps; everything without any.
    pub patterns: Vec<String>,
    #[command(flatten)]
    pub changed: ChangedArgs,
    /// Only show the plan; the same as `sweep plan`.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Measure again what is selected, although there are results.
    #[arg(long)]
    pub rerun: bool,
    /// Results older than this are stale, as `7d` or `12h`.
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub max_age: Option<Duration>,
    /// Fail at once when another build holds the cache, instead of waiting for it.
    #[arg(long)]
    pub no_wait: bool,
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

impl BuildArgs {
    fn policy(&self) -> Policy {
        Policy {
            rerun: self.rerun,
            max_age: self.max_age,
            now_unix_ms: unix_ms(),
        }
    }
}

pub(super) fn run(workspace: &WorkspaceArgs, args: &BuildArgs) -> Result<ExitCode, Failure> {
    let workspace = Workspace::open(workspace)?;
    let mut graph = workspace.graph();
    let Narrowed { selection, evals } = args.changed.select(&workspace, &graph, &args.patterns)?;
    let store = workspace.store()?;
    let (_, profile) = workspace.profile();
    let plan = Plan::new(
        &workspace.project,
        profile,
        &mut graph,
        &selection,
        &store,
        args.policy(),
    )?;
    if args.dry_run {
        let format = if args.format == Format::Json {
            ls::Format::Json
        } else {
            ls::Format::Text
        };
        plan::print(&graph, &selection, &evals, &plan, profile, format);
        return Ok(ExitCode::SUCCESS);
    }
    note_evals(&evals);
    refuse_broken(&graph, &selection)?;
    if plan.is_fresh() {
        let build = Build {
            graph: &graph,
            selection: &selection,
            plan: &plan,
            profile,
            results: workspace.results(&selection.name),
        };
        let outcome = outcome_of_fresh(&store, &build)?;
        return Ok(conclude(&workspace, &outcome, args.format, None));
    }
    refuse_blocked(&plan)?;
    drop(store);
    Attempt {
        workspace: &workspace,
        args,
    }
    .run()
}

/// What the user selected and cannot be planned is wrong before anything starts.
fn refuse_broken(graph: &Graph, selection: &Selection) -> Result<(), Failure> {
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    for point in &selection.broken {
        if let Err(diagnostic) = &graph.chains[*point]
            && !diagnostics
                .iter()
                .any(|known| known.message == diagnostic.message)
        {
            diagnostics.push((**diagnostic).clone());
        }
    }
    if diagnostics.is_empty() {
        return Ok(());
    }
    Err(Failure::Wrong(crate::config::diagnostic::Diagnostics(
        diagnostics,
    )))
}

/// A pool that cannot run what is stale says so before anything starts.
fn refuse_blocked(plan: &Plan) -> Result<(), Failure> {
    let mut by_reason = BTreeMap::<&str, usize>::new();
    for session in &plan.sessions {
        if let Some(reason) = &session.blocked {
            *by_reason.entry(reason).or_default() += session.points.len();
        }
    }
    let Some((reason, points)) = by_reason.into_iter().next() else {
        return Ok(());
    };
    Err(Failure::Machinery(
        Diagnostic::error(format!("{points} points cannot run: {reason}"))
            .help("leave them out with `!PATTERN`, or run on other pools with `--profile NAME`; `sweep plan` lists them"),
    ))
}

/// A build that has something to run.
struct Attempt<'a> {
    workspace: &'a Workspace,
    args: &'a BuildArgs,
}

impl Attempt<'_> {
    fn run(&self) -> Result<ExitCode, Failure> {
        let lock = self.lock()?;
        let id = RunId::generate();
        let healed = self.end_leftovers()?;
        let mut store = Store::open_write(&self.workspace.cache, id.clone(), lock, SystemTime::now())?;
        // Whoever held the lock before may have built it all.
        let mut graph = self.workspace.graph_with(&mut |path| store.digest(path));
        let selection = self
            .args
            .changed
            .select(self.workspace, &graph, &self.args.patterns)?
            .selection;
        let (_, profile) = self.workspace.profile();
        let plan = Plan::new(
            &self.workspace.project,
            profile,
            &mut graph,
            &selection,
            &store,
            self.args.policy(),
        )?;
        refuse_blocked(&plan)?;
        let build = Build {
            graph: &graph,
            selection: &selection,
            plan: &plan,
            profile,
            results: self.workspace.results(&selection.name),
        };
        if plan.is_fresh() {
            let outcome = outcome_of_fresh(&store, &build)?;
            return Ok(conclude(self.workspace, &outcome, self.args.format, None));
        }
        let healed: Vec<String> = healed
            .into_iter()
            .chain(store.damage().iter().map(ToString::to_string))
            .collect();
        self.run_sessions(store, id, &build, healed)
    }

    fn lock(&self) -> Result<LockGuard, Failure> {
        let mut say = |holder: &Holder| eprintln!("waiting for the cache: {holder}");
        let wait = if self.args.no_wait {
            Wait::No
        } else {
            Wait::Block(&mut say)
        };
        Ok(lock::acquire(
            &self.workspace.cache,
            wait,
            &Holder::this_process(),
        )?)
    }

    /// Ends what runs that were killed have left behind.
    fn end_leftovers(&self) -> Result<Vec<String>, Failure> {
        const LIMIT: Duration = Duration::from_secs(30);
        let mut healed = Vec::new();
        let left = runs::leftovers::<Owned>(&self.workspace.cache)?;
        for (run, owned) in &left {
            match end_leftover(owned, LIMIT).map_err(Failure::machinery)? {
                Leftover::Nothing => {}
                Leftover::Guarded => healed.push(format!("run {run} was killed; its server has ended")),
                Leftover::Killed(count) => {
                    healed.push(format!(
                        "run {run} was killed; {count} processes that it left were ended"
                    ));
                }
            }
        }
        for (run, _) in left {
            RunDir::of(&self.workspace.cache, run).mark_ended()?;
        }
        Ok(healed)
    }

    fn run_sessions(
        &self,
        store: Store,
        id: RunId,
        work: &Build<'_>,
        healed: Vec<String>,
    ) -> Result<ExitCode, Failure> {
        let dir = RunDir::create(&self.workspace.cache, id)?;
        let mut journal = Journal::create(dir.path()).map_err(Failure::machinery)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| Failure::machinery(format!("start the runtime: {e}")))?;
        let entered = runtime.enter();
        let interrupts =
            Interrupts::listen().map_err(|e| Failure::machinery(format!("listen for signals: {e}")))?;
        let guard = GuardBinary::this_program();
        let maker = VenvMaker::new(
            guard.clone(),
            self.workspace.cache.join("images"),
            std::env::vars(),
        );
        let (events, mut told) = mpsc::unbounded_channel();
        let run = Arc::new(Run::new(RunParts {
            root: self.workspace.project.root.clone(),
            dir,
            store,
            guard,
            interrupts,
            secrets: self.secrets(),
            retries: self.workspace.project.sweepfile.defaults.retries,
            events,
        }));
        drop(entered);
        self.introduce(&run, work, healed);
        let exit_code = run.interrupts.clone();
        let mut reporter = self.reporter();
        let outcome = runtime.block_on(async {
            let working = async move {
                let outcome = build(&run, work, maker).await;
                let saved = run.store().save_digests();
                let ended = run.dir().mark_ended();
                saved.and(ended)?;
                outcome
            };
            let telling = async {
                while let Some(stamped) = told.recv().await {
                    tell(&mut journal, reporter.as_mut(), &stamped);
                }
            };
            tokio::join!(working, telling).0
        });
        reporter.finish();
        let outcome = outcome?;
        Ok(conclude(
            self.workspace,
            &outcome,
            self.args.format,
            exit_code.exit_code(),
        ))
    }

    /// Values of the secrets that are set; only servers see them.
    fn secrets(&self) -> BTreeMap<String, String> {
        let names = &self.workspace.project.sweepfile.secrets;
        names
            .iter()
            .filter_map(|name| Some((name.clone(), std::env::var(name).ok()?)))
            .collect()
    }

    fn reporter(&self) -> Box<dyn Reporter + Send> {
        let ci = std::env::var_os("CI").is_some_and(|v| !v.is_empty());
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        choose(
            Some(self.args.format),
            std::io::stderr().is_terminal(),
            ci,
            no_color,
        )
    }

    fn introduce(&self, run: &Run, work: &Build<'_>, healed: Vec<String>) {
        run.say(Event::RunStarted {
            run: run.id.clone(),
            sweep_version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: work.graph.profile.clone(),
            sweep: work.selection.name.clone(),
            words: self.args.patterns.clone(),
            host: run.host.clone(),
            pid: std::process::id(),
        });
        for what in healed {
            run.say(Event::Healed { what });
        }
        let stale: usize = work
            .plan
            .sessions
            .iter()
            .map(|session| session.points.len())
            .sum();
        let known: Option<Duration> = work.plan.sessions.iter().map(|s| s.estimate.known()).sum();
        run.say(Event::Planned {
            points: work.selection.points.len(),
            fresh: work.selection.points.len().saturating_sub(stale),
            stale,
            sessions: work
                .plan
                .sessions
                .iter()
                .map(|s| planned(work.graph, s))
                .collect(),
            estimate_ms: known.map(|d| d.as_millis() as u64),
        });
    }
}

/// Keeps an event and shows it. A journal that cannot be written must not stop a measurement; it is said once.
fn tell(journal: &mut Journal, reporter: &mut (dyn Reporter + Send), stamped: &Stamped) {
    if stamped.event.is_kept()
        && let Err(error) = journal.append(stamped)
    {
        print_all(&[Diagnostic::warning(error.to_string())]);
    }
    reporter.event(stamped);
}

/// Prints what came of it and decides the exit code.
fn conclude(workspace: &Workspace, outcome: &Outcome, format: Format, interrupted: Option<u8>) -> ExitCode {
    if let Some(view) = &outcome.view {
        append_step_summary(&view.summary_text);
    }
    if format == Format::Human {
        out(&terminal(&outcome.collection, look()));
        for absent in &outcome.absent {
            eprintln!("{}: {}", absent.target, absent.reason);
        }
        eprintln!("{}", closing_line(workspace, outcome));
    }
    match interrupted {
        Some(code) => ExitCode::from(code),
        None if outcome.failed + outcome.skipped > 0 || !outcome.absent.is_empty() => {
            ExitCode::from(SOME_FAILED)
        }
        None => ExitCode::from(FRESH),
    }
}

/// Says that accuracy is not checked where the changelog asks for it.
fn note_evals(evals: &[usize]) {
    if !evals.is_empty() {
        print_all(&[Diagnostic::warning(format!(
            "the accuracy of {} points is to be checked, which this version of sweep plans but cannot run",
            evals.len()
        ))]);
    }
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
        "{passed} measured, {fresh} from the cache, {failed} failed, {skipped} skipped; {servers_started} servers started"
    );
    if let Some(view) = &outcome.view {
        for path in view.collections.iter().chain([&view.summary]) {
            let shown = path.strip_prefix(&workspace.project.root).unwrap_or(path);
            line.push_str(&format!("\n{}", shown.display()));
        }
    }
    line
}

/// GitHub shows this file on the job's page.
fn append_step_summary(text: &str) {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return;
    };
    let appended = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{text}"));
    if let Err(error) = appended {
        print_all(&[Diagnostic::warning(format!(
            "write the job's step summary: {error}"
        ))]);
    }
}
