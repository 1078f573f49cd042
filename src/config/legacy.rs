//! Master configs and runners files of earlier days, rewritten into today's form before they are read.
//!
//! | form | since | what it lacked or called otherwise |
//! |---|---|---|
//! | v0 | 2025-11 | `seq-len-configs` (at first `bmk-space` in them), no `multinode` |
//! | v1 | 2025-12 | `seq-len-configs`, several nodes |
//! | v2 | 2026-05 | `scenarios`; agentic entries with `duration`, `offloading` |
//! | v3 | 2026-07 | `kv-offload-backend` and `router` as plain names, no `kv-p2p-transfer` |
//! | flat runners | until 2026-07 | labels at the root of the file |
//!
//! What the old form did not say is spelled [`UNDECLARED`], so that nobody takes it for a fact.

use std::collections::BTreeSet;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::yaml::{Document, Key, Node, Value};

/// Stands where an old form does not say what today's form asks for.
pub const UNDECLARED: &str = "undeclared";

/// What a file had to be rewritten for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    SeqLenConfigs,
    Multinode,
    Duration,
    Offloading,
    DramUtilization,
    AgenticMapping,
    Components,
    Transfer,
    FlatRunners,
    Lists,
}

impl Change {
    fn words(self) -> &'static str {
        match self {
            Self::SeqLenConfigs => "`seq-len-configs` is `scenarios: fixed-seq-len` now",
            Self::Multinode => "`multinode` is required now",
            Self::Duration => "`duration` and `trace-source` are no fields of a scenario any more",
            Self::Offloading => "`offloading` is `kv-offloading` and `kv-offload-backend` now",
            Self::DramUtilization => "offload needs `dram-utilization` now; all of the memory is assumed",
            Self::AgenticMapping => "`agentic-coding` and its `search-space` are lists now",
            Self::Components => "`router` and `kv-offload-backend` are `{ name, version }` now",
            Self::Transfer => "`disagg: true` needs `kv-p2p-transfer` now",
            Self::FlatRunners => "labels stand below `labels` now",
            Self::Lists => "lists of topology values are written out, an entry for each combination",
        }
    }
}

/// How a file was rewritten.
#[derive(Debug, Default)]
pub struct Rewritten {
    changes: BTreeSet<Change>,
}

impl Rewritten {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether the file is older than the rule that agentic entries name a `cluster:` label.
    pub fn before_cluster_labels(&self) -> bool {
        self.changes.contains(&Change::Offloading)
    }

    /// Adds that lists were written out, if they were.
    pub fn lists(&mut self, written_out: bool) {
        if written_out {
            self.changes.insert(Change::Lists);
        }
    }

    /// What changed since, a line each.
    pub fn changes(&self) -> impl Iterator<Item = &'static str> {
        self.changes.iter().map(|change| change.words())
    }

    /// One warning for the whole file that says how to migrate.
    fn note(&self, document: &Document) -> Option<Diagnostic> {
        if self.is_empty() {
            return None;
        }
        let path = document.source.path.display();
        let note = Diagnostic::warning(format!("`{path}` has an earlier form, which is read as today's"))
            .help(format!("`sweep migrate {path}` prints it in today's form"));
        Some(self.changes().fold(note, Diagnostic::help))
    }
}

/// Rewrites a master config into today's form; a warning goes to `notes` if there was anything to rewrite.
pub fn master(document: &mut Document, notes: &mut Diagnostics) -> Rewritten {
    let mut rewritten = Rewritten::default();
    if let Value::Map(entries) = &mut document.root.value {
        for (_, node) in entries.iter_mut() {
            entry(node, &mut rewritten.changes);
        }
    }
    notes.0.extend(rewritten.note(document));
    rewritten
}

/// Rewrites a runners file into today's form.
pub fn runners(document: &mut Document, notes: &mut Diagnostics) -> Rewritten {
    let mut rewritten = Rewritten::default();
    let root = &mut document.root;
    let flat = root
        .get("labels")
        .is_none_or(|labels| matches!(labels.value, Value::Seq(_)))
        && !root.entries().is_empty()
        && root
            .entries()
            .iter()
            .all(|(_, node)| matches!(node.value, Value::Seq(_)));
    if flat {
        let labels = Node {
            value: std::mem::replace(&mut root.value, Value::Null),
            span: root.span,
        };
        root.value = Value::Map(vec![(key_at("labels", root), labels)]);
        rewritten.changes.insert(Change::FlatRunners);
    }
    notes.0.extend(rewritten.note(document));
    rewritten
}

