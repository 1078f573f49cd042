//! Continuous batching on a virtual clock: a state machine without time, threads or I/O of its own.
//!
//! Each step spends one token budget: first on every sequence that decodes, then on prompts in chunks, the oldest
//! first, then on waiting requests as far as sequences and KV blocks allow. A sequence that needs a block when none is
//! free pushes out the youngest, which waits at the front and computes its context anew.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::LogNormal;

use super::kv::{BlockPool, PREFIX_TOKENS, PrefixCache, blocks_for};
use super::step::{Batch, StepModel};

/// Spread of step times: standard deviation of their logarithm.
const STEP_JITTER: f64 = 0.02;

/// Share of the KV blocks kept free when a request is admitted beside others, so that they can grow for a while.
const ADMISSION_WATERMARK: f64 = 0.01;

/// What bounds a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sequences that run at once.
    pub max_num_seqs: usize,
    /// Tokens computed in a step.
    pub max_num_batched_tokens: u64,
    /// Tokens of KV cache.
    pub kv_tokens: u64,
    /// Whether prompts share computed prefixes.
    pub prefix_cache: bool,
}

/// One request to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Tokens of the prompt, at least 1.
    pub prompt_tokens: u64,
    /// Chained hashes of its leading spans of [`PREFIX_TOKENS`] tokens.
    pub prefix: Vec<u64>,
    /// Tokens to produce, at least 1.
    pub output_tokens: u64,
}

/// Names a submitted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// Tokens that one sequence got in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Whose they are.
    pub id: SequenceId,
    /// How many; more than one only with speculative decoding.
    pub tokens: u64,
    /// They are its last.
    pub finished: bool,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Virtual time it took; the outputs exist at its end.
    pub duration: Duration,
    /// Tokens produced, in the order of the sequences' admission.
    pub outputs: Vec<Output>,
    /// The work that was timed.
    pub batch: Batch,
}

/// The request can never fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needed} tokens of context do not fit in a KV cache of {capacity}")]
pub struct TooLong {
    /// Tokens of prompt and output together.
    pub needed: u64,
    /// Tokens that the KV cache holds.
    pub capacity: u64,
}

/// Counts for `/metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Sequences admitted.
    pub running: usize,
    /// Requests not admitted yet.
    pub waiting: usize,
    /// KV blocks in use over all, 0 to 1.
    pub kv_usage: f64,
    /// Preemptions since the start.
    pub preemptions: u64,
    /// Prompt tokens found in the prefix cache since the start.
    pub prefix_hit_tokens: u64,
    /// Steps since the start.
    pub steps: u64,
}

#[derive(Debug)]
struct Sequence {
    id: SequenceId,
    request: Request,
    generated: u64,
    /// Tokens of context whose keys and values are cached.
    computed: u64,
    /// Tokens to compute before the next one can be produced.
    context: u64,
    blocks: u64,
}

impl Sequence {
    fn decodes(&self) -> bool {
        self.computed >= self.context
    }

    fn remaining(&self) -> u64 {
        self.request.output_tokens - self.generated
    }
}

/// The engine of one replica.
#[derive(Debug)]
pub struct Engine {
    timing: StepModel,
    limits: Limits,
    rng: Xoshiro256PlusPlus,
    jitter: LogNormal<f64>,
    pool: BlockPool,
    prefixes: PrefixCache,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    next_id: u64,
    preemptions: u64,
    prefix_hit_tokens: u64,
    steps: u64,
}

