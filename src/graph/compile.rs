//! One point with its recipe and hardware: the server that it needs and what is measured on it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::hardware::{Hardware, HardwareError, Served, served};
use super::recipe_match::{RecipeError, Recipes};
use super::spec::{
    Bench, Client, Form, Handling, Image, NO_AGENTIC_CLIENT, RecipeFile, SCRIPT_ISOLATION, Server, isolation,
};
use super::template::{Expanded, TemplateError, Templates};
use crate::bench::verdict::Limits;
use crate::bench::workload::{Api, PromptForm, Workload, WorkloadError};
use crate::cache::digest::Digest;
use crate::config::changelog::ScenarioType;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::master::SpecDecoding;
use crate::config::nearest::nearest;
use crate::config::project::{Config, NamedRecipe, Project};
use crate::config::recipe::{self, Reset, Starts};
use crate::config::sweepfile::Profile;
use crate::matrix::{Point, Scenario, Topology};
use crate::sim::{self, ConfigError, SimConfig};

/// Compiles points; what several points share is done once.
pub(super) struct Compiler<'a> {
    project: &'a Project,
    recipes: Recipes<'a>,
    profile: (&'a str, &'a Profile),
    digest: &'a mut dyn FnMut(&Path) -> std::io::Result<Digest>,
    templates: HashMap<usize, Result<Templates<'a>, TemplateError>>,
    served: HashMap<String, Result<Served, HardwareError>>,
    pub(super) digests: HashMap<PathBuf, Result<Digest, String>>,
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
            recipes: Recipes::new(&project.recipes),
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

    /// A message at a field of a pool of the profile.
    fn wrong_pool(&self, message: String, pool: &str, field: &str, label: &str) -> Diagnostic {
        self.at_pool(Diagnostic::error(message), pool, field, label)
    }

    fn at_pool(&self, wrong: Diagnostic, pool: &str, field: &str, label: &str) -> Diagnostic {
        let place = self
            .project
            .place(&["profiles", self.profile.0, "pools", pool, field]);
        wrong.at(&self.project.document.source, place, label)
    }

    fn no_hardware(&self, point: &Point, error: &HardwareError) -> Diagnostic {
        match error {
            HardwareError::NoPool { label, .. } => {
                let wrong = self.wrong(point, error.to_string());
                let pools = self.profile.1.pools.values();
                let served = pools.flat_map(|pool| pool.serves.iter().map(String::as_str));
                let wrong = match nearest(label, served) {
                    Some(near) => wrong.help(format!("did you mean `runner: {near}`?")),
                    None => wrong,
                };
                wrong.help(
                    "add the label to a pool's `serves` in the Sweepfile, or choose another `--profile`",
                )
            }
            HardwareError::Differ { first, second, .. } => {
                let wrong = self.wrong_pool(error.to_string(), second, "serves", "and this one");
                self.at_pool(wrong, first, "serves", "this one serves it")
                    .help("make their `gpu`, `gpus`, `share`, `facts`, launcher's `env` and `container`, and `simulate` equal, or put them in two profiles")
            }
        }
    }

    fn no_recipe(&self, point: &Point, error: &RecipeError) -> Diagnostic {
        let recipes = &self.project.recipes;
        let wrong = self.wrong(point, error.to_string());
        match error {
            // Nothing is wrong with what was written: with a recipe it could not run either.
            RecipeError::None {
                scenario: ScenarioType::AgenticCoding,
                ..
            } => Diagnostic {
                severity: Severity::Warning,
                message: NO_AGENTIC_CLIENT.to_owned(),
                ..wrong
            }
            .help(error.to_string()),
            RecipeError::None { framework, .. } => {
                let known: BTreeSet<&str> = recipes
                    .iter()
                    .map(|r| r.recipe.matches.framework.as_str())
                    .collect();
                if known.contains(framework.as_str()) {
                    return wrong.help("the recipes of this framework have other conditions that do not hold; loosen one, or add a recipe");
                }
                wrong.nearest(framework, known).help(format!(
                    "recipes are folders of `{}` with a `recipe.yaml`",
                    self.project.sweepfile.recipes.display()
                ))
            }
            RecipeError::Tie { first, second } => {
                let tied = recipes.iter().filter(|r| r.name == *first || r.name == *second);
                tied.fold(wrong, |wrong, named| {
                    let place = named.document.root.nearest_at(&["match"]).span;
                    wrong.at(&named.document.source, place, "matches")
                })
                .help("add a condition to one of them: the recipe with the most that hold wins")
            }
        }
    }

    pub(super) fn compile(&mut self, point: &Point) -> Result<Compiled, Diagnostic> {
        let (project, profile) = (self.project, self.profile);
        let served = self
            .served
            .entry(point.runner.clone())
            .or_insert_with(|| served(project, profile, &point.runner))
            .clone()
            .map_err(|e| self.no_hardware(point, &e))?;
        let index = self.recipes.best(point).map_err(|e| self.no_recipe(point, &e))?;
        let named = &project.recipes[index];
        let revision = project.pins.models.get(&point.model);
        let templates = self
            .templates
            .entry(index)
            .or_insert_with(|| Templates::new(named));
        let expanded = match templates {
            Ok(templates) => templates.expand(point, &served.hardware.gpu, revision.map(String::as_str)),
            Err(error) => Err(error.clone()),
        };
        let expanded = expanded.map_err(|e| template_wrong(named, point, &e))?;
        let bench = match (&point.scenario, named.recipe.launch().starts) {
            (Scenario::AgenticCoding(agentic), _) => Bench {
                client: Client::AgentTraces {
                    conc: point.conc,
                    duration: agentic.duration,
                },
                isolation: isolation(reset(named)),
                trial: 0,
            },
            (Scenario::FixedSeqLen { .. }, Starts::Combined(_)) if served.hardware.simulate.is_none() => {
                Bench {
                    client: Client::Script {
                        failed_share: named.recipe.bench.limits.failed_share,
                    },
                    isolation: SCRIPT_ISOLATION.to_owned(),
                    trial: 0,
                }
            }
            (Scenario::FixedSeqLen { isl, osl }, _) => builtin_bench(named, point, (*isl, *osl), &expanded)?,
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
        let pins = &self.project.pins;
        let image = Image::parse(&point.image, pins, |file| {
            self.digest(file).map_err(std::io::Error::other)
        })
        .map_err(|e| self.wrong(point, e))?;
        let launch = named.recipe.launch();
        let section = launch.section;
        let mut files = Vec::new();
        for name in launch
            .starts
            .script()
            .into_iter()
            .chain(launch.files.iter().map(String::as_str))
        {
            let path = named.folder.join(name);
            let digest = self.digest(&path).map_err(|e| {
                named.error(
                    section,
                    format!("could not read `{}`: {e}", path.display()),
                    "named here",
                )
            })?;
            files.push(RecipeFile {
                name: name.to_owned(),
                path,
                digest,
            });
        }
        let (nodes, gpus) = self.placement(point, &served.hardware)?;
        let form = match launch.starts {
            Starts::Command(_) => Form::Command,
            Starts::Script(_) => Form::Script,
            Starts::Combined(_) => Form::Combined,
        };
        let served_by = named.recipe.server.as_ref();
        Ok(Server {
            simulated: simulated(point, &served.hardware)
                .map_err(|e| self.not_simulated(point, &served, &e))?,
            image,
            model: point.model.clone(),
            model_revision: pins.models.get(&point.model).cloned(),
            command: expanded.command,
            form,
            env: expanded.env,
            deployment: deployment(point),
            files,
            gpus,
            nodes,
            handling: Handling {
                port: launch.port,
                ready_path: served_by
                    .map(|server| server.ready.http.clone())
                    .unwrap_or_default(),
                within: launch.within,
                stop_grace: launch.grace,
                reset: served_by.and_then(|server| server.reset.clone()),
            },
            pools: served.pools,
            hardware: served.hardware,
        })
    }

    fn not_simulated(&self, point: &Point, served: &Served, error: &NotSimulated) -> Diagnostic {
        let message = format!("the simulated engine cannot stand in: {error}");
        let wrong = match error {
            NotSimulated::Config(ConfigError::UnknownGpu { .. }) => {
                self.wrong_pool(message, &served.pools[0], "gpu", "of this simulated pool")
            }
            _ => self.wrong(point, message),
        };
        wrong.help("leave its points out with `!PATTERN`, or run them on other pools with `--profile NAME`")
    }

    fn digest(&mut self, path: &Path) -> Result<Digest, String> {
        if let Some(known) = self.digests.get(path) {
            return known.clone();
        }
        let digest = (self.digest)(&self.project.root.join(path)).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => e.to_string(),
        });
        self.digests.insert(path.to_path_buf(), digest.clone());
        digest
    }

    /// How many nodes, and GPUs on each, the point's server takes.
    fn placement(&self, point: &Point, hardware: &Hardware) -> Result<(u32, u32), Diagnostic> {
        let gpus = point.topology.gpus();
        let per_node = hardware.gpus_per_node;
        match point.topology {
            Topology::Single(_) if gpus > per_node => {
                let message = format!(
                    "a single-node server of {gpus} GPUs does not fit a node of {per_node} (`{}`)",
                    hardware.gpu
                );
                let wrong = self.wrong(point, message);
                Err(wrong.help("lower the config's `tp`, `pp` or `pcp-size`, or set the pool's `gpus` to what its nodes have"))
            }
            Topology::Single(_) => Ok((1, gpus)),
            Topology::Multi { .. } => Ok((gpus.div_ceil(per_node), gpus.min(per_node))),
        }
    }
}

