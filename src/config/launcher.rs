//! Launchers: how a pool starts things on its hosts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::container::Container;
use super::sweepfile::Executor;

/// A launcher, `runners/<name>.yaml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Launcher {
    /// The executor that this launcher is written for.
    pub executor: Executor,
    #[serde(default)]
    pub description: String,
    /// Variables that servers on these hosts need, such as network interfaces; part of every server's key.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How containers run, where the executor is `docker`.
    #[serde(default)]
    pub container: Option<Container>,
}
