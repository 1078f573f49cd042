//! `sweep build`: measure what is stale, print the summary.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::sync::mpsc;

use super::asked::Asked;
use super::cache::{CacheFolder, after_build};
use super::changed::ChangedArgs;
use super::ci::{Handed, PlanFileArg};
use super::failure::{FRESH, Failure, MACHINERY, SOME_FAILED, print_all};
use super::lock::{pin_missing, refuse_unpinned, unpinned};
use super::ls;
use super::null_build::{NullBuild, print, say_finished, say_hit};
use super::plan;
use super::remote::{Shared, configured, send_left};
use super::report::{Format, Reporter, choose, counted};
use super::results::look;
use super::workspace::{Workspace, WorkspaceArgs, refuse_broken};
use crate::cache::{Holder, LockGuard, RunDir, RunId, Store, Wait, gc, lock, run as runs};
use crate::config::container::Container;
use crate::config::diagnostic::Diagnostic;
use crate::config::quantity::parse_duration;
use crate::config::reference::Reference;
use crate::config::sweepfile::Executor;
use crate::exec::build::{Build, Outcome, build};
use crate::exec::docker::Note;
use crate::exec::event::{Event, Stamped};
use crate::exec::foretell::{foretell, planned};
use crate::exec::image::{VenvMaker, venv_key};
use crate::exec::journal::Journal;
use crate::exec::leftover::{Leftover, end_leftover};
use crate::exec::process::{GuardBinary, Owned};
use crate::exec::run::{Run, RunParts, unix_ms};
use crate::exec::signals::Interrupts;
use crate::exec::verify::take_damaged_away;
use crate::exec::{adopt, outcome_of_fresh};
use crate::graph::spec::{Image, NO_EVALS};
use crate::graph::{Chain, Graph, Selection};
use crate::plan::compiled::{Answer, Found};
use crate::plan::{Plan, Policy, State};
use crate::results::{Collection, Nature, terminal};

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

/// A build that has something to run.
struct Attempt<'a> {
    arguments: &'a WorkspaceArgs,
    asked: &'a Asked<'a>,
    how: How,
    cache: &'a Path,
}

impl Attempt<'_> {
    fn run(&self) -> Result<ExitCode, Failure> {
        // What stands in the files is read again when the wait is over.
        let cache = self.cache;
        let lock = self.lock()?;
        let workspace = Workspace::open_quietly(self.arguments)?;
        let mut shared = Shared::open(&workspace)?;
        let id = RunId::generate();
        let (mut healed, killed) = end_leftovers(cache)?;
        let mut store = Store::open_write(cache, id.clone(), lock, SystemTime::now())?;
        healed.extend(store.damage().iter().map(ToString::to_string));
        let mut left_containers = false;
        for run in killed {
            for record in adopt(&mut store, &run)? {
                healed.push(format!(
                    "run {run} was killed after it had measured `{}`; the result is kept",
                    record.target
                ));
                shared
                    .iter()
                    .try_for_each(|shared| shared.note(&store, &record))?;
            }
            let mut dir = RunDir::of(cache, run);
            left_containers |= Note::is_left_in(&dir.attempts())?;
            dir.mark_ended()?;
        }
        // Whoever held the lock before may have built it all.
        let (mut graph, mut selection, mut plan) = self.plan(&workspace, &mut store)?;
        if let Some(shared) = &mut shared {
            // What is forced is measured here, whoever has measured it.
            if !self.asked.policy().rerun && shared.fetch(&mut store, &graph, &plan)? > 0 {
                (graph, selection, plan) = self.plan(&workspace, &mut store)?;
            }
            refuse_unrunnable(&workspace, &graph, &selection, &plan)?;
        }
        let damaged = take_damaged_away(&store, &graph, &plan)?;
        if !damaged.is_empty() {
            (graph, selection, plan) = self.plan(&workspace, &mut store)?;
        }
        healed.extend(damaged);
        refuse_broken(&graph, &selection)?;
        let work = Build {
            graph: &graph,
            selection: &selection,
            plan: &plan,
            profile: workspace.profile().1,
            results: workspace.results(&selection.name),
            left_containers,
        };
        if plan.is_fresh() {
            let outcome = outcome_of_fresh(&store, &work)?;
            return Ok(conclude_fresh(&workspace, &outcome, self.how.format));
        }
        let live = Live {
            workspace: &workspace,
            asked: self.asked,
            format: self.how.format,
        };
        let ended = live.run_sessions(store, id, &work, healed, shared);
        // As above.
        std::mem::forget((graph, selection, plan, workspace));
        ended
    }

    fn lock(&self) -> Result<LockGuard, Failure> {
        let mut say = |holder: &Holder| eprintln!("waiting for the cache: {holder}");
        let wait = if self.how.no_wait {
            Wait::No
        } else {
            Wait::Block(&mut say)
        };
        Ok(lock::acquire(self.cache, wait, &Holder::this_process())?)
    }

    fn plan(&self, workspace: &Workspace, store: &mut Store) -> Result<(Graph, Selection, Plan), Failure> {
        let mut graph = workspace.graph_with(&mut |path| store.digest(path));
        let selection = self.asked.select(workspace, &graph)?;
        let plan = self.asked.plan(workspace, &mut graph, &selection, store)?;
        Ok((graph, selection, plan))
    }
}

