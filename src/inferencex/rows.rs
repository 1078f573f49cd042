//! Matrix rows: the keys of a job, in upstream's order, with the values as they were written.

use super::concurrency::Conc;
use super::dram::{DramError, offload_gb};
use super::pyvalue::{Dict, PyValue};
use super::runners::Runners;

/// Seconds that an agentic point is driven.
const AGENTIC_DURATION_S: i64 = 3600;

/// What the scenario type of an agentic row is called.
pub(super) const AGENTIC: &str = "agentic-coding";

/// The short name of two lengths in tokens; `<isl>_<osl>` where there is none.
pub(super) fn sequence_name(isl: &PyValue, osl: &PyValue) -> String {
    match (isl.to_int(), osl.to_int()) {
        (Some(1024), Some(1024)) => "1k1k".to_owned(),
        (Some(8192), Some(1024)) => "8k1k".to_owned(),
        _ => format!("{isl}_{osl}"),
    }
}

/// Rows of a fixed-length entry: a row a point on one node, one row for all points on several. `ep` is the entry's,
/// clamped.
pub(super) fn fixed(
    config: &Dict,
    sequence: &Dict,
    entry: &Dict,
    ep: &PyValue,
    points: &[Conc],
    runners: &[&str],
) -> Vec<Dict> {
    let null = PyValue::None;
    let isl = sequence.get("isl").unwrap_or(&null);
    let osl = sequence.get("osl").unwrap_or(&null);
    let multinode = config.get("multinode").is_some_and(PyValue::is_true);
    let batches: Vec<PyValue> = if multinode {
        vec![list(points)]
    } else {
        points.iter().map(|conc| conc.written.clone()).collect()
    };
    let mut rows = Vec::new();
    for conc in batches {
        for runner in runners {
            let mut row = named(config, runner);
            row.set("isl", isl);
            row.set("osl", osl);
            if multinode {
                row.set("spec-decoding", spec_decoding(entry));
                set_workers(&mut row, entry);
                row.set("conc", conc.clone());
                row.set("max-model-len", max_model_len(isl, osl));
            } else {
                set_parallelism(&mut row, entry);
                row.set("conc", conc.clone());
                row.set("max-model-len", max_model_len(isl, osl));
                set_expert_and_data_parallelism(&mut row, entry, ep);
                row.set("spec-decoding", spec_decoding(entry));
            }
            let prefix = config.text("model-prefix");
            row.set("exp-name", format!("{prefix}_{}", sequence_name(isl, osl)));
            row.set("disagg", disagg(config));
            row.set("run-eval", false);
            set_components(&mut row, config, entry);
            rows.push(row);
        }
    }
    rows
}

/// Rows of an agentic entry: always one a point.
pub(super) fn agentic(
    config: &Dict,
    scenario: &Dict,
    entry: &Dict,
    points: &[Conc],
    runners: &[&str],
    inventory: &Runners,
) -> Result<Vec<Dict>, DramError> {
    let dram_gb = offload_gb(scenario, entry, config.text("runner"), inventory)?;
    let row = |runner: &str, conc: &Conc| {
        let mut row = named(config, runner);
        let (prefix, offloading) = (config.text("model-prefix"), kv_offloading(entry));
        let multinode = entry.some("prefill").is_some();
        let name = if multinode {
            row.set("spec-decoding", spec_decoding(entry));
            set_workers(&mut row, entry);
            row.set("conc", PyValue::List(vec![conc.written.clone()]));
            let [prefill, decode] = ["prefill", "decode"].map(|role| worker_tag(&row, role));
            let suffix = if offloading == "none" {
                String::new()
            } else {
                format!("_{}", offload_tag(entry))
            };
            format!("{prefix}_{prefill}_{decode}_conc{}{suffix}", conc.written)
        } else {
            set_parallelism(&mut row, entry);
            set_expert_and_data_parallelism(&mut row, entry, entry.get("ep").unwrap_or(&PyValue::None));
            let spec = spec_decoding(entry);
            let suffix = if spec == "none" {
                String::new()
            } else {
                format!("_spec-{spec}")
            };
            row.set("spec-decoding", spec);
            row.set("conc", &conc.written);
            let tp = entry.get("tp").unwrap_or(&PyValue::None);
            format!(
                "{prefix}_tp{tp}_conc{}_{}{suffix}",
                conc.written,
                offload_tag(entry)
            )
        };
        row.set("kv-offloading", offloading);
        row.set("total-cpu-dram-gb", dram_gb);
        row.set("duration", AGENTIC_DURATION_S);
        row.set("exp-name", name);
        if multinode {
            row.set("disagg", disagg(config));
        }
        row.set("scenario-type", AGENTIC);
        row.set_some("kv-offload-backend", entry.some("kv-offload-backend"));
        set_components(&mut row, config, entry);
        row
    };
    Ok(if entry.some("prefill").is_some() {
        let of_runner = |runner: &&str| points.iter().map(|conc| row(runner, conc)).collect::<Vec<_>>();
        runners.iter().flat_map(of_runner).collect()
    } else {
        let of_point = |conc: &Conc| runners.iter().map(|runner| row(runner, conc)).collect::<Vec<_>>();
        points.iter().flat_map(of_point).collect()
    })
}

