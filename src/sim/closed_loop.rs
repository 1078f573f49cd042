//! A closed loop of equal requests on the virtual clock: what the engine would do, without a server or a wall clock.

use std::collections::HashMap;
use std::time::Duration;

use super::engine::{Engine, Request, SequenceId, TooLong};

/// Equal requests, a fixed number of them in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Requests in flight.
    pub concurrency: usize,
    /// Requests in all.
    pub requests: usize,
    /// Prompt tokens of each.
    pub isl: u64,
    /// Output tokens of each.
    pub osl: u64,
}

/// What a workload saw, in virtual time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// First submission to last token, s.
    pub duration: f64,
    /// Mean time to first token, s.
    pub mean_ttft: f64,
    /// Mean time per output token after the first, s.
    pub mean_tpot: f64,
    /// Prompt and output tokens per second.
    pub total_tokens_per_second: f64,
}

#[derive(Clone, Copy)]
struct InFlight {
    sent: Duration,
    first: Option<Duration>,
}

/// Runs `workload` on an idle `engine`.
///
/// # Errors
/// [`TooLong`] when one request exceeds the KV cache.
pub fn run(engine: &mut Engine, workload: &Workload) -> Result<Outcome, TooLong> {
    let request = || Request {
        prompt_tokens: workload.isl,
        prefix: Vec::new(),
        output_tokens: workload.osl,
    };
    let mut now = Duration::ZERO;
    let mut in_flight: HashMap<SequenceId, InFlight> = HashMap::new();
    let mut sent = 0;
    let (mut ttft, mut tpot) = (0.0, 0.0);
    loop {
        while sent < workload.requests && in_flight.len() < workload.concurrency {
            in_flight.insert(
                engine.submit(request())?,
                InFlight {
                    sent: now,
                    first: None,
                },
            );
            sent += 1;
        }
        let Some(step) = engine.step() else { break };
        now += step.duration;
        for output in step.outputs {
            let Some(seen) = in_flight.get_mut(&output.id) else {
                continue;
            };
            let first = *seen.first.get_or_insert(now);
            if output.finished {
                ttft += (first - seen.sent).as_secs_f64();
                tpot += (now - first).as_secs_f64() / workload.osl.saturating_sub(1).max(1) as f64;
                in_flight.remove(&output.id);
            }
        }
    }
    let requests = workload.requests as f64;
    let tokens = requests * (workload.isl + workload.osl) as f64;
    let duration = now.as_secs_f64();
    Ok(Outcome {
        duration,
        mean_ttft: ttft / requests,
        mean_tpot: tpot / requests,
        total_tokens_per_second: tokens / duration,
    })
}
