//! One point with its recipe and hardware: the server that it needs and what is measured on it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::hardware::{Hardware, Served, served};
use super::recipe_match::best;
use super::spec::{Bench, Engine, Handling, Image, RecipeFile, Server, isolation};
use super::template::{Expanded, TemplateError, Templates};
use crate::bench::verdict::Limits;
use crate::bench::workload::{Api, PromptForm, Workload};
use crate::cache::digest::Digest;
use crate::config::diagnostic::Diagnostic;
use crate::config::master::SpecDecoding;
use crate::config::project::{Config, NamedRecipe, Project};
use crate::config::recipe;
use crate::config::sweepfile::Profile;
use crate::matrix::{Point, Topology};
use crate::sim::{self, SimConfig};

/// Why an agentic point has no targets.
const NO_AGENTIC_CLIENT: &str = "agentic-coding points are read and listed, but this version of sweep has no client that replays agent traces";

/// Compiles points; what several points share is done once.
pub(super) struct Compiler<'a> {
    project: &'a Project,
    profile: (&'a str, &'a Profile),
    digest: &'a mut dyn FnMut(&Path) -> std::io::Result<Digest>,
    templates: HashMap<usize, Result<Templates<'a>, TemplateError>>,
    served: HashMap<String, Result<Served, super::hardware::HardwareError>>,
    digests: HashMap<PathBuf, Result<Digest, String>>,
    configs: HashMap<&'a str, &'a Config>,
}

/// What a point needs and measures.
pub(super) struct Compiled {
    pub(super) server: Server,
    pub(super) bench: Bench,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(
        project: &'a Project,
        profile: (&'a str, &'a Profile),
        digest: &'a mut dyn FnMut(&Path) -> std::io::Result<Digest>,
    ) -> Self {
        let configs = project
            .configs
            .iter()
            .map(|config| (config.key.as_str(), config))
            .collect();
        Self {
            project,
            profile,
            digest,
            templates: HashMap::new(),
            served: HashMap::new(),
            digests: HashMap::new(),
            configs,
        }
    }

    /// A message at the place of the point's config.
    fn wrong(&self, point: &Point, message: impl Into<String>) -> Diagnostic {
        let diagnostic = Diagnostic::error(message);
        match self.configs.get(point.config.0.as_str()) {
            Some(config) => diagnostic.at(&config.source, config.span, format!("needed by `{}`", point.id())),
            None => diagnostic,
        }
    }

    pub(super) fn compile(&mut self, point: &Point) -> Result<Compiled, Diagnostic> {
        let (project, profile) = (self.project, self.profile);
        let served = self
            .served
            .entry(point.runner.clone())
            .or_insert_with(|| served(project, profile, &point.runner))
            .clone()
            .map_err(|e| {
                self.wrong(point, e.to_string()).help(
                    "add the label to a pool's `serves` in the Sweepfile, or choose another `--profile`",
                )
            })?;
        let index = best(&project.recipes, point).map_err(|e| self.wrong(point, e.to_string()))?;
        let named = &project.recipes[index];
        let Some((isl, osl)) = point.lengths() else {
            return Err(self.wrong(point, NO_AGENTIC_CLIENT));
        };
        let templates = self
            .templates
            .entry(index)
            .or_insert_with(|| Templates::new(named));
        let expanded = match templates {
            Ok(templates) => templates.expand(point, &served.hardware.gpu),
            Err(error) => Err(error.clone()),
        };
        let expanded = expanded.map_err(|e| template_wrong(named, point, &e))?;
        let workload = workload(named, point, (isl, osl), &expanded);
        workload
            .check()
            .map_err(|e| named.error(&["bench"], e.to_string(), format!("for `{}`", point.id())))?;
        let limits = &named.recipe.bench.limits;
        let reset = named.recipe.server.reset.as_ref();
        let bench = Bench {
            workload,
            limits: Limits {
                failed_share: limits.failed_share,
                lag_p99_us: limits.client_lag.0.as_micros() as u64,
                cpu_share: limits.client_cpu,
            },
            isolation: isolation(reset),
            trial: 0,
        };
        let server = self.server(point, named, expanded, served)?;
        Ok(Compiled { server, bench })
    }

    fn server(
        &mut self,
        point: &Point,
        named: &NamedRecipe,
        expanded: Expanded,
        served: Served,
    ) -> Result<Server, Diagnostic> {
        let image = Image::parse(&point.image, |file| {
            self.digest(file).map_err(std::io::Error::other)
        })
        .map_err(|e| self.wrong(point, e))?;
        let recipe = &named.recipe.server;
        let mut files = Vec::new();
        for name in recipe.run.iter().chain(&recipe.files) {
            let path = named.folder.join(name);
            let digest = self.digest(&path).map_err(|e| {
                named.error(
                    &["server"],
                    format!("could not read `{}`: {e}", path.display()),
                    "named here",
                )
            })?;
            files.push(RecipeFile {
                name: name.clone(),
                path,
                digest,
            });
        }
        let (nodes, gpus) = self.placement(point, &served.hardware)?;
        let script = recipe.run.is_some();
        let command = match (expanded.command, &recipe.run) {
            (Some(command), _) => command,
            (None, run) => run.clone().unwrap_or_default(),
        };
        Ok(Server {
            simulated: simulated(point, &served.hardware)
                .map_err(|e| self.wrong(point, format!("the simulated engine cannot stand in: {e}")))?,
            image_reference: point.image.clone(),
            image,
            model: point.model.clone(),
            command,
            script,
            env: expanded.env,
            files,
            gpus,
            nodes,
            engine: Engine {
                framework: point.framework.clone(),
                precision: point.precision.clone(),
                recipe: named.name.clone(),
            },
            handling: Handling {
                port: recipe.port,
                ready_path: recipe.ready.http.clone(),
                ready_within: recipe.ready.within.0,
                stop_grace: recipe.stop.grace.0,
                reset: recipe.reset.clone(),
            },
            pools: served.pools,
            hardware: served.hardware,
        })
    }

