//! A recipe's templates, expanded for a point.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use minijinja::value::ValueKind;
use minijinja::{Environment, UndefinedBehavior, Value, escape_formatter};

use super::names::{Names, Read, Watched};
use crate::config::project::NamedRecipe;
use crate::config::recipe::{self, Launch, Starts, template_reason as reason};
use crate::matrix::{Point, Scenario, Topology};

/// Stands for the port in a resolved command: the port is chosen when the server starts and is part of no key.
pub const PORT_MARK: &str = "$PORT";

/// Steps that a template may take, so that a loop in it ends; commands take a few hundred.
const STEPS: u64 = 1_000_000;

/// A recipe's templates, compiled once.
pub struct Templates<'a> {
    environment: Environment<'a>,
    recipe: &'a NamedRecipe,
    texts: Memories<String>,
    counts: Memories<u32>,
}

/// What templates came to, by their names.
type Memories<T> = RefCell<HashMap<String, Memory<T>>>;

/// What a template came to before, and what it read. It comes to the same wherever all that it read stands for the same:
/// there is nothing else that its steps could depend on.
struct Memory<T>(Vec<(Vec<Read>, T)>);

impl<T: Clone> Memory<T> {
    /// Points of a config differ in their concurrency, and few of a recipe in much else.
    const MOST: usize = 32;

    fn find(&self, names: Names<'_>) -> Option<T> {
        let mut now = HashMap::<&str, Option<Value>>::new();
        let known = self.0.iter().rev().find(|(read, _)| {
            read.iter()
                .all(|(name, before)| now.entry(name).or_insert_with(|| names.value(name)) == before)
        });
        known.map(|(_, came_to)| came_to.clone())
    }

    fn keep(&mut self, read: Vec<Read>, came_to: T) {
        if self.0.len() == Self::MOST {
            self.0.remove(0);
        }
        self.0.push((read, came_to));
    }
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A template that does not expand, and where in the recipe it stands.
#[derive(Debug, Clone)]
pub struct TemplateError {
    /// The path of keys in the recipe.
    pub path: Vec<String>,
    pub message: String,
    pub unknown: Option<UnknownName>,
}

/// A name that there is not, and those that there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    pub name: String,
    pub known: Vec<String>,
}

impl TemplateError {
    fn new(path: &[&str], message: impl Into<String>) -> Self {
        Self {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            message: message.into(),
            unknown: None,
        }
    }

    /// An error of minijinja. Where a name is missing, that is what is said.
    fn of(path: &[&str], error: &minijinja::Error, unknown: Option<UnknownName>) -> Self {
        let message = match &unknown {
            Some(unknown) => format!("there is no `{}`", unknown.name),
            None => reason(error),
        };
        Self {
            unknown,
            ..Self::new(path, message)
        }
    }
}

/// What a recipe says, expanded for one point.
#[derive(Debug, Clone, PartialEq)]
pub struct Expanded {
    /// The command with runs of white space as one blank, or the script's name.
    pub command: String,
    pub env: BTreeMap<String, String>,
    pub prompts: u32,
    pub warmup: u32,
}