fn entry(node: &mut Node, changes: &mut BTreeSet<Change>) {
    let old = node.get("seq-len-configs").is_some() && node.get("scenarios").is_none();
    if old {
        seq_len_configs(node, changes);
        if node.get("multinode").is_none() {
            let multinode = spans_nodes(node);
            insert(node, "multinode", Value::Bool(multinode));
            changes.insert(Change::Multinode);
        }
    }
    component(node, "router", changes);
    if let Some(scenarios) = node.get_mut("scenarios") {
        if let Some(agentic) = scenarios.get_mut("agentic-coding") {
            agentic_coding(agentic, changes);
        }
        for kind in ["fixed-seq-len", "agentic-coding"] {
            for scenario in scenarios.get_mut(kind).map(Node::items_mut).unwrap_or_default() {
                for search in scenario
                    .get_mut("search-space")
                    .map(Node::items_mut)
                    .unwrap_or_default()
                {
                    component(search, "router", changes);
                }
            }
        }
    }
    transfer(node, changes);
}

/// v0 and v1: the lengths stood at the top of the entry.
fn seq_len_configs(node: &mut Node, changes: &mut BTreeSet<Change>) {
    let Value::Map(entries) = &mut node.value else {
        return;
    };
    let Some((key, mut lengths)) = take(entries, "seq-len-configs") else {
        return;
    };
    for length in lengths.items_mut() {
        rename(length, "bmk-space", "search-space");
    }
    let span = lengths.span;
    let fixed = Key {
        name: "fixed-seq-len".to_owned(),
        ..key.clone()
    };
    let scenarios = Key {
        name: "scenarios".to_owned(),
        ..key
    };
    let value = Value::Map(vec![(fixed, lengths)]);
    entries.push((scenarios, Node { value, span }));
    changes.insert(Change::SeqLenConfigs);
}

/// Whether any search-space entry of the fixed lengths has workers.
fn spans_nodes(node: &Node) -> bool {
    let lengths = node.nearest_at(&["scenarios", "fixed-seq-len"]).items();
    let mut searches = lengths
        .iter()
        .filter_map(|length| length.get("search-space"))
        .flat_map(Node::items);
    searches.any(|search| search.get("prefill").is_some())
}

/// v2 and v3: what agentic entries called otherwise.
fn agentic_coding(agentic: &mut Node, changes: &mut BTreeSet<Change>) {
    if matches!(agentic.value, Value::Map(_)) {
        listed(agentic);
        changes.insert(Change::AgenticMapping);
    }
    for scenario in agentic.items_mut() {
        for gone in ["duration", "trace-source"] {
            if let Value::Map(entries) = &mut scenario.value
                && take(entries, gone).is_some()
            {
                changes.insert(Change::Duration);
            }
        }
        let mut offloads = false;
        if let Some(space) = scenario.get_mut("search-space") {
            if matches!(space.value, Value::Map(_)) {
                listed(space);
                changes.insert(Change::AgenticMapping);
            }
            for search in space.items_mut() {
                offloads |= offloading(search, changes);
                component(search, "kv-offload-backend", changes);
            }
        }
        if offloads && scenario.get("dram-utilization").is_none() {
            insert(scenario, "dram-utilization", Value::Float(1.0));
            changes.insert(Change::DramUtilization);
        }
    }
}

/// v2's `offloading: none | cpu | ssd`; says whether it was rewritten to an offload.
fn offloading(search: &mut Node, changes: &mut BTreeSet<Change>) -> bool {
    let Value::Map(entries) = &mut search.value else {
        return false;
    };
    let Some((key, mut value)) = take(entries, "offloading") else {
        return false;
    };
    changes.insert(Change::Offloading);
    let offloads = matches!(value.as_str(), Some("cpu" | "dram"));
    if offloads {
        value.value = Value::Str("dram".to_owned());
    }
    let key = Key {
        name: "kv-offloading".to_owned(),
        ..key
    };
    entries.push((key, value));
    if offloads && search.get("kv-offload-backend").is_none() {
        let name = Node {
            value: Value::Str(UNDECLARED.to_owned()),
            span: search.span,
        };
        let backend = Value::Map(vec![(key_at("name", search), name)]);
        insert(search, "kv-offload-backend", backend);
    }
    offloads
}

/// v3's plain name, where today a name and a version stand.
fn component(node: &mut Node, field: &str, changes: &mut BTreeSet<Change>) {
    let Some(component) = node.get_mut(field) else {
        return;
    };
    if !matches!(component.value, Value::Str(_)) {
        return;
    }
    let text = |value| Node {
        value,
        span: component.span,
    };
    let mut fields = vec![(key_at("name", component), text(component.value.clone()))];
    if field == "router" {
        let version = text(Value::Str(UNDECLARED.to_owned()));
        fields.push((key_at("version", component), version));
    }
    component.value = Value::Map(fields);
    changes.insert(Change::Components);
}

/// Until v4 nothing said how disaggregated workers hand over KV caches. An entry of which only a part says it is one
/// of today's with a mistake.
fn transfer(node: &mut Node, changes: &mut BTreeSet<Change>) {
    let disagg = matches!(node.get("disagg").map(|d| &d.value), Some(Value::Bool(true)));
    let multinode = matches!(node.get("multinode").map(|m| &m.value), Some(Value::Bool(true)));
    if !disagg || !multinode || node.get("kv-p2p-transfer").is_some() || mentions_transfer(node) {
        return;
    }
    insert(node, "kv-p2p-transfer", Value::Str(UNDECLARED.to_owned()));
    changes.insert(Change::Transfer);
}

