//! Metrics of a raw trace as InferenceX's serving benchmark defines them.
//!
//! t0 is when a request was sent, c1 … cm are the events of its answer that hold choices, their text possibly empty:
//!
//! | metric | definition |
//! |---|---|
//! | TTFT | c1 - t0 |
//! | E2EL | cm - t0; in the chat API up to the last event before `[DONE]`, the usage report included |
//! | ITL | each gap c(i+1) - c(i), of all requests together |
//! | TPOT | (E2EL - TTFT) / (n - 1) of an answer of n > 1 tokens |
//!
//! Failed requests count in none of them. A simulated server's trace is taken in wall time; its durations are
//! multiplied by the simulated seconds in a wall second.

use crate::bench::trace::{EventKind, Request, Trace, TraceHeader};
use crate::bench::workload::Api;

use super::statistics::Distribution;

/// The name of these definitions.
pub const DIALECT: &str = "inferencex";

/// Counts up whenever a definition changes, so that metrics of old ones are stale.
pub const DIALECT_VERSION: u32 = 1;

/// What a trace amounts to.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Seconds from the first request sent to the end of the last answer.
    pub duration_s: f64,
    /// Requests that were answered.
    pub completed: u64,
    /// Tokens of each request's prompt, failed ones included.
    pub input_lens: Vec<u64>,
    /// Tokens of each request's answer, 0 of a failed one.
    pub output_lens: Vec<u64>,
    /// Prompt tokens of the requests that were answered.
    pub total_input_tokens: u64,
    pub total_output_tokens: u64,
    pub ttft_ms: Distribution,
    pub tpot_ms: Distribution,
    pub itl_ms: Distribution,
    pub e2el_ms: Distribution,
}

impl Metrics {
    /// Reduces a trace.
    pub fn from_trace(trace: &Trace) -> Self {
        let header = &trace.header;
        let scale = time_scale(header);
        let ms = |us: u64| us as f64 * scale / 1e3;
        let (mut ttft, mut tpot, mut itl, mut e2el) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut input_lens, mut output_lens) = (Vec::new(), Vec::new());
        let (mut total_input_tokens, mut total_output_tokens) = (0, 0);
        for request in &trace.requests {
            let input = u64::from(request.prompt_tokens);
            input_lens.push(input);
            let Some(answer) = Answer::of(request, header.workload.api) else {
                output_lens.push(0);
                continue;
            };
            let output = request.completion_tokens();
            output_lens.push(output);
            total_input_tokens += input;
            total_output_tokens += output;
            ttft.push(ms(answer.ttft_us));
            e2el.push(ms(answer.e2el_us));
            if output > 1 {
                tpot.push(ms(answer.e2el_us - answer.ttft_us) / (output - 1) as f64);
            }
            itl.extend(answer.gaps_us.into_iter().map(ms));
        }
        Self {
            duration_s: ms(header.duration_us) / 1e3,
            completed: ttft.len() as u64,
            input_lens,
            output_lens,
            total_input_tokens,
            total_output_tokens,
            ttft_ms: Distribution::of(&ttft),
            tpot_ms: Distribution::of(&tpot),
            itl_ms: Distribution::of(&itl),
            e2el_ms: Distribution::of(&e2el),
        }
    }

    /// Requests answered a second.
    pub fn request_throughput(&self) -> f64 {
        self.completed as f64 / self.duration_s
    }

    /// Output tokens a second, of all GPUs together.
    pub fn output_throughput(&self) -> f64 {
        self.total_output_tokens as f64 / self.duration_s
    }

    /// Prompt and output tokens a second, of all GPUs together.
    pub fn total_token_throughput(&self) -> f64 {
        (self.total_input_tokens + self.total_output_tokens) as f64 / self.duration_s
    }
}

/// Seconds of the server's own time in a wall second.
pub(super) fn time_scale(header: &TraceHeader) -> f64 {
    if header.simulated { header.time_scale } else { 1.0 }
}

/// The times of one answer, in wall microseconds since its request was sent.
struct Answer {
    ttft_us: u64,
    e2el_us: u64,
    gaps_us: Vec<u64>,
}