impl Engine {
    /// An idle engine; equal arguments and equal submissions give equal steps.
    pub fn new(timing: StepModel, limits: Limits, seed: u64) -> Self {
        Self {
            timing,
            limits,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            jitter: LogNormal::new(0.0, STEP_JITTER).expect("a positive constant is a valid deviation"),
            pool: BlockPool::for_tokens(limits.kv_tokens),
            prefixes: PrefixCache::default(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            next_id: 0,
            preemptions: 0,
            prefix_hit_tokens: 0,
            steps: 0,
        }
    }

    /// Queues a request.
    ///
    /// # Errors
    /// [`TooLong`] when prompt and output together exceed the whole KV cache.
    pub fn submit(&mut self, request: Request) -> Result<SequenceId, TooLong> {
        debug_assert!(
            request.prompt_tokens > 0 && request.output_tokens > 0,
            "an empty request"
        );
        let needed = request.prompt_tokens + request.output_tokens;
        if blocks_for(needed) > self.pool.total() {
            return Err(TooLong {
                needed,
                capacity: self.limits.kv_tokens,
            });
        }
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let context = request.prompt_tokens;
        self.waiting.push_back(Sequence {
            id,
            request,
            generated: 0,
            computed: 0,
            context,
            blocks: 0,
        });
        Ok(id)
    }

    /// Drops a request that nobody waits for any more.
    pub fn abort(&mut self, id: SequenceId) {
        self.waiting.retain(|sequence| sequence.id != id);
        if let Some(at) = self.running.iter().position(|sequence| sequence.id == id) {
            self.pool.give_back(self.running.remove(at).blocks);
        }
    }

    /// Forgets computed prefixes.
    pub fn reset_prefix_cache(&mut self) {
        self.prefixes.clear();
    }

    /// Nothing runs and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Counts as of now.
    pub fn load(&self) -> Load {
        Load {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_usage: self.pool.used() as f64 / self.pool.total().max(1) as f64,
            preemptions: self.preemptions,
            prefix_hit_tokens: self.prefix_hit_tokens,
            steps: self.steps,
        }
    }

    /// Does one step; `None` when idle.
    pub fn step(&mut self) -> Option<Step> {
        if self.is_idle() {
            return None;
        }
        let mut batch = Batch::default();
        let mut budget = self.limits.max_num_batched_tokens;
        let mut outputs = Vec::with_capacity(self.running.len());
        self.decode(&mut batch, &mut budget, &mut outputs);
        self.prefill(&mut batch, &mut budget, &mut outputs);
        self.retire(&outputs);
        self.steps += 1;
        let seconds = self.timing.seconds(&batch) * self.rng.sample(self.jitter);
        Some(Step {
            duration: Duration::from_secs_f64(seconds),
            outputs,
            batch,
        })
    }

    /// Gives every decoding sequence its next tokens, making room by preemption.
    fn decode(&mut self, batch: &mut Batch, budget: &mut u64, outputs: &mut Vec<Output>) {
        let verified = u64::from(1 + self.timing.spec_decoding.draft_tokens());
        let mut at = 0;
        while at < self.running.len() {
            if !self.running[at].decodes() || *budget < verified {
                at += 1;
                continue;
            }
            let tokens = self.accepted_tokens().min(self.running[at].remaining());
            if !self.grow(at, tokens) {
                break;
            }
            let sequence = &mut self.running[at];
            batch.decode_sequences += 1;
            batch.decode_context += sequence.context;
            *budget -= verified;
            sequence.context += tokens;
            sequence.computed = sequence.context;
            sequence.generated += tokens;
            outputs.push(Output {
                id: sequence.id,
                tokens,
                finished: sequence.remaining() == 0,
            });
            at += 1;
        }
    }

    /// Makes room for `tokens` more tokens of the sequence at `at`; `false` when it was itself pushed out.
    fn grow(&mut self, at: usize, tokens: u64) -> bool {
        let sequence = &self.running[at];
        let more = blocks_for(sequence.context + tokens).saturating_sub(sequence.blocks);
        while !self.pool.take(more) {
            let youngest = self.running.pop().expect("the sequence that grows is running");
            let itself = self.running.len() == at;
            self.preempt(youngest);
            if itself {
                return false;
            }
        }
        self.running[at].blocks += more;
        true
    }

    fn preempt(&mut self, mut sequence: Sequence) {
        self.preemptions += 1;
        self.pool.give_back(sequence.blocks);
        sequence.blocks = 0;
        sequence.computed = 0;
        self.waiting.push_front(sequence);
    }

    /// Tokens that a sequence gains from one step: its own, and the drafted ones up to the first refused.
    fn accepted_tokens(&mut self) -> u64 {
        let spec = self.timing.spec_decoding;
        let drafted = (0..spec.draft_tokens())
            .take_while(|_| self.rng.random_bool(spec.acceptance()))
            .count();
        1 + drafted as u64
    }

    /// Spends what is left of the budget on prompts: those begun, then waiting ones.
    fn prefill(&mut self, batch: &mut Batch, budget: &mut u64, outputs: &mut Vec<Output>) {
        let mut at = 0;
        while *budget > 0 && (at < self.running.len() || self.admit()) {
            let sequence = &mut self.running[at];
            at += 1;
            if sequence.decodes() {
                continue;
            }
            let chunk = (sequence.context - sequence.computed).min(*budget);
            batch.prefill_tokens += chunk;
            batch.prefill_attended += chunk * sequence.computed + chunk * (chunk + 1) / 2;
            batch.prefill_context += sequence.computed;
            *budget -= chunk;
            sequence.computed += chunk;
            if !sequence.decodes() {
                continue;
            }
            // The pass over the last chunk yields a token, whose block admission has set aside.
            sequence.generated += 1;
            sequence.context += 1;
            sequence.computed = sequence.context;
            outputs.push(Output {
                id: sequence.id,
                tokens: 1,
                finished: sequence.remaining() == 0,
            });
            if self.limits.prefix_cache {
                self.prefixes.insert(&sequence.request.prefix);
                let room = self.pool.free() * super::kv::BLOCK_TOKENS / PREFIX_TOKENS as u64;
                self.prefixes.shrink_to(room as usize);
            }
        }
    }

    /// Moves the first waiting request to the running ones, if sequences and blocks allow.
    fn admit(&mut self) -> bool {
        let Some(next) = self.waiting.front() else {
            return false;
        };
        let needed = blocks_for(next.context + 1);
        let reserve = match self.running.len() {
            0 => 0,
            _ => (self.pool.total() as f64 * ADMISSION_WATERMARK) as u64,
        };
        let crowded = self.running.len() >= self.limits.max_num_seqs;
        if crowded || needed + reserve > self.pool.free() || !self.pool.take(needed) {
            return false;
        }
        let Some(mut sequence) = self.waiting.pop_front() else {
            return false;
        };
        sequence.blocks = needed;
        if self.limits.prefix_cache {
            let hit = (self.prefixes.hits(&sequence.request.prefix) * PREFIX_TOKENS) as u64;
            // The last token is always computed: its pass yields the next one.
            sequence.computed = hit.min(sequence.context - 1);
            self.prefix_hit_tokens += sequence.computed;
        }
        self.running.push(sequence);
        true
    }

    fn retire(&mut self, outputs: &[Output]) {
        if outputs.iter().any(|output| output.finished) {
            let pool = &mut self.pool;
            self.running.retain(|sequence| {
                let done = sequence.remaining() == 0;
                if done {
                    pool.give_back(sequence.blocks);
                }
                !done
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::collections::HashMap;

    use super::*;
    use crate::sim::closed_loop::{self, Workload};
    use crate::sim::gpu::{self, Precision};
    use crate::sim::model::{self, ModelSizes};
    use crate::sim::step::{Parallelism, SpecDecoding};
    use proptest::prelude::*;

    fn timing(spec_decoding: SpecDecoding) -> StepModel {
        StepModel {
            gpu: *gpu::lookup("h200").unwrap(),
            model: model::resolve("DeepSeek-R1", &ModelSizes::default()).unwrap(),
            precision: Precision::Fp8,
            parallelism: Parallelism {
                tp: 8,
                pp: 1,
                ep: 1,
                dp_attention: false,
            },
            spec_decoding,
        }
    }

    fn limits(kv_tokens: u64) -> Limits {
        Limits {
            max_num_seqs: 256,
            max_num_batched_tokens: 8192,
            kv_tokens,
            prefix_cache: true,
        }
    }

    fn request(prompt_tokens: u64, output_tokens: u64) -> Request {
        Request {
            prompt_tokens,
            prefix: Vec::new(),
            output_tokens,
        }
    }

    fn steps(engine: &mut Engine) -> Vec<Step> {
        std::iter::from_fn(|| engine.step()).collect()
    }

    #[test]
    fn throughput_rises_and_saturates_while_interactivity_falls() {
        let mut points = Vec::new();
        for concurrency in [1, 4, 16, 64, 256] {
            let timing = timing(SpecDecoding::None);
            let mut engine = Engine::new(timing, limits(timing.kv_capacity_tokens()), 0);
            let load = Workload {
                concurrency,
                requests: 4 * concurrency,
                isl: 8192,
                osl: 256,
            };
            points.push(closed_loop::run(&mut engine, &load).unwrap());
        }
        for pair in points.windows(2) {
            assert!(
                pair[1].total_tokens_per_second > 0.99 * pair[0].total_tokens_per_second,
                "{points:?}"
            );
            assert!(pair[1].mean_tpot > pair[0].mean_tpot, "{points:?}");
        }
        let gain =
            |from: usize| points[from + 1].total_tokens_per_second / points[from].total_tokens_per_second;
        assert!(gain(0) > 1.5 && gain(3) < 1.3, "a knee: {points:?}");
    }

    #[test]
    fn an_idle_engine_has_no_step() {
        assert_eq!(
            Engine::new(timing(SpecDecoding::None), limits(1 << 20), 0).step(),
            None
        );
    }

    #[test]
    fn a_request_larger_than_the_cache_is_refused() {
        let mut engine = Engine::new(timing(SpecDecoding::None), limits(1024), 0);
        assert_eq!(
            engine.submit(request(1000, 100)),
            Err(TooLong {
                needed: 1100,
                capacity: 1024
            })
        );
    }

    #[test]
    fn long_prompts_are_computed_in_chunks_beside_decoding_sequences() {
        let mut engine = Engine::new(timing(SpecDecoding::None), limits(1 << 20), 0);
        engine.submit(request(16, 8)).unwrap();
        engine.step();
        engine.submit(request(20_000, 1)).unwrap();
        let chunks: Vec<u64> = (0..3)
            .map(|_| engine.step().unwrap().batch.prefill_tokens)
            .collect();
        assert_eq!(chunks, [8191, 8191, 20_000 - 2 * 8191]);
    }

    #[test]
    fn a_known_prefix_is_not_computed_again_until_reset() {
        let mut engine = Engine::new(timing(SpecDecoding::None), limits(1 << 20), 0);
        let same = Request {
            prompt_tokens: 1000,
            prefix: (0..15).collect(),
            output_tokens: 1,
        };
        let mut computed = |reset: bool| {
            if reset {
                engine.reset_prefix_cache();
            }
            engine.submit(same.clone()).unwrap();
            engine.step().unwrap().batch.prefill_tokens
        };
        assert_eq!(
            [computed(false), computed(false), computed(true)],
            [1000, 40, 1000]
        );
    }

    #[test]
    fn an_aborted_request_frees_its_blocks() {
        let mut engine = Engine::new(timing(SpecDecoding::None), limits(1 << 20), 0);
        let (first, second) = (
            engine.submit(request(500, 9)).unwrap(),
            engine.submit(request(500, 9)).unwrap(),
        );
        engine.step();
        engine.abort(first);
        engine.abort(second);
        assert!(engine.is_idle());
        assert_eq!(engine.load().kv_usage, 0.0);
    }

    #[test]
    fn speculation_yields_more_than_a_token_a_step() {
        let mut engine = Engine::new(timing(SpecDecoding::Mtp), limits(1 << 20), 0);
        engine.submit(request(100, 1000)).unwrap();
        let steps = steps(&mut engine).len() as f64;
        assert!((2.2..2.9).contains(&(1000.0 / steps)), "{}", 1000.0 / steps);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_request_gets_its_tokens_and_memory_is_never_overcommitted(
            requests in prop::collection::vec((1u64..3000, 1u64..200), 1..40),
            kv_tokens in 4096u64..20_000, max_num_seqs in 1usize..32, seed in any::<u64>(), mtp in any::<bool>(),
        ) {
            let spec = if mtp { SpecDecoding::Mtp } else { SpecDecoding::None };
            let run = || {
                let limits = Limits { max_num_seqs, max_num_batched_tokens: 512, kv_tokens, prefix_cache: true };
                let mut engine = Engine::new(timing(spec), limits, seed);
                let mut left = HashMap::new();
                for &(prompt, output) in &requests {
                    left.insert(engine.submit(request(prompt, output)).unwrap(), output);
                }
                let mut timeline = Vec::new();
                while let Some(step) = engine.step() {
                    let batch = &step.batch;
                    assert!(engine.pool.used() <= engine.pool.total());
                    assert!(engine.running.len() <= max_num_seqs);
                    assert!(batch.decode_sequences + batch.prefill_tokens <= 512);
                    assert!(batch.decode_sequences + batch.prefill_tokens > 0, "a step without work");
                    let held: u64 = engine.running.iter().map(|sequence| sequence.blocks).sum();
                    assert_eq!(held, engine.pool.used());
                    assert!(engine.running.iter().all(|sequence| blocks_for(sequence.context) <= sequence.blocks));
                    for output in &step.outputs {
                        let left = left.get_mut(&output.id).unwrap();
                        *left -= output.tokens;
                        assert_eq!(output.finished, *left == 0);
                    }
                    timeline.push(step);
                }
                assert!(left.values().all(|&left| left == 0));
                assert_eq!(engine.pool.used(), 0);
                timeline
            };
            prop_assert_eq!(run(), run());
        }
    }
}
