//! What an entry of a master config must be: its fields, its scenarios, and the rules across them.

use super::check::{Check, Checker, Field, Need, Violation};
use super::pyvalue::{Dict, PyValue};
use super::search_space::{KV_P2P_TRANSFER, ROUTER, agentic_entry, multi_entry, single_entry};

use Need::{Defaulted, Nullable, Required};

const NAMES: &[Field] = &[
    Field("image", Required, Checker::string),
    Field("model", Required, Checker::string),
    Field("model-prefix", Required, Checker::string),
    Field("precision", Required, Checker::string),
    Field("framework", Required, Checker::string),
    Field("runner", Required, Checker::string),
];

/// Everything that is wrong with an entry. Whether it is for one node or several is decided as Python's `if` would.
pub(super) fn violations(entry: &PyValue) -> Vec<Violation> {
    const SINGLE: &[Field] = &[
        Field("multinode", Required, |c, v| c.literal_bool(v, false)),
        Field("disagg", Defaulted, |c, v| c.literal_bool(v, false)),
        Field("scenarios", Required, |c, v| scenarios(c, v, single_sequence)),
    ];
    const MULTI: &[Field] = &[
        Field("multinode", Required, |c, v| c.literal_bool(v, true)),
        Field("disagg", Defaulted, Checker::bool),
        Field("scenarios", Required, |c, v| scenarios(c, v, multi_sequence)),
    ];
    let mut checker = Checker::default();
    let multinode = entry
        .as_dict()
        .and_then(|entry| entry.get("multinode"))
        .is_some_and(PyValue::is_true);
    let valid = if multinode {
        checker.model(entry, &[NAMES, ROUTER, KV_P2P_TRANSFER, MULTI])
    } else {
        checker.model(entry, &[NAMES, ROUTER, SINGLE])
    };
    if let Some(entry) = valid {
        component_rules(&mut checker, entry, multinode);
        agentic_rules(&mut checker, entry, multinode);
    }
    checker.violations
}

fn scenarios(checker: &mut Checker, value: &PyValue, sequence: Check) {
    let Some(scenarios) = value.as_dict() else {
        checker.wrong("Input should be a valid dictionary");
        return;
    };
    // The two kinds of sequences make two field tables, which only differ in this check.
    let fixed: &[Field] = &[Field("fixed-seq-len", Nullable, |_, _| {})];
    const AGENTIC: &[Field] = &[Field("agentic-coding", Nullable, |c, v| {
        c.list(v, agentic_scenario);
    })];
    let before = checker.violations.len();
    checker.model(value, &[fixed, AGENTIC]);
    if let Some(fixed) = scenarios.some("fixed-seq-len") {
        checker.under("fixed-seq-len", |c| {
            c.list(fixed, sequence);
        });
    }
    let any =
        ["fixed-seq-len", "agentic-coding"].map(|kind| scenarios.get(kind).is_some_and(PyValue::is_true));
    if checker.violations.len() == before && any == [false, false] {
        checker.wrong("At least one scenario type must be specified");
    }
}

fn single_sequence(checker: &mut Checker, value: &PyValue) {
    const SPACE: &[Field] = &[Field("search-space", Required, |c, v| {
        c.list(v, single_entry);
    })];
    checker.model(value, &[LENGTHS, SPACE]);
}

fn multi_sequence(checker: &mut Checker, value: &PyValue) {
    const SPACE: &[Field] = &[Field("search-space", Required, |c, v| {
        c.list(v, multi_entry);
    })];
    checker.model(value, &[LENGTHS, SPACE]);
}

const LENGTHS: &[Field] = &[
    Field("isl", Required, Checker::int),
    Field("osl", Required, Checker::int),
];