/// Ends what runs that were killed have left behind: what to say of it, and those runs.
fn end_leftovers(cache: &Path) -> Result<(Vec<String>, Vec<RunId>), Failure> {
    const LIMIT: Duration = Duration::from_secs(30);
    let mut healed = Vec::new();
    let left = runs::leftovers::<Owned>(cache)?;
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
    Ok((healed, runs::cut_off(cache)?))
}

/// A build at work, with the lock held.
struct Live<'a> {
    workspace: &'a Workspace,
    asked: &'a Asked<'a>,
    format: Format,
}

impl Live<'_> {
    fn run_sessions(
        &self,
        store: Store,
        id: RunId,
        work: &Build<'_>,
        healed: Vec<String>,
        shared: Option<Shared>,
    ) -> Result<ExitCode, Failure> {
        let dir = RunDir::create(&self.workspace.cache, id)?;
        let mut journal = Some(Journal::create(dir.path()).map_err(Failure::machinery)?);
        // With a second one each would wake the other for work that it has done by then. What takes long, as computing
        // from a trace or making an image, has threads of its own.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
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
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
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
            containers: self.containers(),
            events,
        }));
        drop(entered);
        self.introduce(&run, work, healed);
        if let Some(shared) = shared {
            shared.start(&run)?;
        }
        let exit_code = run.interrupts.clone();
        let mut reporter = self.reporter();
        let cache = CacheFolder::of(self.workspace);
        let outgrown = Cell::new(false);
        let (cache, has_outgrown) = (&cache, &outgrown);
        let outcome = runtime.block_on(async {
            let working = async move {
                let outcome = build(&run, work, maker).await;
                has_outgrown.set(gc::is_due(&run.store(), cache.max_bytes));
                // Neither changes what was measured: digests are taken again, an ended run is looked at once more.
                if let Err(error) = run.store().save_digests().and(run.dir().mark_ended()) {
                    run.say(Event::Healed {
                        what: error.to_string(),
                    });
                }
                outcome
            };
            let telling = async {
                let mut events = Vec::new();
                while told.recv_many(&mut events, AT_ONCE).await > 0 {
                    tell(&mut journal, reporter.as_mut(), &events);
                    events.clear();
                }
            };
            tokio::join!(working, telling).0
        });
        reporter.finish();
        if outgrown.get() {
            after_build(cache);
        }
        let outcome = outcome?;
        let interrupted = exit_code.exit_code().filter(|_| outcome.interrupted);
        Ok(conclude(self.workspace, &outcome, self.format, interrupted))
    }

    /// How containers run on the profile's pools that have some.
    fn containers(&self) -> BTreeMap<String, Container> {
        let (_, profile) = self.workspace.profile();
        let pools = profile
            .pools
            .iter()
            .filter(|(_, pool)| pool.executor == Executor::Docker);
        pools
            .map(|(name, pool)| (name.clone(), self.workspace.project.container(pool)))
            .collect()
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
        choose(Some(self.format), std::io::stderr().is_terminal(), ci, no_color)
    }

    fn introduce(&self, run: &Run, work: &Build<'_>, healed: Vec<String>) {
        run.say(Event::RunStarted {
            run: run.id.clone(),
            sweep_version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: work.graph.profile.clone(),
            sweep: work.selection.name.clone(),
            words: self.asked.words(),
            host: run.host.clone(),
            pid: std::process::id(),
        });
        for what in healed {
            run.say(Event::Healed { what });
        }
        // Not only what runs here: a job that collects runs nothing, and calls nothing fresh that nobody has measured.
        let chains = work.selection.points.iter();
        let chains = chains.filter_map(|point| work.graph.chains[*point].as_ref().ok());
        let state = |chain: &Chain| work.plan.states.get(&chain.bench);
        let stale = chains
            .filter(|chain| state(chain).is_some_and(State::is_stale))
            .count();
        let foretold = foretell(work.graph, &work.plan.sessions, work.profile);
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
            estimate_ms: foretold.map(|schedule| schedule.makespan.as_millis() as u64),
        });
    }
}

