//! `runners.yaml` with upstream's checks: labels, the nodes behind them, and hardware facts.

use std::path::Path;
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::source::Source;
use crate::config::yaml::Document;

use super::check::{Checker, Field, Need};
use super::input::{read, told};
use super::pyvalue::{Dict, PyValue};
use super::pyyaml;

/// The runners file.
#[derive(Debug, Default)]
pub struct Runners {
    labels: Vec<(String, Vec<String>)>,
    hardware: Vec<(String, Hardware)>,
}

/// What is known of a label's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    /// Host memory for KV offload, in MiB.
    pub available_cpu_dram_mib: i64,
    pub gpus_per_node: i64,
}

impl Runners {
    pub fn read(path: &Path, notes: &mut Diagnostics) -> Result<Self, Diagnostics> {
        Self::of(&read(path, "Runner config file")?, notes)
    }

    pub fn of(source: &Arc<Source>, notes: &mut Diagnostics) -> Result<Self, Diagnostics> {
        let (document, value) = pyyaml::load(source, notes)?;
        let root = match value {
            PyValue::Dict(root) => root,
            _ => Dict::default(),
        };
        let mut wrong = Diagnostics::default();
        let Some(labels) = root.get("labels").and_then(PyValue::as_dict) else {
            return Err(document
                .error(
                    "Runner config must define a labels mapping",
                    document.root.span,
                    "in this file",
                )
                .help("labels stand under `labels:`, hardware facts under `hardware:`")
                .into());
        };
        let labels = labels
            .iter()
            .filter_map(|(label, nodes)| match nodes_of(label, nodes) {
                Ok(nodes) => Some((label.to_owned(), nodes)),
                Err(message) => {
                    let place = document.root.nearest_at(&["labels", label]);
                    wrong.push(document.error(message, place.span, "here"));
                    None
                }
            })
            .collect();
        let hardware = hardware_of(&document, &root, &mut wrong);
        wrong.check(Self { labels, hardware }).map(|(runners, _)| runners)
    }

    /// The labels, sorted.
    pub fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<_> = self.labels.iter().map(|(label, _)| label.as_str()).collect();
        labels.sort_unstable();
        labels
    }

    /// The nodes of a label; none of an unknown one.
    pub fn nodes(&self, label: &str) -> &[String] {
        let found = self.labels.iter().find(|(known, _)| known == label);
        found.map_or(&[], |(_, nodes)| nodes)
    }

    pub fn hardware(&self, label: &str) -> Option<Hardware> {
        self.hardware
            .iter()
            .find(|(known, _)| known == label)
            .map(|(_, hardware)| *hardware)
    }

    /// The labels with hardware facts, sorted.
    pub fn hardware_labels(&self) -> Vec<&str> {
        let mut labels: Vec<_> = self.hardware.iter().map(|(label, _)| label.as_str()).collect();
        labels.sort_unstable();
        labels
    }
}

fn nodes_of(label: &str, nodes: &PyValue) -> Result<Vec<String>, String> {
    let PyValue::List(items) = nodes else {
        return Err(format!(
            "Runner config entry '{label}' must be a list, got {}",
            nodes.type_name()
        ));
    };
    if items.is_empty() {
        return Err(format!("Runner config entry '{label}' cannot be an empty list"));
    }
    items
        .iter()
        .map(|node| node.as_str().map(str::to_owned))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("Runner config entry '{label}' must contain only strings"))
}

fn hardware_of(document: &Document, root: &Dict, wrong: &mut Diagnostics) -> Vec<(String, Hardware)> {
    const TOP: &[Field] = &[
        Field("labels", Need::Required, |_, _| {}),
        Field("hardware", Need::Defaulted, |c, v| match v.as_dict() {
            Some(entries) => {
                for (label, facts) in entries.iter() {
                    c.under(label, |c| facts_check(c, facts));
                }
            }
            None => c.wrong("Input should be a valid dictionary"),
        }),
    ];
    let mut checker = Checker::default();
    checker.model(&PyValue::Dict(root.clone()), &[TOP]);
    for violation in &checker.violations {
        wrong.push(told(document, &document.root, violation, "Runner config"));
    }
    let entries = root.get("hardware").and_then(PyValue::as_dict);
    entries
        .into_iter()
        .flat_map(Dict::iter)
        .filter_map(|(label, facts)| {
            let facts = facts.as_dict()?;
            let hardware = Hardware {
                available_cpu_dram_mib: facts.int("available-cpu-dram-mib")?,
                gpus_per_node: facts.int("gpus-per-node")?,
            };
            Some((label.to_owned(), hardware))
        })
        .collect()
}

fn facts_check(checker: &mut Checker, facts: &PyValue) {
    const FACTS: &[Field] = &[
        Field("available-cpu-dram-mib", Need::Required, Checker::positive_int),
        Field("gpus-per-node", Need::Required, Checker::positive_int),
    ];
    checker.model(facts, &[FACTS]);
}

/// A selection names a label that no runner has.
pub(super) fn unknown_labels(unknown: &[&str], runners: &Runners) -> Diagnostic {
    let quoted: Vec<_> = unknown.iter().map(|label| format!("'{label}'")).collect();
    let labels = runners.labels();
    Diagnostic::error(format!(
        "Invalid runner type(s): {{{}}}. Valid runner types are: {}",
        quoted.join(", "),
        labels.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read_text(text: &str) -> Result<Runners, String> {
        let source = Arc::new(Source {
            path: "runners.yaml".into(),
            text: text.to_owned(),
        });
        Runners::of(&source, &mut Diagnostics::default()).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn labels_and_facts_are_read() {
        let runners = read_text(
            "labels: {b: [b_0], a: [a_0, a_1]}\nhardware: {a: {available-cpu-dram-mib: 2_000, gpus-per-node: 8}}\n",
        )
        .unwrap();
        assert_eq!(runners.labels(), ["a", "b"]);
        assert_eq!(runners.nodes("a"), ["a_0", "a_1"]);
        assert_eq!(runners.hardware("a").unwrap().available_cpu_dram_mib, 2000);
        assert_eq!(runners.hardware("b"), None);
    }

    #[test]
    fn what_upstream_refuses_is_refused() {
        for (text, part) in [
            ("h100: [a]\n", "Runner config must define a labels mapping"),
            ("labels: {h: a}\n", "entry 'h' must be a list, got str"),
            ("labels: {h: [1]}\n", "must contain only strings"),
            ("labels: {h: []}\n", "cannot be an empty list"),
            ("labels: {h: [a]}\nfoo: 1\n", "foo: Extra inputs"),
            (
                "labels: {h: [a]}\nhardware: {h: {available-cpu-dram-mib: 0, gpus-per-node: 8}}\n",
                "hardware.h.available-cpu-dram-mib: Input should be greater than 0",
            ),
            (
                "labels: {h: [a]}\nhardware: {h: {gpus-per-node: 8}}\n",
                "hardware.h.available-cpu-dram-mib: Field required",
            ),
        ] {
            let told = read_text(text).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }
}