impl Answer {
    /// None for a request that failed, or whose answer never held a choice.
    fn of(request: &Request, api: Api) -> Option<Self> {
        if !request.is_ok() {
            return None;
        }
        let mut choices = request
            .events()
            .filter(|event| event.kind.has(EventKind::CHOICES));
        let first = choices.next()?.at_us;
        let mut last = first;
        let gaps_us = choices
            .map(|event| event.at_us - std::mem::replace(&mut last, event.at_us))
            .collect();
        if api == Api::Chat {
            let data = request.events().filter(|event| !event.kind.has(EventKind::DONE));
            last = data.last().map_or(last, |event| event.at_us);
        }
        Some(Self {
            ttft_us: first - request.sent_us,
            e2el_us: last - request.sent_us,
            gaps_us,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{request, text, trace};
    use super::*;
    use crate::bench::trace::RequestError;

    fn answered() -> Vec<Request> {
        let usage = (700, EventKind::USAGE);
        let done = (50, EventKind::DONE);
        vec![
            // The first event is a role without text: it starts the answer, it is no token.
            request(
                &[
                    (20_000, EventKind::CHOICES),
                    (10_000, text()),
                    (30_000, text()),
                    usage,
                    done,
                ],
                None,
            ),
            request(&[(40_000, text()), usage, done], None),
            request(&[(5, text()), (5, text())], Some(RequestError::Truncated)),
            request(&[usage, done], None),
        ]
    }

    #[test]
    fn every_definition_by_hand() {
        let metrics = Metrics::from_trace(&trace(answered()));
        assert_eq!(metrics.completed, 2);
        assert_eq!(metrics.input_lens, [100; 4]);
        assert_eq!(metrics.output_lens, [2, 1, 0, 0]);
        assert_eq!(
            (metrics.total_input_tokens, metrics.total_output_tokens),
            (200, 3)
        );
        assert_eq!(metrics.ttft_ms, Distribution::of(&[20.0, 40.0]));
        assert_eq!(metrics.e2el_ms, Distribution::of(&[60.0, 40.0]));
        assert_eq!(metrics.itl_ms, Distribution::of(&[10.0, 30.0]));
        // One token has no time per further token.
        assert_eq!(metrics.tpot_ms, Distribution::of(&[40.0]));
        assert_eq!(metrics.duration_s, 2.0);
        assert_eq!(metrics.request_throughput(), 1.0);
        assert_eq!(metrics.output_throughput(), 1.5);
        assert_eq!(metrics.total_token_throughput(), 101.5);
    }

    #[test]
    fn a_chat_ends_with_its_usage_report() {
        let mut chat = trace(answered());
        chat.header.workload.api = Api::Chat;
        let metrics = Metrics::from_trace(&chat);
        assert_eq!(metrics.e2el_ms, Distribution::of(&[60.7, 40.7]));
        assert_eq!(metrics.itl_ms, Distribution::of(&[10.0, 30.0]));
    }

    #[test]
    fn nothing_answered_is_all_zero() {
        let metrics = Metrics::from_trace(&trace(Vec::new()));
        assert_eq!(metrics.ttft_ms, Distribution::default());
        assert_eq!((metrics.completed, metrics.output_throughput()), (0, 0.0));
    }

    fn answers() -> impl Strategy<Value = Vec<Request>> {
        let gaps = prop::collection::vec(0_u64..1_000_000, 1..20);
        let answer = gaps.prop_map(|gaps| {
            let events: Vec<_> = gaps.into_iter().map(|gap| (gap, text())).collect();
            request(&events, None)
        });
        prop::collection::vec(answer, 1..10)
    }

    proptest! {
        #[test]
        fn failed_requests_change_no_latency(answers in answers(), failed in 0_usize..5) {
            let metrics = Metrics::from_trace(&trace(answers.clone()));
            let mut all = answers;
            all.extend((0..failed).map(|_| request(&[(1, text()), (9, text())], Some(RequestError::Truncated))));
            let with_failed = Metrics::from_trace(&trace(all));
            prop_assert_eq!(with_failed.output_lens.len(), metrics.output_lens.len() + failed);
            let lens = (metrics.input_lens.clone(), metrics.output_lens.clone());
            prop_assert_eq!(Metrics { input_lens: lens.0, output_lens: lens.1, ..with_failed }, metrics);
        }

        #[test]
        fn an_answer_is_its_first_event_and_its_gaps(answers in answers()) {
            let count = answers.len() as f64;
            let gaps: usize = answers.iter().map(|answer| answer.chunks.len() - 1).sum();
            let metrics = Metrics::from_trace(&trace(answers));
            let parts = metrics.ttft_ms.mean * count + metrics.itl_ms.mean * gaps as f64;
            prop_assert!((metrics.e2el_ms.mean * count - parts).abs() < 1e-6 * (1.0 + parts));
        }

        #[test]
        fn simulated_time_scales_every_duration(answers in answers(), scale in 1_u32..64) {
            let mut fast = trace(answers);
            // A real server's clock is the wall's, whatever the header says.
            fast.header.time_scale = f64::from(scale);
            let wall = Metrics::from_trace(&fast);
            fast.header.simulated = true;
            let simulated = Metrics::from_trace(&fast);
            let scale = f64::from(scale);
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + b.abs());
            for (simulated, wall) in [
                (simulated.ttft_ms, wall.ttft_ms),
                (simulated.tpot_ms, wall.tpot_ms),
                (simulated.itl_ms, wall.itl_ms),
                (simulated.e2el_ms, wall.e2el_ms),
            ] {
                prop_assert!(near(simulated.median, wall.median * scale) && near(simulated.p99, wall.p99 * scale));
            }
            prop_assert!(near(simulated.output_throughput() * scale, wall.output_throughput()));
            prop_assert_eq!(simulated.total_output_tokens, wall.total_output_tokens);
        }
    }
}
