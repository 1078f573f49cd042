//! Sends prompts at the workload's pace and gathers the answers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::clock::Timer;
use super::exchange::{Answered, Wire};
use super::prompts::Prompt;

/// When each request is sent.
pub(super) enum Pace {
    /// By `0` streams, each with one request in flight.
    Streams(u32),
    /// Each at its offset from the start, with at most `cap` in flight.
    Arrivals {
        offsets: Vec<Duration>,
        cap: Option<u32>,
    },
}

/// Sends every prompt and hands each answer to `answered` as it ends. All times count from `start_us`.
///
/// Dropping it ends the requests under way.
pub(super) async fn drive(
    wire: &Arc<Wire>,
    prompts: Vec<Prompt>,
    pace: Pace,
    start_us: u64,
    mut answered: impl FnMut(Answered),
) -> io::Result<()> {
    let (done, mut answers) = mpsc::unbounded_channel();
    let prompts: Arc<[Prompt]> = prompts.into();
    let mut tasks = JoinSet::new();
    match pace {
        Pace::Streams(streams) => {
            let next = Arc::new(AtomicU32::new(0));
            for _ in 0..streams {
                tasks.spawn(stream(
                    Arc::clone(wire),
                    Arc::clone(&prompts),
                    Arc::clone(&next),
                    start_us,
                    done.clone(),
                ));
            }
            drop(done);
        }
        Pace::Arrivals { offsets, cap } => {
            let timer = Timer::new()?;
            let slots = cap.map(|cap| Arc::new(Semaphore::new(cap as usize)));
            let start = wire.clock.instant(start_us);
            for (index, offset) in (0..).zip(offsets) {
                let due = start.checked_add(offset).unwrap_or(start);
                // Waits for the hour of the next request while answers to the earlier ones come in.
                loop {
                    tokio::select! {
                        biased;
                        woke = timer.until(due) => break woke?,
                        Some(answer) = answers.recv() => answered(answer),
                    }
                }
                let scheduled_us = start_us + offset.as_micros() as u64;
                let (wire, prompts, slots, done) = (
                    Arc::clone(wire),
                    Arc::clone(&prompts),
                    slots.clone(),
                    done.clone(),
                );
                tasks.spawn(async move {
                    let _slot = match &slots {
                        Some(slots) => slots.acquire().await.ok(),
                        None => None,
                    };
                    let answer = wire
                        .answer(index, &prompts[index as usize], start_us, scheduled_us)
                        .await;
                    // No one listens any more only when the run was dropped.
                    let _ = done.send(answer);
                });
            }
            drop(done);
        }
    }
    while let Some(answer) = answers.recv().await {
        answered(answer);
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    Ok(())
}

/// Sends the next prompt that no stream has taken, until there is none.
async fn stream(
    wire: Arc<Wire>,
    prompts: Arc<[Prompt]>,
    next: Arc<AtomicU32>,
    start_us: u64,
    done: mpsc::UnboundedSender<Answered>,
) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(prompt) = prompts.get(index as usize) else {
            return;
        };
        let scheduled_us = wire.clock.now_us();
        let answer = wire.answer(index, prompt, start_us, scheduled_us).await;
        if done.send(answer).is_err() {
            return;
        }
    }
}