fn agentic_scenario(checker: &mut Checker, value: &PyValue) {
    const FIELDS: &[Field] = &[
        Field("dram-utilization", Nullable, |c, v| match v.to_float() {
            None => c.wrong("Input should be a valid number"),
            Some(share) if share <= 0.0 || share.is_nan() => c.wrong("Input should be greater than 0"),
            Some(share) if share > 1.0 => c.wrong("Input should be less than or equal to 1"),
            Some(_) => {}
        }),
        Field("search-space", Required, |c, v| {
            c.list(v, agentic_entry);
        }),
    ];
    if let Some(scenario) = checker.model(value, &[FIELDS])
        && scenario.some("dram-utilization").is_none()
        && search_space(scenario).any(|entry| entry.text("kv-offloading") == "dram")
    {
        checker.wrong("kv-offloading='dram' requires dram-utilization with runner hardware metadata");
    }
}

/// Router and KV transfer stand at one level only, and a disaggregated deployment names its transfer.
fn component_rules(checker: &mut Checker, entry: &Dict, multinode: bool) {
    let has = |field: &str| all_entries(entry).any(|search| search.some(field).is_some());
    for field in ["router", "kv-p2p-transfer"] {
        if entry.some(field).is_some() && has(field) {
            checker.wrong(format!(
                "{field} must be declared either at the top level or in search-space entries, not both"
            ));
        }
    }
    if !multinode && has("kv-p2p-transfer") {
        checker.wrong("kv-p2p-transfer is only valid when multinode=true");
    }
    let disagg = entry.get("disagg").and_then(PyValue::to_bool) == Some(true);
    if disagg && entry.some("kv-p2p-transfer").is_none() {
        let mut entries = all_entries(entry).peekable();
        if entries.peek().is_none() || !entries.all(|search| search.some("kv-p2p-transfer").is_some()) {
            checker.wrong(
                "disagg=true requires kv-p2p-transfer at the top level or in every search-space entry",
            );
        }
    }
}

fn agentic_rules(checker: &mut Checker, entry: &Dict, multinode: bool) {
    let scenarios = scenarios_of(entry, "agentic-coding");
    if scenarios.is_empty() {
        return;
    }
    if !entry.text("runner").starts_with("cluster:") {
        checker.wrong(
            "Agentic master configs must use a 'cluster:<name>' runner so every point runs on one exact hardware fleet.",
        );
    }
    // Upstream's schema lets these pass, and its generator dies of them.
    for (i, scenario) in scenarios.iter().enumerate() {
        for (j, search) in scenario.as_dict().into_iter().flat_map(search_space).enumerate() {
            if search.some("tp").is_some() == multinode {
                let at = [
                    "scenarios",
                    "agentic-coding",
                    &i.to_string(),
                    "search-space",
                    &j.to_string(),
                ]
                .map(str::to_owned);
                checker.violations.push(Violation {
                    path: at.to_vec(),
                    message: if multinode {
                        "an entry with 'tp' needs multinode: false; several nodes need 'prefill' and 'decode'"
                    } else {
                        "an entry with 'prefill' and 'decode' needs multinode: true; one node needs 'tp'"
                    }
                    .to_owned(),
                });
            }
        }
    }
}

/// The scenarios of a kind; none when they are null or absent.
pub(super) fn scenarios_of<'c>(config: &'c Dict, kind: &str) -> &'c [PyValue] {
    config
        .get("scenarios")
        .and_then(PyValue::as_dict)
        .and_then(|scenarios| scenarios.get(kind))
        .map_or(&[], PyValue::items)
}

/// The entries of a scenario's search space.
pub(super) fn search_space(scenario: &Dict) -> impl Iterator<Item = &Dict> {
    scenario
        .get("search-space")
        .map_or(&[][..], PyValue::items)
        .iter()
        .filter_map(PyValue::as_dict)
}

fn all_entries(config: &Dict) -> impl Iterator<Item = &Dict> {
    ["fixed-seq-len", "agentic-coding"]
        .into_iter()
        .flat_map(|kind| scenarios_of(config, kind))
        .filter_map(PyValue::as_dict)
        .flat_map(search_space)
}
