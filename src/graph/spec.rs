//! What each kind of target is made of, and the inputs that its key is taken over.
//!
//! | input | image | server | bench | process | collect |
//! |---|---|---|---|---|---|
//! | image reference, and the digest behind it where known | x | x | x | | |
//! | model | | x | x | | |
//! | resolved server command, environment, files' bytes | | x | x | | |
//! | hardware: GPU kind and count, facts, shared or exclusive, simulated | | x | x | | |
//! | workload, client version, isolation, limits, trial | | | x | | |
//! | content of dependencies' outputs (early cutoff) | | | | x | x |
//! | metric dialect and version, the point's own row fields | | | | x | |
//!
//! Secrets, paths of this machine, times, host names, the port, pool sizes: in none.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::hardware::Hardware;
use crate::bench::verdict::Limits;
use crate::bench::workload::Workload;
use crate::cache::digest::{Digest, Key};
use crate::cache::inputs::Inputs;
use crate::config::recipe::Reset;
use crate::sim::SIM_VERSION;

/// An engine's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// A container image's reference.
    Container(String),
    /// A hash-locked requirements file, made into a virtual environment.
    Pypi { file: PathBuf, digest: Digest },
    /// The simulated server, asked for by name.
    Builtin,
}

/// How an image is written for the built-in simulated server.
pub const BUILTIN_SIM: &str = "builtin:sim";

/// A server: everything that decides how it is started.
#[derive(Debug, Clone)]
pub struct Server {
    /// As the config writes it.
    pub image_reference: String,
    pub image: Image,
    pub model: String,
    /// The resolved command with [`PORT_MARK`](super::template::PORT_MARK) for the port, or the script to run.
    pub command: String,
    /// Whether `command` is a script's path relative to the work folder.
    pub script: bool,
    pub env: BTreeMap<String, String>,
    /// What a config says of the deployment beside the command: its router, its KV transfer, its roles' hardware.
    pub deployment: BTreeMap<String, String>,
    /// Files of the recipe that are put into the work folder: name there, path in the project, digest.
    pub files: Vec<RecipeFile>,
    pub hardware: Hardware,
    /// GPUs on each of `nodes` nodes.
    pub gpus: u32,
    pub nodes: u32,
    pub engine: Engine,
    /// What the simulated engine is told, if one stands in.
    pub simulated: Option<crate::sim::SimConfig>,
    /// Not part of the key: how the server is handled.
    pub handling: Handling,
    /// Pools that can run it, by name.
    pub pools: Vec<String>,
}

/// The engine and the parallelism, for messages and for the simulator.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    pub framework: String,
    pub precision: String,
    pub recipe: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeFile {
    pub name: String,
    pub path: PathBuf,
    pub digest: Digest,
}

/// How a server is made ready, reset and stopped. None of it changes what is measured but the reset, which the bench
/// holds in its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Handling {
    pub port: Option<u16>,
    pub ready_path: String,
    pub ready_within: Duration,
    pub stop_grace: Duration,
    pub reset: Option<Reset>,
}

/// A measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Bench {
    pub workload: Workload,
    pub limits: Limits,
    pub isolation: String,
    /// Which of several equal measurements this is, from 0.
    pub trial: u32,
}

impl Server {
    /// The inputs of the image target behind it.
    pub fn image_inputs(&self) -> Inputs {
        let mut inputs = Inputs::new("image");
        self.push_image(&mut inputs);
        inputs
    }

    /// The inputs of the server.
    pub fn inputs(&self) -> Inputs {
        let mut inputs = Inputs::new("server");
        self.push(&mut inputs);
        inputs
    }

    /// Whether the simulated engine stands in for it.
    pub fn is_simulated(&self) -> bool {
        self.simulated.is_some()
    }

    pub fn key(&self) -> Key {
        self.inputs().key()
    }

    /// Whether the two, equal by their keys, can be one server: it is made ready, reset and stopped in one way, and
    /// runs where both may.
    pub fn is_handled_as(&self, other: &Self) -> bool {
        self.handling == other.handling && self.pools == other.pools
    }

