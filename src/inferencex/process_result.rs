//! From a raw benchmark file to its aggregate row, by the environment that a benchmark job sets.

use std::io;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::config::master::Component;
use crate::results::aggregate::{AggregateError, row};
use crate::results::{Deployment, Object, Role, Shard, Spread};

use super::power::{self, Metrics, MultiNodeSource};
use super::python_json::{Layout, dumps, loads};
use super::pyvalue::{Dict, PyValue, python_int};

/// Why there is no row.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("Missing required environment variables: {0}")]
    Missing(String),
    #[error("{variable} must be a whole number, not '{value}'")]
    Number { variable: String, value: String },
    #[error("PP_SIZE, DCP_SIZE, and PCP_SIZE must be positive integers.")]
    Parallelism,
    #[error("Multinode PP, DCP, and PCP sizes must be positive integers.")]
    WorkerParallelism,
    #[error("{0} must contain valid JSON")]
    ComponentJson(&'static str),
    #[error("{0} must contain exactly 'name' and 'version'")]
    ComponentKeys(&'static str),
    #[error("{0} name and version must be non-empty strings")]
    ComponentValues(&'static str),
    #[error("Disaggregated mode requires multinode setup.")]
    DisaggOnOneNode,
    #[error("PREFILL_HARDWARE and DECODE_HARDWARE must be specified together.")]
    Hardware,
    #[error("Multinode results require at least one GPU.")]
    NoGpus,
    #[error("Multinode results require at least one prefill GPU.")]
    NoPrefillGpus,
    #[error("could not read {}: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{} is no benchmark result: {error}", .path.display())]
    Json { path: PathBuf, error: serde_json::Error },
    #[error(transparent)]
    Row(#[from] AggregateError),
    #[error("could not write {}: {error}", .path.display())]
    Write { path: PathBuf, error: io::Error },
}

/// What was written, and what there is to tell.
#[derive(Debug)]
pub struct Processed {
    /// The aggregate row as it stands in its file.
    pub row: String,
    /// Remarks for people, one a line.
    pub notes: Vec<String>,
    /// Power was asked for and is not there.
    pub lacks_power: bool,
}

/// Reads `<RESULT_FILENAME>.json` in a folder and writes `agg_<RESULT_FILENAME>.json` and
/// `power_validation_<RESULT_FILENAME>.json` beside it.
pub fn process(
    folder: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    zone: &TimeZone,
) -> Result<Processed, ProcessError> {
    let env = Environment(env);
    let base = env.required(&[
        "RUNNER_TYPE",
        "FRAMEWORK",
        "PRECISION",
        "SPEC_DECODING",
        "RESULT_FILENAME",
        "ISL",
        "OSL",
        "DISAGG",
        "MODEL_PREFIX",
        "IMAGE",
    ])?;
    let name = &base[4];
    let raw_path = PathBuf::from(format!("{name}.json"));
    let text = std::fs::read_to_string(folder.join(&raw_path)).map_err(|error| ProcessError::Read {
        path: raw_path.clone(),
        error,
    })?;
    let no_result = |error| ProcessError::Json {
        path: raw_path.clone(),
        error,
    };
    let object: Object = serde_json::from_str(&text).map_err(no_result)?;
    let raw = loads(&text).map_err(no_result)?;
    let router = env.component("ROUTER_METADATA")?;
    let multinode = env.flag("IS_MULTINODE");
    let disagg = base[7].to_lowercase() == "true";
    let spread = if multinode {
        env.several_nodes()?
    } else if disagg {
        return Err(ProcessError::DisaggOnOneNode);
    } else {
        Spread::Single(env.one_node()?)
    };
    let deployment = Deployment {
        hw: base[0].clone(),
        image: base[9].clone(),
        model_prefix: base[8].clone(),
        framework: base[1].clone(),
        precision: base[2].clone(),
        spec_decoding: base[3].clone(),
        disagg,
        recipe_fingerprint: env.optional("RECIPE_FINGERPRINT"),
        isl: number("ISL", &base[5])?,
        osl: number("OSL", &base[6])?,
        router,
        kv_p2p_transfer: Some(env.optional("KV_P2P_TRANSFER")).filter(|transfer| !transfer.is_empty()),
        spread,
    };
    let mut fields: Dict = row(&deployment, &object)?
        .fields()
        .map(|(key, value)| (key.to_owned(), from_json(value)))
        .collect();
    let mut notes = zero_interactivity(&fields);
    let power = match &deployment.spread {
        Spread::Single(shard) => env.single_node_power(folder, &raw, &raw_path, shard.gpus(), zone),
        Spread::Multi { prefill, decode } => {
            env.multi_node_power(folder, &raw, &raw_path, [prefill.gpus, decode.gpus])
        }
    };
    let valid = power.reasons.is_empty();
    fields.set("power_valid", i64::from(valid));
    if valid {
        for (metric, value) in power.metrics.in_row() {
            fields.set(metric, value);
        }
    } else {
        notes.push(format!("power is not valid: {}", power.reasons.join(", ")));
    }
    let row = dumps(&fields.into(), Layout::Indented);
    write(folder, &format!("agg_{name}.json"), &row)?;
    write(
        folder,
        &format!("power_validation_{name}.json"),
        &dumps(&power.validation.into(), Layout::Indented),
    )?;
    let wants_power = ["1", "true", "yes"].contains(&env.optional("REQUIRE_POWER").to_lowercase().as_str());
    Ok(Processed {
        row,
        notes,
        lacks_power: wants_power && !valid,
    })
}

/// Upstream divides by zero here, and the job fails after a good benchmark.
fn zero_interactivity(fields: &Dict) -> Vec<String> {
    fields
        .iter()
        .filter(|(key, value)| key.contains("intvty") && value.is_none())
        .map(|(key, _)| format!("{key} is null: its TPOT is zero"))
        .collect()
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), ProcessError> {
    std::fs::write(folder.join(name), text).map_err(|error| ProcessError::Write {
        path: name.into(),
        error,
    })
}

fn number(variable: &str, value: &str) -> Result<u32, ProcessError> {
    python_int(value)
        .and_then(|value| u32::try_from(value).ok())
        .ok_or_else(|| ProcessError::Number {
            variable: variable.to_owned(),
            value: value.to_owned(),
        })
}

/// The same value; serde's objects here have one or two keys, in order.
fn from_json(value: &serde_json::Value) -> PyValue {
    use serde_json::Value;
    match value {
        Value::Null => PyValue::None,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(value) => value.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => PyValue::List(items.iter().map(from_json).collect()),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), from_json(value)))
            .collect::<Dict>()
            .into(),
    }
}

struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    /// The values of variables that must be there, empty or not.
    fn required(&self, names: &[&str]) -> Result<Vec<String>, ProcessError> {
        let missing: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| (self.0)(name).is_none())
            .collect();
        if missing.is_empty() {
            Ok(names.iter().map(|name| self.optional(name)).collect())
        } else {
            Err(ProcessError::Missing(missing.join(", ")))
        }
    }

    fn optional(&self, name: &str) -> String {
        (self.0)(name).unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        self.optional(name).to_lowercase() == "true"
    }

    fn size(&self, name: &str) -> Result<u32, ProcessError> {
        (self.0)(name).map_or(Ok(1), |value| number(name, &value))
    }

    fn component(&self, name: &'static str) -> Result<Option<Component>, ProcessError> {
        let text = self.optional(name);
        if text.is_empty() || text == "null" {
            return Ok(None);
        }
        let value = loads(&text).map_err(|_| ProcessError::ComponentJson(name))?;
        let dict = value
            .as_dict()
            .filter(|dict| dict.len() == 2 && dict.get("name").is_some() && dict.get("version").is_some())
            .ok_or(ProcessError::ComponentKeys(name))?;
        let (part, version) = (dict.text("name"), dict.text("version"));
        if part.is_empty() || version.is_empty() {
            return Err(ProcessError::ComponentValues(name));
        }
        Ok(Some(Component {
            name: part.to_owned(),
            version: version.to_owned(),
        }))
    }

    fn one_node(&self) -> Result<Shard, ProcessError> {
        let own = self.required(&["TP", "EP_SIZE", "DP_ATTENTION"])?;
        let shard = Shard {
            tp: number("TP", &own[0])?,
            pp: self.size("PP_SIZE")?,
            dcp_size: self.size("DCP_SIZE")?,
            pcp_size: self.size("PCP_SIZE")?,
            ep: number("EP_SIZE", &own[1])?,
            dp_attention: own[2].clone(),
        };
        match [shard.pp, shard.dcp_size, shard.pcp_size].contains(&0) {
            true => Err(ProcessError::Parallelism),
            false => Ok(shard),
        }
    }

    fn several_nodes(&self) -> Result<Spread, ProcessError> {
        const ROLES: [&str; 2] = ["PREFILL", "DECODE"];
        let mut names: Vec<String> = ROLES.map(|role| format!("{role}_GPUS")).to_vec();
        for role in ROLES {
            names.extend(["NUM_WORKERS", "TP", "EP", "DP_ATTN"].map(|part| format!("{role}_{part}")));
        }
        self.required(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let (prefill, decode) = (self.role("PREFILL")?, self.role("DECODE")?);
        if prefill.hardware.is_some() != decode.hardware.is_some() {
            return Err(ProcessError::Hardware);
        }
        let sizes = |role: &Role| [role.shard.pp, role.shard.dcp_size, role.shard.pcp_size];
        if sizes(&prefill).contains(&0) || sizes(&decode).contains(&0) {
            return Err(ProcessError::WorkerParallelism);
        }
        if prefill.gpus + decode.gpus == 0 {
            return Err(ProcessError::NoGpus);
        }
        if prefill.gpus == 0 {
            return Err(ProcessError::NoPrefillGpus);
        }
        Ok(Spread::Multi { prefill, decode })
    }

    fn role(&self, role: &str) -> Result<Role, ProcessError> {
        let text = |part: &str| self.optional(&format!("{role}_{part}"));
        let whole = |part: &str| number(&format!("{role}_{part}"), &text(part));
        let size = |part: &str| self.size(&format!("{role}_{part}"));
        Ok(Role {
            shard: Shard {
                tp: whole("TP")?,
                pp: size("PP_SIZE")?,
                dcp_size: size("DCP_SIZE")?,
                pcp_size: size("PCP_SIZE")?,
                ep: whole("EP")?,
                dp_attention: text("DP_ATTN"),
            },
            num_workers: whole("NUM_WORKERS")?,
            gpus: whole("GPUS")?,
            hardware: Some(text("HARDWARE")).filter(|hardware| !hardware.is_empty()),
        })
    }

    fn single_node_power(
        &self,
        folder: &Path,
        raw: &PyValue,
        raw_path: &Path,
        gpus: u32,
        zone: &TimeZone,
    ) -> Power {
        let candidates: Vec<PathBuf> = self
            .named("GPU_METRICS_CSV")
            .into_iter()
            .chain(["gpu_metrics.csv".into(), "/workspace/gpu_metrics.csv".into()])
            .collect();
        let there = candidates.iter().find(|path| folder.join(path).is_file());
        let csv = there.unwrap_or(&candidates[0]);
        let report = power::measure_single_node(raw, &folder.join(csv), i64::from(gpus), zone);
        Power {
            validation: report.to_validation(csv, raw_path, i64::from(gpus)),
            reasons: report.reasons,
            metrics: report.metrics,
        }
    }

    fn multi_node_power(&self, folder: &Path, raw: &PyValue, raw_path: &Path, gpus: [u32; 2]) -> Power {
        let artifacts = self.named("POWER_ARTIFACT_DIR");
        let logs = self.named("POWER_RESULT_ROOT");
        let producer = self.optional("POWER_PRODUCER_SHA");
        let source = MultiNodeSource {
            folder,
            artifacts: artifacts.as_deref().unwrap_or(Path::new("LOGS/power")),
            logs: logs.as_deref().unwrap_or(Path::new("LOGS")),
            producer: Some(producer.as_str()).filter(|producer| !producer.is_empty()),
            prefill_gpus: gpus[0],
            decode_gpus: gpus[1],
        };
        let report = power::measure_multi_node(&source, raw);
        Power {
            validation: report.to_validation(&source, raw_path),
            reasons: report.reasons,
            metrics: report.metrics,
        }
    }

    fn named(&self, variable: &str) -> Option<PathBuf> {
        let path = self.optional(variable);
        (!path.is_empty()).then(|| path.into())
    }
}