impl<'a> Templates<'a> {
    pub fn new(recipe: &'a NamedRecipe) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // Without it a release build does not say which name is undefined.
        environment.set_debug(true);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(STEPS));
        // As commands and environments spell it; minijinja's `True` is Python's.
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Bool => Ok(write!(out, "{}", value.is_true())?),
            _ => escape_formatter(out, state, value),
        });
        let launch = recipe.recipe.launch();
        let mut add = |name: String, path: &[&str], text: &'a str| {
            environment
                .add_template_owned(name, text.to_owned())
                .map_err(|e| TemplateError::of(path, &e, None))
        };
        if let Starts::Command(command) = launch.starts {
            add("command".to_owned(), &["server", "command"], &command.0)?;
        }
        for (name, value) in launch.env {
            let path = [launch.section, &["env", name]].concat();
            add(format!("env {name}"), &path, &value.0)?;
        }
        Ok(Self {
            environment,
            recipe,
            texts: RefCell::default(),
            counts: RefCell::default(),
        })
    }

    /// Expands everything for `point` on GPUs of kind `gpu`, its model in the pinned `revision`.
    pub fn expand(
        &self,
        point: &Point,
        gpu: &str,
        revision: Option<&str>,
    ) -> Result<Expanded, TemplateError> {
        let names = Names { point, gpu, revision };
        let launch = self.recipe.recipe.launch();
        let bench = &self.recipe.recipe.bench;
        let command = match launch.starts {
            Starts::Command(_) => {
                let path = ["server", "command"];
                remembered(&self.texts, "command", names, || {
                    let (text, read) = self.render("command", &path, names)?;
                    let command = one_line(&text).map_err(|message| TemplateError::new(&path, message))?;
                    Ok((command, read))
                })?
            }
            Starts::Script(script) | Starts::Combined(script) => script.to_owned(),
        };
        let mut env = BTreeMap::new();
        if launch.contract.is_none_or(|listed| !listed.is_empty()) {
            let mut contract = contract(point, gpu);
            contract.insert("MODEL_REVISION", revision.unwrap_or_default().to_owned());
            if let Starts::Combined(_) = launch.starts {
                contract.extend(client_contract(bench));
            }
            env = self.listed(launch, contract)?;
        }
        for name in launch.env.keys() {
            let path = [launch.section, &["env", name]].concat();
            let template = format!("env {name}");
            let value = remembered(&self.texts, &template, names, || {
                self.render(&template, &path, names)
            })?;
            env.insert(name.clone(), value);
        }
        let counted = |field: &str, text: &str| {
            remembered(&self.counts, field, names, || self.count(field, text, names))
        };
        Ok(Expanded {
            command,
            env,
            prompts: counted("prompts", &bench.prompts.0)?,
            warmup: counted("warmup", &bench.warmup.0)?,
        })
    }

    /// The contract's variables that the recipe lists, or all of them.
    fn listed(
        &self,
        launch: Launch<'_>,
        contract: BTreeMap<&'static str, String>,
    ) -> Result<BTreeMap<String, String>, TemplateError> {
        let Some(names) = launch.contract else {
            let all = contract.into_iter();
            return Ok(all.map(|(name, value)| (name.to_owned(), value)).collect());
        };
        let mut env = BTreeMap::new();
        for (i, name) in names.iter().enumerate() {
            let value = contract.get(name.as_str()).ok_or_else(|| TemplateError {
                unknown: Some(UnknownName {
                    name: name.clone(),
                    known: contract.keys().map(|name| (*name).to_owned()).collect(),
                }),
                ..TemplateError::new(
                    &[launch.section, &["contract", &i.to_string()]].concat(),
                    format!("there is no contract variable `{name}`"),
                )
            })?;
            env.insert(name.clone(), value.clone());
        }
        Ok(env)
    }

    /// A template's text, and what it read.
    fn render(
        &self,
        template: &str,
        path: &[&str],
        names: Names<'_>,
    ) -> Result<(String, Vec<Read>), TemplateError> {
        let failed = |error: &minijinja::Error| {
            let used = self.environment.get_template(template).ok();
            let used = used
                .into_iter()
                .flat_map(|template| template.undeclared_variables(false));
            TemplateError::of(path, error, unknown_name(error, used, names))
        };
        let watched = Watched::new(names);
        let text = self
            .environment
            .get_template(template)
            .and_then(|template| template.render(Value::from_dyn_object(watched.clone())))
            .map_err(|e| failed(&e))?;
        Ok((text, watched.read()))
    }

    /// An expression's number, and what it read.
    fn count(&self, field: &str, text: &str, names: Names<'_>) -> Result<(u32, Vec<Read>), TemplateError> {
        let path = ["bench", field];
        let expression = self
            .environment
            .compile_expression(text)
            .map_err(|e| TemplateError::of(&path, &e, None))?;
        let watched = Watched::new(names);
        let value = expression
            .eval(Value::from_dyn_object(watched.clone()))
            .map_err(|e| {
                TemplateError::of(
                    &path,
                    &e,
                    unknown_name(&e, expression.undeclared_variables(false), names),
                )
            })?;
        let number = f64::try_from(value.clone())
            .ok()
            .filter(|n| (0.0..=f64::from(u32::MAX)).contains(n));
        let Some(number) = number else {
            return Err(TemplateError::new(
                &path,
                format!("`{text}` gives `{value}`, which is no number of requests"),
            ));
        };
        Ok((number.ceil() as u32, watched.read()))
    }
}