fn named(config: &Dict, runner: &str) -> Dict {
    let mut row = Dict::default();
    for key in ["image", "model", "model-prefix", "precision", "framework"] {
        row.set(key, config.text(key));
    }
    row.set("runner", runner);
    row
}

fn list(points: &[Conc]) -> PyValue {
    PyValue::List(points.iter().map(|conc| conc.written.clone()).collect())
}

fn spec_decoding(entry: &Dict) -> &str {
    entry
        .get("spec-decoding")
        .and_then(PyValue::as_str)
        .unwrap_or("none")
}

fn kv_offloading(entry: &Dict) -> &str {
    entry
        .some("kv-offloading")
        .and_then(PyValue::as_str)
        .unwrap_or("none")
}

fn disagg(config: &Dict) -> PyValue {
    config.get("disagg").cloned().unwrap_or(false.into())
}

/// Input, output and room for a chat template, in tokens. Python's sum of a float is a float.
fn max_model_len(isl: &PyValue, osl: &PyValue) -> PyValue {
    let length = |value: &PyValue| value.to_int().unwrap_or_default();
    let sum = length(isl) + length(osl) + 256;
    match (isl, osl) {
        (PyValue::Float(_), _) | (_, PyValue::Float(_)) => PyValue::Float(sum as f64),
        _ => sum.into(),
    }
}

fn set_parallelism(row: &mut Dict, entry: &Dict) {
    row.set("tp", entry.get("tp").unwrap_or(&PyValue::None));
    for key in ["pp", "dcp-size", "pcp-size"] {
        row.set(key, entry.get(key).cloned().unwrap_or(1.into()));
    }
}

fn set_expert_and_data_parallelism(row: &mut Dict, entry: &Dict, ep: &PyValue) {
    row.set("ep", if ep.is_none() { PyValue::Int(1) } else { ep.clone() });
    row.set("dp-attn", entry.some("dp-attn").cloned().unwrap_or(false.into()));
}

fn set_workers(row: &mut Dict, entry: &Dict) {
    for role in ["prefill", "decode"] {
        let mut worker = entry
            .get(role)
            .and_then(PyValue::as_dict)
            .cloned()
            .unwrap_or_default();
        for key in ["pp", "dcp-size", "pcp-size"] {
            if worker.get(key).is_none() {
                worker.set(key, 1);
            }
        }
        row.set(role, worker);
    }
}

/// A null in an entry hides what the config says.
fn set_components(row: &mut Dict, config: &Dict, entry: &Dict) {
    for key in ["router", "kv-p2p-transfer"] {
        let value = entry.get(key).or_else(|| config.get(key));
        row.set_some(key, value.filter(|value| !value.is_none()));
    }
}

/// Such as `p2x4ep4dpa`: workers, TP, EP unless one, attention data parallelism.
fn worker_tag(row: &Dict, role: &str) -> String {
    let worker = row
        .get(role)
        .and_then(PyValue::as_dict)
        .cloned()
        .unwrap_or_default();
    let null = PyValue::None;
    let field = |key: &str| worker.get(key).unwrap_or(&null);
    let mut tag = format!("{}{}x{}", &role[..1], field("num-worker"), field("tp"));
    if !field("ep").equals(&PyValue::Int(1)) {
        tag.push_str(&format!("ep{}", field("ep")));
    }
    if field("dp-attn").is_true() {
        tag.push_str("dpa");
    }
    tag
}

/// Such as `kvnone` or `kvdram-hicache`.
fn offload_tag(entry: &Dict) -> String {
    match kv_offloading(entry) {
        "none" => "kvnone".to_owned(),
        offloading => {
            let backend = entry.get("kv-offload-backend").and_then(PyValue::as_dict);
            format!(
                "kv{offloading}-{}",
                backend.map_or("", |backend| backend.text("name"))
            )
        }
    }
}
