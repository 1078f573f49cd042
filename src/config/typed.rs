//! From a YAML tree to a type, by the JSON Schema that is generated from the same type.
//!
//! One declaration serves three ends: `sweep schema` prints the schema, editors complete from it, and this module
//! checks a file against it, finding every violation in one go, each with its place.

use std::marker::PhantomData;

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::lax;
use super::source::Span;
use super::yaml::{Document, Node, Value};

/// Reads `node` as a `T`; what is wrong goes to `diagnostics`, all of it, and then there is no `T`. Messages call the
/// value `name`: its key, or the file where it is a whole one.
pub fn read<T: JsonSchema + DeserializeOwned>(
    document: &Document,
    node: &Node,
    name: &str,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    Reader::new().read(document, node, name, diagnostics)
}

/// Reads many values of one type: its schema is made once.
pub struct Reader<T> {
    schema: Schema,
    of: PhantomData<T>,
}

impl<T: JsonSchema + DeserializeOwned> Reader<T> {
    pub fn new() -> Self {
        Self {
            schema: schemars::schema_for!(T),
            of: PhantomData,
        }
    }

    /// Reads one value, as [`read`] does.
    pub fn read(
        &self,
        document: &Document,
        node: &Node,
        name: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        let schema = self.schema.as_value();
        let mut checker = Checker {
            document,
            root: schema,
            diagnostics,
            wrong: false,
        };
        let checked = checker.check(schema, node, name);
        if checker.wrong {
            return None;
        }
        match serde_json::from_value(checked) {
            Ok(value) => Some(value),
            Err(error) => {
                diagnostics.push(document.error(error.to_string(), node.span, "in here"));
                None
            }
        }
    }
}

impl<T: JsonSchema + DeserializeOwned> Default for Reader<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A string format that a schema names and this module checks: what it is called, and what is wrong with a text.
pub struct Format {
    pub name: &'static str,
    pub check: fn(&str) -> Result<(), String>,
}

/// A schema for a string of a named format.
pub fn string_schema(format: &Format, example: &str) -> Schema {
    schemars::json_schema!({ "type": "string", "format": format.name, "examples": [example] })
}

const FORMATS: &[&Format] = &[
    &super::quantity::DURATION,
    &super::quantity::SIZE,
    &super::recipe::EXPRESSION,
    &super::recipe::TEMPLATE,
    &super::recipe::HTTP_CALL,
    &super::remote::REMOTE_URL,
];

struct Checker<'a> {
    document: &'a Document,
    root: &'a Json,
    diagnostics: &'a mut Diagnostics,
    wrong: bool,
}

impl<'a> Checker<'a> {
    fn error(&mut self, message: String, span: Span, label: String) {
        self.push(self.document.error(message, span, label));
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        self.wrong = true;
        self.diagnostics.push(diagnostic);
    }

    fn resolve(&self, schema: &'a Json) -> &'a Json {
        match schema
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|r| r.strip_prefix('#'))
        {
            Some(pointer) => self.root.pointer(pointer).map_or(schema, |s| self.resolve(s)),
            None => schema,
        }
    }

    /// The value as the type's deserializer takes it. `name` is how it is called in messages: its key, or empty for a
    /// whole file.
    fn check(&mut self, schema: &'a Json, node: &Node, name: &str) -> Json {
        let lax = lax::is_lax(schema);
        let schema = self.resolve(schema);
        if let Some(branches) = schema
            .get("anyOf")
            .or_else(|| schema.get("oneOf"))
            .and_then(Json::as_array)
        {
            return self.check_branches(branches, node, name);
        }
        if let Some(choices) = choices(schema) {
            self.check_choice(&choices, node, name);
            return node.to_json();
        }
        let coerced = if lax {
            lax::coerce(&expected_types(schema), node)
        } else {
            None
        };
        let node = coerced.as_ref().unwrap_or(node);
        if !self.check_type(schema, node, name) {
            return Json::Null;
        }
        match &node.value {
            Value::Map(_) => return self.check_mapping(schema, node, name),
            Value::Seq(items) => return self.check_list(schema, items, node, name, lax),
            Value::Str(text) => self.check_text(schema, text, node, name),
            Value::Int(_) | Value::Float(_) => self.check_number(schema, node, name),
            Value::Null | Value::Bool(_) => {}
        }
        node.to_json()
    }

