//! Master configs: what is served, on what, over which search space. InferenceX's current format.
//!
//! Fields marked `x-lax` take what InferenceX takes: a number in quotes, a whole number with a point, `yes` and `no`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::concurrency::concurrencies;
use super::runners::{DramError, Hardware};

/// An entry of a master config: single node or multi node, chosen by its `multinode` field.
#[derive(Debug, Clone)]
pub enum Entry {
    Single(SingleNode),
    Multi(MultiNode),
}

/// A server on one node.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("x-elsewhere" = {
    "multi-node-configs": "write `multinode: true` and put `prefill` and `decode` into `scenarios: fixed-seq-len: … search-space`",
    "seq-len-configs": "`scenarios: fixed-seq-len` has taken its place; an entry has one of the two",
}))]
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
    #[schemars(extend("x-lax" = true))]
    pub multinode: bool,
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub disagg: bool,
    #[serde(default)]
    pub router: Option<Component>,
    pub scenarios: Scenarios<SingleSearch>,
}

/// Servers over several nodes, prefill and decode apart or together.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("x-elsewhere" = {
    "multi-node-configs": "write `multinode: true` and put `prefill` and `decode` into `scenarios: fixed-seq-len: … search-space`",
    "seq-len-configs": "`scenarios: fixed-seq-len` has taken its place; an entry has one of the two",
}))]
pub struct MultiNode {
    pub image: String,
    pub model: String,
    pub model_prefix: String,
    pub precision: String,
    pub framework: String,
    pub runner: String,
    #[schemars(extend("x-lax" = true))]
    pub multinode: bool,
    /// Whether prefill and decode run on workers of their own.
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub disagg: bool,
    #[serde(default)]
    pub router: Option<Component>,
    /// How KV caches travel between workers.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub kv_p2p_transfer: Option<String>,
    pub scenarios: Scenarios<MultiSearch>,
}

/// A named and versioned part of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    #[schemars(length(min = 1))]
    pub name: String,
    #[schemars(length(min = 1))]
    pub version: String,
}

/// What is sent: at least one type of scenario with at least one entry.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", bound = "S: Deserialize<'de>")]
pub struct Scenarios<S> {
    /// Requests of given lengths.
    #[serde(default)]
    fixed_seq_len: Option<Vec<FixedSeqLen<S>>>,
    /// Traces of coding agents, replayed.
    #[serde(default)]
    agentic_coding: Option<Vec<AgenticCoding>>,
}

impl<S> Scenarios<S> {
    /// The fixed-length scenarios; nothing where the field is absent or null.
    pub fn fixed_seq_len(&self) -> &[FixedSeqLen<S>] {
        self.fixed_seq_len.as_deref().unwrap_or_default()
    }

    /// The agentic scenarios; nothing where the field is absent or null.
    pub fn agentic_coding(&self) -> &[AgenticCoding] {
        self.agentic_coding.as_deref().unwrap_or_default()
    }
}

/// Requests of one input and output length over a search space.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FixedSeqLen<S> {
    /// Input length in tokens.
    #[schemars(range(min = 1, max = 1_000_000_000), extend("x-lax" = true))]
    pub isl: u32,
    /// Output length in tokens.
    #[schemars(range(min = 1, max = 1_000_000_000), extend("x-lax" = true))]
    pub osl: u32,
    pub search_space: Vec<S>,
}

/// One topology of a single node and its concurrencies.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SingleSearch {
    /// Tensor parallelism.
    #[schemars(range(min = 1, max = 65_536), extend("x-lax" = true))]
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
    #[schemars(range(min = 1, max = 65_536), extend("x-lax" = true))]
    pub ep: Option<u32>,
    /// Data-parallel attention.
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub dp_attn: Option<bool>,
    #[serde(default)]
    pub spec_decoding: SpecDecoding,
    #[serde(default)]
    pub router: Option<Component>,
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub conc_start: Option<u32>,
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub conc_end: Option<u32>,
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
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
    #[schemars(extend("x-lax" = true))]
    pub conc_start: Option<u32>,
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub conc_end: Option<u32>,
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub conc_list: Option<Vec<u32>>,
}

/// Replayed traces of coding agents over a search space.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgenticCoding {
    /// The share of a host's memory that KV offload may use, in proportion to the GPUs of the server.
    #[serde(default)]
    #[schemars(range(max = 1), extend("x-lax" = true, "exclusiveMinimum" = 0))]
    pub dram_utilization: Option<f64>,
    pub search_space: Vec<AgenticSearch>,
}

