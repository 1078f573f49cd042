//! The dispatcher: owns the queues and the pools, and starts sessions where there is room.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use petgraph::graph::NodeIndex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::build::Build;
use super::committer::Committer;
use super::docker::{Heir, Heirs, Host};
use super::event::Event;
use super::foretell::{pool_specs, wanted};
use super::image::VenvMaker;
use super::images;
use super::launch::{Place, ReadyImage};
use super::run::Run;
use super::session::{self, Done, Ending, Job, Step};
use super::signals::Interrupt;
use super::trouble::Trouble;
use super::vacancy::Vacancy;
use crate::graph::spec::{Form, Image};
use crate::plan::{Judge, Policy, Reason, Session};
use crate::schedule::{self, Fleet, Placement, Queue};

/// What the dispatcher waits for.
enum Ended {
    /// What killed runs left.
    Containers,
    Image {
        jobs: Vec<(Job, schedule::Session)>,
        outcome: Result<ReadyImage, Trouble>,
    },
    Session(Done),
}

/// The sessions that wait for a place.
///
/// Quiet ones have this machine to themselves: as soon as one could start, nothing else is placed until what runs has
/// ended, and then they go one at a time. The others run side by side wherever their pools have room, also while the
/// image of a quiet one is still being made.
struct Waiting {
    fleet: Fleet,
    quiet: Queue<(Job, ReadyImage)>,
    others: Queue<(Job, ReadyImage)>,
    running: usize,
    a_quiet_one_runs: bool,
    /// Places that servers of killed runs hold, by the session that goes on with each.
    held: BTreeMap<usize, Placement>,
}

impl Waiting {
    fn push(&mut self, job: Job, image: ReadyImage, wanted: schedule::Session) {
        let queue = if job.quiet {
            &mut self.quiet
        } else {
            &mut self.others
        };
        match self.held.remove(&job.index) {
            Some(place) => queue.push_held((job, image), &wanted, place),
            None => queue.push((job, image), wanted),
        }
    }

    /// Holds the places of servers that killed runs left, and gives the sessions whose pool is another than it was. To
    /// be called before anything is placed on a pool of containers.
    fn hold_left(&mut self, host: &Host) -> Vec<usize> {
        let mut nowhere = Vec::new();
        for (session, server) in host.left() {
            let place = Placement {
                pool: server.pool,
                // Containers run on this very machine.
                nodes: vec![0],
                gpus: server.gpus,
            };
            if self.fleet.take(&place) {
                self.held.insert(session, place);
            } else {
                nowhere.push(session);
            }
        }
        nowhere
    }

    /// The session will not start.
    fn give_up(&mut self, session: usize) {
        if let Some(place) = self.held.remove(&session) {
            self.fleet.release(&place);
        }
    }

    fn next(&mut self) -> Option<((Job, ReadyImage), Placement)> {
        let next = match (self.quiet.is_empty(), self.running) {
            _ if self.a_quiet_one_runs => None,
            (true, _) => self.others.next(&mut self.fleet),
            // Where there is no place for a quiet one, nothing is gained by waiting for it.
            (false, 0) => self
                .quiet
                .next(&mut self.fleet)
                .or_else(|| self.others.next(&mut self.fleet)),
            (false, _) => None,
        };
        if let Some(((job, _), _)) = &next {
            self.running += 1;
            self.a_quiet_one_runs = job.quiet;
        }
        next
    }

    /// Nothing of a session runs any more; its results may still be on their way into the cache.
    fn vacated(&mut self, placement: &Placement) {
        self.running -= 1;
        self.fleet.release(placement);
    }

    fn ended(&mut self, placement: Option<&Placement>, done: &Done) {
        if done.quiet {
            self.a_quiet_one_runs = false;
        }
        match placement {
            // Where a server could not be ended, its GPUs are taken: nothing may be measured on them in this run.
            Some(_) if done.server_lives => self.running -= 1,
            Some(placement) => self.vacated(placement),
            None => {}
        }
    }
}

