//! How long one engine step takes: a roofline of the named GPUs, nothing measured.
//!
//! `t = t_launch + max(FLOPs / (peak x mfu), bytes / (bandwidth x mbu)) + t_comm`
//!
//! | term | what it counts, per GPU |
//! |---|---|
//! | FLOPs | 2 x active weights x tokens, and attention over each token's context |
//! | bytes | the weights that the batch touches (of a mixture of experts: the expected share) and the KV it reads |
//! | launch | scheduler, kernel launches of each layer, work per sequence; more for steps that hold prompt tokens |
//! | comm | all-reduces of TP, or the all-to-all of expert parallel under DP attention, and pipeline hand-overs |
//!
//! TP divides weights, FLOPs and, where the attention allows it, KV. PP cuts the batch into as many micro-batches as
//! stages, all in flight, so a step passes a micro-batch through all layers. EP changes who owns an expert, hence
//! balance and communication. DP attention replicates the attention weights and divides sequences among the ranks,
//! taken as balanced. The constants below are rules of thumb, not fits: curves have the right shape and order of
//! magnitude, and no simulated number is a statement about a product.

use serde::{Deserialize, Serialize};

use super::gpu::{Gpu, Precision};
use super::model::Model;

/// Share of the peak that large matrix multiplications of a serving engine reach.
const GEMM_MFU: f64 = 0.40;
/// Share of the bf16 peak that attention kernels reach.
const ATTENTION_MFU: f64 = 0.30;
/// Share of the memory bandwidth that streaming weights and KV reaches.
const MBU: f64 = 0.80;
/// Share of the link bandwidth that collectives reach.
const LINK_UTILISATION: f64 = 0.70;
/// Scheduler, sampling and output processing of a step, s.
const STEP_OVERHEAD: f64 = 1.0e-3;
/// Kernels of one layer that are too small to fill the GPU, launched from a graph, s.
const LAYER_OVERHEAD: f64 = 45e-6;
/// More per layer when the step holds prompt tokens: such steps run without a graph, s.
const EAGER_LAYER_OVERHEAD: f64 = 35e-6;
/// Work on the host per running sequence (block tables, sampling parameters, detokenisation), s.
const SEQUENCE_OVERHEAD: f64 = 8e-6;
/// Latency of a small all-reduce inside a node, s.
const ALL_REDUCE_LATENCY: f64 = 8e-6;
/// Latency of one half (dispatch or combine) of an expert all-to-all, s.
const ALL_TO_ALL_LATENCY: f64 = 20e-6;
/// Latency of handing activations to the next pipeline stage, s.
const STAGE_LATENCY: f64 = 20e-6;
/// Bytes of an activation element in collectives (bf16).
const ACTIVATION_BYTES: f64 = 2.0;
/// Bytes of an activation element that an expert receives (fp8) and returns (bf16).
const ROUTED_ACTIVATION_BYTES: f64 = 3.0;
/// Load of the busiest expert-parallel rank over the mean.
const EXPERT_IMBALANCE: f64 = 1.15;
/// Share of GPU memory that the engine may use for weights and KV.
const MEMORY_SHARE: f64 = 0.90;
/// Memory per GPU for activations, graphs and communication buffers, bytes.
const ACTIVATION_RESERVE: f64 = 2e9;

/// How a model is spread over GPUs. A replica has `tp x pp` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parallelism {
    /// Tensor parallel size, at least 1.
    pub tp: u32,
    /// Pipeline stages, at least 1.
    pub pp: u32,
    /// Expert parallel size within the TP group; 1 splits every expert instead.
    pub ep: u32,
    /// Attention is data parallel over the TP group.
    pub dp_attention: bool,
}

impl Parallelism {
    /// GPUs of a replica.
    pub fn gpus(self) -> u32 {
        self.tp * self.pp
    }
}

/// How tokens are guessed ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum SpecDecoding {
    /// One token a step.
    #[default]
    None,
    /// Multi-token prediction: the model's own extra layer drafts.
    Mtp,
    /// A small model of its own drafts.
    #[value(name = "draft_model")]
    DraftModel,
}

