//! YAML as a tree that knows where everything stands.
//!
//! serde-saphyr parses; this keeps its values with their spans, so that every later message can show the line.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::source::{Source, Span};

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: Value,
    pub span: Span,
}

/// What YAML can say. A mapping keeps its order; of a key that stands twice it keeps the last.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Seq(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A mapping's key and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub name: String,
    pub span: Span,
    /// Where the same key stood before in this mapping: YAML forbids it, the last one counts.
    pub repeats: Option<Span>,
}

/// A parsed file.
#[derive(Debug, Clone)]
pub struct Document {
    pub source: Arc<Source>,
    pub root: Node,
}

impl Document {
    /// Parses a file's text; duplicate keys become warnings that name both lines.
    pub fn parse(source: &Arc<Source>, notes: &mut Diagnostics) -> Result<Self, Diagnostic> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
            with_snippet: false,
            budget: serde_saphyr::budget! { max_nodes: most_nodes(source), max_events: 4 * most_nodes(source) },
        };
        let root: Node = serde_saphyr::from_str_with_options(&source.text, options)
            .map_err(|error| syntax_error(source, &error))?;
        let document = Self {
            source: source.clone(),
            root,
        };
        document.root.warn_of_duplicates(source, notes);
        Ok(document)
    }

    /// A message about `span` in this file.
    pub fn error(&self, message: impl Into<String>, span: Span, label: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at(&self.source, span, label)
    }
}

/// Values that a file may hold, aliases counted as what they stand for: 250,000, or one for each eight bytes of a file
/// that is larger than any we know.
fn most_nodes(source: &Source) -> usize {
    serde_saphyr::Budget::default()
        .max_nodes
        .max(source.text.len() / 8)
}

/// What the parser says, in words for who wrote the file. Its own texts speak of its API and of where its scanner was.
fn syntax_error(source: &Arc<Source>, error: &serde_saphyr::Error) -> Diagnostic {
    let error = error.without_snippet();
    let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
    let span = Span::at(&source.text, location.line() as u32, location.column() as u32);
    let wrong = Diagnostic::error(format!("could not parse `{}` as YAML", source.path.display()));
    if let Some(tab) = indenting_tab(&source.text, span, error) {
        return wrong
            .at(source, tab, "a tab in the indentation")
            .help("YAML indents with spaces; replace the tab");
    }
    if let Some(template) = unquoted_template(&source.text, span) {
        return wrong
            .at(source, template, "YAML reads these braces as a mapping")
            .help("put the template in quotes: '{{ … }}'");
    }
    let (label, help) = explained(source, error);
    let wrong = wrong.at(source, span, label);
    match help {
        Some(help) => wrong.help(help),
        None => wrong,
    }
}

/// What is wrong, and what to do where that is not plain.
fn explained(source: &Source, error: &serde_saphyr::Error) -> (String, Option<String>) {
    use serde_saphyr::Error;
    use serde_saphyr::budget::BudgetBreach;
    let limits = serde_saphyr::Budget::default();
    match error {
        Error::MultipleDocuments { .. } => (
            "a second document starts here".to_owned(),
            Some("a file holds one document; remove the `---`, or make it a file of its own".to_owned()),
        ),
        Error::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => (
            format!("nested more than {} deep", limits.max_depth),
            Some(CLOSE_BRACKETS.to_owned()),
        ),
        Error::Budget {
            breach: BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. },
            ..
        } => (
            format!(
                "the file holds more than {} values up to here, aliases counted as what they stand for",
                most_nodes(source)
            ),
            Some(
                "split the file, or write its anchors and aliases out if it is they that multiply".to_owned(),
            ),
        ),
        Error::NonFiniteFloat { .. } => ("expected a finite number".to_owned(), None),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => alias_bomb(),
        _ => {
            let text = error.render();
            let first = text.lines().next().unwrap_or_default();
            // The parser repeats its location in the text; the snippet says it better.
            let first = first.split(" at line ").next().unwrap_or(first);
            let first = first.trim_end_matches([',', ':', ' ']);
            if first.contains("recursion limit") {
                return ("nested too deep".to_owned(), Some(CLOSE_BRACKETS.to_owned()));
            }
            if first.contains("budget") {
                return alias_bomb();
            }
            (first.to_owned(), None)
        }
    }
}

