//! `runners.yaml`: runner labels, the nodes behind them, and hardware facts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// The runners file, in InferenceX's current form.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Runners {
    /// Label -> the runners (nodes) that carry it.
    pub labels: BTreeMap<String, RunnerNames>,
    /// Hardware facts of a label.
    #[serde(default)]
    pub hardware: BTreeMap<String, Hardware>,
}

/// Names as `<cluster>_<index>`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct RunnerNames(#[schemars(length(min = 1))] pub Vec<String>);

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hardware {
    /// Host memory that a server may use for KV offload, in MiB.
    #[schemars(range(min = 1))]
    pub available_cpu_dram_mib: u64,
    #[schemars(range(min = 1))]
    pub gpus_per_node: u32,
}
