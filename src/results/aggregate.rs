//! The aggregate row of a raw benchmark file: InferenceX's fields, order and formulas.

use serde_json::{Value, json};

use crate::config::master::Component;
use crate::matrix::Point;

use super::deployment::{Deployment, Role, Shard, Spread};
use super::object::Object;
use super::row::Row;

/// The version of the power fields that a row announces, whether or not power was taken.
const POWER_SCHEMA_VERSION: u32 = 2;

/// Where a raw file has the energy fields of a row, if its GPUs were watched.
pub const GPU_POWER: &str = "gpu_power";

/// What a raw file may say of its run beyond InferenceX's own keys; it stands last in the row.
const RUN_FACTS: [&str; 2] = ["client_bound", "simulated"];

/// Why a raw file makes no row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    #[error("the raw result has no `{field}`; it is no serving benchmark's output")]
    Missing { field: String },
    #[error("`{field}` of the raw result is {found}, not {expected}")]
    Type {
        field: String,
        found: String,
        expected: &'static str,
    },
    #[error("the deployment has no GPUs to divide its throughput by")]
    NoGpus,
    #[error("the multi-node deployment has no prefill GPUs")]
    NoPrefillGpus,
}

/// The row of a point's raw benchmark file.
pub fn aggregate(point: &Point, raw: &Object) -> Result<Row, AggregateError> {
    row(&Deployment::of(point), raw)
}

/// The row of any raw benchmark file, given what was deployed.
///
/// Throughput is divided by GPUs: all of them in total; in a disaggregated deployment the output by the decode GPUs
/// and the input by the prefill GPUs. Each `*_ms` becomes seconds; each `*tpot*` also an interactivity, its reciprocal
/// in tokens/s/user, which is null where the TPOT is zero (as the spread of equal requests is).
pub fn row(deployment: &Deployment, raw: &Object) -> Result<Row, AggregateError> {
    let mut row = Object::default();
    row.set("hw", deployment.hw.as_str());
    row.set("conc", whole(raw, "max_concurrency")?);
    row.set("image", deployment.image.as_str());
    row.set("model", present(raw, "model_id")?.clone());
    row.set("infmax_model_prefix", deployment.model_prefix.as_str());
    row.set("framework", deployment.framework.as_str());
    row.set("precision", deployment.precision.as_str());
    row.set("spec_decoding", deployment.spec_decoding.as_str());
    row.set("disagg", deployment.disagg);
    row.set("recipe_fingerprint", deployment.recipe_fingerprint.as_str());
    row.set("isl", deployment.isl);
    row.set("osl", deployment.osl);
    if let Some(Component { name, version }) = &deployment.router {
        row.set("router", json!({ "name": name, "version": version }));
    }
    if let Some(transfer) = &deployment.kv_p2p_transfer {
        row.set("kv_p2p_transfer", transfer.as_str());
    }
    let throughput = Throughput {
        total: number(raw, "total_token_throughput")?,
        output: number(raw, "output_throughput")?,
    };
    match &deployment.spread {
        Spread::Single(shard) => set_single(&mut row, shard, &throughput)?,
        Spread::Multi { prefill, decode } => set_multi(&mut row, prefill, decode, &throughput)?,
    }
    for (key, value) in raw.iter() {
        let name = key.replace("_ms", "");
        if key.ends_with("ms") {
            row.set(name.as_str(), as_number(key, value)? / 1000.0);
        }
        if key.contains("tpot") {
            let tpot = as_number(key, value)?;
            let interactivity = (tpot != 0.0).then(|| 1000.0 / tpot);
            row.set(name.replace("tpot", "intvty"), interactivity);
        }
    }
    row.set("power_metric_schema_version", POWER_SCHEMA_VERSION);
    let power = raw.get(GPU_POWER).and_then(Value::as_object);
    row.set("power_valid", u8::from(power.is_some()));
    for (field, value) in power.into_iter().flatten() {
        row.set(field.as_str(), value.clone());
    }
    for fact in RUN_FACTS {
        if let Some(value) = raw.get(fact) {
            row.set(fact, value.clone());
        }
    }
    Ok(Row(row))
}

/// Tokens a second of the whole deployment.
struct Throughput {
    total: f64,
    output: f64,
}

fn set_single(row: &mut Object, shard: &Shard, throughput: &Throughput) -> Result<(), AggregateError> {
    row.set("is_multinode", false);
    set_shard(row, "", shard, &shard.dp_attention);
    let gpus = at_least_one(shard.gpus()).ok_or(AggregateError::NoGpus)?;
    row.set("tput_per_gpu", throughput.total / gpus);
    row.set("output_tput_per_gpu", throughput.output / gpus);
    row.set(
        "input_tput_per_gpu",
        (throughput.total - throughput.output) / gpus,
    );
    Ok(())
}

