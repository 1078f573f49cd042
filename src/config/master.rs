//! Master configs: what is served, on what, over which search space. InferenceX's current format.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An entry of a master config: single node or multi node, chosen by its `multinode` field.
#[derive(Debug, Clone)]
pub enum Entry {
    Single(SingleNode),
    Multi(MultiNode),
}

/// A server on one node.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SingleNode {
    /// The engine's image.
    pub image: String,
    /// The model's id, as the engine is told.
    pub model: String,
    /// The model's short name, as in results.
    pub model_prefix: String,
    pub precision: String,
    pub framework: String,
    /// A runner label.
    pub runner: String,
    pub multinode: bool,
    #[serde(default)]
    pub disagg: bool,
    #[serde(default)]
    pub router: Option<Component>,
    pub scenarios: SingleScenarios,
}

/// Servers over several nodes, prefill and decode apart or together.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MultiNode {
    pub image: String,
    pub model: String,
    pub model_prefix: String,
    pub precision: String,
    pub framework: String,
    pub runner: String,
    pub multinode: bool,
    /// Whether prefill and decode run on workers of their own.
    #[serde(default)]
    pub disagg: bool,
    #[serde(default)]
    pub router: Option<Component>,
    /// How KV caches travel between workers.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub kv_p2p_transfer: Option<String>,
    pub scenarios: MultiScenarios,
}

/// A named and versioned part of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    #[schemars(length(min = 1))]
    pub name: String,
    #[schemars(length(min = 1))]
    pub version: String,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SingleScenarios {
    pub fixed_seq_len: Vec<FixedSeqLen<SingleSearch>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MultiScenarios {
    pub fixed_seq_len: Vec<FixedSeqLen<MultiSearch>>,
}

/// Requests of one input and output length over a search space.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FixedSeqLen<S> {
    /// Input length in tokens.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub isl: u32,
    /// Output length in tokens.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub osl: u32,
    pub search_space: Vec<S>,
}

/// One topology of a single node and its concurrencies.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SingleSearch {
    /// Tensor parallelism.
    #[schemars(range(min = 1, max = 65_536))]
    pub tp: u32,
    /// Pipeline parallelism.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 65_536))]
    pub pp: u32,
    /// Decode context parallelism: divides `tp`, adds no GPUs.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 65_536))]
    pub dcp_size: u32,
    /// Prefill context parallelism.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 65_536))]
    pub pcp_size: u32,
    /// Expert parallelism; 1 where absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536))]
    pub ep: Option<u32>,
    /// Data-parallel attention.
    #[serde(default)]
    pub dp_attn: Option<bool>,
    #[serde(default)]
    pub spec_decoding: SpecDecoding,
    #[serde(default)]
    pub router: Option<Component>,
    #[serde(default)]
    pub conc_start: Option<u32>,
    #[serde(default)]
    pub conc_end: Option<u32>,
    #[serde(default)]
    pub conc_list: Option<Vec<u32>>,
}

/// One topology over several nodes and its concurrencies.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MultiSearch {
    #[serde(default)]
    pub spec_decoding: SpecDecoding,
    pub prefill: Worker,
    pub decode: Worker,
    #[serde(default)]
    pub router: Option<Component>,
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub kv_p2p_transfer: Option<String>,
    #[serde(default)]
    pub conc_start: Option<u32>,
    #[serde(default)]
    pub conc_end: Option<u32>,
    #[serde(default)]
    pub conc_list: Option<Vec<u32>>,
}

/// Equal workers of one role. `num-worker: 0` for decode: prefill's workers do both.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Worker {
    #[schemars(range(max = 65_536))]
    pub num_worker: u32,
    #[schemars(range(min = 1, max = 65_536))]
    pub tp: u32,
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 65_536))]
    pub pp: u32,
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 65_536))]
    pub dcp_size: u32,
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 65_536))]
    pub pcp_size: u32,
    #[schemars(range(min = 1, max = 65_536))]
    pub ep: u32,
    pub dp_attn: bool,
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub hardware: Option<String>,
    /// `KEY=VALUE` words that reach the deployment's environment.
    #[serde(default)]
    pub additional_settings: Option<Vec<String>>,
}

impl Worker {
    /// GPUs of one worker: TP x PP x PCP, at most `u32::MAX`. EP and DCP divide these, they add none.
    pub fn gpus(&self) -> u32 {
        self.tp.saturating_mul(self.pp).saturating_mul(self.pcp_size)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpecDecoding {
    #[default]
    None,
    /// Multi-token prediction with the model's own heads.
    Mtp,
    /// A separate draft model.
    DraftModel,
}

impl SpecDecoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mtp => "mtp",
            Self::DraftModel => "draft_model",
        }
    }
}

fn one() -> u32 {
    1
}