    fn check_list(&mut self, schema: &'a Json, items: &[Node], node: &Node, name: &str, lax: bool) -> Json {
        self.check_count(schema, items.len(), node, name);
        let places = schema.get("prefixItems").and_then(Json::as_array);
        let checked = items.iter().enumerate().map(|(i, item)| {
            let Some(of) = places.and_then(|places| places.get(i)).or(schema.get("items")) else {
                return item.to_json();
            };
            // What the list is lax about are its items.
            let coerced = if lax {
                lax::coerce(&expected_types(self.resolve(of)), item)
            } else {
                None
            };
            self.check(of, coerced.as_ref().unwrap_or(item), name)
        });
        checked.collect()
    }

    fn check_count(&mut self, schema: &Json, count: usize, node: &Node, name: &str) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64).map(|n| n as usize);
        let (least, most) = (bound("minItems"), bound("maxItems"));
        let expected = match (least, most) {
            (Some(1), None) if count == 0 => "at least one entry".to_owned(),
            (Some(least), Some(most)) if least == most && count != least => format!("{least} entries"),
            (Some(least), _) if count < least => format!("at least {least} entries"),
            (_, Some(most)) if count > most => format!("at most {most} entries"),
            _ => return,
        };
        let message = match count {
            0 => format!("`{name}` is empty"),
            1 => format!("`{name}` has 1 entry"),
            count => format!("`{name}` has {count} entries"),
        };
        self.error(message, node.span, format!("expected {expected}"));
    }

    fn check_branches(&mut self, branches: &'a [Json], node: &Node, name: &str) -> Json {
        let branches: Vec<_> = branches.iter().map(|b| self.resolve(b)).collect();
        let choices: Option<Vec<_>> = branches.iter().map(|b| choices(b)).collect();
        if let Some(choices) = choices {
            self.check_choice(&choices.concat(), node, name);
            return node.to_json();
        }
        let fits = |b: &&&Json| expected_types(b).iter().any(|t| is_a(node, t));
        // A branch without a type lists its values; the message about it names them.
        let lists = |b: &&&Json| expected_types(b).is_empty();
        match branches.iter().find(fits).or_else(|| branches.iter().find(lists)) {
            Some(branch) => self.check(branch, node, name),
            None => {
                let expected: Vec<_> = branches.iter().flat_map(|b| expected_types(b)).collect();
                self.wrong_type(&expected, node, name, None);
                Json::Null
            }
        }
    }

    fn check_choice(&mut self, allowed: &[&Json], node: &Node, name: &str) {
        let given = node.to_json();
        if allowed.contains(&&given) {
            return;
        }
        let names: Vec<String> = allowed
            .iter()
            .map(|a| a.as_str().map_or_else(|| a.to_string(), str::to_owned))
            .collect();
        let message = format!("`{name}` cannot be {}", node.describe());
        let expected = names
            .iter()
            .map(|n| format!("`{n}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let near = node
            .as_str()
            .and_then(|s| super::nearest::nearest(s, names.iter().map(String::as_str)));
        let help = near.map(|near| format!("did you mean `{near}`?"));
        let label = if names.len() == 1 {
            format!("expected {expected}")
        } else {
            format!("expected one of {expected}")
        };
        let mut diagnostic = self.document.error(message, node.span, label);
        diagnostic.help.extend(help);
        self.push(diagnostic);
    }

    fn check_type(&mut self, schema: &Json, node: &Node, name: &str) -> bool {
        let expected = expected_types(schema);
        if expected.is_empty() || expected.iter().any(|t| is_a(node, t)) {
            return true;
        }
        // A number where a duration belongs lacks its unit, not its quotes.
        let written = self.document.source.slice(node.span).trim_end();
        if is_number(node)
            && let Some(format) = format_of(schema)
            && let Err(wrong) = (format.check)(written)
        {
            self.error(
                format!("`{name}` is not a valid {}", format.name),
                node.span,
                wrong,
            );
            return false;
        }
        let hint = schema.get("x-hint").and_then(Json::as_str);
        self.wrong_type(&expected, node, name, hint);
        false
    }

    fn wrong_type(&mut self, expected: &[&str], node: &Node, name: &str, hint: Option<&str>) {
        let words: Vec<_> = expected
            .iter()
            .filter(|t| **t != "null")
            .map(|t| in_words(t))
            .collect();
        let label = format!("expected {}", words.join(" or "));
        let message = match node.value {
            Value::Null => format!("`{name}` is empty"),
            _ => format!("`{name}` cannot be {}", node.describe()),
        };
        let scalar = is_number(node) || matches!(node.value, Value::Bool(_));
        let written = self.document.source.slice(node.span).trim_end();
        let help = (scalar && expected.contains(&"string") && !written.is_empty())
            .then(|| format!("in quotes it is a string: \"{written}\""));
        let mut diagnostic = self.document.error(message, node.span, label);
        diagnostic
            .help
            .extend(help.into_iter().chain(hint.map(str::to_owned)));
        self.push(diagnostic);
    }

    fn check_mapping(&mut self, schema: &'a Json, node: &Node, name: &str) -> Json {
        let mut checked = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties");
        for (key, value) in node.entries() {
            match (properties.and_then(|p| p.get(&key.name)), others) {
                (Some(property), _) => {
                    let value = self.check(property, value, &key.name);
                    checked.insert(key.name.clone(), value);
                }
                (None, Some(Json::Bool(false))) => {
                    let diagnostic = self.document.error(
                        format!("unknown field `{}` in `{name}`", key.name),
                        key.span,
                        "not a field here",
                    );
                    let elsewhere = schema.get("x-elsewhere").and_then(|e| e.get(&key.name)?.as_str());
                    let diagnostic = match elsewhere {
                        Some(hint) => diagnostic.help(hint),
                        None => diagnostic.nearest(
                            &key.name,
                            properties.into_iter().flat_map(|p| p.keys()).map(String::as_str),
                        ),
                    };
                    self.push(diagnostic);
                }
                (None, Some(other)) => {
                    let value = self.check(other, value, &key.name);
                    checked.insert(key.name.clone(), value);
                }
                (None, None) => {
                    checked.insert(key.name.clone(), value.to_json());
                }
            }
        }
        let required = schema.get("required").and_then(Json::as_array);
        for field in required.into_iter().flatten().filter_map(Json::as_str) {
            if node.get(field).is_none() {
                self.error(
                    format!("`{name}` has no `{field}`"),
                    node.span,
                    format!("expected a field `{field}`"),
                );
            }
        }
        Json::Object(checked)
    }

    fn check_text(&mut self, schema: &Json, text: &str, node: &Node, name: &str) {
        if text.is_empty() && schema.get("minLength").is_some() {
            self.error(
                format!("`{name}` is empty"),
                node.span,
                "expected a text".to_owned(),
            );
        }
        // It ends a text for the operating system: no path, no variable and no argument may hold it.
        if text.contains('\0') {
            let message = format!("`{name}` holds a NUL character");
            self.error(message, node.span, "expected a text without it".to_owned());
        }
        if let Some(format) = format_of(schema)
            && let Err(wrong) = (format.check)(text)
        {
            self.error(
                format!("`{name}` is not a valid {}", format.name),
                node.span,
                wrong,
            );
        }
    }

    fn check_number(&mut self, schema: &Json, node: &Node, name: &str) {
        let value = match node.value {
            Value::Int(i) => i as f64,
            Value::Float(x) => x,
            _ => return,
        };
        let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
        // Rust's integers are narrower than JSON's; the schema says how wide they are by a format.
        let (least, most) = match schema.get("format").and_then(Json::as_str) {
            Some("uint32") => (Some(0.0), Some(f64::from(u32::MAX))),
            Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
            _ => (None, None),
        };
        let (least, most) = (bound("minimum").or(least), bound("maximum").or(most));
        let expected = match (least, most) {
            _ if bound("exclusiveMinimum").is_some_and(|least| value <= least) => {
                format!(
                    "expected more than {}",
                    bound("exclusiveMinimum").unwrap_or_default()
                )
            }
            (Some(least), _) if value < least => format!("expected at least {least}"),
            (_, Some(most)) if value > most => format!("expected at most {most}"),
            _ => return,
        };
        self.error(format!("`{name}` is out of range: {value}"), node.span, expected);
    }
}

/// The values that a branch allows, where it lists them: documented variants stand alone, undocumented ones together.
fn choices(branch: &Json) -> Option<Vec<&Json>> {
    match branch.get("const") {
        Some(constant) => Some(vec![constant]),
        None => Some(branch.get("enum")?.as_array()?.iter().collect()),
    }
}

fn format_of(schema: &Json) -> Option<&'static Format> {
    let name = schema.get("format").and_then(Json::as_str)?;
    FORMATS.iter().copied().find(|format| format.name == name)
}

