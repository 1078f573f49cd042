//! What the entries of a search space may say, alone or on several nodes, with fixed lengths or agentic.

use super::check::{Checker, Field, Need};
use super::pyvalue::{Dict, PyValue};

use Need::{Defaulted, Nullable, Required};

const PARALLELISM: &[Field] = &[
    Field("pp", Defaulted, Checker::strict_positive_int),
    Field("dcp-size", Defaulted, Checker::strict_positive_int),
    Field("pcp-size", Defaulted, Checker::strict_positive_int),
];

const CONCURRENCY: &[Field] = &[
    Field("conc-start", Nullable, Checker::int),
    Field("conc-end", Nullable, Checker::int),
    Field("conc-list", Nullable, |c, v| {
        c.list(v, Checker::int);
    }),
];

const SPEC_DECODING: &[Field] = &[Field("spec-decoding", Defaulted, |c, v| {
    c.one_of(v, &["mtp", "draft_model", "none"]);
})];

pub(super) const ROUTER: &[Field] = &[Field("router", Nullable, component)];

pub(super) const KV_P2P_TRANSFER: &[Field] = &[Field("kv-p2p-transfer", Nullable, Checker::nonempty_string)];

/// An entry of a fixed-length scenario on one node.
pub(super) fn single_entry(checker: &mut Checker, value: &PyValue) {
    const OWN: &[Field] = &[
        Field("tp", Required, Checker::int),
        Field("ep", Nullable, Checker::int),
        Field("dp-attn", Nullable, Checker::bool),
    ];
    if let Some(entry) = checker.model(value, &[OWN, PARALLELISM, SPEC_DECODING, CONCURRENCY, ROUTER]) {
        concurrency_rules(checker, entry);
        divisibility_rule(checker, entry);
    }
}

/// An entry of a fixed-length scenario on several nodes.
pub(super) fn multi_entry(checker: &mut Checker, value: &PyValue) {
    const OWN: &[Field] = &[
        Field("prefill", Required, worker),
        Field("decode", Required, worker),
    ];
    if let Some(entry) = checker.model(value, &[SPEC_DECODING, OWN, ROUTER, KV_P2P_TRANSFER, CONCURRENCY]) {
        concurrency_rules(checker, entry);
        hardware_rule(checker, entry);
    }
}

/// An entry of an agentic scenario, on one node or several.
pub(super) fn agentic_entry(checker: &mut Checker, value: &PyValue) {
    const OWN: &[Field] = &[
        Field("tp", Nullable, Checker::int),
        Field("ep", Nullable, Checker::int),
        Field("dp-attn", Nullable, Checker::bool),
        Field("prefill", Nullable, worker),
        Field("decode", Nullable, worker),
        Field("kv-offloading", Nullable, |c, v| c.one_of(v, &["none", "dram"])),
        Field("kv-offload-backend", Nullable, offload_backend),
    ];
    let fields = [
        OWN,
        PARALLELISM,
        SPEC_DECODING,
        CONCURRENCY,
        ROUTER,
        KV_P2P_TRANSFER,
    ];
    let Some(entry) = checker.model(value, &fields) else {
        return;
    };
    concurrency_rules(checker, entry);
    hardware_rule(checker, entry);
    let on_one_node = entry.some("tp").is_some();
    let workers = ["prefill", "decode"].map(|role| entry.some(role).is_some());
    if on_one_node == workers[0] || workers[0] != workers[1] {
        checker.wrong("Agentic search-space entries must specify either tp or both prefill and decode");
    } else if on_one_node {
        divisibility_rule(checker, entry);
        if entry.some("kv-offloading").is_none() {
            checker.wrong("Single-node agentic search-space entries must specify kv-offloading");
        }
    } else if PARALLELISM.iter().any(|field| entry.get(field.0).is_some()) {
        checker.wrong("Multinode agentic search-space entries cannot specify 'pp', 'dcp-size', 'pcp-size'");
    }
    let offloading = entry.some("kv-offloading").and_then(PyValue::as_str);
    match (entry.some("kv-offload-backend").is_some(), offloading) {
        (true, None) => checker.wrong("kv-offload-backend requires kv-offloading"),
        (true, Some("none")) => {
            checker.wrong("kv-offload-backend can only be set when kv-offloading is not 'none'");
        }
        (false, Some("dram")) => {
            checker.wrong("kv-offload-backend is required when kv-offloading is 'dram'");
        }
        _ => {}
    }
}

