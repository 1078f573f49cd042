//! Master configs and runners as the twins read them: upstream's rules, every violation with its file and line.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::source::{Source, SourceError};
use crate::config::yaml::{Document, Node};

use super::check::Violation;
use super::master_schema;
use super::pyvalue::{Dict, PyValue};
use super::pyyaml;

/// Master configs, merged in the order of their files.
#[derive(Debug, Default)]
pub struct Masters {
    configs: Vec<(String, Dict)>,
    places: HashMap<String, usize>,
    /// Of all files.
    bytes: usize,
}

impl Masters {
    /// The config keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.configs.iter().map(|(key, _)| key.as_str())
    }

    pub fn get(&self, key: &str) -> Option<&Dict> {
        self.places.get(key).map(|at| &self.configs[*at].1)
    }

    /// The key itself, where a config has it.
    pub(super) fn key(&self, key: &str) -> Option<&str> {
        self.places.get(key).map(|at| self.configs[*at].0.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Dict)> {
        self.configs.iter().map(|(key, config)| (key.as_str(), config))
    }

    /// Points that the files may stand for: far more than any master has for its size, and no danger to memory.
    pub(super) fn most_points(&self) -> usize {
        (self.bytes / 16).max(50_000)
    }

    /// Merges and validates files; what is only odd goes to `notes`.
    pub fn of(sources: &[Arc<Source>], notes: &mut Diagnostics) -> Result<Self, Diagnostics> {
        let mut masters = Self::default();
        let mut wrong = Diagnostics::default();
        for source in sources {
            masters.bytes += source.text.len();
            match pyyaml::load(source, notes) {
                Ok((document, PyValue::Dict(entries))) => masters.merge(&document, entries, &mut wrong),
                Ok(_) => wrong.push(Diagnostic::error(format!(
                    "Config file '{}' must contain a dictionary",
                    source.path.display()
                ))),
                Err(diagnostic) => wrong.push(diagnostic),
            }
        }
        wrong.check(masters).map(|(masters, _)| masters)
    }

    fn merge(&mut self, document: &Document, entries: Dict, wrong: &mut Diagnostics) {
        let source = &document.source;
        let mut twice: Vec<&str> = entries
            .iter()
            .map(|(key, _)| key)
            .filter(|key| self.get(key).is_some())
            .collect();
        if !twice.is_empty() {
            twice.sort_unstable();
            wrong.push(Diagnostic::error(format!(
                "Duplicate configuration keys found in '{}': {}",
                source.path.display(),
                twice.join(", ")
            )));
            return;
        }
        for ((key, node), (_, entry)) in document.root.entries().iter().zip(entries.into_entries()) {
            let name = &key.name;
            if name.contains('*') {
                wrong.push(
                    document
                        .error(
                            format!("Wildcard '*' is not allowed in master config keys: '{name}'"),
                            key.span,
                            "this key",
                        )
                        .help("`*` selects several configs in a changelog entry; rename the config"),
                );
            }
            let violations = master_schema::violations(&entry);
            if let (true, PyValue::Dict(config)) = (violations.is_empty(), entry) {
                self.places.insert(name.clone(), self.configs.len());
                self.configs.push((name.clone(), config));
            }
            for violation in &violations {
                wrong.push(told(
                    document,
                    node,
                    violation,
                    &format!("Master config entry '{name}'"),
                ));
            }
        }
    }
}

/// A violation with its place.
pub(super) fn told(document: &Document, node: &Node, violation: &Violation, what: &str) -> Diagnostic {
    let path: Vec<&str> = violation.path.iter().map(String::as_str).collect();
    let place = node.nearest_at(&path);
    let location = violation.location();
    let at = if location.is_empty() {
        String::new()
    } else {
        format!("{location}: ")
    };
    let message = format!("{what} failed validation: {at}{}", violation.message);
    let diagnostic = document.error(message, place.span, "here");
    let is_topology_list = matches!(place.value, crate::config::yaml::Value::Seq(_))
        && violation.message.starts_with("Input should be a valid integer");
    if is_topology_list {
        diagnostic.help("a search-space entry has one value here: write an entry for each")
    } else {
        diagnostic
    }
}

/// Reads master configs from files.
pub fn read_masters<P: AsRef<Path>>(paths: &[P], notes: &mut Diagnostics) -> Result<Masters, Diagnostics> {
    let mut wrong = Diagnostics::default();
    let mut sources = Vec::new();
    for path in paths {
        match read(path.as_ref(), "Input file") {
            Ok(source) => sources.push(source),
            Err(diagnostic) => wrong.push(diagnostic),
        }
    }
    wrong.check(())?;
    Masters::of(&sources, notes)
}

/// Reads a text, or says `<what> '<path>' does not exist.`
pub(super) fn read(path: &Path, what: &str) -> Result<Arc<Source>, Diagnostic> {
    Source::read(Path::new(""), path).map_err(|error| match error {
        SourceError::Missing { path } => {
            Diagnostic::error(format!("{what} '{}' does not exist.", path.display()))
        }
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn masters(texts: &[&str]) -> Result<Masters, String> {
        let sources: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| {
                Arc::new(Source {
                    path: format!("m{i}.yaml").into(),
                    text: (*text).to_owned(),
                })
            })
            .collect();
        Masters::of(&sources, &mut Diagnostics::default()).map_err(|wrong| wrong.to_string())
    }

    const GOOD: &str = "k1: &k {image: i, model: m, model-prefix: mp, runner: r, precision: fp8, framework: vllm, \
                        multinode: false, scenarios: {fixed-seq-len: [{isl: 8192, osl: 1024, search-space: \
                        [{tp: 8, conc-list: [4]}]}]}}\n";

    #[test]
    fn configs_keep_their_order_across_files() {
        let read = masters(&[GOOD, &GOOD.replace("k1", "k0")]).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["k1", "k0"]);
        assert_eq!(read.get("k0").unwrap().text("image"), "i");
    }

    #[test]
    fn violations_are_all_told_with_their_lines() {
        let bad = "k1:\n  image: 8\n  model: m\n  runner: r\n  precision: fp8\n  framework: f\n  multinode: false\n  \
                   scenarios:\n    fixed-seq-len:\n    - isl: 1\n      osl: 1\n      search-space:\n      - tp: [4, 8]\n        \
                   conc-start: 4\n";
        let told = masters(&[bad]).unwrap_err();
        for part in [
            "'k1'",
            "m0.yaml:2:10",
            "model-prefix: Field required",
            "m0.yaml:13:13",
            "search-space.0.tp",
            "write an entry for each",
        ] {
            assert!(told.contains(part), "{part} is missing from\n{told}");
        }
    }

    #[test]
    fn what_upstream_refuses_in_a_file_is_refused() {
        for (texts, part) in [
            (vec![""], "must contain a dictionary"),
            (vec!["- a\n"], "must contain a dictionary"),
            (
                vec!["\"k*1\": {}\n"],
                "Wildcard '*' is not allowed in master config keys: 'k*1'",
            ),
            (
                vec![GOOD, GOOD],
                "Duplicate configuration keys found in 'm1.yaml': k1",
            ),
            (vec!["a: [1\n"], "as YAML"),
        ] {
            let told = masters(&texts).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }
}