fn is_number(node: &Node) -> bool {
    matches!(node.value, Value::Int(_) | Value::Float(_))
}

fn expected_types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_a(node: &Node, kind: &str) -> bool {
    matches!(
        (&node.value, kind),
        (Value::Null, "null")
            | (Value::Bool(_), "boolean")
            | (Value::Int(_), "integer" | "number")
            | (Value::Float(_), "number")
            | (Value::Str(_), "string")
            | (Value::Seq(_), "array")
            | (Value::Map(_), "object")
    )
}

fn in_words(kind: &str) -> &str {
    match kind {
        "boolean" => "true or false",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "array" => "a list",
        "object" => "a mapping",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::super::source::Source;
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Sample {
        image_name: String,
        #[serde(default)]
        kind: Option<Kind>,
        #[schemars(range(min = 1))]
        tp: u32,
        #[serde(default)]
        pools: BTreeMap<String, Pool>,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Process,
        /// Documented, as some variants are.
        Docker,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Pool {
        serves: Vec<String>,
    }

    fn read_sample(text: &str) -> (Option<Sample>, String) {
        let source = Arc::new(Source {
            path: "s.yaml".into(),
            text: text.to_owned(),
        });
        let mut diagnostics = Diagnostics::default();
        let document = Document::parse(&source, &mut diagnostics).unwrap();
        let sample = read(&document, &document.root, "s.yaml", &mut diagnostics);
        (sample, diagnostics.to_string())
    }

    #[test]
    fn a_right_file_gives_its_type() {
        let (sample, shown) =
            read_sample("image-name: x\nkind: docker\ntp: 8\npools: {a: {serves: [h200]}}\n");
        assert_eq!(shown, "");
        let sample = sample.unwrap();
        assert_eq!((sample.kind, sample.tp), (Some(Kind::Docker), 8));
    }

    #[test]
    fn every_violation_is_found_in_one_go_with_its_place() {
        let (sample, shown) =
            read_sample("image_name: x\nkind: dockr\ntp: 0\npools:\n  a: {serves: h200}\n  b: {}\n");
        assert!(sample.is_none());
        for expected in [
            "s.yaml:1:1",
            "did you mean `image-name`?",
            "s.yaml:2:7",
            "did you mean `docker`?",
            "s.yaml:3:5",
            "expected at least 1",
            "s.yaml:5:15",
            "expected a list",
            "`b` has no `serves`",
            "`s.yaml` has no `image-name`",
        ] {
            assert!(shown.contains(expected), "{expected} is missing from\n{shown}");
        }
    }

    #[test]
    fn empty_values_choices_and_optional_fields() {
        let (sample, shown) = read_sample("image-name: x\ntp: 1\nkind:\n");
        assert_eq!((sample.unwrap().kind, shown.as_str()), (None, ""));
        let (_, shown) = read_sample("image-name:\ntp: 1\nkind: 3\n");
        assert!(shown.contains("`image-name` is empty"), "{shown}");
        assert!(shown.contains("`kind` cannot be the integer 3"), "{shown}");
        assert!(shown.contains("expected one of `process`, `docker`"), "{shown}");
    }

    /// Values to put in the place of others.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            prop_oneof![
                Just(0),
                Just(1),
                Just(-1),
                Just(i64::MAX),
                Just(1 << 32),
                any::<i64>()
            ]
            .prop_map(Value::Int),
            prop_oneof![Just(0.5), Just(1.0), Just(-0.0), Just(1e300)].prop_map(Value::Float),
            prop_oneof![Just(""), Just("mtp"), Just("1m"), Just("{{ tp }}"), Just("x y")]
                .prop_map(|text| Value::Str(text.to_owned())),
            prop::collection::vec(any::<u32>().prop_map(|i| Value::Int(i.into())), 0..4)
                .prop_map(|items| Value::Seq(items.into_iter().map(node).collect())),
            Just(Value::Map(Vec::new())),
        ]
    }

    fn node(value: Value) -> Node {
        Node {
            value,
            span: Span::default(),
        }
    }

    fn count(node: &Node) -> usize {
        let entries = node.entries().iter().map(|(_, value)| value);
        1 + node.items().iter().chain(entries).map(count).sum::<usize>()
    }

    /// Replaces the `at`th node in preorder.
    fn replace(node: &mut Node, at: &mut usize, new: &Value) {
        if *at == 0 {
            node.value = new.clone();
        }
        *at = at.wrapping_sub(1);
        match &mut node.value {
            Value::Seq(items) => items.iter_mut().for_each(|item| replace(item, at, new)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| replace(value, at, new)),
            _ => {}
        }
    }

    const RECIPE: &str = "\
description: x
match: { framework: f, config: c, spec-decoding: mtp, multinode: false }
server:
  command: serve {{ tp }}
  env: { A: b }
  contract: [TP]
  files: [a]
  port: 8000
  ready: { http: /health, within: 1m }
  reset: { http: POST /x, body: { a: 1 }, unneeded: y }
  stop: { grace: 1s }
