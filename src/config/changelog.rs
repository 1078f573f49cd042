//! `perf-changelog.yaml`: what changed, and which configs that concerns. Append-only.

use schemars::JsonSchema;
use serde::Deserialize;

/// The changelog: a list of entries, the oldest first.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Changelog(pub Vec<Entry>);

/// One change.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("x-elsewhere" = {
    "date": "git knows when the entry was added; remove the field",
}))]
pub struct Entry {
    /// Names of configs, or patterns with `*`.
    #[schemars(length(min = 1), extend("x-hint" = "write a list, also of one: `config-keys: [dsr1-fp8-h200-sglang]`"))]
    pub config_keys: Vec<String>,
    #[schemars(length(min = 1), extend("x-hint" = "write a list, a line each: `description: [\"what changed\"]`"))]
    pub description: Vec<String>,
    pub pr_link: String,
    #[serde(default)]
    pub evals_only: bool,
    #[serde(default)]
    pub all_evals: bool,
    #[serde(default)]
    pub append_only: bool,
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub eval_min_prefill_ep: Option<u32>,
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub scenario_type: Option<Vec<ScenarioType>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScenarioType {
    FixedSeqLen,
    AgenticCoding,
}