fn alias_bomb() -> (String, Option<String>) {
    (
        "the file's anchors and aliases expand to more than any sweep needs".to_owned(),
        Some("write its anchors and aliases out".to_owned()),
    )
}

const CLOSE_BRACKETS: &str = "nothing that sweep reads is nested so deeply; is a bracket left open?";

/// A template without quotes at the place where the parser stopped, or around it.
fn unquoted_template(text: &str, span: Span) -> Option<Span> {
    let is_one = |at: usize| {
        text.get(at..)
            .is_some_and(|t| t.starts_with("{{") || t.starts_with("{%"))
    };
    let start = span.range().start;
    let back = [0, 1]
        .into_iter()
        .find(|back| start.checked_sub(*back).is_some_and(is_one))?;
    Some(Span::at(text, span.line, span.column.checked_sub(back as u32)?))
}

/// The tab that makes a text no YAML: on the line where the parser stopped or, where it speaks of a tab, after it.
fn indenting_tab(text: &str, span: Span, error: &serde_saphyr::Error) -> Option<Span> {
    let of_tabs = error.render().contains("tab");
    let lines = text.lines().enumerate().skip(span.line as usize - 1);
    let mut looked_at = lines.take(if of_tabs { usize::MAX } else { 1 });
    looked_at.find_map(|(i, line)| {
        let tab = line
            .find(|c: char| c != ' ')
            .filter(|at| line[*at..].starts_with('\t'))?;
        Some(Span::at(text, i as u32 + 1, tab as u32 + 1))
    })
}

fn span_of(location: serde_saphyr::Location) -> Span {
    let start = location.span().byte_offset().unwrap_or_default() as usize;
    let length = location.span().byte_len().unwrap_or_default() as usize;
    Span::new(
        location.line() as u32,
        location.column() as u32,
        &(start..start + length),
    )
}

impl Node {
    /// The value under `key` of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().rev().find(|(k, _)| k.name == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The value under a path of keys and list indices; the deepest that exists, so that a message has a place.
    pub fn nearest_at(&self, path: &[&str]) -> &Self {
        let Some((first, rest)) = path.split_first() else {
            return self;
        };
        let child = match &self.value {
            Value::Map(_) => self.get(first),
            Value::Seq(items) => first.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => None,
        };
        child.map_or(self, |child| child.nearest_at(rest))
    }

