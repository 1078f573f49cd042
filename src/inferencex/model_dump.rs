//! Rows as upstream's models print them: keys in the models' order, values coerced, defaults written, nulls left out.

use super::pyvalue::{Dict, PyValue};
use super::rows::AGENTIC;

/// How a field is coerced.
#[derive(Debug, Clone, Copy)]
enum As {
    Written,
    Int,
    Bool,
    /// A boolean that is false where nothing says otherwise.
    Flag,
    /// One integer or a list of them.
    Ints,
    Worker,
}

use As::{Bool, Flag, Int, Ints, Worker, Written};

type Model = &'static [(&'static str, As)];

const SINGLE: Model = &[
    ("image", Written),
    ("model", Written),
    ("model-prefix", Written),
    ("precision", Written),
    ("framework", Written),
    ("spec-decoding", Written),
    ("runner", Written),
    ("isl", Int),
    ("osl", Int),
    ("tp", Int),
    ("pp", Int),
    ("dcp-size", Int),
    ("pcp-size", Int),
    ("ep", Int),
    ("dp-attn", Bool),
    ("conc", Ints),
    ("max-model-len", Int),
    ("exp-name", Written),
    ("disagg", Bool),
    ("run-eval", Bool),
    ("eval-only", Flag),
    ("router", Written),
    ("recipe-fingerprint", Written),
];

const MULTI: Model = &[
    ("image", Written),
    ("model", Written),
    ("model-prefix", Written),
    ("precision", Written),
    ("framework", Written),
    ("spec-decoding", Written),
    ("runner", Written),
    ("isl", Int),
    ("osl", Int),
    ("prefill", Worker),
    ("decode", Worker),
    ("conc", Ints),
    ("max-model-len", Int),
    ("exp-name", Written),
    ("disagg", Bool),
    ("run-eval", Bool),
    ("eval-only", Flag),
    ("eval-conc", Int),
    ("eval-all-concs", Flag),
    ("router", Written),
    ("kv-p2p-transfer", Written),
    ("recipe-fingerprint", Written),
];

const SINGLE_AGENTIC: Model = &[
    ("image", Written),
    ("model", Written),
    ("model-prefix", Written),
    ("precision", Written),
    ("framework", Written),
    ("runner", Written),
    ("tp", Int),
    ("pp", Int),
    ("dcp-size", Int),
    ("pcp-size", Int),
    ("ep", Int),
    ("dp-attn", Bool),
    ("spec-decoding", Written),
    ("conc", Int),
    ("kv-offloading", Written),
    ("kv-offload-backend", Written),
    ("router", Written),
    ("total-cpu-dram-gb", Int),
    ("duration", Int),
    ("exp-name", Written),
    ("scenario-type", Written),
    ("run-eval", Bool),
    ("eval-only", Bool),
    ("recipe-fingerprint", Written),
];

const MULTI_AGENTIC: Model = &[
    ("image", Written),
    ("model", Written),
    ("model-prefix", Written),
    ("precision", Written),
    ("framework", Written),
    ("spec-decoding", Written),
    ("runner", Written),
    ("prefill", Worker),
    ("decode", Worker),
    ("conc", Ints),
    ("kv-offloading", Written),
    ("kv-offload-backend", Written),
    ("router", Written),
    ("kv-p2p-transfer", Written),
    ("total-cpu-dram-gb", Int),
    ("duration", Int),
    ("exp-name", Written),
    ("disagg", Bool),
    ("scenario-type", Written),
    ("run-eval", Bool),
    ("eval-only", Bool),
    ("eval-conc", Int),
    ("recipe-fingerprint", Written),
];

const WORKER: Model = &[
    ("num-worker", Int),
    ("tp", Int),
    ("pp", Int),
    ("dcp-size", Int),
    ("pcp-size", Int),
    ("ep", Int),
    ("dp-attn", Bool),
    ("hardware", Written),
];

/// A generated row in its model's form.
pub(super) fn dump(row: &Dict) -> Dict {
    let agentic = row.text("scenario-type") == AGENTIC;
    let multi = row.some("prefill").is_some();
    fill(
        row,
        match (agentic, multi) {
            (false, false) => SINGLE,
            (false, true) => MULTI,
            (true, false) => SINGLE_AGENTIC,
            (true, true) => MULTI_AGENTIC,
        },
    )
}

fn fill(row: &Dict, model: Model) -> Dict {
    let mut filled = Dict::default();
    for (key, kind) in model {
        let value = match (row.some(key), kind) {
            (None, Flag) => Some(false.into()),
            (None, _) => None,
            (Some(value), kind) => Some(coerced(value, *kind)),
        };
        filled.set_some(key, value);
    }
    filled
}

fn coerced(value: &PyValue, kind: As) -> PyValue {
    let int = |value: &PyValue| value.to_int().map_or_else(|| value.clone(), PyValue::Int);
    match kind {
        Written => without_nulls(value),
        Int => int(value),
        Bool | Flag => value.to_bool().map_or_else(|| value.clone(), PyValue::Bool),
        Ints => match value {
            PyValue::List(items) => PyValue::List(items.iter().map(int).collect()),
            one => int(one),
        },
        Worker => value.as_dict().map_or(PyValue::None, |worker| {
            let mut filled = fill(worker, WORKER);
            // A written null is left out, an absent list is written.
            match worker.get("additional-settings") {
                Some(PyValue::None) => {}
                Some(settings) => filled.set("additional-settings", settings),
                None => filled.set("additional-settings", Vec::new()),
            }
            filled.into()
        }),
    }
}

fn without_nulls(value: &PyValue) -> PyValue {
    match value {
        PyValue::Dict(dict) => {
            let mut kept = Dict::default();
            for (key, value) in dict.iter().filter(|(_, value)| !value.is_none()) {
                kept.set(key.to_owned(), value);
            }
            kept.into()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::python_json::{Layout, dumps, loads};
    use super::*;

    #[test]
    fn values_are_coerced_and_defaults_written() {
        let row = loads(
            r#"{"conc": ["4", 8.0], "prefill": {"tp": "8", "dp-attn": "yes", "hardware": null},
                "decode": {"additional-settings": null, "tp": 4.0}, "isl": "8192", "model": "m"}"#,
        )
        .unwrap();
        assert_eq!(
            dumps(&dump(row.as_dict().unwrap()).into(), Layout::Model),
            r#"{"model":"m","isl":8192,"prefill":{"tp":8,"dp-attn":true,"additional-settings":[]},"decode":{"tp":4},"conc":[4,8],"eval-only":false,"eval-all-concs":false}"#
        );
    }
}