/// Runs the plan's sessions. They wait for their image, then for a place; what comes of each point is told.
///
/// # Errors
/// If the thread that keeps results cannot be started; then nothing was.
pub(super) async fn run_sessions(
    run: &Arc<Run>,
    build: &Build<'_>,
    maker: VenvMaker,
) -> io::Result<Vec<Done>> {
    let maker = Arc::new(maker);
    let sessions = || build.plan.sessions.iter().enumerate();
    let mut waiting = Waiting {
        fleet: Fleet::new(pool_specs(build.profile)),
        quiet: Queue::default(),
        others: Queue::default(),
        running: 0,
        a_quiet_one_runs: false,
        held: BTreeMap::new(),
    };
    let committer = Arc::new(Committer::start(run.clone())?);
    let (told, mut vacated) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let mut placed = HashMap::new();
    let mut done = Vec::new();
    let mut of_image = HashMap::<NodeIndex, Vec<(Job, schedule::Session)>>::new();
    let mut heirs = Heirs::default();
    let mut looked_for_left = false;
    for (index, session) in sessions() {
        let job = job(build, run, index, session);
        if let Some(reason) = &session.blocked {
            done.push(not_started(run, &job, &Trouble::own(reason)));
            continue;
        }
        heirs.any_quiet |= job.quiet;
        heirs.sessions.extend(heir(&job, session));
        let wanted = wanted(build.graph, session, session.estimate.nominal());
        match images::at_hand(&job.server) {
            Some(image) => waiting.push(job, image, wanted),
            None => of_image.entry(session.image).or_default().push((job, wanted)),
        }
    }
    let heirs = Arc::new(heirs);
    let is_container = |image: &Image| matches!(image, Image::Container { .. });
    let mut waiting_for_images = of_image.values().filter_map(|jobs| jobs.first());
    if build.left_containers && !waiting_for_images.any(|(job, _)| is_container(&job.server.image)) {
        // No session comes to the engine, so what killed runs left there is in nobody's way and yet to be ended.
        let (run, heirs) = (run.clone(), heirs.clone());
        tasks.spawn(async move {
            if let Err(error) = run.docker(&heirs).await {
                let what = format!("a run was killed; whether it left containers is not known: {error}");
                run.say(Event::Healed { what });
            }
            Ended::Containers
        });
    }
    for (node, jobs) in of_image {
        // Images are made beside each other and beside sessions; each maker has a lock of its own.
        let (run, maker) = (run.clone(), maker.clone());
        let target = build.graph.dag[node].id.to_string();
        let (server, heirs) = (jobs[0].0.server.clone(), heirs.clone());
        // On a thread of its own: files of a whole environment are checked and removed, which would hold up sessions.
        tasks.spawn_blocking(move || {
            let ensured = images::ensure(run, maker, target, server, heirs);
            let outcome = Handle::current().block_on(ensured);
            Ended::Image { jobs, outcome }
        });
    }
    loop {
        while run.interrupts.level() == Interrupt::None
            && let Some(((job, image), placement)) = waiting.next()
        {
            if job.quiet {
                run.hold_sending();
            }
            let place = Place {
                pool: placement.pool.clone(),
                nodes: placement.nodes.clone(),
                gpus: placement.gpus.clone(),
            };
            let job = Arc::new(job);
            let vacancy = Arc::new(Vacancy::new(placement, told.clone()));
            let session = session::run(
                run.clone(),
                job.clone(),
                image,
                place,
                committer.clone(),
                vacancy.clone(),
            );
            let task = tasks.spawn(async move { Ended::Session(session.await) });
            placed.insert(task.id(), (job, vacancy));
        }
        let ended = tokio::select! {
            biased;
            // Before the ends of sessions: one that has ended left its place before.
            Some(placement) = vacated.recv() => {
                waiting.vacated(&placement);
                continue;
            }
            ended = tasks.join_next_with_id() => ended,
        };
        let (task, ended) = match ended {
            None => break,
            Some(Ok((task, ended))) => (task, Ok(ended)),
            Some(Err(error)) => (error.id(), Err(error)),
        };
        let (mut session, (job, vacancy)) = match (ended, placed.remove(&task)) {
            (Ok(Ended::Containers), _) => continue,
            (Ok(Ended::Image { jobs, outcome }), _) => {
                if let Ok(ReadyImage::Container { host, .. }) = &outcome
                    && !looked_for_left
                {
                    looked_for_left = true;
                    for session in waiting.hold_left(host) {
                        done.extend(end_left(run, session).await);
                    }
                }
                for (job, wanted) in jobs {
                    match &outcome {
                        Ok(image) => waiting.push(job, image.clone(), wanted),
                        Err(reason) => {
                            waiting.give_up(job.index);
                            done.push(not_started(run, &job, reason));
                            done.extend(end_left(run, job.index).await);
                        }
                    }
                }
                continue;
            }
            (Ok(Ended::Session(session)), Some(placed)) => (session, placed),
            (Ok(Ended::Session(_)), None) => unreachable!("every session is placed"),
            // It panicked: its points have failed, and the build goes on without it.
            (Err(error), Some((job, vacancy))) => {
                let reason = format!("sweep itself failed: {error}");
                (lost(run, &job, &reason), (job, vacancy))
            }
            (Err(error), None) => {
                run.say(Event::Healed {
                    what: format!("a task of the build was lost: {error}"),
                });
                continue;
            }
        };
        session.quiet = job.quiet;
        if job.quiet {
            run.release_sending();
        }
        waiting.ended(vacancy.held(), &session);
        done.push(session);
    }
    let reason = match run.interrupts.level() {
        Interrupt::None => "a server on its pool could not be ended, so there is no place for it",
        Interrupt::Graceful | Interrupt::Now => "interrupted",
    };
    for (job, _) in waiting.quiet.iter().chain(waiting.others.iter()) {
        done.push(not_started(run, job, &Trouble::own(reason)));
        done.extend(end_left(run, job.index).await);
    }
    Ok(done)
}

