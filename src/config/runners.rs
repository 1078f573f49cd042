//! `runners.yaml`: runner labels, the nodes behind them, and hardware facts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// The runners file, in InferenceX's current form.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Runners {
    /// Label -> the runners (nodes) that carry it.
    pub labels: BTreeMap<String, RunnerNames>,
    /// Hardware facts of a label.
    #[serde(default)]
    pub hardware: BTreeMap<String, Hardware>,
}

/// Names as `<cluster>_<index>`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct RunnerNames(#[schemars(length(min = 1))] pub Vec<String>);

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hardware {
    /// Host memory that a server may use for KV offload, in MiB.
    #[schemars(range(min = 1))]
    pub available_cpu_dram_mib: u64,
    #[schemars(range(min = 1))]
    pub gpus_per_node: u32,
}

/// Host memory that a server is given at most, in MiB: 3 TB, whatever the host has. InferenceX's limit.
const MOST_DRAM_MIB: u64 = 2_861_022;

/// Why a server's share of the host's memory cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DramError {
    #[error("a server of {gpus} GPUs does not fit a node of {per_node}")]
    TooWide { gpus: u32, per_node: u32 },
    #[error("a worker of {gpus} GPUs spans nodes of {per_node} without filling them")]
    Spans { gpus: u32, per_node: u32 },
    #[error("workers of {gpus} GPUs do not divide a node of {per_node} evenly")]
    Uneven { gpus: u32, per_node: u32 },
}

impl Hardware {
    /// Host memory for the KV caches of a single-node server of so many GPUs, in GB.
    pub fn server_dram_gb(&self, utilization: f64, gpus: u32) -> Result<u64, DramError> {
        let per_node = self.gpus_per_node;
        if gpus > per_node {
            return Err(DramError::TooWide { gpus, per_node });
        }
        Ok(self.dram_gb(utilization, gpus))
    }

    /// Host memory on each node for the KV caches of workers of so many GPUs, in GB.
    pub fn worker_dram_gb(&self, utilization: f64, gpus: u32) -> Result<u64, DramError> {
        let per_node = self.gpus_per_node;
        match gpus {
            _ if gpus > per_node && !gpus.is_multiple_of(per_node) => {
                Err(DramError::Spans { gpus, per_node })
            }
            _ if gpus <= per_node && !per_node.is_multiple_of(gpus.max(1)) => {
                Err(DramError::Uneven { gpus, per_node })
            }
            _ => Ok(self.dram_gb(utilization, gpus.min(per_node))),
        }
    }

    /// The share of `gpus` in the node's memory, rounded down; exact in decimal, as people write the utilization.
    fn dram_gb(&self, utilization: f64, gpus: u32) -> u64 {
        let (digits, scale) = decimal(utilization);
        let bytes = u128::from(self.available_cpu_dram_mib.min(MOST_DRAM_MIB)) << 20;
        let share = bytes * digits * u128::from(gpus);
        (share / (scale * u128::from(self.gpus_per_node) * 1_000_000_000)) as u64
    }
}

/// A share from 0 to 1 as a fraction of a power of ten: 0.85 is 85 of 100.
fn decimal(share: f64) -> (u128, u128) {
    // Beyond 12 places a share of a node's memory changes no byte.
    let text = format!("{:.12}", share.clamp(0.0, 1.0));
    let digits = text
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0u128, |sum, d| sum * 10 + u128::from(d - b'0'));
    (digits, 1_000_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware(mib: u64, gpus_per_node: u32) -> Hardware {
        Hardware {
            available_cpu_dram_mib: mib,
            gpus_per_node,
        }
    }

    #[test]
    fn a_server_gets_its_share_of_the_memory_below_the_limit() {
        let b300 = hardware(2_964_436, 8);
        assert_eq!(b300.server_dram_gb(0.8, 4), Ok(1199));
        assert_eq!(b300.server_dram_gb(0.8, 8), Ok(2399));
        assert_eq!(
            b300.server_dram_gb(0.8, 16),
            Err(DramError::TooWide {
                gpus: 16,
                per_node: 8
            })
        );
    }

    #[test]
    fn workers_fill_nodes_or_divide_them() {
        let gb200 = hardware(860_160, 4);
        assert_eq!(gb200.worker_dram_gb(1.0, 8), gb200.worker_dram_gb(1.0, 4));
        assert!(matches!(
            gb200.worker_dram_gb(1.0, 6),
            Err(DramError::Spans { .. })
        ));
        assert!(matches!(
            gb200.worker_dram_gb(1.0, 3),
            Err(DramError::Uneven { .. })
        ));
    }
}
