//! Recipes: how an engine is served and measured.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::changelog::ScenarioType;
use super::master::SpecDecoding;
use super::quantity::TimeSpan;
use super::typed::{Format, string_schema};

/// A recipe, `benchmarks/<name>/recipe.yaml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    #[serde(default)]
    pub description: String,
    /// Which points it is for. The recipe with the most fields that match wins; a tie is an error.
    #[serde(rename = "match")]
    pub matches: Match,
    /// How its server is started; a recipe has this, or `run`.
    #[serde(default)]
    pub server: Option<Server>,
    /// A combined script in the recipe's folder: it starts a server of its own, measures it and writes the result. The
    /// fields below are for it.
    #[serde(default)]
    pub run: Option<String>,
    /// How long the script may take, the start of its server included.
    #[serde(default)]
    pub within: Option<TimeSpan>,
    /// Variables of the script's environment; values are templates. Nothing is inherited.
    #[serde(default)]
    pub env: BTreeMap<String, Template>,
    /// InferenceX's variables (`MODEL`, `TP`, `CONC`, …) that the script reads; all of them without this.
    #[serde(default)]
    pub contract: Option<Vec<String>>,
    /// Files of the recipe's folder that the script reads; their bytes are part of the key.
    #[serde(default)]
    pub files: Vec<String>,
    /// A port that the script's server insists on; without it a free one is chosen.
    #[serde(default)]
    pub port: Option<u16>,
    /// How what the script leaves running is ended.
    #[serde(default)]
    pub stop: Option<Stop>,
    #[serde(default)]
    pub bench: Bench,
}

/// What a recipe starts, whichever way it is written.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    pub starts: Starts<'a>,
    /// Where in the recipe its fields stand.
    pub section: &'static [&'static str],
    pub env: &'a BTreeMap<String, Template>,
    /// The contract's variables that reach it; all where none are listed.
    pub contract: Option<&'a [String]>,
    pub files: &'a [String],
    pub port: Option<u16>,
    /// How long it may take to be ready, or a combined script to end.
    pub within: Duration,
    /// From TERM to KILL when it is ended.
    pub grace: Duration,
}

/// What is started.
#[derive(Debug, Clone, Copy)]
pub enum Starts<'a> {
    /// A server, by a command.
    Command(&'a Template),
    /// A server, by a script.
    Script(&'a str),
    /// A script that starts a server of its own and measures it.
    Combined(&'a str),
}

impl<'a> Starts<'a> {
    /// The script, if it is one.
    pub fn script(self) -> Option<&'a str> {
        match self {
            Self::Command(_) => None,
            Self::Script(script) | Self::Combined(script) => Some(script),
        }
    }
}

impl Recipe {
    /// What it starts. Whether it says so in exactly one way has been seen when its project was read.
    pub fn launch(&self) -> Launch<'_> {
        match &self.server {
            Some(server) => Launch {
                starts: match &server.command {
                    Some(command) => Starts::Command(command),
                    None => Starts::Script(server.run.as_deref().unwrap_or_default()),
                },
                section: &["server"],
                env: &server.env,
                contract: Some(&server.contract),
                files: &server.files,
                port: server.port,
                within: server.ready.within.0,
                grace: server.stop.grace.0,
            },
            None => Launch {
                starts: Starts::Combined(self.run.as_deref().unwrap_or_default()),
                section: &[],
                env: &self.env,
                contract: self.contract.as_deref(),
                files: &self.files,
                port: self.port,
                within: self.within.unwrap_or(TimeSpan(Duration::ZERO)).0,
                grace: self.stop.clone().unwrap_or_default().grace.0,
            },
        }
    }
}

/// Conditions on a point; all that are given must hold.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Match {
    pub framework: String,
    #[serde(default)]
    pub config: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub model_prefix: Option<String>,
    #[serde(default)]
    pub precision: Option<String>,
    #[serde(default)]
    pub runner: Option<String>,
    #[serde(default)]
    pub spec_decoding: Option<SpecDecoding>,
    #[serde(default)]
    pub multinode: Option<bool>,
    /// The scenarios that it is for; without it those of fixed lengths, as other templates have no `isl` and `osl`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub scenario_type: Option<Vec<ScenarioType>>,
}

/// How the engine is started, when it is ready, how it forgets, how it ends.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Server {
    /// The command, a template that is expanded for each point and split into words as a shell would.
    #[serde(default)]
    pub command: Option<Template>,
    /// A script in the recipe's folder, in the place of `command`. It gets `$PORT` and what `contract` lists.
    #[serde(default)]
    pub run: Option<String>,
    /// Variables of the server's environment; values are templates. Nothing is inherited.
    #[serde(default)]
    pub env: BTreeMap<String, Template>,
    /// InferenceX's variables (`MODEL`, `TP`, `CONC`, …) that the server reads. Only these reach it.
    #[serde(default)]
    pub contract: Vec<String>,
    /// Files of the recipe's folder that the command reads; their bytes are part of the key.
    #[serde(default)]
    pub files: Vec<String>,
    /// A port that the engine insists on; without it a free one is chosen.
    #[serde(default)]
    pub port: Option<u16>,
    pub ready: Ready,
    #[serde(default)]
    pub reset: Option<Reset>,
    #[serde(default)]
    pub stop: Stop,
}

