//! Entries of the changelog: what one may say, read strictly, as additions are.

use std::path::Path;
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::source::Source;

use super::check::{Checker, Field, Need, Violation};
use super::input::told;
use super::pyvalue::{Dict, PyValue};
use super::pyyaml;

/// The kinds of scenario, in the order in which they are generated.
pub(super) const SCENARIO_TYPES: [&str; 2] = ["fixed-seq-len", "agentic-coding"];

/// One change.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub config_keys: Vec<String>,
    description: Vec<String>,
    pr_link: String,
    pub evals_only: bool,
    pub all_evals: bool,
    pub append_only: bool,
    pub eval_min_prefill_ep: Option<i64>,
    scenario_types: Option<Vec<String>>,
}

impl Entry {
    /// Reads added lines as a list of entries.
    pub(super) fn read_all(path: &Path, added: String) -> Result<Vec<Self>, Diagnostics> {
        let source = Arc::new(Source {
            path: format!("{} (added lines)", path.display()).into(),
            text: added,
        });
        let mut notes = Diagnostics::default();
        let (document, value) = pyyaml::load(&source, &mut notes)?;
        if !value.is_true() {
            return Err(Diagnostic::error("No valid YAML entries found in the changelog additions.").into());
        }
        let PyValue::List(items) = &value else {
            let message = "the changelog additions are no list of entries";
            return Err(document
                .error(message, document.root.span, "expected `- config-keys: …`")
                .help("lines were added inside an older entry: undo that, and append an entry of its own")
                .into());
        };
        let mut wrong = Diagnostics::default();
        let mut entries = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let violations = violations(item);
            for violation in &violations {
                let node = document.root.nearest_at(&[&index.to_string()]);
                wrong.push(told(
                    &document,
                    node,
                    violation,
                    &format!("changelog entry {}", index + 1),
                ));
            }
            if let (true, Some(entry)) = (violations.is_empty(), item.as_dict()) {
                entries.push(Self::of(entry));
            }
        }
        wrong.check(entries).map(|(entries, _)| entries)
    }

    /// A validated entry.
    fn of(entry: &Dict) -> Self {
        let strings = |key| {
            let items = entry.get(key).map_or(&[][..], PyValue::items);
            items
                .iter()
                .filter_map(PyValue::as_str)
                .map(str::to_owned)
                .collect()
        };
        let flag = |key| entry.get(key).and_then(PyValue::to_bool).unwrap_or(false);
        Self {
            config_keys: strings("config-keys"),
            description: strings("description"),
            pr_link: entry.text("pr-link").to_owned(),
            evals_only: flag("evals-only"),
            all_evals: flag("all-evals"),
            append_only: flag("append-only"),
            eval_min_prefill_ep: entry.some("eval-min-prefill-ep").and_then(PyValue::to_int),
            scenario_types: entry.some("scenario-type").map(|_| strings("scenario-type")),
        }
    }

    /// The kinds of scenario that the entry is about.
    pub(super) fn covers(&self, scenario_type: &str) -> bool {
        let types = self.scenario_types.as_ref();
        types.is_none_or(|types| types.iter().any(|one| one == scenario_type))
    }

    /// The entry as the metadata of a sweep holds it.
    pub(super) fn to_metadata(&self) -> Dict {
        let list = |texts: &[String]| PyValue::List(texts.iter().map(|text| text.as_str().into()).collect());
        let mut entry = Dict::default();
        entry.set("config-keys", list(&self.config_keys));
        entry.set("description", list(&self.description));
        entry.set("pr-link", self.pr_link.as_str());
        entry.set("evals-only", self.evals_only);
        entry.set("all-evals", self.all_evals);
        entry.set("append-only", self.append_only);
        entry.set_some("eval-min-prefill-ep", self.eval_min_prefill_ep);
        entry.set_some("scenario-type", self.scenario_types.as_deref().map(list));
        entry
    }
}

fn violations(entry: &PyValue) -> Vec<Violation> {
    const FIELDS: &[Field] = &[
        Field("config-keys", Need::Required, strings),
        Field("description", Need::Required, strings),
        Field("pr-link", Need::Required, Checker::string),
        Field("evals-only", Need::Defaulted, Checker::bool),
        Field("all-evals", Need::Defaulted, Checker::bool),
        Field("append-only", Need::Defaulted, Checker::bool),
        Field("eval-min-prefill-ep", Need::Nullable, |c, v| match v.to_int() {
            Some(..=0) => c.wrong("Input should be greater than or equal to 1"),
            _ => c.int(v),
        }),
        Field("scenario-type", Need::Nullable, |c, v| {
            if v == &PyValue::List(Vec::new()) {
                c.wrong("List should have at least 1 item");
            }
            c.list(v, |c, v| c.one_of(v, &SCENARIO_TYPES));
        }),
    ];
    let mut checker = Checker::default();
    if let Some(entry) = checker.model(entry, &[FIELDS]) {
        let flag = |key| entry.get(key).and_then(PyValue::to_bool) == Some(true);
        let selects_evals =
            flag("evals-only") || flag("all-evals") || entry.some("eval-min-prefill-ep").is_some();
        if flag("append-only") && selects_evals {
            checker.wrong("append-only cannot be combined with eval selection fields");
        }
    }
    checker.violations
}

fn strings(checker: &mut Checker, value: &PyValue) {
    if value == &PyValue::List(Vec::new()) {
        checker.wrong("List should have at least 1 item");
    }
    checker.list(value, Checker::string);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::python_json::{Layout, dumps};
    use super::*;

    fn read(text: &str) -> Result<Vec<Entry>, String> {
        Entry::read_all(Path::new("log.yaml"), text.to_owned()).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn an_entry_keeps_what_it_says() {
        let entries = read(
            "- config-keys: [a, 'b-*']\n  description:\n  - \"more\"\n  pr-link: https://x/1\n  evals-only: yes\n  \
             scenario-type: [agentic-coding]\n",
        )
        .unwrap();
        assert_eq!(
            dumps(&entries[0].to_metadata().into(), Layout::Model),
            r#"{"config-keys":["a","b-*"],"description":["more"],"pr-link":"https://x/1","evals-only":true,"all-evals":false,"append-only":false,"scenario-type":["agentic-coding"]}"#
        );
        assert!(entries[0].covers("agentic-coding") && !entries[0].covers("fixed-seq-len"));
    }

    #[test]
    fn what_upstream_refuses_is_refused() {
        let good = "- {config-keys: [a], description: [d], pr-link: l";
        for (text, part) in [
            (
                format!("{good}, extra: 1}}\n"),
                "extra: Extra inputs are not permitted",
            ),
            (format!("{good}, scenario-type: []}}\n"), "at least 1 item"),
            (
                format!("{good}, scenario-type: [x]}}\n"),
                "scenario-type.0: Input should be",
            ),
            (
                format!("{good}, eval-min-prefill-ep: 0}}\n"),
                "greater than or equal to 1",
            ),
            (
                format!("{good}, append-only: true, all-evals: true}}\n"),
                "append-only cannot be combined with eval selection fields",
            ),
            (
                "- {config-keys: [a], description: d, pr-link: l}\n".to_owned(),
                "valid list",
            ),
            (
                "- {config-keys: [], description: [d], pr-link: l}\n".to_owned(),
                "config-keys: List",
            ),
            ("# nothing\n".to_owned(), "No valid YAML entries"),
            ("a: 1\n".to_owned(), "no list of entries"),
        ] {
            let told = read(&text).unwrap_err();
            assert!(told.contains(part), "{text}{told}");
        }
    }
}
