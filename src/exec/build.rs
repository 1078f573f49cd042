//! The dispatcher: owns the queue and the pools, starts sessions where there is room, and ends the run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use petgraph::graph::NodeIndex;
use tokio::task::JoinSet;

use super::compute::{ComputeError, collect, process_kept, summarize};
use super::event::{Event, PlannedSession};
use super::gather::{Rows, gather};
use super::image::VenvMaker;
use super::images;
use super::launch::{Place, ReadyImage};
use super::run::Run;
use super::session::{self, Done, Ending, Job, Step};
use super::signals::{Cause, Interrupt};
use super::view::{self, View};
use crate::cache::{FsError, Store};
use crate::config::sweepfile::Profile;
use crate::graph::{Graph, Selection, Spec};
use crate::plan::{Judge, Plan, Policy, Session, State, Sweep};
use crate::results::{Absence, Absent, Collection};
use crate::schedule::{self, Demand, Fleet, Placement, Queue};

/// What a build works on.
pub struct Build<'a> {
    pub graph: &'a Graph,
    pub selection: &'a Selection,
    pub plan: &'a Plan,
    pub profile: &'a Profile,
    /// `results/<sweep>`.
    pub results: PathBuf,
}

/// How a build ended.
#[derive(Debug, Default)]
pub struct Outcome {
    pub passed: usize,
    pub fresh: usize,
    pub failed: usize,
    pub skipped: usize,
    pub servers_started: usize,
    pub interrupted: bool,
    pub collection: Collection,
    pub view: Option<View>,
    pub absent: Vec<Absent>,
}

/// A build that the machinery kept from ending well; what was measured is kept all the same.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(transparent)]
    Compute(#[from] ComputeError),
}

/// Runs the plan's sessions, then computes rows, the collection and the summary.
pub async fn build(run: &Arc<Run>, build: &Build<'_>, maker: VenvMaker) -> Result<Outcome, BuildError> {
    let mut endings = BTreeMap::new();
    let mut servers_started = 0;
    let sessions = tokio::select! {
        biased;
        never = tell_interruptions(run) => match never {},
        sessions = run_sessions(run, build, maker) => sessions,
    };
    for done in sessions {
        endings.extend(done.endings);
        servers_started += done.servers_started;
    }
    let interrupted = run.interrupts.level() != Interrupt::None;
    let mut outcome = finish(run, build, &endings, interrupted)?;
    outcome.servers_started = servers_started;
    outcome.interrupted = interrupted;
    run.say(Event::RunFinished {
        passed: outcome.passed,
        fresh: outcome.fresh,
        failed: outcome.failed,
        skipped: outcome.skipped,
        servers_started,
        elapsed_ms: run.elapsed_ms(),
    });
    Ok(outcome)
}

/// Says that a signal came, and that a second one did. Never ends.
async fn tell_interruptions(run: &Run) -> Infallible {
    for (level, now) in [(Interrupt::Graceful, false), (Interrupt::Now, true)] {
        run.interrupts.reached(level).await;
        let signal = run.interrupts.cause().map_or("a signal", Cause::name).to_owned();
        run.say(Event::Interrupted { signal, now });
    }
    std::future::pending().await
}

/// The demand of a session on the profile's pools.
pub fn demand(graph: &Graph, session: &Session) -> Demand {
    let server = graph.server(session.server);
    Demand {
        nodes: server.nodes,
        gpus: server.gpus,
        pools: server.pools.clone(),
    }
}

/// The profile's pools as the scheduler sees them.
pub fn pool_specs(profile: &Profile) -> Vec<schedule::PoolSpec> {
    let specs = profile.pools.iter().map(|(name, pool)| schedule::PoolSpec {
        name: name.clone(),
        nodes: pool.nodes,
        gpus: pool.gpus,
        share: match pool.share {
            crate::config::sweepfile::Share::Exclusive => schedule::Share::Exclusive,
            crate::config::sweepfile::Share::Gpu => schedule::Share::Gpu,
        },
    });
    specs.collect()
}

/// A session as events tell it.
pub fn planned(graph: &Graph, session: &Session) -> PlannedSession {
    let server = graph.server(session.server);
    let bench_id = |point: &usize| {
        graph.chains[*point]
            .as_ref()
            .map(|c| graph.dag[c.bench].id.to_string())
            .unwrap_or_default()
    };
    PlannedSession {
        server: graph.dag[session.server].id.to_string(),
        benches: session.points.iter().map(bench_id).collect(),
        pools: server.pools.clone(),
        gpus: server.gpus * server.nodes,
        estimate_ms: session.estimate.known().map(|d| d.as_millis() as u64),
    }
}