fn mentions_transfer(node: &Node) -> bool {
    let Some(scenarios) = node.get("scenarios") else {
        return false;
    };
    let scenarios = scenarios.entries().iter().flat_map(|(_, list)| list.items());
    let mut searches = scenarios
        .filter_map(|s| s.get("search-space"))
        .flat_map(Node::items);
    searches.any(|search| search.get("kv-p2p-transfer").is_some())
}

/// Puts a lone value into a list of its own.
fn listed(node: &mut Node) {
    let span = node.span;
    let value = std::mem::replace(&mut node.value, Value::Null);
    node.value = Value::Seq(vec![Node { value, span }]);
}

fn take(entries: &mut Vec<(Key, Node)>, name: &str) -> Option<(Key, Node)> {
    let at = entries.iter().position(|(key, _)| key.name == name)?;
    Some(entries.remove(at))
}

fn rename(node: &mut Node, from: &str, to: &str) {
    if let Value::Map(entries) = &mut node.value
        && !entries.iter().any(|(key, _)| key.name == to)
    {
        for (key, _) in entries.iter_mut().filter(|(key, _)| key.name == from) {
            to.clone_into(&mut key.name);
        }
    }
}

fn insert(node: &mut Node, name: &str, value: Value) {
    let key = key_at(name, node);
    let span = node.span;
    if let Value::Map(entries) = &mut node.value {
        entries.push((key, Node { value, span }));
    }
}

fn key_at(name: &str, node: &Node) -> Key {
    Key {
        name: name.to_owned(),
        span: node.span,
        repeats: None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use serde_json::json;

    use super::super::source::Source;
    use super::*;

    fn rewritten(
        text: &str,
        rewrite: fn(&mut Document, &mut Diagnostics) -> Rewritten,
    ) -> (Document, String) {
        let source = Arc::new(Source {
            path: "old.yaml".into(),
            text: text.to_owned(),
        });
        let mut notes = Diagnostics::default();
        let mut document = Document::parse(&source, &mut notes).unwrap();
        rewrite(&mut document, &mut notes);
        (document, notes.to_string())
    }

    #[test]
    fn the_first_form_becomes_todays() {
        let old = "k:\n  runner: h200\n  seq-len-configs:\n  - isl: 1024\n    osl: 1024\n    bmk-space:\n    - { tp: 8, conc-start: 4, conc-end: 64 }\n";
        let (document, notes) = rewritten(old, master);
        assert_eq!(
            document.root.to_json(),
            json!({"k": {"runner": "h200", "multinode": false, "scenarios": {"fixed-seq-len": [
                {"isl": 1024, "osl": 1024, "search-space": [{"tp": 8, "conc-start": 4, "conc-end": 64}]},
            ]}}})
        );
        assert!(notes.contains("sweep migrate old.yaml"), "{notes}");
        assert_eq!(notes.matches("warning").count(), 1, "{notes}");
    }

    #[test]
    fn agentic_fields_of_the_second_form_become_todays() {
        let old = "k:\n  multinode: false\n  scenarios:\n    agentic-coding:\n      duration: 90\n      search-space:\n        { tp: 1, offloading: cpu, conc-list: [2] }\n";
        let (document, _) = rewritten(old, master);
        assert_eq!(
            document.root.nearest_at(&["k", "scenarios"]).to_json(),
            json!({"agentic-coding": [{
                "search-space": [{
                    "tp": 1, "conc-list": [2], "kv-offloading": "dram", "kv-offload-backend": {"name": "undeclared"},
                }],
                "dram-utilization": 1.0,
            }]})
        );
    }

    #[test]
    fn disaggregated_entries_get_a_transfer_unless_one_says_its_own() {
        let old = "k: { multinode: true, disagg: true, scenarios: { fixed-seq-len: [{ search-space: [{ a: 1 }] }] } }\n";
        let (document, _) = rewritten(old, master);
        let transfer = |d: &Document| d.root.get("k").unwrap().get("kv-p2p-transfer").cloned();
        assert_eq!(transfer(&document).unwrap().as_str(), Some(UNDECLARED));
        let (document, notes) = rewritten(&old.replace("a: 1", "kv-p2p-transfer: nixl"), master);
        assert!(transfer(&document).is_none() && notes.is_empty());
    }

    #[test]
    fn flat_runners_get_their_labels_and_todays_stay() {
        let (document, notes) = rewritten("h200: [h200_0]\nlabels: [x_0]\n", runners);
        assert_eq!(
            document.root.to_json(),
            json!({"labels": {"h200": ["h200_0"], "labels": ["x_0"]}})
        );
        assert!(notes.contains("labels stand below"), "{notes}");
        let (_, notes) = rewritten("labels: { h200: [h200_0] }\n", runners);
        assert_eq!(notes, "");
    }
}
