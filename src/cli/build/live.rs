//! A build at work: sessions run, and their events are told.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::outcome::conclude;
use crate::cache::{RunDir, RunId, Store, gc};
use crate::cli::asked::Asked;
use crate::cli::cache::{CacheFolder, after_build};
use crate::cli::failure::{Failure, print_all};
use crate::cli::remote::Shared;
use crate::cli::report::{Format, Reporter, choose};
use crate::cli::workspace::Workspace;
use crate::config::container::Container;
use crate::config::diagnostic::Diagnostic;
use crate::config::sweepfile::Executor;
use crate::exec::build::{Build, build};
use crate::exec::event::{Event, Stamped};
use crate::exec::foretell::{foretell, planned};
use crate::exec::image::VenvMaker;
use crate::exec::journal::Journal;
use crate::exec::process::GuardBinary;
use crate::exec::run::{Run, RunParts};
use crate::exec::signals::Interrupts;
use crate::graph::Chain;
use crate::plan::State;

/// A build at work, with the lock held.
pub(super) struct Live<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) asked: &'a Asked<'a>,
    pub(super) format: Format,
}

impl Live<'_> {
    pub(super) fn run_sessions(
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