fn job(build: &Build<'_>, run: &Run, index: usize, session: &Session) -> Job {
    let graph = build.graph;
    let store = run.store();
    let judge = Judge {
        graph,
        store: &store,
        policy: Policy::default(),
    };
    let step = |point: &usize| {
        let chain = graph.chains[*point].as_ref().ok()?;
        Some(Step {
            point: graph.points[*point].clone(),
            bench_id: graph.dag[chain.bench].id.to_string(),
            process_id: graph.dag[chain.process].id.to_string(),
            bench: graph.bench(chain.bench).clone(),
            inputs: judge.bench_inputs(chain),
            // A record of these inputs counts only where none was refused by `--rerun` or `--max-age`.
            take_kept: !matches!(
                build.plan.reason(chain.bench),
                Some(crate::plan::Reason::Forced | crate::plan::Reason::TooOld { .. })
            ),
        })
    };
    Job {
        index,
        server_id: graph.dag[session.server].id.to_string(),
        server: graph.server(session.server).clone(),
        steps: session.points.iter().filter_map(step).collect(),
    }
}

/// What the dispatcher waits for.
enum Ended {
    Image {
        target: NodeIndex,
        outcome: Result<ReadyImage, String>,
    },
    Session {
        placement: Placement,
        done: Done,
    },
}

/// Sessions wait for their image, then for a place, then run side by side.
async fn run_sessions(run: &Arc<Run>, build: &Build<'_>, maker: VenvMaker) -> Vec<Done> {
    let maker = Arc::new(maker);
    let mut fleet = Fleet::new(pool_specs(build.profile));
    let mut queue = Queue::<(Job, ReadyImage)>::default();
    let mut waiting = HashMap::<NodeIndex, Vec<(Job, schedule::Session)>>::new();
    let mut tasks = JoinSet::new();
    let mut done = Vec::new();
    for (index, session) in build.plan.sessions.iter().enumerate() {
        let wanted = schedule::Session {
            demand: demand(build.graph, session),
            priority: session.priority,
            estimate: session.estimate.nominal(),
        };
        let of_image = waiting.entry(session.image).or_default();
        if of_image.is_empty() {
            // Images of one kind are made once and beside each other; each is locked by its own maker.
            let (run, maker) = (run.clone(), maker.clone());
            let target = build.graph.dag[session.image].id.to_string();
            let server = build.graph.server(session.server).clone();
            let node = session.image;
            tasks.spawn(async move {
                let outcome = images::ensure(run, maker, target, server).await;
                Ended::Image {
                    target: node,
                    outcome,
                }
            });
        }
        of_image.push((job(build, run, index, session), wanted));
    }
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ended::Image { target, outcome }) => {
                let jobs = waiting.remove(&target).unwrap_or_default();
                for (job, wanted) in jobs {
                    match &outcome {
                        Ok(image) => queue.push((job, image.clone()), wanted),
                        Err(reason) => done.push(not_started(run, &job, reason)),
                    }
                }
            }
            Ok(Ended::Session {
                placement,
                done: session,
            }) => {
                fleet.release(&placement);
                done.push(session);
            }
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
        if run.interrupts.level() != Interrupt::None {
            continue;
        }
        while let Some(((job, image), placement)) = queue.next(&mut fleet) {
            let run = run.clone();
            let place = Place {
                pool: placement.pool.clone(),
                nodes: placement.nodes.clone(),
                gpus: placement.gpus.clone(),
            };
            tasks.spawn(async move {
                let done = session::run(run, job, image, place).await;
                Ended::Session { placement, done }
            });
        }
    }
    for (job, _) in queue.iter() {
        done.push(not_started(run, job, "interrupted"));
    }
    done
}

/// Every point of a session that never got to start.
fn not_started(run: &Run, job: &Job, reason: &str) -> Done {
    let mut done = Done::default();
    for step in &job.steps {
        run.say(Event::BenchSkipped {
            target: step.bench_id.clone(),
            reason: reason.to_owned(),
        });
        done.endings.insert(step.bench_id.clone(), Ending::Skipped);
    }
    done
}

/// The outcome where nothing was stale: nothing runs, and the results say that all of them are from the cache.
pub fn outcome_of_fresh(store: &Store, build: &Build<'_>) -> Result<Outcome, BuildError> {
    let mut outcome = count(build, &BTreeMap::new());
    let Some(sweep) = &build.plan.sweep else {
        return Ok(outcome);
    };
    let Rows { rows, lost } = gather(store, build.graph, &build.plan.states, &sweep.processes, None)?;
    outcome.absent = lost
        .into_iter()
        .map(|target| Absent {
            target,
            absence: Absence::Missing,
            reason: "its row is damaged in the cache; the next build makes it again".to_owned(),
        })
        .collect();
    outcome.collection = Collection::new(rows.into_iter().map(|row| row.collected).collect());
    outcome.view = Some(view::write(
        &build.results,
        &sweep.name,
        &outcome.collection,
        &outcome.absent,
    )?);
    Ok(outcome)
}

