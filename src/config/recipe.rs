//! Recipes: how an engine is served and measured.

use std::collections::BTreeMap;

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
    pub server: Server,
    #[serde(default)]
    pub bench: Bench,
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
            grace: TimeSpan(std::time::Duration::from_secs(20)),
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
            request_timeout: TimeSpan(std::time::Duration::from_secs(1800)),
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
            client_lag: TimeSpan(std::time::Duration::from_millis(100)),
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