impl SpecDecoding {
    /// The name on the command line and in configs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mtp => "mtp",
            Self::DraftModel => "draft_model",
        }
    }

    /// Tokens drafted per sequence and step.
    pub fn draft_tokens(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Mtp | Self::DraftModel => 3,
        }
    }

    /// Probability that a drafted token is accepted, given that those before it were.
    pub fn acceptance(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Mtp => 0.70,
            Self::DraftModel => 0.65,
        }
    }

    /// Time of drafting one token, as a share of a decode pass over the layers.
    fn draft_cost(self, layers: u32) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Mtp => 1.0 / f64::from(layers),
            Self::DraftModel => 0.05,
        }
    }
}

/// The work of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Batch {
    /// Sequences that decode.
    pub decode_sequences: u64,
    /// Sum of their contexts, tokens.
    pub decode_context: u64,
    /// Prompt tokens computed.
    pub prefill_tokens: u64,
    /// Sum over those tokens of the context that each attends to.
    pub prefill_attended: u64,
    /// Context already cached that prefilling sequences read again, tokens.
    pub prefill_context: u64,
}

/// The step-time model of one replica.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepModel {
    /// The GPU.
    pub gpu: Gpu,
    /// The model.
    pub model: Model,
    /// The format of its weights.
    pub precision: Precision,
    /// How it is spread.
    pub parallelism: Parallelism,
    /// How it speculates.
    pub spec_decoding: SpecDecoding,
}

impl StepModel {
    /// Time of a step, s; what an engine without any work would take is its fixed overhead.
    pub fn seconds(&self, batch: &Batch) -> f64 {
        let Self {
            gpu,
            model,
            precision,
            ..
        } = self;
        let (tp, pp) = (f64::from(self.parallelism.tp), f64::from(self.parallelism.pp));
        let layers = f64::from(model.layers);
        let attention_layers = f64::from(model.full_attention_layers);

        let verified = f64::from(1 + self.spec_decoding.draft_tokens());
        let decode_tokens = batch.decode_sequences as f64 * verified;
        let tokens = (decode_tokens + batch.prefill_tokens as f64) / pp;

        let gemm_flops = 2.0 * model.active_params * tokens / tp * self.imbalance();
        let attention_flops = attention_layers
            * (model.attention.decode_flops() * batch.decode_context as f64 * verified
                + model.attention.prefill_flops() * batch.prefill_attended as f64)
            / (tp * pp);
        let compute = gemm_flops / (gpu.peak_flops(*precision) * GEMM_MFU)
            + attention_flops / (gpu.bf16_flops * ATTENTION_MFU);

        let kv_read = (batch.decode_context + batch.prefill_context) as f64 * self.kv_bytes_per_token()
            / (pp * self.kv_shards());
        let memory = (self.touched_weight_bytes(tokens) + kv_read) / (gpu.hbm_bandwidth * MBU);

        let eager = if batch.prefill_tokens > 0 {
            EAGER_LAYER_OVERHEAD
        } else {
            0.0
        };
        let per_layer = layers * (LAYER_OVERHEAD + eager);
        let sequences = batch.decode_sequences as f64 * SEQUENCE_OVERHEAD;
        let drafting = if batch.decode_sequences > 0 {
            f64::from(self.spec_decoding.draft_tokens())
                * self.spec_decoding.draft_cost(model.layers)
                * (self.touched_weight_bytes(batch.decode_sequences as f64 / pp) / (gpu.hbm_bandwidth * MBU)
                    + layers * LAYER_OVERHEAD)
        } else {
            0.0
        };
        STEP_OVERHEAD + per_layer + sequences + drafting + compute.max(memory) + self.communication(tokens)
    }

