//! The host memory that an agentic server may offload its KV cache to.

use super::decimal::Decimal;
use super::pyvalue::{Dict, PyValue};
use super::runners::{Hardware, Runners};

/// 3 TB, the most of a node's memory that is counted, in MiB.
const MOST_AVAILABLE_MIB: i64 = 2_861_022;

/// Why an entry has no offload budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DramError {
    #[error(
        "Runner '{runner}' requires 'available-cpu-dram-mib' in runner hardware metadata. Available hardware keys: {known}"
    )]
    NoHardware { runner: String, known: String },
    #[error(
        "tp={tp} with pp={pp} and pcp-size={pcp} requires {gpus} GPUs and exceeds gpus-per-node={per_node} for runner '{runner}'"
    )]
    TooManyGpus {
        tp: i64,
        pp: i64,
        pcp: i64,
        gpus: i64,
        per_node: i64,
        runner: String,
    },
    #[error(
        "worker tp*pp*pcp-size={gpus} spans multiple nodes but is not a multiple of gpus-per-node={per_node}"
    )]
    PartOfANode { gpus: i64, per_node: i64 },
    #[error("worker tp*pp*pcp-size={gpus} does not divide gpus-per-node={per_node} evenly")]
    Untiled { gpus: i64, per_node: i64 },
    #[error("a server of {0} GPUs has no total-cpu-dram-gb")]
    Negative(i64),
    #[error("dram-utilization '{0}' makes no budget")]
    Utilization(String),
}

/// The budget in GB of one server's node: its share of the node's GPUs, of the memory in use, rounded down; zero without
/// offloading.
pub(super) fn offload_gb(
    scenario: &Dict,
    entry: &Dict,
    runner: &str,
    runners: &Runners,
) -> Result<i64, DramError> {
    if entry.text("kv-offloading") != "dram" {
        return Ok(0);
    }
    let hardware = runners.hardware(runner).ok_or_else(|| DramError::NoHardware {
        runner: runner.to_owned(),
        known: runners.hardware_labels().join(", "),
    })?;
    let gpus = match entry.some("prefill").and_then(PyValue::as_dict) {
        // Only prefill workers offload.
        Some(prefill) => worker_gpus_on_a_node(prefill, hardware.gpus_per_node)?,
        None => server_gpus(entry, runner, hardware)?,
    };
    if gpus < 0 {
        return Err(DramError::Negative(gpus));
    }
    let utilization = scenario.get("dram-utilization").unwrap_or(&PyValue::None);
    let available = hardware.available_cpu_dram_mib.min(MOST_AVAILABLE_MIB);
    let bytes = i128::from(available) << 20;
    Decimal::of(utilization)
        .and_then(|share| {
            share.scaled_floor(
                bytes.checked_mul(i128::from(gpus))?,
                i128::from(hardware.gpus_per_node) * 1_000_000_000,
            )
        })
        .ok_or_else(|| DramError::Utilization(utilization.to_string()))
}

fn server_gpus(entry: &Dict, runner: &str, hardware: Hardware) -> Result<i64, DramError> {
    let (tp, pp, pcp) = sizes(entry);
    let gpus = tp.saturating_mul(pp).saturating_mul(pcp);
    if gpus > hardware.gpus_per_node {
        return Err(DramError::TooManyGpus {
            tp,
            pp,
            pcp,
            gpus,
            per_node: hardware.gpus_per_node,
            runner: runner.to_owned(),
        });
    }
    Ok(gpus)
}

/// A worker fills whole nodes, or shares its node evenly with its like.
fn worker_gpus_on_a_node(worker: &Dict, per_node: i64) -> Result<i64, DramError> {
    let (tp, pp, pcp) = sizes(worker);
    let gpus = tp.saturating_mul(pp).saturating_mul(pcp);
    if gpus > per_node {
        if gpus % per_node != 0 {
            return Err(DramError::PartOfANode { gpus, per_node });
        }
        return Ok(per_node);
    }
    if gpus == 0 || per_node % gpus != 0 {
        return Err(DramError::Untiled { gpus, per_node });
    }
    Ok(gpus)
}

fn sizes(entry: &Dict) -> (i64, i64, i64) {
    let size = |key| entry.int(key).unwrap_or(1);
    (size("tp"), size("pp"), size("pcp-size"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use super::super::python_json::loads;
    use super::*;
    use crate::config::diagnostic::Diagnostics;
    use crate::config::source::Source;

    fn budget(share: &str, entry: &str) -> Result<i64, DramError> {
        let source = Arc::new(Source {
            path: "runners.yaml".into(),
            text: "labels: {c: [c_0]}\nhardware:\n  c: {available-cpu-dram-mib: 2_000_000, gpus-per-node: 8}\n  \
                   big: {available-cpu-dram-mib: 3_500_000, gpus-per-node: 4}\n"
                .to_owned(),
        });
        let runners = Runners::of(&source, &mut Diagnostics::default()).unwrap();
        let dict = |json: &str| loads(json).unwrap().as_dict().cloned().unwrap();
        let runner = if entry.contains("big") { "big" } else { "c" };
        let runner = if entry.contains("unknown") { "zz" } else { runner };
        let scenario = dict(&format!(r#"{{"dram-utilization": {share}}}"#));
        offload_gb(&scenario, &dict(entry), runner, &runners)
    }

    #[test]
    fn a_server_gets_its_share_of_the_node() {
        assert_eq!(budget("0.8", r#"{"tp": 8, "kv-offloading": "none"}"#), Ok(0));
        assert_eq!(budget("0.8", r#"{"tp": 8, "kv-offloading": "dram"}"#), Ok(1677));
        assert_eq!(
            budget("0.8", r#"{"tp": 2, "pcp-size": 2, "kv-offloading": "dram"}"#),
            Ok(838)
        );
        // 2,861,022 MiB are 2,999,998.994 MB.
        assert_eq!(
            budget("1", r#"{"tp": 4, "x": "big", "kv-offloading": "dram"}"#),
            Ok(2999)
        );
        let spanning = r#"{"prefill": {"tp": 16}, "kv-offloading": "dram"}"#;
        assert_eq!(budget("0.8", spanning), Ok(1677));
    }

    #[test]
    fn what_does_not_tile_a_node_is_refused() {
        for (entry, part) in [
            (
                r#"{"tp": 16, "kv-offloading": "dram"}"#,
                "requires 16 GPUs and exceeds gpus-per-node=8",
            ),
            (
                r#"{"prefill": {"tp": 12}, "kv-offloading": "dram"}"#,
                "=12 spans multiple nodes",
            ),
            (
                r#"{"prefill": {"tp": 3}, "kv-offloading": "dram"}"#,
                "=3 does not divide",
            ),
            (
                r#"{"prefill": {"tp": 0}, "kv-offloading": "dram"}"#,
                "=0 does not divide",
            ),
            (
                r#"{"tp": -1, "kv-offloading": "dram"}"#,
                "a server of -1 GPUs has no total-cpu-dram-gb",
            ),
            (
                r#"{"tp": 8, "x": "unknown", "kv-offloading": "dram"}"#,
                "Available hardware keys: big, c",
            ),
        ] {
            let told = budget("0.8", entry).unwrap_err().to_string();
            assert!(told.contains(part), "{told}");
        }
    }
}