/// One role's workers.
fn worker(checker: &mut Checker, value: &PyValue) {
    const OWN: &[Field] = &[
        Field("num-worker", Required, Checker::int),
        Field("tp", Required, Checker::int),
        Field("ep", Required, Checker::int),
        Field("dp-attn", Required, Checker::bool),
        Field("hardware", Nullable, Checker::nonempty_string),
        Field("additional-settings", Nullable, |c, v| {
            c.list(v, Checker::string);
        }),
    ];
    if let Some(worker) = checker.model(value, &[OWN, PARALLELISM]) {
        divisibility_rule(checker, worker);
    }
}

/// A named part with its version.
pub(super) fn component(checker: &mut Checker, value: &PyValue) {
    const FIELDS: &[Field] = &[
        Field("name", Required, Checker::nonempty_string),
        Field("version", Required, Checker::nonempty_string),
    ];
    if let Some(component) = checker.model(value, &[FIELDS]) {
        version_rule(checker, component);
    }
}

/// A version is that of the part, not of the image that it came in.
fn version_rule(checker: &mut Checker, component: &Dict) {
    if component.text("version").starts_with("image:") {
        checker.wrong(
            "component version must be a release, package version, or source commit, not an image reference",
        );
    }
}

fn offload_backend(checker: &mut Checker, value: &PyValue) {
    const FIELDS: &[Field] = &[
        Field("name", Required, Checker::nonempty_string),
        Field("version", Nullable, Checker::nonempty_string),
    ];
    if let Some(backend) = checker.model(value, &[FIELDS]) {
        version_rule(checker, backend);
    }
}

/// A range has both ends, a list has entries, and there is one of the two.
fn concurrency_rules(checker: &mut Checker, entry: &Dict) {
    let (start, end) = (entry.int("conc-start"), entry.int("conc-end"));
    let list = entry.get("conc-list").map_or(&[][..], PyValue::items);
    match (start.zip(end), list.is_empty()) {
        (Some(_), false) => checker.wrong(
            "Cannot specify both 'conc-list' list and 'conc-start'/'conc-end'. \
             Use either a list or a range, not both.",
        ),
        (None, true) => {
            checker.wrong("Must specify either 'conc-list' list or both 'conc-start' and 'conc-end'.");
        }
        (Some((start, end)), true) => {
            if start <= 0 || end <= 0 {
                checker.wrong("Input 'conc-start' and 'conc-end' must be greater than 0.");
            } else if start > end {
                checker.wrong(format!("'conc-start' ({start}) must be <= 'conc-end' ({end})."));
            }
        }
        (None, false) => {
            if list.iter().any(|conc| conc.to_int().is_none_or(|conc| conc <= 0)) {
                checker.wrong("Input 'conc-list' entries must be greater than 0.");
            }
        }
    }
}

fn divisibility_rule(checker: &mut Checker, entry: &Dict) {
    if let (Some(tp), Some(dcp)) = (entry.int("tp"), entry.int("dcp-size"))
        && tp % dcp != 0
    {
        checker.wrong(format!("'tp' ({tp}) must be divisible by 'dcp-size' ({dcp})"));
    }
}

fn hardware_rule(checker: &mut Checker, entry: &Dict) {
    let has = |role: &str| {
        let worker = entry.get(role).and_then(PyValue::as_dict);
        worker.is_some_and(|worker| worker.some("hardware").is_some())
    };
    if has("prefill") != has("decode") {
        checker.wrong("'hardware' must be specified for both 'prefill' and 'decode', or neither");
    }
}