    /// Bytes of KV cache per token over all layers, before any division among GPUs.
    pub fn kv_bytes_per_token(&self) -> f64 {
        self.model.kv_bytes_per_token.unwrap_or_else(|| {
            self.model.attention.kv_elements()
                * f64::from(self.model.full_attention_layers)
                * self.precision.kv_element_bytes()
        })
    }

    /// Bytes of weights on each GPU.
    pub fn weight_bytes_per_gpu(&self) -> f64 {
        let experts = self.model.experts.map_or(0.0, |experts| experts.params);
        (self.shared_bytes_per_stage_gpu() + experts * self.precision.weight_bytes() / self.tp())
            / f64::from(self.parallelism.pp)
    }

    /// Bytes that each GPU has for weights and KV.
    pub fn usable_bytes_per_gpu(&self) -> f64 {
        self.gpu.hbm_capacity * MEMORY_SHARE - ACTIVATION_RESERVE
    }

    /// Tokens of KV cache that the replica holds; 0 when the weights alone do not fit.
    pub fn kv_capacity_tokens(&self) -> u64 {
        let free = (self.usable_bytes_per_gpu() - self.weight_bytes_per_gpu()).max(0.0);
        (free * f64::from(self.parallelism.pp) * self.kv_shards() / self.kv_bytes_per_token()) as u64
    }

    fn tp(&self) -> f64 {
        f64::from(self.parallelism.tp)
    }

    /// GPUs of a stage that hold different parts of the KV cache.
    fn kv_shards(&self) -> f64 {
        let tp = self.parallelism.tp;
        f64::from(if self.parallelism.dp_attention {
            tp
        } else {
            self.model.attention.kv_shards(tp)
        })
    }

    fn imbalance(&self) -> f64 {
        if self.parallelism.ep > 1 && self.model.experts.is_some() {
            EXPERT_IMBALANCE
        } else {
            1.0
        }
    }

    /// Bytes of the weights that every token meets, on one GPU of a hypothetical single stage.
    fn shared_bytes_per_stage_gpu(&self) -> f64 {
        let model = &self.model;
        let (params, bytes) = match model.experts {
            Some(experts) => (
                model.total_params - experts.params,
                self.precision.unquantised_weight_bytes(),
            ),
            None => (model.total_params, self.precision.weight_bytes()),
        };
        if !self.parallelism.dp_attention {
            return params * bytes / self.tp();
        }
        let attention = model.attention.params(f64::from(model.hidden)) * f64::from(model.layers);
        let attention = attention.min(params);
        (attention + (params - attention) / self.tp()) * bytes
    }

    /// Bytes of weights that one GPU reads for a batch: of the routed experts, those that some token visits.
    ///
    /// A token misses an expert with probability 1 - k/E, so `n` tokens touch a share `1 - (1 - k/E)^n`.
    fn touched_weight_bytes(&self, tokens: f64) -> f64 {
        let routed = self.model.experts.map_or(0.0, |experts| {
            let visited = f64::from(experts.per_token) / f64::from(experts.count);
            experts.params * (1.0 - (1.0 - visited).powf(tokens)) * self.precision.weight_bytes()
        });
        self.shared_bytes_per_stage_gpu() + routed / self.tp() * self.imbalance()
    }

