//! The keeper of one container, `sweep container`: creates it, or takes over one that a killed run left, copies its log to standard output, waits for its end,
//! stops and removes it. It runs under a guard, and is told to end by TERM.

use std::collections::HashMap;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::ContainerState;
use bollard::query_parameters::{
    CreateContainerOptions, EventsOptions, InspectContainerOptions, LogsOptions, StartContainerOptions,
    StopContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use super::connect::{ConnectError, Engine, chosen, told};
use super::engine::{OUTAGE, insist, is_answer, remove_from, status};
use super::hand_back;
use super::labels::are_of_one_attempt;
use super::note::Note;
use super::order::ContainerOrder;

/// How long the rest of a log may take to come after the container's end.
const LOG_DRAIN: Duration = Duration::from_secs(10);
/// How often an engine that is gone is looked for.
const POLL: Duration = Duration::from_millis(100);
/// How long the engine may take to look into its book of events.
const ANSWER: Duration = Duration::from_secs(5);

/// Keeps the container that the environment orders, to its end.
pub fn run() -> ExitCode {
    // Started through /proc/self/exe; without this it would be named `exe` in process lists.
    let _ = std::fs::write("/proc/self/comm", "sweep-container");
    let kept = ContainerOrder::of_this_process().and_then(|order| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let note = runtime
            .and_then(|runtime| runtime.block_on(keep(&order)))
            .map_err(|error| format!("keep the container `{}`: {error}", order.name))?;
        if let Note::Refused { reason } | Note::Lost { reason, .. } = &note {
            eprintln!("sweep container: {reason}");
        }
        note.write(&order.note).map_err(|error| error.to_string())
    });
    match kept {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sweep container: {error}");
            ExitCode::from(3)
        }
    }
}

/// From creation to removal; the error is of this process's own means.
async fn keep(order: &ContainerOrder) -> io::Result<Note> {
    // First, so that from here on TERM means to stop in order.
    let mut stop = Stop::listen()?;
    let client = match connect(order).await {
        Ok(client) => client,
        Err(error) => return Ok(lost(error.to_string(), true)),
    };
    let id = match &order.adopts {
        Some(id) => id.clone(),
        None => match start(&client, order).await {
            Ok(id) => id,
            Err(note) => return Ok(note),
        },
    };
    let state = match state_of(&client, &id).await {
        Ok(state) => state.unwrap_or_default(),
        Err(error) => return Ok(lost(told(&error), false)),
    };
    // One that has ended already has no process.
    let pid = state
        .pid
        .and_then(|pid| u32::try_from(pid).ok())
        .and_then(NonZeroU32::new);
    let running = pid.map(|pid| Note::Running { id: id.clone(), pid });
    tell(running.as_ref(), order);
    let log = tokio::spawn(copy_log(client.clone(), id.clone()));

    let mut kept = Kept {
        client: &client,
        id: &id,
        order,
        running,
        disturbed: false,
    };
    let (ended, asked) = tokio::select! {
        ended = kept.ended() => (ended, false),
        () = stop.asked() => (kept.stop().await, true),
    };
    tell(Some(&Note::Unsure), order);
    if let Err(error) = ended {
        return Ok(lost(told(&error), false));
    }
    // At once: an engine that is being stopped is soon another, which remembers nothing.
    let from_outside = !asked && kept.was_ended_from_outside().await;
    // Nothing is removed before its log is safe.
    let _ = timeout(LOG_DRAIN, log).await;
    let note = kept.conclude(from_outside).await;
    if let (Some(body), Note::Ended { .. }) = (&order.hand_back, &note) {
        let name = format!("{}-files", order.name);
        if let Err(reason) = hand_back::run(&client, &name, body).await {
            eprintln!("sweep container: the files in its workspace may not be yours: {reason}");
        }
    }
    Ok(note)
}

/// A word in between. One that is lost, as on a full disk, only makes others wait longer.
fn tell(note: Option<&Note>, order: &ContainerOrder) {
    let _ = note.map(|note| note.write(&order.note));
}

/// TERM and its like.
struct Stop([Signal; 3]);