/// A session as one that could go on with a server that a killed run left: one whose recipe has a way to make a server
/// forget what it served before. A combined script starts its own.
fn heir(job: &Job, session: &Session) -> Option<Heir> {
    let server = &job.server;
    let takes_over = server.form != Form::Combined && server.handling.reset.is_some();
    (takes_over && !server.is_simulated()).then(|| Heir {
        session: job.index,
        key: server.key().to_string(),
        pools: session.pools.clone(),
        quiet: job.quiet,
    })
}

/// Ends what a killed run left for a session that will not start; something only where it could not be ended.
async fn end_left(run: &Run, session: usize) -> Option<Done> {
    let error = run.end_left(session).await.err()?;
    Some(Done {
        machinery: Some(error.to_string()),
        ..Done::default()
    })
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
                Some(Reason::Forced | Reason::TooOld { .. })
            ),
        })
    };
    Job {
        index,
        quiet: session.quiet,
        server_id: graph.dag[session.server].id.to_string(),
        server: graph.server(session.server).clone(),
        steps: session.points.iter().filter_map(step).collect(),
    }
}

/// Every point of a session that never got to start.
fn not_started(run: &Run, job: &Job, trouble: &Trouble) -> Done {
    let mut done = Done::default();
    let reason = trouble.to_string();
    if let Trouble::Machinery(reason) = trouble {
        done.machinery = Some(reason.clone());
    }
    for step in &job.steps {
        run.say(Event::BenchSkipped {
            target: step.bench_id.clone(),
            reason: reason.clone(),
        });
        done.endings
            .insert(step.bench_id.clone(), Ending::Skipped(reason.clone()));
    }
    done
}

/// Every point of a session that ended without a word.
fn lost(run: &Run, job: &Job, reason: &str) -> Done {
    let mut done = Done::default();
    for step in &job.steps {
        let (target, reason) = (step.bench_id.clone(), reason.to_owned());
        run.say(Event::BenchFailed {
            target,
            session: job.index,
            reason: reason.clone(),
        });
        done.endings.insert(step.bench_id.clone(), Ending::Failed(reason));
    }
    done
}