/// A template's mistake, shown where it stands in the recipe.
pub(super) fn template_wrong(named: &NamedRecipe, point: &Point, error: &TemplateError) -> Diagnostic {
    let path: Vec<&str> = error.path.iter().map(String::as_str).collect();
    let message = format!("recipe `{}` does not expand: {}", named.name, error.message);
    let wrong = named.error(&path, message, format!("needed by `{}`", point.id()));
    let Some(unknown) = &error.unknown else {
        return wrong.help("docs/recipes.md tells what templates may say");
    };
    let mut wrong = wrong.nearest(&unknown.name, unknown.known.iter().map(String::as_str));
    for place in &mut wrong.places {
        place.span = place.span.narrowed_to(&place.source.text, &unknown.name);
    }
    wrong.help("docs/recipes.md lists the names that templates may use")
}

/// A workload that cannot be sent, in the words of the recipe that asks for it.
fn workload_wrong(named: &NamedRecipe, point: &Point, error: &WorkloadError) -> Diagnostic {
    let (field, message) = match error {
        WorkloadError::Zero { field } => (*field, error.to_string()),
        WorkloadError::RangeRatio(_) => ("range-ratio", error.to_string()),
        WorkloadError::EmptyVocab { lo, hi } => {
            let last = hi.saturating_sub(1);
            (
                "token-ids",
                format!("`token-ids` from {lo} to {last} is an empty range"),
            )
        }
        WorkloadError::ChatTakesNoIds => (
            "prompt-form",
            "`api: chat` takes no token ids; set `prompt-form: words`".to_owned(),
        ),
        WorkloadError::Reserved(name) => (
            "body",
            format!("`body` sets `{name}`, which the workload itself decides; remove it"),
        ),
        WorkloadError::NotPositive { .. } | WorkloadError::Temperature(_) => ("bench", error.to_string()),
    };
    named.error(&["bench", field], message, format!("needed by `{}`", point.id()))
}