/// What is known of a benchmark's energy.
struct Power {
    /// Why it is not valid; empty when it is.
    reasons: Vec<&'static str>,
    metrics: Metrics,
    /// The file that stands beside the row.
    validation: Dict,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const RAW: &str = r#"{"model_id": "m", "max_concurrency": 4, "total_token_throughput": 900.5,
        "output_throughput": 100.5, "mean_tpot_ms": 10.0, "std_tpot_ms": 0.0, "mean_ttft_ms": 5}"#;

    const SINGLE: &[(&str, &str)] = &[
        ("RUNNER_TYPE", "b200"),
        ("FRAMEWORK", "sglang"),
        ("PRECISION", "fp8"),
        ("SPEC_DECODING", "none"),
        ("RESULT_FILENAME", "res"),
        ("ISL", "8192"),
        ("OSL", "1024"),
        ("DISAGG", "False"),
        ("MODEL_PREFIX", "dsr1"),
        ("IMAGE", ""),
        ("TP", "4"),
        ("EP_SIZE", "1"),
        ("DP_ATTENTION", "false"),
        ("PCP_SIZE", "2"),
    ];

    fn processed(changes: &[(&str, Option<&str>)]) -> Result<(Processed, Dict), ProcessError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("res.json"), RAW).unwrap();
        let env = |name: &str| {
            let changed = changes.iter().find(|(known, _)| *known == name);
            let as_is = || {
                SINGLE
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| *value)
            };
            changed.map_or_else(as_is, |(_, value)| *value).map(str::to_owned)
        };
        let processed = process(folder.path(), &env, &TimeZone::UTC)?;
        let written = std::fs::read_to_string(folder.path().join("agg_res.json")).unwrap();
        assert_eq!(written, processed.row);
        assert!(folder.path().join("power_validation_res.json").exists());
        let row = loads(&written).unwrap().as_dict().cloned().unwrap();
        Ok((processed, row))
    }

    #[test]
    fn throughput_is_by_gpu_and_a_zero_spread_has_no_interactivity() {
        let (processed, row) = processed(&[]).unwrap();
        assert_eq!(row.get("tput_per_gpu"), Some(&PyValue::Float(900.5 / 8.0)));
        assert_eq!(row.get("mean_intvty"), Some(&PyValue::Float(100.0)));
        assert_eq!(row.get("std_intvty"), Some(&PyValue::None));
        assert!(processed.notes[0].contains("std_intvty"), "{:?}", processed.notes);
        assert!(!processed.lacks_power);
        assert_eq!(row.get("power_valid"), Some(&PyValue::Int(0)));
    }

    #[test]
    fn a_wrong_environment_is_named() {
        for (changes, part) in [
            (vec![("IMAGE", None), ("ISL", None)], "variables: ISL, IMAGE"),
            (vec![("DISAGG", Some("true"))], "requires multinode"),
            (vec![("TP", Some("x"))], "TP must be a whole number, not 'x'"),
            (vec![("PCP_SIZE", Some("0"))], "must be positive integers"),
            (vec![("ROUTER_METADATA", Some("{"))], "must contain valid JSON"),
            (
                vec![("ROUTER_METADATA", Some(r#"{"name": "r"}"#))],
                "exactly 'name' and 'version'",
            ),
            (
                vec![("ROUTER_METADATA", Some(r#"{"name": "r", "version": 1}"#))],
                "non-empty strings",
            ),
            (vec![("IS_MULTINODE", Some("True"))], "PREFILL_GPUS, DECODE_GPUS"),
            (
                vec![("RESULT_FILENAME", Some("gone"))],
                "could not read gone.json",
            ),
        ] {
            let told = processed(&changes).unwrap_err().to_string();
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn power_that_is_required_and_missing_is_told() {
        assert!(
            processed(&[("REQUIRE_POWER", Some("YES"))])
                .unwrap()
                .0
                .lacks_power
        );
    }
}