/// Judges the selection again and computes what follows from the measurements.
fn finish(
    run: &Run,
    build: &Build<'_>,
    endings: &BTreeMap<String, Ending>,
    interrupted: bool,
) -> Result<Outcome, BuildError> {
    let mut outcome = count(build, endings);
    let Some(sweep) = &build.plan.sweep else {
        return Ok(outcome);
    };
    let mut states = judge(run, build)?;
    if compute_rows(run, build, sweep, &states) {
        states = judge(run, build)?;
    }
    let Rows { rows, lost } = gather(
        &run.store(),
        build.graph,
        &states,
        &sweep.processes,
        Some(&run.id),
    )?;
    for target in lost {
        run.say(Event::Healed {
            what: format!("the row of `{target}` is damaged; the next build makes it again"),
        });
    }
    outcome.absent = absent(build, sweep, &states, endings);
    outcome.collection = Collection::new(rows.iter().map(|row| row.collected.clone()).collect());
    if interrupted {
        return Ok(outcome);
    }
    let view = view::write(&build.results, &sweep.name, &outcome.collection, &outcome.absent)?;
    let id = |node: NodeIndex| build.graph.dag[node].id.to_string();
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| (row.process, row.digest, row.collected.row))
        .collect();
    let (collect_id, summarize_id) = (id(sweep.collect), id(sweep.summarize));
    let inputs = crate::plan::collect_inputs(rows.iter().map(|(id, digest, _)| (id.as_str(), *digest)));
    let known = run
        .store()
        .lookup(&inputs.key())?
        .and_then(|r| r.head().outputs().next().map(|(d, _)| d));
    let collection = match known {
        Some(collection) => collection,
        None => collect(run, &collect_id, &build.selection.words, &rows)?,
    };
    let summary_known = run
        .store()
        .lookup(&crate::plan::summarize_inputs(collection).key())?
        .is_some();
    if !summary_known {
        summarize(run, &summarize_id, collection, &view.summary_text)?;
    }
    for path in &view.collections {
        run.say(Event::Collected {
            target: collect_id.clone(),
            path: path.display().to_string(),
            rows: rows.len(),
            fresh: outcome.collection.count(crate::results::State::Fresh),
            cached: outcome.collection.count(crate::results::State::Cached),
        });
    }
    run.say(Event::Summarized {
        target: summarize_id,
        path: view.summary.display().to_string(),
    });
    outcome.view = Some(view);
    Ok(outcome)
}

fn judge(run: &Run, build: &Build<'_>) -> Result<BTreeMap<NodeIndex, State>, FsError> {
    let store = run.store();
    Judge {
        graph: build.graph,
        store: &store,
        policy: Policy::default(),
    }
    .states(build.selection)
}

/// Computes rows whose trace is there and whose row is not; says whether there were any.
fn compute_rows(run: &Run, build: &Build<'_>, sweep: &Sweep, states: &BTreeMap<NodeIndex, State>) -> bool {
    let mut any = false;
    for node in &sweep.processes {
        let Spec::Process { point } = build.graph.dag[*node].spec else {
            continue;
        };
        let Ok(chain) = &build.graph.chains[point] else {
            continue;
        };
        let stale = states.get(node).is_some_and(State::is_stale);
        let trace = states.get(&chain.bench).and_then(State::output);
        let (true, Some(trace)) = (stale, trace) else {
            continue;
        };
        any = true;
        let target = build.graph.dag[*node].id.to_string();
        match process_kept(run, &target, &build.graph.points[point], trace) {
            Ok(_) => run.say(Event::ProcessPassed { target }),
            Err(error) => run.say(Event::ProcessFailed {
                target,
                reason: error.to_string(),
            }),
        }
    }
    any
}

fn count(build: &Build<'_>, endings: &BTreeMap<String, Ending>) -> Outcome {
    let of = |ending| endings.values().filter(|e| **e == ending).count();
    let stale: HashSet<&NodeIndex> = build
        .plan
        .states
        .iter()
        .filter(|(_, state)| state.is_stale())
        .map(|(node, _)| node)
        .collect();
    let benches = build
        .selection
        .points
        .iter()
        .filter_map(|p| build.graph.chains[*p].as_ref().ok());
    Outcome {
        passed: of(Ending::Passed),
        failed: of(Ending::Failed),
        skipped: of(Ending::Skipped),
        fresh: benches.filter(|chain| !stale.contains(&chain.bench)).count(),
        ..Outcome::default()
    }
}

/// The points without a row, and why.
fn absent(
    build: &Build<'_>,
    sweep: &Sweep,
    states: &BTreeMap<NodeIndex, State>,
    endings: &BTreeMap<String, Ending>,
) -> Vec<Absent> {
    let mut absent = Vec::new();
    for node in &sweep.processes {
        if states.get(node).and_then(State::output).is_some() {
            continue;
        }
        let Spec::Process { point } = build.graph.dag[*node].spec else {
            continue;
        };
        let Ok(chain) = &build.graph.chains[point] else {
            continue;
        };
        let bench = build.graph.dag[chain.bench].id.to_string();
        let reason = match states.get(&chain.bench) {
            Some(State::Stale(crate::plan::Reason::LastFailed { why })) => why.clone(),
            Some(State::Stale(reason)) => reason.to_string(),
            _ => "its row could not be computed".to_owned(),
        };
        let absence = match endings.get(&bench) {
            Some(Ending::Failed) | None => Absence::Failed,
            Some(Ending::Skipped) => Absence::Skipped,
            Some(Ending::Passed) => Absence::Missing,
        };
        absent.push(Absent {
            target: bench,
            absence,
            reason: first_line(&reason),
        });
    }
    absent
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