/// How the recipe's server forgets a point before the next.
fn reset(named: &NamedRecipe) -> Option<&Reset> {
    named.recipe.server.as_ref()?.reset.as_ref()
}

/// A measurement by the load client of this program.
fn builtin_bench(
    named: &NamedRecipe,
    point: &Point,
    lengths: (u32, u32),
    expanded: &Expanded,
) -> Result<Bench, Diagnostic> {
    let workload = workload(named, point, lengths, expanded);
    workload.check().map_err(|e| workload_wrong(named, point, &e))?;
    let limits = &named.recipe.bench.limits;
    Ok(Bench {
        client: Client::Builtin {
            workload,
            limits: Limits {
                failed_share: limits.failed_share,
                lag_p99_us: limits.client_lag.0.as_micros() as u64,
                cpu_share: limits.client_cpu,
            },
        },
        isolation: isolation(reset(named)),
        trial: 0,
    })
}

fn workload(named: &NamedRecipe, point: &Point, (isl, osl): (u32, u32), expanded: &Expanded) -> Workload {
    let bench = &named.recipe.bench;
    let mut extra_body = bench.body.clone();
    if let Some(body) = reset(named).and_then(|reset| reset.body.as_ref()) {
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

/// What changes a deployment although no command spells it.
fn deployment(point: &Point) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    if let Some(router) = &point.router {
        facts.insert("router".to_owned(), format!("{} {}", router.name, router.version));
    }
    if let Some(transfer) = &point.kv_p2p_transfer {
        facts.insert("kv-p2p-transfer".to_owned(), transfer.clone());
    }
    if let Topology::Multi { prefill, decode, .. } = &point.topology {
        for (role, worker) in [("prefill", prefill), ("decode", decode)] {
            let text = serde_json::to_string(worker).expect("a worker is plain data");
            facts.insert(role.to_owned(), text);
        }
    }
    facts
}

/// Tokens that the simulated engine puts in one event, as engines do under load; it bounds what a rehearsal costs.
const SIMULATED_STREAM_INTERVAL: u64 = 16;

/// Why the simulated engine cannot stand in for a point's engine.
#[derive(Debug, thiserror::Error)]
enum NotSimulated {
    #[error("it knows no precision `{0}`, only {known}", known = precisions())]
    Precision(String),
    #[error("it does not know the model `{0}`, and the name tells no size as `-70B` would")]
    Model(String),
    #[error(transparent)]
    Config(ConfigError),
}

fn precisions() -> String {
    let known = <sim::Precision as clap::ValueEnum>::value_variants().iter();
    let names = known.filter_map(|precision| {
        Some(
            clap::ValueEnum::to_possible_value(precision)?
                .get_name()
                .to_owned(),
        )
    });
    names.collect::<Vec<_>>().join(", ")
}

/// What `sweep sim` is told in the engine's place; `None` where the engine itself runs.
fn simulated(point: &Point, hardware: &Hardware) -> Result<Option<SimConfig>, NotSimulated> {
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
            .map_err(|_| NotSimulated::Precision(point.precision.clone()))?,
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
        Err(ConfigError::UnknownModel(unknown)) => Err(NotSimulated::Model(unknown.name)),
        Err(error) => Err(NotSimulated::Config(error)),
    }
}
