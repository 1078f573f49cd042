//! What each kind of target is made of, and the inputs that its key is taken over.
//!
//! | input | image | server | bench | process | collect |
//! |---|---|---|---|---|---|
//! | image reference in its normal form, and the digest behind it unless it is simulated | x | x | x | | |
//! | model, and its revision where one is pinned | | x | x | | |
//! | resolved server command, environment, files' bytes | | x | x | | |
//! | hardware: GPU kind and count, facts, shared or exclusive, simulated | | x | x | | |
//! | workload, client version, isolation, limits, trial | | | x | | |
//! | content of dependencies' outputs (early cutoff) | | | | x | x |
//! | metric dialect and version, the point's own row fields | | | | x | |
//!
//! Secrets, paths of this machine, times, host names, the port, pool sizes: in none.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::hardware::Hardware;
use crate::bench::verdict::Limits;
use crate::bench::workload::Workload;
use crate::cache::digest::{Digest, Key};
use crate::cache::inputs::Inputs;
use crate::config::pins::Pins;
use crate::config::recipe::Reset;
use crate::config::reference::{ManifestDigest, Reference, ReferenceError};
use crate::sim::SIM_VERSION;

/// An engine's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// A container image, and the digest that its reference has or is pinned to.
    Container {
        reference: Reference,
        digest: Option<ManifestDigest>,
    },
    /// A hash-locked requirements file, made into a virtual environment.
    Pypi { file: PathBuf, digest: Digest },
    /// The simulated server, asked for by name.
    Builtin,
}

/// How an image is written for the built-in simulated server.
pub const BUILTIN_SIM: &str = "builtin:sim";

/// A server: everything that decides how it is started.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    pub image: Image,
    pub model: String,
    /// Where `sweep.lock` pins one.
    pub model_revision: Option<String>,
    /// The resolved command with [`PORT_MARK`](super::template::PORT_MARK) for the port, or the script to run, a path
    /// relative to the work folder.
    pub command: String,
    pub form: Form,
    pub env: BTreeMap<String, String>,
    /// What a config says of the deployment beside the command: its router, its KV transfer, its roles' hardware.
    pub deployment: BTreeMap<String, String>,
    /// Files of the recipe that are put into the work folder: name there, path in the project, digest.
    pub files: Vec<RecipeFile>,
    pub hardware: Hardware,
    /// GPUs on each of `nodes` nodes.
    pub gpus: u32,
    pub nodes: u32,
    /// What the simulated engine is told, if one stands in.
    pub simulated: Option<crate::sim::SimConfig>,
    /// Not part of the key: how the server is handled.
    pub handling: Handling,
    /// Pools that can run it, by name.
    pub pools: Vec<String>,
}

/// What a server's `command` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Command,
    Script,
    /// A script that starts the server and measures it; it is run for each point.
    Combined,
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
    /// Empty where a combined script looks after its server itself.
    pub ready_path: String,
    /// How long it may take to be ready, or a combined script to end.
    pub within: Duration,
    pub stop_grace: Duration,
    pub reset: Option<Reset>,
}

/// A measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Bench {
    pub client: Client,
    pub isolation: String,
    /// Which of several equal measurements this is, from 0.
    pub trial: u32,
}

/// Why a bench of agent traces cannot run.
pub const NO_AGENTIC_CLIENT: &str = "this version of sweep has no client that replays agent traces";

/// Why a check of accuracy cannot run.
pub const NO_EVALS: &str = "this version of sweep plans checks of accuracy and cannot run them";

/// A check of accuracy. Planned: this version runs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eval {
    /// Questions in flight at a time.
    pub conc: u32,
    /// The longest question with its answer, in tokens; none where traces decide.
    pub max_model_len: Option<u32>,
}

