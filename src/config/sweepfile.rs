//! The Sweepfile: which files make up a project, on which pools it runs, which sweeps it names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Size;
use super::remote::Remote;

/// A project's `Sweepfile`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sweepfile {
    /// The format's version; this program reads version 1.
    pub version: FormatVersion,
    /// Master configs, read in this order.
    #[schemars(length(min = 1))]
    pub configs: Vec<PathBuf>,
    /// Which runner labels exist and what hardware they stand for.
    pub runners: PathBuf,
    /// The append-only log of what changed.
    #[serde(default)]
    pub changelog: Option<PathBuf>,
    /// The policy that orders what waits for the same pool, below `priorities`.
    #[serde(default)]
    pub ci_priority: Option<PathBuf>,
    /// The folder of recipes: one folder each with a `recipe.yaml`.
    #[serde(default = "default_recipes")]
    pub recipes: PathBuf,
    /// The folder of launchers: one YAML file each.
    #[serde(default = "default_launchers")]
    pub launchers: PathBuf,
    /// Where collected results are written.
    #[serde(default = "default_results")]
    pub results: PathBuf,
    #[serde(default)]
    pub cache: Cache,
    /// Environment variables passed through to servers by name; their values are never hashed, stored or printed.
    #[serde(default)]
    pub secrets: Vec<String>,
    #[serde(default)]
    pub defaults: Defaults,
    /// Sets of pools to run a sweep on.
    pub profiles: BTreeMap<String, Profile>,
    /// Named selections: `sweep build NAME`.
    #[serde(default)]
    pub sweeps: BTreeMap<String, Sweep>,
    /// What goes first: the highest number of the patterns that match a point; 0 where none does.
    #[serde(default)]
    pub priorities: BTreeMap<String, i32>,
}

/// The one version of the format there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "u32")]
#[schemars(extend("const" = 1))]
pub struct FormatVersion(u32);

impl TryFrom<u32> for FormatVersion {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        if version == 1 {
            Ok(Self(1))
        } else {
            Err(format!("version {version} is not one this program reads"))
        }
    }
}

/// Where finished targets are kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Cache {
    pub dir: PathBuf,
    /// Beyond this size results are dropped, the oldest first.
    pub max_size: Size,
    /// A cache that other machines share: what is missing here is taken from it, what is measured here is sent to it.
    pub remote: Option<Remote>,
    /// The environment variable that holds the key which signs what is sent and exported; anything else is refused then.
    pub sign_with: Option<String>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            dir: ".cache".into(),
            max_size: Size(20 << 30),
            remote: None,
            sign_with: None,
        }
    }
}

/// What holds where nothing else is said.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Defaults {
    /// The profile used without `--profile`.
    pub profile: String,
    /// How often a session starts its server again after the server died.
    pub retries: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            profile: "default".to_owned(),
            retries: 1,
        }
    }
}

/// A set of pools to run a sweep on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// One line for `--help` and messages.
    #[serde(default)]
    pub description: String,
    pub pools: BTreeMap<String, Pool>,
}

/// Nodes of one kind with an executor. Nodes own the capacity; labels only select.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pool {
    pub executor: Executor,
    /// How things are started on the pool's hosts: a file's name in the launchers folder, without `.yaml`.
    #[serde(default)]
    pub launcher: Option<String>,
    /// Runner labels whose points this pool runs.
    #[schemars(length(min = 1))]
    pub serves: Vec<String>,
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub nodes: u32,
    /// GPUs a node. On a pool of kind `cpu`: how many one-wide servers a node takes.
    #[serde(default = "eight")]
    #[schemars(range(min = 1, max = 1024))]
    pub gpus: u32,
    /// GPU kind, as `h200` or `mi355x`; `cpu` where the engine runs on the host's cores.
    #[schemars(length(min = 1))]
    pub gpu: String,
    /// Whether a server takes whole nodes or only its GPUs.
    #[serde(default)]
    pub share: Share,
    /// Facts of the hosts that can change a number, such as the driver; part of every key.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// Starts `sweep sim` in the engine's place; every number of this pool is marked as simulated.
    #[serde(default)]
    pub simulate: Option<Simulate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Executor {
    Process,
    Docker,
    Slurm,
}

impl Executor {
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Slurm => "slurm",
        }
    }

    /// Whether it starts servers on this very machine.
    pub fn is_local(self) -> bool {
        match self {
            Self::Process | Self::Docker => true,
            Self::Slurm => false,
        }
    }
}

/// Whether two servers may run on one node at a time. Part of the key: shared and exclusive numbers never mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// A server takes whole nodes.
    #[default]
    Exclusive,
    /// A server takes its GPUs; others run beside it.
    Gpu,
}

impl Share {
    pub fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Gpu => "gpu",
        }
    }
}

/// How the simulated engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Simulate {
    /// Simulated seconds in a second of the clock on the wall.
    #[serde(default = "real_time")]
    #[schemars(range(min = 1, max = 1000))]
    pub time_scale: f64,
}

/// A named selection of targets.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sweep {
    #[serde(default)]
    pub description: String,
    /// Patterns over target ids; `!pattern` takes away.
    #[serde(default)]
    pub select: Vec<String>,
    /// Other sweeps whose selections are added.
    #[serde(default)]
    pub include: Vec<String>,
}

fn default_recipes() -> PathBuf {
    "benchmarks".into()
}

fn default_launchers() -> PathBuf {
    "runners".into()
}

fn default_results() -> PathBuf {
    "results".into()
}

fn one() -> u32 {
    1
}

fn eight() -> u32 {
    8
}

fn real_time() -> f64 {
    1.0
}