bench:
  client: builtin
  api: chat
  prompts: 10 * conc
  warmup: '0'
  range-ratio: 0.8
  prompt-form: words
  token-ids: [1, 2]
  ignore-eos: true
  seed: 1
  body: { x: [1, { y: z }] }
  request-timeout: 1m
  limits: { failed-share: 0.1, client-lag: 1s, client-cpu: 1 }
";

    const SWEEPFILE: &str = "\
version: 1
configs: [a]
runners: b
changelog: c
cache: { dir: d, max-size: 1GiB, remote: { url: s3://b/f, read-only: true, timeout: 5s, concurrency: 4 }, sign-with: K }
secrets: [S]
defaults: { profile: p, retries: 2 }
profiles:
  p:
    description: x
    pools:
      q: { executor: process, launcher: l, serves: [h], nodes: 1, gpus: 8, gpu: h, share: gpu, facts: { a: b }, simulate: { time-scale: 2.5 } }
sweeps: { s: { description: x, select: [a], include: [t] } }
priorities: { a: 1 }
";

    const MULTI: &str = "\
image: i
model: m
model-prefix: p
runner: r
precision: fp8
framework: f
multinode: true
disagg: true
router: { name: r, version: v }
kv-p2p-transfer: nixl
scenarios:
  fixed-seq-len:
    - isl: 1
      osl: 1
      search-space:
        - spec-decoding: mtp
          prefill: { num-worker: 1, tp: 1, pp: 1, dcp-size: 1, pcp-size: 1, ep: 1, dp-attn: true, hardware: h, additional-settings: [A=1] }
          decode: { num-worker: 1, tp: 1, ep: 1, dp-attn: true }
          router: { name: r, version: v }
          conc-start: 1
          conc-end: 1
          conc-list: [1]
";

    /// Whether the file is read, or all that is wrong with it is told by the schema and none of it by serde.
    fn is_judged_by_the_schema<T: JsonSchema + DeserializeOwned>(text: &str, at: usize, new: &Value) -> bool {
        let source = Arc::new(Source {
            path: "x.yaml".into(),
            text: text.to_owned(),
        });
        let mut diagnostics = Diagnostics::default();
        let mut document = Document::parse(&source, &mut diagnostics).unwrap();
        let mut at = at % count(&document.root);
        replace(&mut document.root, &mut at, new);
        let value: Option<T> = read(&document, &document.root, "x.yaml", &mut diagnostics);
        let by_serde = |d: &Diagnostic| d.places.iter().any(|place| place.label == "in here");
        value.is_some() != diagnostics.has_errors() && !diagnostics.0.iter().any(by_serde)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_the_schema_accepts_the_type_accepts(at in 0usize..200, new in value()) {
            use super::super::{master::MultiNode, recipe::Recipe, sweepfile::Sweepfile};
            prop_assert!(is_judged_by_the_schema::<Recipe>(RECIPE, at, &new));
            prop_assert!(is_judged_by_the_schema::<Sweepfile>(SWEEPFILE, at, &new));
            prop_assert!(is_judged_by_the_schema::<MultiNode>(MULTI, at, &new));
        }
    }
}