/// One topology for agentic scenarios and its concurrencies: `tp` on one node, `prefill` and `decode` over several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgenticSearch {
    /// Tensor parallelism.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536), extend("x-lax" = true))]
    pub tp: Option<u32>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536))]
    pub pp: Option<u32>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536))]
    pub dcp_size: Option<u32>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536))]
    pub pcp_size: Option<u32>,
    /// Expert parallelism; 1 where absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536), extend("x-lax" = true))]
    pub ep: Option<u32>,
    /// Data-parallel attention.
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub dp_attn: Option<bool>,
    #[serde(default)]
    pub spec_decoding: SpecDecoding,
    #[serde(default)]
    pub prefill: Option<Worker>,
    #[serde(default)]
    pub decode: Option<Worker>,
    /// Where KV caches go that GPUs have no room for; required with `tp`.
    #[serde(default)]
    pub kv_offloading: Option<KvOffloading>,
    /// What moves them there: with `kv-offloading: dram` only.
    #[serde(default)]
    pub kv_offload_backend: Option<OffloadBackend>,
    #[serde(default)]
    pub router: Option<Component>,
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub kv_p2p_transfer: Option<String>,
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub conc_start: Option<u32>,
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub conc_end: Option<u32>,
    #[serde(default)]
    #[schemars(extend("x-lax" = true))]
    pub conc_list: Option<Vec<u32>>,
}

impl AgenticSearch {
    /// Memory of a host that its KV caches may use, in GB.
    pub fn dram_gb(&self, hardware: &Hardware, utilization: f64) -> Result<u64, DramError> {
        match &self.prefill {
            Some(worker) => hardware.worker_dram_gb(utilization, worker.gpus()),
            None => {
                let gpus = gpus(
                    self.tp.unwrap_or(1),
                    self.pp.unwrap_or(1),
                    self.pcp_size.unwrap_or(1),
                );
                hardware.server_dram_gb(utilization, gpus)
            }
        }
    }
}

/// Where KV caches go that GPUs have no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KvOffloading {
    #[default]
    None,
    /// The host's memory.
    Dram,
}

impl KvOffloading {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Dram => "dram",
        }
    }
}

/// What offloads KV caches. An engine's own means have no version beside the engine's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OffloadBackend {
    #[schemars(length(min = 1))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub version: Option<String>,
}

/// Equal workers of one role. `num-worker: 0` for decode: prefill's workers do both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Worker {
    #[schemars(range(max = 65_536), extend("x-lax" = true))]
    pub num_worker: u32,
    #[schemars(range(min = 1, max = 65_536), extend("x-lax" = true))]
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
    #[schemars(range(min = 1, max = 65_536), extend("x-lax" = true))]
    pub ep: u32,
    #[schemars(extend("x-lax" = true))]
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
        gpus(self.tp, self.pp, self.pcp_size)
    }
}

/// GPUs of one server: TP x PP x PCP. EP and DCP divide these, they add none. Sizes that no fleet has end at the
/// largest number.
pub fn gpus(tp: u32, pp: u32, pcp_size: u32) -> u32 {
    tp.saturating_mul(pp).saturating_mul(pcp_size)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize, JsonSchema)]
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

impl Entry {
    /// How many points the search spaces write, duplicates included.
    pub fn point_count(&self) -> usize {
        let counted = |start, end, list: &Option<Vec<u32>>| concurrencies(start, end, list.as_deref()).len();
        let agentic = self
            .agentic_coding()
            .iter()
            .flat_map(|scenario| &scenario.search_space);
        let agentic = agentic
            .map(|s| counted(s.conc_start, s.conc_end, &s.conc_list))
            .sum::<usize>();
        let fixed = match self {
            Self::Single(single) => {
                let searches = single
                    .scenarios
                    .fixed_seq_len()
                    .iter()
                    .flat_map(|s| &s.search_space);
                searches
                    .map(|s| counted(s.conc_start, s.conc_end, &s.conc_list))
                    .sum::<usize>()
            }
            Self::Multi(multi) => {
                let searches = multi
                    .scenarios
                    .fixed_seq_len()
                    .iter()
                    .flat_map(|s| &s.search_space);
                searches
                    .map(|s| counted(s.conc_start, s.conc_end, &s.conc_list))
                    .sum()
            }
        };
        fixed + agentic
    }

    /// The runner label.
    pub fn runner(&self) -> &str {
        match self {
            Self::Single(single) => &single.runner,
            Self::Multi(multi) => &multi.runner,
        }
    }

    /// The agentic scenarios.
    pub fn agentic_coding(&self) -> &[AgenticCoding] {
        match self {
            Self::Single(single) => single.scenarios.agentic_coding(),
            Self::Multi(multi) => multi.scenarios.agentic_coding(),
        }
    }
}

fn one() -> u32 {
    1
}