/// What a template comes to, which is worked out only where it was not before.
fn remembered<T: Clone>(
    memories: &Memories<T>,
    template: &str,
    names: Names<'_>,
    work_out: impl FnOnce() -> Result<(T, Vec<Read>), TemplateError>,
) -> Result<T, TemplateError> {
    let known = memories
        .borrow()
        .get(template)
        .and_then(|memory| memory.find(names));
    if let Some(known) = known {
        return Ok(known);
    }
    let (came_to, read) = work_out()?;
    let mut memories = memories.borrow_mut();
    let memory = memories.entry(template.to_owned()).or_default();
    memory.keep(read, came_to.clone());
    Ok(came_to)
}

/// A command as one line with single blanks between its words, which stay as they are, quoted where they must be.
fn one_line(command: &str) -> Result<String, String> {
    let words = shell_words::split(command).map_err(|e| format!("{e} in the command"))?;
    if words.first().is_none_or(String::is_empty) {
        return Err("the command is empty".to_owned());
    }
    // The port's mark is no variable of a shell and needs no quotes.
    let quoted = words.iter().map(|word| match word.contains(PORT_MARK) {
        true => shell_words::quote(&word.replace(PORT_MARK, PORT_STAND_IN)).replace(PORT_STAND_IN, PORT_MARK),
        false => shell_words::quote(word).into_owned(),
    });
    Ok(quoted.collect::<Vec<_>>().join(" "))
}

/// Letters in the mark's place while words are quoted.
const PORT_STAND_IN: &str = "SWEEPPORTMARK";

/// The name that a template uses and that does not exist, when that is why it failed. Functions that a template calls
/// are among the names it uses.
fn unknown_name(
    error: &minijinja::Error,
    used: impl IntoIterator<Item = String>,
    names: Names<'_>,
) -> Option<UnknownName> {
    let reason = reason(error);
    let name = used
        .into_iter()
        .find(|name| reason.contains(&format!("`{name}` is undefined")))?;
    Some(UnknownName {
        name,
        known: names.known(),
    })
}