    fn digest(&mut self, path: &Path) -> Result<Digest, String> {
        if let Some(known) = self.digests.get(path) {
            return known.clone();
        }
        let digest = (self.digest)(&self.project.root.join(path)).map_err(|e| e.to_string());
        self.digests.insert(path.to_path_buf(), digest.clone());
        digest
    }

    /// How many nodes, and GPUs on each, the point's server takes.
    fn placement(&self, point: &Point, hardware: &Hardware) -> Result<(u32, u32), Diagnostic> {
        let gpus = point.topology.gpus();
        let per_node = hardware.gpus_per_node;
        match point.topology {
            Topology::Single(_) if gpus > per_node => Err(self.wrong(
                point,
                format!(
                    "a single-node server of {gpus} GPUs does not fit a node of {per_node} (`{}`)",
                    hardware.gpu
                ),
            )),
            Topology::Single(_) => Ok((1, gpus)),
            Topology::Multi { .. } => Ok((gpus.div_ceil(per_node), gpus.min(per_node))),
        }
    }
}

fn template_wrong(named: &NamedRecipe, point: &Point, error: &TemplateError) -> Diagnostic {
    let path: Vec<&str> = error.path.iter().map(String::as_str).collect();
    named
        .error(
            &path,
            format!("recipe `{}` does not expand for `{}`", named.name, point.id()),
            &error.message,
        )
        .help("docs/recipes.md lists the names that templates may use")
}

fn workload(named: &NamedRecipe, point: &Point, (isl, osl): (u32, u32), expanded: &Expanded) -> Workload {
    let bench = &named.recipe.bench;
    let mut extra_body = bench.body.clone();
    if let Some(body) = named
        .recipe
        .server
        .reset
        .as_ref()
        .and_then(|reset| reset.body.as_ref())
    {
        extra_body.extend(body.clone());
    }
    Workload {
        api: match bench.api {
            recipe::Api::Completions => Api::Completions,
            recipe::Api::Chat => Api::Chat,
        },
        prompt_form: match bench.prompt_form {
            recipe::PromptForm::TokenIds => PromptForm::TokenIds,
            recipe::PromptForm::Words => PromptForm::Words,
        },
        vocab: (bench.token_ids.0, bench.token_ids.1.saturating_add(1)),
        range_ratio: bench.range_ratio,
        prompts: expanded.prompts,
        warmup: expanded.warmup,
        seed: seed(bench.seed, point, (isl, osl)),
        ignore_eos: bench.ignore_eos,
        request_timeout_s: bench.request_timeout.0.as_secs().clamp(1, u64::from(u32::MAX)) as u32,
        extra_body,
        ..Workload::random(&point.model, isl, osl, point.conc)
    }
}

/// Each point draws prompts of its own, so that what one leaves in a cache serves no other; the same for every engine
/// and GPU, so that they are compared on equal prompts.
fn seed(base: u64, point: &Point, (isl, osl): (u32, u32)) -> u64 {
    let text = format!("{base} {} {isl} {osl} {}", point.model, point.conc);
    let digest = Digest::of(text.as_bytes());
    // 53 bits, so that every JSON reader keeps it.
    u64::from_le_bytes(digest.0[..8].try_into().expect("eight of 32 bytes")) >> 11
}

/// Tokens that the simulated engine puts in one event, as engines do under load; it bounds what a rehearsal costs.
const SIMULATED_STREAM_INTERVAL: u64 = 16;

/// What `sweep sim` is told in the engine's place; `None` where the engine itself runs.
fn simulated(point: &Point, hardware: &Hardware) -> Result<Option<SimConfig>, String> {
    let (Some(simulate), Topology::Single(parallel)) = (hardware.simulate, &point.topology) else {
        return Ok(None);
    };
    let config = SimConfig {
        gpu: hardware.gpu.clone(),
        tp: parallel.tp,
        pp: parallel.pp * parallel.pcp_size,
        ep: parallel.ep,
        dp_attention: parallel.dp_attn,
        model: point.model.clone(),
        precision: <sim::Precision as clap::ValueEnum>::from_str(&point.precision, true)
            .map_err(|_| format!("it knows no precision `{}`", point.precision))?,
        spec_decoding: match point.spec_decoding {
            SpecDecoding::None => sim::SpecDecoding::None,
            SpecDecoding::Mtp => sim::SpecDecoding::Mtp,
            SpecDecoding::DraftModel => sim::SpecDecoding::DraftModel,
        },
        time_scale: simulate.time_scale,
        stream_interval: SIMULATED_STREAM_INTERVAL,
        ..SimConfig::default()
    };
    match config.resolve() {
        Ok(_) => Ok(Some(config)),
        Err(error) => Err(error.to_string()),
    }
}