    /// Time in collectives, s, for a micro-batch of `tokens` through all layers.
    fn communication(&self, tokens: f64) -> f64 {
        let tp = self.tp();
        let link = self.gpu.link_bandwidth * LINK_UTILISATION;
        let hidden = f64::from(self.model.hidden);
        let layers = f64::from(self.model.layers);
        let hand_over = f64::from(self.parallelism.pp - 1)
            * (STAGE_LATENCY + tokens * hidden * ACTIVATION_BYTES / tp / link);
        if self.parallelism.tp == 1 {
            return hand_over;
        }
        let elsewhere = (tp - 1.0) / tp;
        let per_layer = match self.model.experts {
            Some(experts) if self.parallelism.dp_attention => {
                let sent = tokens / tp * f64::from(experts.per_token) * hidden * ROUTED_ACTIVATION_BYTES;
                2.0 * ALL_TO_ALL_LATENCY + sent * elsewhere / link
            }
            // Twice a layer; a ring moves every byte twice.
            _ => 2.0 * (ALL_REDUCE_LATENCY + 2.0 * elsewhere * tokens * hidden * ACTIVATION_BYTES / link),
        };
        hand_over + layers * per_layer
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use crate::sim::{gpu, model};
    use proptest::prelude::*;

    fn deepseek_r1(gpu: &str, tp: u32) -> StepModel {
        StepModel {
            gpu: *gpu::lookup(gpu).unwrap(),
            model: model::resolve("DeepSeek-R1", &model::ModelSizes::default()).unwrap(),
            precision: Precision::Fp8,
            parallelism: Parallelism {
                tp,
                pp: 1,
                ep: 1,
                dp_attention: false,
            },
            spec_decoding: SpecDecoding::None,
        }
    }

    fn decode(sequences: u64, context: u64) -> Batch {
        Batch {
            decode_sequences: sequences,
            decode_context: sequences * context,
            ..Batch::default()
        }
    }

    #[test]
    fn deepseek_r1_on_eight_h200_is_of_the_right_order() {
        let step = deepseek_r1("h200", 8);
        let one = step.seconds(&decode(1, 8192));
        let many = step.seconds(&decode(64, 8192));
        assert!((0.004..0.012).contains(&one), "{one}");
        assert!((0.015..0.040).contains(&many), "{many}");
        // 84 GB of weights on each of 8 x 141 GB leave room for about a million latents of 35 kB.
        assert!((0.8e6..1.5e6).contains(&(step.kv_capacity_tokens() as f64)));
    }

    #[test]
    fn a_model_too_large_has_no_room_for_context() {
        assert_eq!(deepseek_r1("h100", 4).kv_capacity_tokens(), 0);
    }

    #[test]
    fn dp_attention_multiplies_the_room_for_latents() {
        let tp = deepseek_r1("h200", 8);
        let parallelism = Parallelism {
            ep: 8,
            dp_attention: true,
            ..tp.parallelism
        };
        let dp = StepModel { parallelism, ..tp };
        assert!(dp.kv_capacity_tokens() > 4 * tp.kv_capacity_tokens());
        assert!(dp.weight_bytes_per_gpu() > tp.weight_bytes_per_gpu());
    }

    #[test]
    fn faster_memory_shortens_decoding() {
        let batch = decode(32, 4096);
        let (h200, b200) = (deepseek_r1("h200", 8), deepseek_r1("b200", 8));
        assert!(b200.seconds(&batch) < h200.seconds(&batch));
    }

    #[test]
    fn speculation_costs_time_per_step_but_less_than_it_yields() {
        let plain = deepseek_r1("h200", 8);
        let mtp = StepModel {
            spec_decoding: SpecDecoding::Mtp,
            ..plain
        };
        let ratio = mtp.seconds(&decode(16, 4096)) / plain.seconds(&decode(16, 4096));
        let accepted = 1.0 + 0.7 + 0.49 + 0.343;
        assert!(ratio > 1.0 && ratio < accepted, "{ratio}");
    }

    proptest! {
        #[test]
        fn more_work_never_takes_less_time(
            sequences in 1u64..512, context in 1u64..32_768, prefill in 0u64..8192,
            tp in prop::sample::select(vec![1u32, 2, 4, 8]), pp in 1u32..3,
        ) {
            let mut step = deepseek_r1("b200", tp);
            step.parallelism.pp = pp;
            let batch = Batch { prefill_tokens: prefill, prefill_attended: prefill * prefill / 2,
                ..decode(sequences, context) };
            let time = step.seconds(&batch);
            prop_assert!(time.is_finite() && time > 0.0);
            let more = Batch { decode_sequences: sequences + 1, decode_context: batch.decode_context + context,
                prefill_tokens: prefill + 1, ..batch };
            prop_assert!(step.seconds(&more) > time);
        }
    }
}