/// How many events are told at once at most, where they come faster than they are told.
const AT_ONCE: usize = 256;

/// Keeps events and shows them. A journal that cannot be written must not stop a measurement; it is said once.
fn tell(journal: &mut Option<Journal>, reporter: &mut (dyn Reporter + Send), events: &[Stamped]) {
    if let Some(Err(error)) = journal.as_mut().map(|journal| journal.append_all(events)) {
        *journal = None;
        print_all(&[Diagnostic::warning(format!(
            "{error}; this run's events are not kept from here on"
        ))]);
    }
    events.iter().for_each(|stamped| reporter.event(stamped));
    reporter.flush();
}

/// The end of a build that had nothing to run.
fn conclude_fresh(workspace: &Workspace, outcome: &Outcome, format: Format) -> ExitCode {
    say_finished(outcome.fresh, outcome.skipped, format);
    conclude(workspace, outcome, format, None)
}

/// Prints what came of it and decides the exit code.
fn conclude(workspace: &Workspace, outcome: &Outcome, format: Format, interrupted: Option<u8>) -> ExitCode {
    // Measurements alone have no table.
    let has_table = outcome.view.is_some() || interrupted.is_some();
    print(&answer(workspace, outcome, format, has_table), format);
    if let (Format::Human, Some(reason)) = (format, &outcome.machinery) {
        print_all(&[Diagnostic::error(reason)]);
    }
    match interrupted {
        Some(code) => ExitCode::from(code),
        None if outcome.machinery.is_some() => ExitCode::from(MACHINERY),
        None if outcome.failed + outcome.skipped > 0 || !outcome.absent.is_empty() => {
            ExitCode::from(SOME_FAILED)
        }
        None => ExitCode::from(FRESH),
    }
}

/// What is printed of an outcome.
fn answer(workspace: &Workspace, outcome: &Outcome, format: Format, has_table: bool) -> Answer {
    let mut answer = Answer {
        fresh: outcome.fresh,
        ..Answer::default()
    };
    if let Some(view) = &outcome.view {
        answer.summary.clone_from(&view.summary);
    }
    if format == Format::Human {
        answer.table = match outcome.collection.rows().len() {
            _ if !has_table => String::new(),
            0..=MOST_ROWS => terminal(&outcome.collection, look()),
            _ => too_many_rows(&outcome.collection),
        };
        for absent in &outcome.absent {
            answer
                .closing
                .push_str(&format!("{}: {}\n", absent.target, absent.reason));
        }
        answer.closing.push_str(&closing_line(workspace, outcome));
        answer.closing.push('\n');
    }
    answer
}

/// Rows that a build prints at most. A longer table is looked up, not read: its files and `sweep results` have it.
const MOST_ROWS: usize = 250;

fn too_many_rows(collection: &Collection) -> String {
    let of = |nature| collection.of(nature).len();
    let (measured, simulated) = (of(Nature::Measured), of(Nature::Simulated));
    let mut counts = Vec::new();
    if measured > 0 {
        counts.push(format!("{measured} measured"));
    }
    if simulated > 0 {
        counts.push(format!("{simulated} SIMULATED, not measured on this hardware"));
    }
    let all = counted(measured + simulated, "row");
    format!(
        "{all}: {}\ntoo many to show here: `sweep results PATTERN` prints some\n",
        counts.join(", ")
    )
}

/// That accuracy is not checked. It makes no measurement stale and no build fail.
pub(super) fn note_of_evals(evals: usize) -> Option<Diagnostic> {
    (evals > 0).then(|| Diagnostic::info(format!("{} left out: {NO_EVALS}", counted(evals, "eval"))))
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
        "{passed} measured, {fresh} from the cache, {failed} failed, {skipped} skipped; {} started",
        counted(*servers_started, "server")
    );
    if let Some(view) = &outcome.view {
        for path in view.collections.iter().chain([&view.summary]) {
            let shown = path.strip_prefix(&workspace.project.root).unwrap_or(path);
            line.push_str(&format!("\n{}", shown.display()));
        }
    }
    line
}