/// When a server counts as ready: it answers 200 here.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// The path, as `/health`.
    pub http: String,
    /// How long starting may take.
    pub within: TimeSpan,
}

/// How a server forgets one point before the next: exactly one of these. Without any, each point has its own server.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// A call that empties the caches, as `POST /flush_cache`.
    #[serde(default)]
    pub http: Option<HttpCall>,
    /// Fields of every request that keep it out of the caches.
    #[serde(default)]
    pub body: Option<serde_json::Map<String, serde_json::Value>>,
    /// Why nothing is kept between points, as "prefix caching is off".
    #[serde(default)]
    pub unneeded: Option<String>,
}

/// How a server is stopped: TERM, then after the grace KILL.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    pub grace: TimeSpan,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            grace: TimeSpan(Duration::from_secs(20)),
        }
    }
}

/// What is sent and how it is judged.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Bench {
    pub client: Client,
    pub api: Api,
    /// Requests measured, an expression over the point.
    pub prompts: Expression,
    /// Requests sent before, not measured.
    pub warmup: Expression,
    /// Lengths are drawn from `[range-ratio * L, L]`.
    #[schemars(range(min = 0, max = 1))]
    pub range_ratio: f64,
    /// How prompts are written.
    pub prompt_form: PromptForm,
    /// Prompts are drawn from token ids of this range, both ends included.
    pub token_ids: (u32, u32),
    pub ignore_eos: bool,
    pub seed: u64,
    /// Fields added to every request's body.
    pub body: serde_json::Map<String, serde_json::Value>,
    pub request_timeout: TimeSpan,
    pub limits: Limits,
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            client: Client::Builtin,
            api: Api::Completions,
            prompts: Expression("10 * conc".to_owned()),
            warmup: Expression("2 * conc".to_owned()),
            range_ratio: 0.8,
            prompt_form: PromptForm::TokenIds,
            token_ids: (1_000, 30_000),
            ignore_eos: true,
            seed: 0,
            body: serde_json::Map::new(),
            request_timeout: TimeSpan(Duration::from_secs(1800)),
            limits: Limits::default(),
        }
    }
}

/// When a measurement does not count.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Share of requests that may fail.
    #[schemars(range(min = 0, max = 1))]
    pub failed_share: f64,
    /// 99th percentile of the client's own lateness.
    pub client_lag: TimeSpan,
    /// Share of its core that the client may use.
    #[schemars(range(min = 0, max = 1))]
    pub client_cpu: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failed_share: 0.05,
            client_lag: TimeSpan(Duration::from_millis(100)),
            client_cpu: 0.95,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Client {
    /// The load client of this program.
    Builtin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    Completions,
    Chat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PromptForm {
    TokenIds,
    Words,
}

/// A template over the point: `--tp {{ tp }}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Template(pub String);

/// An expression over the point: `10 * conc`.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Expression(pub String);

/// A method and a path: `POST /flush_cache`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct HttpCall(pub String);

impl HttpCall {
    /// The method and the path.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once(' ').unwrap_or(("GET", &self.0))
    }
}

/// `RESULT_FILENAME` of a combined script: it writes its result to `bench.json` in its working folder.
pub const RESULT_FILENAME: &str = "bench";

/// The file of that name.
pub const RESULT_FILE: &str = "bench.json";

pub const TEMPLATE: Format = Format {
    name: "template",
    check: check_template,
};
pub const EXPRESSION: Format = Format {
    name: "expression",
    check: check_expression,
};
pub const HTTP_CALL: Format = Format {
    name: "HTTP call",
    check: check_http_call,
};

fn check_template(text: &str) -> Result<(), String> {
    let mut environment = minijinja::Environment::new();
    environment.set_debug(true);
    environment
        .add_template("command", text)
        .map_err(|e| template_reason(&e))
}

fn check_expression(text: &str) -> Result<(), String> {
    minijinja::Environment::new()
        .compile_expression(text)
        .map(drop)
        .map_err(|e| template_reason(&e))
}

/// What is wrong with a template; the file and line that minijinja would add are the template's own, not the recipe's.
pub fn template_reason(error: &minijinja::Error) -> String {
    match error.detail() {
        _ if error.kind() == minijinja::ErrorKind::OutOfFuel => {
            "it takes too many steps; does a loop end?".to_owned()
        }
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn check_http_call(text: &str) -> Result<(), String> {
    match text.split_once(' ') {
        Some(("GET" | "POST", path)) if path.starts_with('/') && !path.contains(char::is_whitespace) => {
            Ok(())
        }
        _ => Err("expected a method and a path, as `POST /flush_cache`".to_owned()),
    }
}

impl JsonSchema for Template {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        string_schema(&TEMPLATE, "--tp {{ tp }}")
    }
}

impl JsonSchema for Expression {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Expression".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        string_schema(&EXPRESSION, "10 * conc")
    }
}

impl JsonSchema for HttpCall {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HttpCall".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        string_schema(&HTTP_CALL, "POST /flush_cache")
    }
}