fn set_multi(
    row: &mut Object,
    prefill: &Role,
    decode: &Role,
    throughput: &Throughput,
) -> Result<(), AggregateError> {
    let all_gpus = at_least_one(prefill.gpus + decode.gpus).ok_or(AggregateError::NoGpus)?;
    let prefill_gpus = at_least_one(prefill.gpus).ok_or(AggregateError::NoPrefillGpus)?;
    let decode_gpus = at_least_one(decode.gpus);
    row.set("is_multinode", true);
    set_shard(row, "prefill_", &prefill.shard, &prefill.shard.dp_attention);
    row.set("prefill_num_workers", prefill.num_workers);
    // Without decode GPUs the prefill workers do both, and a decode parallelism means nothing.
    let none = Shard {
        tp: 0,
        pp: 1,
        dcp_size: 1,
        pcp_size: 1,
        ep: 0,
        dp_attention: String::new(),
    };
    let decode_shard = if decode_gpus.is_some() {
        &decode.shard
    } else {
        &none
    };
    set_shard(row, "decode_", decode_shard, &decode.shard.dp_attention);
    row.set("decode_num_workers", decode.num_workers);
    row.set("num_prefill_gpu", prefill.gpus);
    row.set("num_decode_gpu", decode.gpus);
    row.set("tput_per_gpu", throughput.total / all_gpus);
    row.set(
        "output_tput_per_gpu",
        throughput.output / decode_gpus.unwrap_or(all_gpus),
    );
    row.set(
        "input_tput_per_gpu",
        (throughput.total - throughput.output) / prefill_gpus,
    );
    if let (Some(prefill_hw), Some(decode_hw)) = (&prefill.hardware, &decode.hardware) {
        row.set("prefill_hw", prefill_hw.as_str());
        row.set("decode_hw", decode_hw.as_str());
    }
    Ok(())
}

fn set_shard(row: &mut Object, role: &str, shard: &Shard, dp_attention: &str) {
    for (field, size) in [
        ("tp", shard.tp),
        ("pp", shard.pp),
        ("dcp_size", shard.dcp_size),
        ("pcp_size", shard.pcp_size),
        ("ep", shard.ep),
    ] {
        row.set(format!("{role}{field}"), size);
    }
    row.set(format!("{role}dp_attention"), dp_attention);
}

fn at_least_one(gpus: u32) -> Option<f64> {
    (gpus > 0).then_some(f64::from(gpus))
}

fn present<'a>(raw: &'a Object, field: &str) -> Result<&'a Value, AggregateError> {
    raw.get(field).ok_or_else(|| AggregateError::Missing {
        field: field.to_owned(),
    })
}

pub(super) fn number(raw: &Object, field: &str) -> Result<f64, AggregateError> {
    as_number(field, present(raw, field)?)
}

fn as_number(field: &str, value: &Value) -> Result<f64, AggregateError> {
    value.as_f64().ok_or_else(|| wrong_type(field, value, "a number"))
}

pub(super) fn whole(raw: &Object, field: &str) -> Result<u64, AggregateError> {
    let value = present(raw, field)?;
    value
        .as_u64()
        .ok_or_else(|| wrong_type(field, value, "a whole number"))
}

