//! One bench on a live server: the load client on a thread of its own, then the gate.

use std::path::Path;

use tokio::sync::oneshot;

use super::attempt_result;
use super::event::Event;
use super::measured::Measured;
use super::run::Run;
use super::server::Server;
use super::session::{Job, Step};
use super::signals::Interrupt;
use super::started::End;
use crate::bench::{
    BenchError, Cancel, Endpoint, Limits, Progress, RequestError, Trace, Verdict, Workload, client, judge,
};
use crate::cache::FsError;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeasureError {
    #[error("the server died during the bench ({end}); its last words:\n{last_words}")]
    ServerDied { end: End, last_words: String },
    #[error("{}", .0.join("; "))]
    Rejected(Vec<String>),
    #[error(transparent)]
    Client(BenchError),
    #[error("a simulated engine was started and what answered says that it is none")]
    NotSimulated,
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error("the load client's thread could not be started: {0}")]
    Thread(std::io::Error),
    #[error("the load client ended without a result")]
    Lost,
}

/// How many of the server's last lines go into a message.
pub(super) const LAST_WORDS: usize = 12;

/// Whether connections ended as they do when a server dies.
fn broke_off(outcome: &Result<Trace, BenchError>) -> bool {
    let is_break = |error: &RequestError| {
        matches!(
            error,
            RequestError::Connect { .. } | RequestError::Reset { .. } | RequestError::Truncated
        )
    };
    match outcome {
        Ok(trace) => trace
            .failed()
            .any(|request| request.error.as_ref().is_some_and(is_break)),
        Err(BenchError::Connect { .. }) => true,
        Err(BenchError::Warmup { first, .. }) => is_break(first),
        Err(_) => false,
    }
}

/// Runs the bench. The trace is written to `attempt` whether or not it passes.
pub(super) async fn measure(
    run: &Run,
    job: &Job,
    step: &Step,
    (workload, limits): (&Workload, &Limits),
    server: &Server,
    attempt: &Path,
) -> Result<Measured, MeasureError> {
    let cancel = Cancel::new();
    let outcome = start_client(run, job, step, workload, server.spec().port, &cancel)?;
    tokio::pin!(outcome);
    let exited = server.ended();
    tokio::pin!(exited);
    let mut died = None;
    let result = loop {
        tokio::select! {
            result = &mut outcome => break result,
            end = &mut exited, if died.is_none() => {
                died = Some(end);
                cancel.cancel();
            }
            () = run.interrupts.reached(Interrupt::Graceful), if !cancel.is_cancelled() => cancel.cancel(),
        }
    };
    // The client hears of a death by its broken connections, often before the guard has told of it.
    if died.is_none() && result.as_ref().is_ok_and(broke_off) {
        died = server.death().await;
    }
    if let Some(end) = died.or_else(|| server.end()) {
        return Err(MeasureError::ServerDied {
            end,
            last_words: server.last_words(LAST_WORDS),
        });
    }
    let trace = match result.map_err(|_| MeasureError::Lost)? {
        Ok(trace) => trace,
        Err(BenchError::Cancelled) => return Err(MeasureError::Interrupted),
        Err(error) => return Err(MeasureError::Client(error)),
    };
    let verdict = judge(&trace, limits);
    if job.server.simulated.is_some() && !trace.header.simulated {
        return Err(MeasureError::NotSimulated);
    }
    // Compression would hold up the other sessions.
    let measured = tokio::task::block_in_place(|| Measured::of_trace(&step.bench.client, trace));
    run.written(attempt_result::write_output(
        attempt,
        measured.output,
        &measured.bytes,
    ))?;
    match verdict {
        Verdict::Pass => Ok(measured),
        Verdict::Fail(reasons) => Err(MeasureError::Rejected(
            reasons.iter().map(ToString::to_string).collect(),
        )),
    }
}

type ClientOutcome = oneshot::Receiver<Result<Trace, BenchError>>;

/// The client has a thread to itself: what else this program does must not show in its stamps.
fn start_client(
    run: &Run,
    job: &Job,
    step: &Step,
    workload: &Workload,
    port: u16,
    cancel: &Cancel,
) -> Result<ClientOutcome, MeasureError> {
    let (send, receive) = oneshot::channel();
    let workload = workload.clone();
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port,
    };
    let cancel = cancel.clone();
    let progress = progress(run, step.bench_id.clone(), job.index, workload.prompts);
    std::thread::Builder::new()
        .name("load client".to_owned())
        .spawn(move || {
            let _ = send.send(client::run_blocking(&workload, &endpoint, progress, &cancel));
        })
        .map_err(MeasureError::Thread)?;
    Ok(receive)
}

/// Reports every hundredth of the requests at most.
fn progress(run: &Run, target: String, session: usize, requests: u32) -> impl Fn(Progress) + Send + use<> {
    let say = run.speaker();
    let step = (requests / 100).max(1);
    move |progress| {
        if let Progress::Answered { done, failed, .. } = progress
            && (done % step == 0 || done == requests)
        {
            say(Event::BenchProgress {
                target: target.clone(),
                session,
                done,
                failed,
                requests,
            });
        }
    }
}