/// Who sends the load.
#[derive(Debug, Clone, PartialEq)]
pub enum Client {
    /// The load client of this program. It leaves a raw trace.
    Builtin { workload: Workload, limits: Limits },
    /// A combined script's own. It leaves the result file of a serving benchmark.
    Script {
        /// Failed requests over all, in [0, 1].
        failed_share: f64,
    },
    /// One that replays traces of coding agents. Planned: there is none yet.
    AgentTraces {
        /// Agents at work at a time.
        conc: u32,
        /// In s.
        duration: u32,
    },
}

impl Client {
    /// The name of what it leaves, from which a row is computed.
    pub fn output(&self) -> &'static str {
        match self {
            Self::Builtin { .. } | Self::AgentTraces { .. } => "trace",
            Self::Script { .. } => "client.json",
        }
    }
}

impl Server {
    /// The inputs of the image target behind it.
    pub fn image_inputs(&self) -> Inputs {
        let mut inputs = Inputs::new("image");
        self.image.push(&mut inputs);
        self.image.push_digest(&mut inputs);
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

    /// Its image's reference, where that needs a digest to be run and has none.
    pub fn unpinned(&self) -> Option<&Reference> {
        match &self.image {
            Image::Container {
                reference,
                digest: None,
            } if !self.is_simulated() => Some(reference),
            _ => None,
        }
    }

    pub fn key(&self) -> Key {
        self.inputs().key()
    }

    /// Whether the two, equal by their keys, can be one server: it is made ready, reset and stopped in one way, and
    /// runs where both may.
    pub fn is_handled_as(&self, other: &Self) -> bool {
        self.handling == other.handling && self.pools == other.pools
    }

    fn push(&self, inputs: &mut Inputs) {
        self.image.push(inputs);
        if !self.is_simulated() {
            self.image.push_digest(inputs);
        }
        inputs.text("model", &self.model);
        if let Some(revision) = self.model_revision.as_ref().filter(|_| !self.is_simulated()) {
            inputs.text("model revision", revision);
        }
        let (command, of) = match self.form {
            Form::Command => ("server command", "server"),
            Form::Script => ("server script", "server"),
            Form::Combined => ("script", "script"),
        };
        inputs.text(command, &self.command);
        for (name, value) in &self.env {
            inputs.text(format!("{of} env {name}"), value);
        }
        for (name, value) in &self.deployment {
            inputs.text(format!("deployment {name}"), value);
        }
        for file in &self.files {
            inputs.file(
                format!("{of} file {}", file.name),
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
        for (name, value) in &hardware.container {
            inputs.text(format!("container {name}"), value);
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
        match &self.client {
            Client::Builtin { workload, limits } => {
                inputs.text("client", format!("sweep bench {}", crate::bench::CLIENT_VERSION));
                let workload = serde_json::to_value(workload).expect("a workload is plain data");
                for (field, value) in workload.as_object().into_iter().flatten() {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    inputs.text(format!("workload {field}"), text);
                }
                inputs.text("isolation", &self.isolation);
                inputs.text("limit failed-share", limits.failed_share.to_string());
                inputs.text("limit client-lag-us", limits.lag_p99_us.to_string());
                inputs.text("limit client-cpu", limits.cpu_share.to_string());
            }
            Client::Script { failed_share } => {
                inputs.text("client", "the script's own");
                inputs.text("isolation", &self.isolation);
                inputs.text("limit failed-share", failed_share.to_string());
            }
            Client::AgentTraces { conc, duration } => {
                inputs.text("isolation", &self.isolation);
                inputs.text("traces conc", conc.to_string());
                inputs.text("traces duration", duration.to_string());
            }
        }
        inputs.text("trial", self.trial.to_string());
        inputs
    }
}

impl Eval {
    /// The inputs of the check: its server's, and its own.
    pub fn inputs(&self, server: &Server) -> Inputs {
        let mut inputs = Inputs::new("eval");
        server.push(&mut inputs);
        inputs.text("eval conc", self.conc.to_string());
        if let Some(tokens) = self.max_model_len {
            inputs.text("eval max-model-len", tokens.to_string());
        }
        inputs
    }
}
/// How the points of a combined script are kept apart.
pub const SCRIPT_ISOLATION: &str = "a run of the script for each point";

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
    /// Reads a config's `image`: `pypi:FILE`, `builtin:sim`, or a container image's [`Reference`], whose digest is looked
    /// up in `pins`. The digest of a requirements file is asked of `digest`.
    pub fn parse(
        reference: &str,
        pins: &Pins,
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
        let reference = reference.parse::<Reference>().map_err(|e| e.to_string())?;
        Ok(Self::Container {
            digest: pins.digest(&reference).cloned(),
            reference,
        })
    }

    /// The reference of a config's `image` where that is a container image's.
    pub fn container(image: &str) -> Option<Result<Reference, ReferenceError>> {
        let is_other = image.starts_with("pypi:") || image.starts_with("builtin:");
        (!is_other).then(|| image.parse())
    }

    fn push(&self, inputs: &mut Inputs) {
        inputs.text("image", self.to_string());
        match self {
            Self::Container { .. } => {}
            Self::Pypi { file, digest } => {
                inputs.file("image.requirements", file.to_string_lossy(), *digest);
            }
            Self::Builtin => inputs.text("image.version", SIM_VERSION.to_string()),
        }
    }

    fn push_digest(&self, inputs: &mut Inputs) {
        if let Self::Container {
            digest: Some(digest), ..
        } = self
        {
            inputs.text("image digest", digest.as_str());
        }
    }
}

/// Its reference, in the normal form.
impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container { reference, .. } => write!(f, "{reference}"),
            Self::Pypi { file, .. } => write!(f, "pypi:{}", file.display()),
            Self::Builtin => f.write_str(BUILTIN_SIM),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Arc;

    use super::super::fixture::Fixture;
    use super::*;
    use crate::config::sweepfile::Share;

    fn first() -> (Server, Bench) {
        let graph = Fixture::new().graph();
        let chain = graph.chains[0].as_ref().unwrap();
        (
            Arc::unwrap_or_clone(graph.server(chain.server).clone()),
            (**graph.bench(chain.bench)).clone(),
        )
    }

    /// What is changed, and how.
    type Change<T> = (&'static str, fn(&mut T));

    /// Changes of a server: what, whether the image is another one too, and how.
    type ServerChange = (&'static str, bool, fn(&mut Server));

    const OF_SERVERS: [ServerChange; 17] = [
        ("image reference", true, |s| {
            s.image = Image::parse("acme/engine:2", &Pins::default(), Digest::of_file).unwrap();
        }),
        ("requirements' bytes", true, |s| {
            s.image = Image::Pypi {
                file: "r.txt".into(),
                digest: Digest::of(b"r"),
            };
        }),
        ("model", false, |s| s.model.push('x')),
        ("command", false, |s| s.command.push_str(" --x")),
        ("a script in the place of a command", false, |s| {
            s.form = Form::Script;
        }),
        ("a combined script in its place", false, |s| {
            s.form = Form::Combined;
        }),
        ("a variable's value", false, |s| {
            *s.env.get_mut("LIMIT").unwrap() = "9".to_owned();
        }),
        ("another variable", false, |s| {
            drop(s.env.insert("X".to_owned(), String::new()));
        }),
        ("a file's bytes", false, |s| {
            s.files[0].digest = Digest::of(b"other");
        }),
        ("GPU kind", false, |s| s.hardware.gpu = "h200".to_owned()),
        ("GPUs", false, |s| s.gpus = 4),
        ("nodes", false, |s| s.nodes = 2),
        ("GPUs a node", false, |s| s.hardware.gpus_per_node = 4),
        ("shared nodes", false, |s| s.hardware.share = Share::Gpu),
        ("facts", false, |s| {
            drop(s.hardware.facts.insert("driver".to_owned(), "1".to_owned()));
        }),
        ("the launcher's variables", false, |s| {
            s.hardware.env.insert("NET".to_owned(), "eth1".to_owned());
        }),
        ("the launcher's containers", false, |s| {
            s.hardware.container.insert("ipc".to_owned(), "host".to_owned());
        }),
    ];

    #[test]
    fn every_input_of_a_server_changes_its_key_and_its_bench_s() {
        let (before, bench) = first();
        for (what, of_image, change) in OF_SERVERS {
            let mut server = before.clone();
            change(&mut server);
            assert_ne!(server.key(), before.key(), "{what}");
            assert_ne!(bench.inputs(&server).key(), bench.inputs(&before).key(), "{what}");
            let same_image = server.image_inputs().key() == before.image_inputs().key();
            assert_eq!(same_image, !of_image, "{what}");
        }
        let mut simulated = before.clone();
        simulated.simulated.as_mut().unwrap().time_scale = 20.0;
        assert_ne!(simulated.key(), before.key());
        simulated.simulated = None;
        assert_ne!(simulated.key(), before.key());
    }

    #[test]
    fn what_is_pinned_is_in_the_key_unless_it_is_simulated() {
        let (simulated, bench) = first();
        let mut real = simulated.clone();
        real.simulated = None;
        let pins: [Change<Server>; 2] = [
            ("digest", |s| match &mut s.image {
                Image::Container { digest, .. } => {
                    *digest = Some(format!("sha256:{}", "0".repeat(64)).parse().unwrap());
                }
                other => panic!("{other:?}"),
            }),
            ("revision", |s| s.model_revision = Some("0123abc".to_owned())),
        ];
        for (what, pin) in pins {
            for (before, is_in_key) in [(&simulated, false), (&real, true)] {
                let mut pinned = before.clone();
                pin(&mut pinned);
                assert_eq!(pinned.key() != before.key(), is_in_key, "{what}");
                let key = |server| bench.inputs(server).key();
                assert_eq!(key(&pinned) != key(before), is_in_key, "{what}");
            }
        }
        assert_eq!(simulated.unpinned(), None);
        assert_eq!(real.unpinned().unwrap().to_string(), "acme/engine:1");
        pins[0].1(&mut real);
        assert_eq!(real.unpinned(), None);
    }

    #[test]
    fn how_a_server_is_handled_and_where_changes_no_key() {
        let (before, bench) = first();
        let handled: [Change<Server>; 6] = [
            ("port", |s| s.handling.port = Some(8000)),
            ("readiness", |s| s.handling.ready_path = "/ready".to_owned()),
            ("patience", |s| s.handling.within = Duration::from_secs(1)),
            ("grace", |s| s.handling.stop_grace = Duration::from_secs(1)),
            ("reset", |s| s.handling.reset = None),
            ("pools", |s| s.pools.push("another".to_owned())),
        ];
        for (what, change) in handled {
            let mut server = before.clone();
            change(&mut server);
            assert_eq!(server.key(), before.key(), "{what}");
            assert_eq!(bench.inputs(&server).key(), bench.inputs(&before).key(), "{what}");
        }
    }

    #[test]
    fn every_input_of_a_bench_changes_its_key_and_no_server_s() {
        let (server, before) = first();
        fn workload(bench: &mut Bench) -> &mut Workload {
            match &mut bench.client {
                Client::Builtin { workload, .. } => workload,
                _ => unreachable!("the fixture's client is built in"),
            }
        }
        fn limits(bench: &mut Bench) -> &mut Limits {
            match &mut bench.client {
                Client::Builtin { limits, .. } => limits,
                _ => unreachable!("the fixture's client is built in"),
            }
        }
        let changes: [Change<Bench>; 16] = [
            ("prompts", |b| workload(b).prompts += 1),
            ("warm-up", |b| workload(b).warmup += 1),
            ("seed", |b| workload(b).seed += 1),
            ("input length", |b| workload(b).input_len += 1),
            ("output length", |b| workload(b).output_len += 1),
            ("range", |b| workload(b).range_ratio = 0.5),
            ("token ids", |b| workload(b).vocab.1 += 1),
            ("ignore-eos", |b| workload(b).ignore_eos = false),
            ("body", |b| {
                drop(workload(b).extra_body.insert("x".to_owned(), 1.into()));
            }),
            ("patience", |b| workload(b).request_timeout_s = 1),
            ("isolation", |b| b.isolation.push('x')),
            ("failed share", |b| limits(b).failed_share = 0.5),
            ("client's lag", |b| limits(b).lag_p99_us = 1),
            ("trial", |b| b.trial = 1),
            ("a script's client", |b| {
                b.client = Client::Script { failed_share: 0.05 };
            }),
            ("a script's failed share", |b| {
                b.client = Client::Script { failed_share: 0.5 };
            }),
        ];
        for (what, change) in changes {
            let mut bench = before.clone();
            change(&mut bench);
            assert_ne!(
                bench.inputs(&server).key(),
                before.inputs(&server).key(),
                "{what}"
            );
        }
    }

    #[test]
    fn what_a_project_s_edit_touches() {
        let keys = |edits: &[(&str, &str, &str)]| {
            let graph = Fixture::edited(edits).graph();
            let chains = graph.chains.iter().map(|chain| chain.as_ref().unwrap());
            let keys = chains.map(|chain| graph.bench(chain.bench).inputs(graph.server(chain.server)).key());
            keys.collect::<Vec<_>>()
        };
        let before = keys(&[]);
        let touched = |edits: &[(&str, &str, &str)]| -> Vec<usize> {
            let after = keys(edits);
            (0..before.len()).filter(|i| before[*i] != after[*i]).collect()
        };
        let a = vec![0, 1, 2];
        let none: Vec<usize> = Vec::new();
        assert_eq!(touched(&[("master.yaml", "acme/engine:1", "acme/engine:2")]), a);
        assert_eq!(
            touched(&[("recipes/engine/recipe.yaml", "--tp", "--tensor-parallel")]),
            a
        );
        assert_eq!(touched(&[("recipes/engine/chat.jinja", "prompt", "text")]), a);
        assert_eq!(
            touched(&[("recipes/engine-fp4/recipe.yaml", "--conc", "--slots")]),
            [3, 4]
        );
        assert_eq!(touched(&[("launchers/local.yaml", "eth0", "eth1")]), a);
        assert_eq!(
            touched(&[("Sweepfile", "driver: '580'", "driver: '590'")]),
            [3, 4, 5, 6]
        );
        assert_eq!(
            touched(&[("recipes/other/recipe.yaml", "within: 1m", "within: 2m")]),
            none
        );
        assert_eq!(
            touched(&[(
                "recipes/other/recipe.yaml",
                "match:",
                "bench: { seed: 1 }\nmatch:"
            )]),
            [5, 6]
        );
        assert_eq!(touched(&[("Sweepfile", "nodes: 2", "nodes: 1")]), none);
        assert_eq!(touched(&[("Sweepfile", "secrets: [TOKEN]", "secrets: []")]), none);
        assert_eq!(touched(&[("Sweepfile", "first:", "another:")]), none);
        assert_eq!(
            touched(&[("master.yaml", "model-prefix: a", "model-prefix: z")]),
            none
        );
    }

    #[test]
    fn images_are_read_as_they_are_written() {
        let pins = Pins::default();
        let read = |text: &str| Image::parse(text, &pins, |_| Ok(Digest::of(b"bytes")));
        assert_eq!(read("docker://acme/x:1"), read("acme/x:1"));
        assert_eq!(
            read("nvcr.io#acme/x").unwrap().to_string(),
            "nvcr.io/acme/x:latest"
        );
        assert!(read("Acme/x").unwrap_err().contains("capitals"));
        assert_eq!(read("builtin:sim"), Ok(Image::Builtin));
        assert!(
            read("builtin:smi")
                .unwrap_err()
                .contains("there is `builtin:sim`")
        );
        assert!(matches!(read("pypi:r.txt"), Ok(Image::Pypi { file, .. }) if file.as_os_str() == "r.txt"));
        let missing = Image::parse("pypi:r.txt", &pins, |_| Err(std::io::Error::other("gone")));
        assert_eq!(missing.unwrap_err(), "could not read `r.txt`: gone");
    }
}