impl Stop {
    fn listen() -> io::Result<Self> {
        let [terminate, interrupt, hangup] = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ]
        .map(signal);
        Ok(Self([terminate?, interrupt?, hangup?]))
    }

    async fn asked(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

async fn connect(order: &ContainerOrder) -> Result<Docker, ConnectError> {
    let at = chosen(&|variable| (variable == "DOCKER_HOST").then(|| order.engine.clone()))?;
    let deadline = Instant::now() + OUTAGE;
    loop {
        match Engine::connect_to(at.clone()).await {
            // A stop is answered when it is done.
            Ok(engine) => {
                let limit = engine.client.timeout() + Duration::from_millis(order.grace_ms);
                return Ok(engine.client.with_timeout(limit));
            }
            Err(_) if Instant::now() < deadline => sleep(POLL).await,
            Err(error) => return Err(error),
        }
    }
}

/// Creates the container and starts it: its id, or how that failed.
async fn start(client: &Docker, order: &ContainerOrder) -> Result<String, Note> {
    let id = match create(client, order).await {
        Ok(id) => id,
        Err(error) => return Err(not_made("create", &error, is_answer(&error))),
    };
    match insist(|| client.start_container(&id, None::<StartContainerOptions>)).await {
        Ok(()) => Ok(id),
        Err(error) => {
            let removed = remove_from(client, &id).await.is_ok();
            Err(not_made("start", &error, removed))
        }
    }
}

/// Creates the container. If it is there, as when the engine's answer was lost, it is the one.
async fn create(client: &Docker, order: &ContainerOrder) -> Result<String, Error> {
    let options = CreateContainerOptions {
        name: Some(order.name.clone()),
        ..CreateContainerOptions::default()
    };
    let created = insist(|| client.create_container(Some(options.clone()), order.body.clone())).await;
    let error = match created {
        Ok(created) => return Ok(created.id),
        // 409 is Docker's, 500 Podman's.
        Err(error) if matches!(status(&error), Some(409 | 500)) => error,
        Err(error) => return Err(error),
    };
    let options = None::<InspectContainerOptions>;
    let there = insist(|| client.inspect_container(&order.name, options.clone())).await;
    let Ok(there) = there else { return Err(error) };
    let labels = there.config.and_then(|config| config.labels).unwrap_or_default();
    let ours = order.body.labels.clone().unwrap_or_default();
    match there.id {
        Some(id) if are_of_one_attempt(&labels, &ours) => Ok(id),
        _ => Err(error),
    }
}

/// The container's state; nothing when there is no such container.
async fn state_of(client: &Docker, id: &str) -> Result<Option<ContainerState>, Error> {
    let options = None::<InspectContainerOptions>;
    match insist(|| client.inspect_container(id, options.clone())).await {
        Ok(container) => Ok(Some(container.state.unwrap_or_default())),
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A container that runs.
struct Kept<'a> {
    client: &'a Docker,
    id: &'a str,
    order: &'a ContainerOrder,
    running: Option<Note>,
    /// The engine was gone for a while.
    disturbed: bool,
}

impl Kept<'_> {
    /// Waits until the container does not run any more. Fails when the engine is gone for too long.
    async fn ended(&mut self) -> Result<(), Error> {
        loop {
            let mut answers =
                std::pin::pin!(self.client.wait_container(self.id, None::<WaitContainerOptions>));
            match answers.next().await {
                // An exit code other than 0 is an error to the client.
                Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => return Ok(()),
                Some(Err(error)) if status(&error) == Some(404) => return Ok(()),
                Some(Err(error)) if is_answer(&error) => return Err(error),
                Some(Err(_)) | None => {}
            }
            // The connection broke, which says nothing about the container.
            self.disturbed = true;
            tell(Some(&Note::Unsure), self.order);
            match state_of(self.client, self.id).await? {
                Some(ContainerState {
                    running: Some(true), ..
                }) => tell(self.running.as_ref(), self.order),
                _ => return Ok(()),
            }
        }
    }

    /// TERM, or what the image has in its place, then KILL after the grace.
    async fn stop(&mut self) -> Result<(), Error> {
        let seconds = i32::try_from(self.order.grace_ms.div_ceil(1000)).unwrap_or(i32::MAX);
        let options = StopContainerOptions {
            signal: None,
            t: Some(seconds),
        };
        match insist(|| self.client.stop_container(self.id, Some(options.clone()))).await {
            Err(error) if !matches!(status(&error), Some(304 | 404)) => Err(error),
            _ => self.ended().await,
        }
    }

    /// Removes the container and tells how it ended.
    async fn conclude(&self, from_outside: bool) -> Note {
        let state = state_of(self.client, self.id).await;
        let removed = remove_from(self.client, self.id).await;
        let state = match (state, removed) {
            (Ok(Some(state)), Ok(())) => state,
            (Ok(None), Ok(())) => {
                return lost("somebody else removed the container".to_owned(), true);
            }
            (Err(error), removed) => return lost(told(&error), removed.is_ok()),
            (_, Err(error)) => return lost(told(&error), false),
        };
        let code = state.exit_code.unwrap_or_default();
        let out_of_memory = state.oom_killed.unwrap_or_default();
        if from_outside {
            let reason = format!(
                "the container was ended from outside, as when its engine is stopped (exit code {code})"
            );
            return lost(reason, true);
        }
        Note::Ended { code, out_of_memory }
    }

    /// Whether somebody had the engine end the container, or the engine did so as it was stopped itself. What ends by
    /// itself, or by the kernel, is not in its book of signals sent.
    async fn was_ended_from_outside(&self) -> bool {
        if self.disturbed {
            return true;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let options = EventsOptions {
            since: Some("0".to_owned()),
            until: Some(format!("{}.{:09}", now.as_secs(), now.subsec_nanos())),
            filters: Some(HashMap::from([
                ("container".to_owned(), vec![self.id.to_owned()]),
                ("event".to_owned(), vec!["kill".to_owned()]),
            ])),
        };
        let mut signals = std::pin::pin!(self.client.events(Some(options)));
        match timeout(ANSWER, signals.next()).await {
            Ok(Some(Ok(_))) => true,
            // An engine that does not answer is being stopped.
            Ok(Some(Err(error))) => !is_answer(&error),
            Ok(None) | Err(_) => false,
        }
    }
}

fn lost(reason: String, removed: bool) -> Note {
    Note::Lost { reason, removed }
}

/// The engine did not make or start the container: for what was asked, or for reasons of its own.
fn not_made(what: &str, error: &Error, removed: bool) -> Note {
    let mut reason = format!("the engine did not {what} the container: {}", told(error));
    if reason.contains("could not select device driver") {
        reason.push_str("; install the NVIDIA container toolkit on this host and restart the engine");
    }
    if reason.contains("container-init binary not found") {
        reason.push_str("; install `catatonit`, which Podman has its containers begin with");
    }
    match status(error) {
        Some(400 | 404) if removed => Note::Refused { reason },
        _ => lost(reason, removed),
    }
}

/// Copies the container's log from its beginning to its end, past moments in which the engine is gone.
async fn copy_log(client: Docker, id: String) {
    let options = LogsOptions {
        follow: true,
        stdout: true,
        stderr: true,
        ..LogsOptions::default()
    };
    let mut copied = 0;
    loop {
        let mut known = copied;
        let mut chunks = std::pin::pin!(client.logs(&id, Some(options.clone())));
        let broke = loop {
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    let bytes = fresh(&chunk, &mut known);
                    copied += bytes.len() as u64;
                    // A log that cannot be written, as on a full disk, must not end what is measured.
                    let mut log = io::stdout().lock();
                    let _ = log.write_all(bytes).and_then(|()| log.flush());
                }
                Some(Err(error)) if is_answer(&error) => return,
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        let runs = match state_of(&client, &id).await {
            Ok(state) => state.is_some_and(|state| state.running == Some(true)),
            Err(_) => return,
        };
        if !runs && !broke {
            return;
        }
        sleep(POLL).await;
    }
}

/// What of a chunk lies beyond the `known` bytes that were copied before, which are counted down.
fn fresh<'a>(chunk: &'a LogOutput, known: &mut u64) -> &'a [u8] {
    let bytes: &[u8] = chunk.as_ref();
    let skipped = usize::try_from(*known).unwrap_or(usize::MAX).min(bytes.len());
    *known -= skipped as u64;
    &bytes[skipped..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        }
    }

    #[test]
    fn what_was_asked_wrongly_is_told_from_what_the_engine_cannot() {
        let refused = not_made(
            "start",
            &answer(400, "exec: \"vllm\": executable file not found"),
            true,
        );
        assert!(matches!(refused, Note::Refused { .. }), "{refused:?}");
        let full = not_made("create", &answer(500, "no space left on device"), true);
        assert!(matches!(full, Note::Lost { removed: true, .. }), "{full:?}");
        let toolkit = not_made("start", &answer(500, "could not select device driver \"\""), true);
        let Note::Lost { reason, .. } = toolkit else {
            panic!("{toolkit:?}")
        };
        assert!(reason.contains("NVIDIA container toolkit"), "{reason}");
    }

    #[test]
    fn a_log_is_not_copied_twice() {
        let chunk = |text: &'static str| LogOutput::StdOut { message: text.into() };
        let mut known = 7;
        assert_eq!(fresh(&chunk("hello"), &mut known), b"");
        assert_eq!(fresh(&chunk("world"), &mut known), b"rld");
        assert_eq!(fresh(&chunk("!"), &mut known), b"!");
    }
}