    fn push_image(&self, inputs: &mut Inputs) {
        inputs.text(
            "image",
            self.image_reference
                .strip_prefix("docker://")
                .unwrap_or(&self.image_reference),
        );
        match &self.image {
            Image::Container(_) => {}
            Image::Pypi { file, digest } => {
                inputs.file("image.requirements", file.to_string_lossy(), *digest);
            }
            Image::Builtin => inputs.text("image.version", SIM_VERSION.to_string()),
        }
    }

    fn push(&self, inputs: &mut Inputs) {
        self.push_image(inputs);
        inputs.text("model", &self.model);
        inputs.text(
            if self.script {
                "server script"
            } else {
                "server command"
            },
            &self.command,
        );
        for (name, value) in &self.env {
            inputs.text(format!("server env {name}"), value);
        }
        for (name, value) in &self.deployment {
            inputs.text(format!("deployment {name}"), value);
        }
        for file in &self.files {
            inputs.file(
                format!("server file {}", file.name),
                file.path.to_string_lossy(),
                file.digest,
            );
        }
        let hardware = &self.hardware;
        inputs.text("hardware gpu", &hardware.gpu);
        inputs.text(
            "hardware gpus",
            format!(
                "{} of {} on {} node",
                self.gpus, hardware.gpus_per_node, self.nodes
            ),
        );
        inputs.text("hardware share", hardware.share.name());
        for (name, value) in &hardware.facts {
            inputs.text(format!("hardware fact {name}"), value);
        }
        for (name, value) in &hardware.env {
            inputs.text(format!("hardware env {name}"), value);
        }
        if let Some(simulated) = &self.simulated {
            // What stands in for the engine sees the parallelism even where the command does not spell it.
            inputs.text(
                "simulated",
                format!("sweep sim {SIM_VERSION}: {}", simulated.to_args(0).join(" ")),
            );
        }
    }
}

impl Bench {
    /// The inputs of the bench: its server's, and its own.
    pub fn inputs(&self, server: &Server) -> Inputs {
        let mut inputs = Inputs::new("bench");
        server.push(&mut inputs);
        inputs.text("client", format!("sweep bench {}", crate::bench::CLIENT_VERSION));
        let workload = serde_json::to_value(&self.workload).expect("a workload is plain data");
        for (field, value) in workload.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            inputs.text(format!("workload {field}"), text);
        }
        inputs.text("isolation", &self.isolation);
        inputs.text("limit failed-share", self.limits.failed_share.to_string());
        inputs.text("limit client-lag-us", self.limits.lag_p99_us.to_string());
        inputs.text("limit client-cpu", self.limits.cpu_share.to_string());
        inputs.text("trial", self.trial.to_string());
        inputs
    }
}

/// How one point is kept from the next, in words that enter the key.
pub fn isolation(reset: Option<&Reset>) -> String {
    match reset {
        None => "a fresh server for each point".to_owned(),
        Some(Reset { http: Some(call), .. }) => format!("{} between points", call.0),
        Some(Reset { body: Some(body), .. }) => {
            format!("requests with {}", serde_json::Value::Object(body.clone()))
        }
        Some(Reset { unneeded, .. }) => format!("none needed: {}", unneeded.as_deref().unwrap_or_default()),
    }
}

impl Image {
    /// Reads a config's `image`: `pypi:FILE`, `builtin:sim`, or a container's reference with or without `docker://`.
    /// The digest of a requirements file is asked of `digest`.
    pub fn parse(
        reference: &str,
        digest: impl FnOnce(&std::path::Path) -> std::io::Result<Digest>,
    ) -> Result<Self, String> {
        if let Some(file) = reference.strip_prefix("pypi:") {
            let file = PathBuf::from(file);
            let digest = digest(&file).map_err(|e| format!("could not read `{}`: {e}", file.display()))?;
            return Ok(Self::Pypi { file, digest });
        }
        if let Some(name) = reference.strip_prefix("builtin:") {
            return match name {
                "sim" => Ok(Self::Builtin),
                _ => Err(format!(
                    "there is no built-in image `{name}`; there is `{BUILTIN_SIM}`"
                )),
            };
        }
        Ok(Self::Container(
            reference
                .strip_prefix("docker://")
                .unwrap_or(reference)
                .to_owned(),
        ))
    }
}