    /// The entries of a mapping, in order, each name once.
    pub fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value under `key` of a mapping, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.value {
            Value::Map(entries) => entries.iter_mut().find(|(k, _)| k.name == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The value under a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The value under a path of keys, to be changed.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Self> {
        path.iter().try_fold(self, |node, key| node.get_mut(key))
    }

    /// The items of a list, to be changed.
    pub fn items_mut(&mut self) -> &mut [Self] {
        match &mut self.value {
            Value::Seq(items) => items,
            _ => &mut [],
        }
    }

    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::Seq(items) => items,
            _ => &[],
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// What the value is, in words for a message.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(b) => format!("the boolean {b}"),
            Value::Int(i) => format!("the integer {i}"),
            Value::Float(x) => format!("the number {x:?}"),
            Value::Str(s) if s.chars().count() <= 40 => format!("the string {s:?}"),
            Value::Str(_) => "a string".to_owned(),
            Value::Seq(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The same value without places.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(i) => (*i).into(),
            Value::Float(x) => (*x).into(),
            Value::Str(s) => s.as_str().into(),
            Value::Seq(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|(k, v)| (k.name.clone(), v.to_json()))
                .collect(),
        }
    }

    fn warn_of_duplicates(&self, source: &Arc<Source>, notes: &mut Diagnostics) {
        for item in self.items() {
            item.warn_of_duplicates(source, notes);
        }
        for (key, value) in self.entries() {
            if let Some(first) = key.repeats {
                notes.push(
                    Diagnostic::warning(format!("`{}` stands twice in one mapping", key.name))
                        .at(source, key.span, format!("line {} counts", key.span.line))
                        .at(source, first, format!("line {} is ignored", first.line))
                        .help("remove one of the two"),
                );
            }
            value.warn_of_duplicates(source, notes);
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            // Of an alias the place of what it stands for: there the value is written.
            span: span_of(spanned.defined),
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Keys up to which a mapping is searched.
const SEARCHED: usize = 16;

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value)
            .map(Value::Int)
            .map_err(|_| E::custom(format!("the integer {value} is too large")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        // Most mappings are small and are searched; a hostile one would make that quadratic.
        let mut index = HashMap::<String, usize>::new();
        while let Some(name) = map.next_key::<Spanned<Value>>()? {
            let span = span_of(name.referenced);
            let name = match name.value {
                Value::Str(name) => name,
                Value::Int(name) => name.to_string(),
                Value::Bool(name) => name.to_string(),
                Value::Float(name) => name.to_string(),
                Value::Null => "null".to_owned(),
                Value::Seq(_) | Value::Map(_) => {
                    return Err(A::Error::custom("a mapping's key must be a name"));
                }
            };
            let value: Node = map.next_value()?;
            if entries.len() == SEARCHED {
                index.extend(
                    entries
                        .iter()
                        .enumerate()
                        .map(|(at, (key, _))| (key.name.clone(), at)),
                );
            }
            let earlier = match entries.len() {
                0..SEARCHED => entries.iter().position(|(key, _)| key.name == name),
                _ => index.get(&name).copied(),
            };
            match earlier {
                Some(at) => {
                    let repeats = Some(entries[at].0.span);
                    entries[at] = (Key { name, span, repeats }, value);
                }
                None => {
                    if entries.len() >= SEARCHED {
                        index.insert(name.clone(), entries.len());
                    }
                    entries.push((
                        Key {
                            name,
                            span,
                            repeats: None,
                        },
                        value,
                    ));
                }
            }
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parse(text: &str) -> (Result<Document, Diagnostic>, Diagnostics) {
        let source = Arc::new(Source {
            path: "x.yaml".into(),
            text: text.to_owned(),
        });
        let mut notes = Diagnostics::default();
        (Document::parse(&source, &mut notes), notes)
    }

    #[test]
    fn values_keep_their_places_and_their_text() {
        let (document, notes) = parse("a: 1\nb:\n  - x: 2_063_837\n  - {y: yes, z: 'no'}\nc: true\n");
        let document = document.unwrap();
        assert!(notes.0.is_empty());
        let x = document.root.nearest_at(&["b", "0", "x"]);
        assert_eq!(
            (x.span.line, x.span.column, &x.value),
            (3, 8, &Value::Int(2_063_837))
        );
        assert_eq!(document.source.slice(x.span), "2_063_837");
        assert_eq!(document.root.get("c").unwrap().value, Value::Bool(true));
    }

    #[test]
    fn the_last_of_two_equal_keys_counts_and_both_lines_are_named() {
        let (document, notes) = parse("a: 1\nb: 2\na: 3\n");
        assert_eq!(document.unwrap().root.get("a").unwrap().value, Value::Int(3));
        let shown = notes.to_string();
        assert!(
            shown.contains("x.yaml:3:1") && shown.contains("line 1 is ignored"),
            "{shown}"
        );
    }

    #[test]
    fn a_template_without_quotes_is_told() {
        for text in [
            "a:\n  b: {{ conc }}\n",
            "a:\n  b: {% if x %}y{% endif %}\n",
            "a: [x, {{ conc }}]\n",
        ] {
            let (document, _) = parse(text);
            let shown = document.unwrap_err().render(false);
            assert!(shown.contains("put the template in quotes"), "{text}: {shown}");
        }
        assert!(parse("a: '{{ conc }}'\nb: {{}: 1}\n").0.is_err());
    }

    #[test]
    fn a_large_mapping_knows_its_repeated_keys_too() {
        let mut text: String = (0..40).map(|i| format!("k{i}: {i}\n")).collect();
        text.push_str("k3: again\nk39: again\nk40: 40\n");
        let (document, notes) = parse(&text);
        let root = document.unwrap().root;
        assert_eq!((root.entries().len(), notes.0.len()), (41, 2));
        assert_eq!(root.get("k3").unwrap().as_str(), Some("again"));
    }

    #[test]
    fn a_tab_is_named_with_its_line() {
        let (document, _) = parse("a:\n\tb: 1\n");
        let shown = document.unwrap_err().render(false);
        assert!(
            shown.contains("x.yaml:2") && shown.contains("replace the tab"),
            "{shown}"
        );
    }

    #[test]
    fn aliases_that_explode_are_refused_at_once() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 9].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        let shown = parse(&text).0.unwrap_err().render(false);
        assert!(shown.contains("x.yaml:") && shown.contains("aliases"), "{shown}");
    }
}