fn wrong_type(field: &str, found: &Value, expected: &'static str) -> AggregateError {
    AggregateError::Type {
        field: field.to_owned(),
        found: found.to_string(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::results::fixture;
    use crate::results::row::Nature;

    fn raw(json: &str) -> Object {
        serde_json::from_str(json).unwrap()
    }

    const RAW: &str = r#"{"date": "20261101-120000", "model_id": "lab/model", "max_concurrency": 4, "duration": 2.0,
        "output_throughput": 800.0, "total_token_throughput": 6400.0, "input_lens": [1, 2],
        "median_ttft_ms": 125.0, "median_tpot_ms": 12.5, "std_tpot_ms": 0.0, "median_e2el_ms": 1500}"#;

    #[test]
    fn power_that_was_taken_stands_in_the_row() {
        let mut watched = raw(RAW);
        watched.set(
            GPU_POWER,
            json!({ "avg_power_w": 400.0, "total_gpu_energy_j": 1600.0 }),
        );
        let Row(row) = row(&Deployment::of(&fixture::single(8, 4, 64)), &watched).unwrap();
        let fields: Vec<_> = row
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let power = fields.iter().position(|field| field == "power_valid=1").unwrap();
        assert_eq!(
            fields[power + 1..],
            ["avg_power_w=400.0", "total_gpu_energy_j=1600.0"]
        );
    }

    #[test]
    fn a_single_node_row_divides_by_tp_pp_and_pcp() {
        let mut deployment = Deployment::of(&fixture::single(8, 4, 64));
        let Spread::Single(shard) = &mut deployment.spread else {
            unreachable!("the fixture is a single node");
        };
        shard.dcp_size = 2;
        let row = row(&deployment, &raw(RAW)).unwrap();
        insta::assert_snapshot!(serde_json::to_string(&row).unwrap().replace(",\"", ",\n\""), @r#"
        {"hw":"h200",
        "conc":4,
        "image":"engine:1",
        "model":"lab/model",
        "infmax_model_prefix":"m1",
        "framework":"sglang",
        "precision":"fp8",
        "spec_decoding":"none",
        "disagg":false,
        "recipe_fingerprint":"",
        "isl":8192,
        "osl":1024,
        "is_multinode":false,
        "tp":8,
        "pp":1,
        "dcp_size":2,
        "pcp_size":1,
        "ep":4,
        "dp_attention":"true",
        "tput_per_gpu":800.0,
        "output_tput_per_gpu":100.0,
        "input_tput_per_gpu":700.0,
        "median_ttft":0.125,
        "median_tpot":0.0125,
        "median_intvty":80.0,
        "std_tpot":0.0,
        "std_intvty":null,
        "median_e2el":1.5,
        "power_metric_schema_version":2,
        "power_valid":0}
        "#);
    }

    #[test]
    fn a_disaggregated_row_divides_output_by_decode_and_input_by_prefill_gpus() {
        let row = aggregate(&fixture::disagg(2, 1), &raw(RAW)).unwrap();
        assert_eq!(row.text("prefill_dp_attention").as_deref(), Some("true"));
        assert_eq!(
            (row.number("num_prefill_gpu"), row.number("num_decode_gpu")),
            (Some(8.0), Some(8.0))
        );
        assert_eq!(row.number("tput_per_gpu"), Some(400.0));
        assert_eq!(row.number("output_tput_per_gpu"), Some(100.0));
        assert_eq!(row.number("input_tput_per_gpu"), Some(700.0));
        assert_eq!(row.number("decode_tp"), Some(8.0));
        assert!(row.is_multinode());
        let keys: Vec<&str> = row.fields().map(|(key, _)| key).collect();
        let from = keys.iter().position(|key| *key == "osl").unwrap();
        insta::assert_snapshot!(keys[from..].join(" "), @"osl router kv_p2p_transfer is_multinode prefill_tp prefill_pp prefill_dcp_size prefill_pcp_size prefill_ep prefill_dp_attention prefill_num_workers decode_tp decode_pp decode_dcp_size decode_pcp_size decode_ep decode_dp_attention decode_num_workers num_prefill_gpu num_decode_gpu tput_per_gpu output_tput_per_gpu input_tput_per_gpu median_ttft median_tpot median_intvty std_tpot std_intvty median_e2el power_metric_schema_version power_valid");
    }

    #[test]
    fn without_decode_gpus_all_output_is_the_prefill_workers() {
        let row = aggregate(&fixture::disagg(2, 0), &raw(RAW)).unwrap();
        assert_eq!(row.number("output_tput_per_gpu"), Some(100.0));
        let decode = ["decode_tp", "decode_pp", "decode_ep", "num_decode_gpu"].map(|field| row.number(field));
        assert_eq!(decode, [0.0, 1.0, 0.0, 0.0].map(Some));
    }

    #[test]
    fn no_gpus_is_an_error_not_an_infinite_throughput() {
        let error = |prefill, decode| aggregate(&fixture::disagg(prefill, decode), &raw(RAW)).unwrap_err();
        assert_eq!(error(0, 0), AggregateError::NoGpus);
        assert_eq!(error(0, 1), AggregateError::NoPrefillGpus);
    }

    #[test]
    fn hardware_of_roles_is_told_when_both_are_known() {
        let mut deployment = Deployment::of(&fixture::disagg(1, 1));
        let Spread::Multi { prefill, decode } = &mut deployment.spread else {
            unreachable!("the fixture is multi-node");
        };
        prefill.hardware = Some("h100".to_owned());
        decode.hardware = Some("h200".to_owned());
        let told = row(&deployment, &raw(RAW)).unwrap();
        assert_eq!(told.text("prefill_hw").as_deref(), Some("h100"));
        assert_eq!(told.text("decode_hw").as_deref(), Some("h200"));
    }

    #[test]
    fn a_simulated_run_is_told_last() {
        let simulated = RAW.replace(
            "\"date\"",
            "\"simulated\": true, \"client_bound\": false, \"date\"",
        );
        let row = aggregate(&fixture::single(8, 1, 4), &raw(&simulated)).unwrap();
        assert_eq!(row.nature(), Nature::Simulated);
        assert_eq!(row.fields().last().unwrap().0, "simulated");
        let measured = aggregate(&fixture::single(8, 1, 4), &raw(RAW)).unwrap();
        assert_eq!(measured.nature(), Nature::Measured);
        assert_eq!(measured.text("simulated"), None);
    }

    #[test]
    fn what_is_no_benchmark_output_is_told_by_field() {
        let error = |json: &str| {
            aggregate(&fixture::single(8, 1, 4), &raw(json))
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(error("{}"), @"the raw result has no `max_concurrency`; it is no serving benchmark's output");
        insta::assert_snapshot!(error(&RAW.replace("12.5", "null")), @"`median_tpot_ms` of the raw result is null, not a number");
        insta::assert_snapshot!(error(&RAW.replace("\"max_concurrency\": 4", "\"max_concurrency\": null")), @"`max_concurrency` of the raw result is null, not a whole number");
    }
}