/// What InferenceX tells a script that also measures: how lengths are drawn, and that no accuracy is asked for.
fn client_contract(bench: &recipe::Bench) -> [(&'static str, String); 5] {
    [
        ("RANDOM_RANGE_RATIO", bench.range_ratio.to_string()),
        ("RUN_EVAL", "false".to_owned()),
        ("EVAL_ONLY", "false".to_owned()),
        ("IS_AGENTIC", "0".to_owned()),
        ("SCENARIO_SUBDIR", "fixed_seq_len/".to_owned()),
    ]
}

/// InferenceX's environment contract for a point: what its scripts read.
pub fn contract(point: &Point, gpu: &str) -> BTreeMap<&'static str, String> {
    let mut names = BTreeMap::from([
        ("MODEL", point.model.clone()),
        ("MODEL_PREFIX", point.model_prefix.clone()),
        ("IMAGE", point.image.clone()),
        ("FRAMEWORK", point.framework.clone()),
        ("PRECISION", point.precision.clone()),
        ("RUNNER_TYPE", point.runner.clone()),
        ("CONC", point.conc.to_string()),
        ("SPEC_DECODING", point.spec_decoding.name().to_owned()),
        ("GPU_COUNT", point.topology.gpus().to_string()),
        ("GPU_KIND", gpu.to_owned()),
        ("EXP_NAME", point.exp_name()),
    ]);
    match &point.scenario {
        Scenario::FixedSeqLen { isl, osl } => {
            names.extend([
                ("ISL", isl.to_string()),
                ("OSL", osl.to_string()),
                ("SCENARIO_TYPE", "fixed-seq-len".to_owned()),
            ]);
            names.extend(
                point
                    .max_model_len()
                    .map(|length| ("MAX_MODEL_LEN", length.to_string())),
            );
        }
        Scenario::AgenticCoding(agentic) => {
            names.extend([
                ("SCENARIO_TYPE", "agentic-coding".to_owned()),
                ("KV_OFFLOADING", agentic.kv_offloading.name().to_owned()),
                ("DURATION", agentic.duration.to_string()),
            ]);
            let backend = agentic.kv_offload_backend.as_ref();
            names.extend(backend.map(|backend| ("KV_OFFLOAD_BACKEND", backend.name.clone())));
            names.extend(
                agentic
                    .total_cpu_dram_gb
                    .map(|gb| ("TOTAL_CPU_DRAM_GB", gb.to_string())),
            );
        }
    }
    match &point.topology {
        Topology::Single(p) => names.extend([
            ("TP", p.tp.to_string()),
            ("PP_SIZE", p.pp.to_string()),
            ("DCP_SIZE", p.dcp_size.to_string()),
            ("PCP_SIZE", p.pcp_size.to_string()),
            ("EP_SIZE", p.ep.to_string()),
            ("DP_ATTENTION", p.dp_attn.to_string()),
            ("DISAGG", "false".to_owned()),
        ]),
        Topology::Multi {
            disagg,
            prefill,
            decode,
        } => names.extend([
            ("DISAGG", disagg.to_string()),
            ("IS_MULTINODE", "true".to_owned()),
            ("PREFILL_NUM_WORKERS", prefill.num_worker.to_string()),
            ("PREFILL_TP", prefill.tp.to_string()),
            ("PREFILL_PP_SIZE", prefill.pp.to_string()),
            ("PREFILL_DCP_SIZE", prefill.dcp_size.to_string()),
            ("PREFILL_PCP_SIZE", prefill.pcp_size.to_string()),
            ("PREFILL_EP", prefill.ep.to_string()),
            ("PREFILL_DP_ATTN", prefill.dp_attn.to_string()),
            ("DECODE_NUM_WORKERS", decode.num_worker.to_string()),
            ("DECODE_TP", decode.tp.to_string()),
            ("DECODE_PP_SIZE", decode.pp.to_string()),
            ("DECODE_DCP_SIZE", decode.dcp_size.to_string()),
            ("DECODE_PCP_SIZE", decode.pcp_size.to_string()),
            ("DECODE_EP", decode.ep.to_string()),
            ("DECODE_DP_ATTN", decode.dp_attn.to_string()),
        ]),
    }
    names
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::fixture::Fixture;
    use super::*;

    const RECIPE: &str = "recipes/engine/recipe.yaml";
    const COMMAND: &str = "serve {{ model }} --port {{ port }} --tp {{ tp }}";

    /// The first point's expansion with another text in the recipe.
    fn expanded(old: &str, new: &str) -> Result<Expanded, TemplateError> {
        let fixture = Fixture::edited(&[(RECIPE, old, new)]);
        let point = crate::matrix::expand(&fixture.project.configs, &fixture.project.runners)
            .points
            .remove(2);
        let recipe = fixture
            .project
            .recipes
            .iter()
            .find(|r| r.name == "engine")
            .unwrap();
        Templates::new(recipe)?.expand(&point, "h100", None)
    }

    fn command(template: &str) -> Result<String, TemplateError> {
        let folded = format!(">-\n    {template}");
        expanded(COMMAND, &folded).map(|expanded| expanded.command)
    }

    #[test]
    fn a_command_is_one_line_with_a_mark_for_the_port() {
        assert_eq!(
            command(
                "serve   {{ model }}\n    --port {{ port }} {% if tp > 8 %} --wide {% endif %} --tp={{ tp }}"
            )
            .unwrap(),
            "serve meta-llama/Llama-3.1-8B-Instruct --port $PORT '--tp=2'"
        );
    }

    #[test]
    fn every_name_of_a_point_is_known() {
        let names = "{{ config }} {{ model_prefix }} {{ image }} {{ precision }} {{ framework }} {{ runner }} {{ isl }} \
                     {{ osl }} {{ conc }} {{ max_model_len }} {{ spec_decoding }} {{ gpus }} {{ gpu }} {{ pp }} {{ ep }} \
                     {{ dcp_size }} {{ pcp_size }} {{ dp_attn }} {{ [conc, 64] | max }}";
        assert_eq!(
            command(names).unwrap(),
            "a-fp8 a acme/engine:1 fp8 engine h100 64 16 4 336 none 2 h100 1 1 1 1 false 64"
        );
    }

    #[test]
    fn the_contract_is_part_of_the_environment_and_only_what_is_asked_for() {
        let env = expanded(
            "  env: { LIMIT: '{{ 8 }}' }",
            "  env: { A: 'x{{ conc }}' }\n  contract: [TP, CONC]",
        );
        let env: Vec<(String, String)> = env.unwrap().env.into_iter().collect();
        let shown: Vec<String> = env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(shown, ["A=x4", "CONC=4", "TP=2"]);
    }

    #[test]
    fn counts_are_rounded_up() {
        let counts = |bench: &str| {
            let expanded = expanded("match:", &format!("bench: {{ {bench} }}\nmatch:")).unwrap();
            (expanded.prompts, expanded.warmup)
        };
        assert_eq!(counts("prompts: 10 * conc"), (40, 8));
        assert_eq!(counts("prompts: conc / 3, warmup: '0'"), (2, 0));
        assert_eq!(
            counts("prompts: '[conc, 100] | max', warmup: 64 if isl > 32 else 1"),
            (100, 64)
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let wrong = |template: &str| {
            let error = command(template).unwrap_err();
            assert_eq!(error.path, ["server", "command"]);
            (error.message, error.unknown.map(|unknown| unknown.name))
        };
        assert_eq!(
            wrong("serve {{ tpp }}"),
            ("there is no `tpp`".to_owned(), Some("tpp".to_owned()))
        );
        assert_eq!(
            wrong("serve {{ 3 * tpp }}"),
            ("there is no `tpp`".to_owned(), Some("tpp".to_owned()))
        );
        // A single node has no roles.
        let (message, _) = wrong("serve {{ prefill.tp }}");
        assert!(message.contains("prefill"), "{message}");
        assert_eq!(wrong("serve 'x").0, "missing closing quote in the command");
        assert_eq!(wrong("\"{{ '' }}\"").0, "the command is empty");
        assert_eq!(wrong("serve {{ model.x.y }}").1, None);
        // A name that is not reached is not missed.
        assert_eq!(
            command("serve {% if tp > 8 %}{{ tpp }}{% endif %}").unwrap(),
            "serve"
        );
    }

    /// What is remembered of one point serves another only where that one would come to the same.
    #[test]
    fn what_is_remembered_is_what_expanding_anew_gives() {
        for template in [
            "serve {{ model }} --tp {{ tp }}",
            "serve {{ conc }}",
            "serve {% if conc > 2 %}{{ config }}{% endif %}",
            "serve {% if false %}{% set conc = 1 %}{% endif %}{{ conc }}",
            "serve {% for conc in [1] %}{{ conc }}{% endfor %} {{ [conc, 2] | max }}",
            "serve {% if conc == 4 %}{{ none_of_these }}{% endif %}",
            "serve {{ precision if conc is divisibleby 2 else runner }}",
        ] {
            let fixture = Fixture::edited(&[
                (RECIPE, COMMAND, &format!(">-\n    {template}")),
                (RECIPE, "'{{ 8 }}'", "'{{ conc * 2 }} {{ model_prefix }}'"),
                (
                    RECIPE,
                    "match:",
                    "bench: { prompts: conc if conc > 1 else 7 * tp, warmup: '3' }\nmatch:",
                ),
            ]);
            let project = &fixture.project;
            let points = crate::matrix::expand(&project.configs, &project.runners).points;
            let recipe = project.recipes.iter().find(|r| r.name == "engine").unwrap();
            let shared = Templates::new(recipe).unwrap();
            let revisions = [None, Some("one"), Some("two")];
            for (n, point) in points.iter().chain(points.iter().rev()).enumerate() {
                let revision = revisions[n % 3];
                let anew = Templates::new(recipe).unwrap().expand(point, "h100", revision);
                let known = shared.expand(point, "h100", revision);
                assert_eq!(known.is_ok(), anew.is_ok(), "{template}");
                assert_eq!(known.ok(), anew.ok(), "{template}");
            }
        }
    }

    #[test]
    fn a_loop_without_end_is_stopped() {
        let error = command("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}");
        assert_eq!(
            error.unwrap_err().message,
            "it takes too many steps; does a loop end?"
        );
    }
}
