//! Points: fully expanded benchmarks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::changelog::ScenarioType;
use crate::config::master::{Component, KvOffloading, OffloadBackend, SpecDecoding, Worker, gpus};

/// The name of a master-config entry, as `dsr1-fp8-h200-sglang`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigKey(pub String);

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One benchmark: config key x scenario x topology x concurrency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub config: ConfigKey,
    pub image: String,
    pub model: String,
    pub model_prefix: String,
    pub precision: String,
    pub framework: String,
    /// The runner label.
    pub runner: String,
    #[serde(flatten)]
    pub scenario: Scenario,
    pub topology: Topology,
    pub spec_decoding: SpecDecoding,
    /// Requests in flight at a time.
    pub conc: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Component>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_p2p_transfer: Option<String>,
    /// Tells points apart whose ids would be equal although their deployments differ; empty for all others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mark: String,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "scenario", rename_all = "kebab-case")]
pub enum Scenario {
    /// Requests of nominal lengths, in tokens.
    FixedSeqLen { isl: u32, osl: u32 },
    /// Traces of coding agents, replayed.
    AgenticCoding(Agentic),
}

/// What an agentic scenario says beside the topology.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Agentic {
    pub kv_offloading: KvOffloading,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_offload_backend: Option<OffloadBackend>,
    /// Memory of a host for KV caches, in GB; 0 without offload. Absent where the label's hardware is not known.
    pub total_cpu_dram_gb: Option<u64>,
    /// How long traces are replayed, in s.
    pub duration: u32,
}

/// How long agentic traces are replayed, in s: InferenceX's length.
pub const AGENTIC_DURATION: u32 = 3600;

/// How a deployment is spread over GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    Single(Parallel),
    Multi {
        disagg: bool,
        prefill: Worker,
        decode: Worker,
    },
}

/// The parallelism of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Parallel {
    pub tp: u32,
    pub pp: u32,
    pub dcp_size: u32,
    pub pcp_size: u32,
    pub ep: u32,
    pub dp_attn: bool,
}

impl Parallel {
    /// One GPU.
    pub const ONE: Self = Self {
        tp: 1,
        pp: 1,
        dcp_size: 1,
        pcp_size: 1,
        ep: 1,
        dp_attn: false,
    };

    /// GPUs: TP x PP x PCP. EP and DCP divide these, they add none.
    pub fn gpus(&self) -> u32 {
        gpus(self.tp, self.pp, self.pcp_size)
    }
}

impl Topology {
    /// GPUs of the whole deployment, at most `u32::MAX`.
    pub fn gpus(&self) -> u32 {
        match self {
            Self::Single(parallel) => parallel.gpus(),
            Self::Multi { prefill, decode, .. } => {
                let of = |worker: &Worker| worker.gpus().saturating_mul(worker.num_worker);
                of(prefill).saturating_add(of(decode))
            }
        }
    }
}

/// All that makes the deployment of a point and what is sent to it but the concurrency, whatever its config is called.
pub type Deployment<'a> = (
    [&'a str; 6],
    &'a Scenario,
    &'a Topology,
    SpecDecoding,
    Option<&'a Component>,
    Option<&'a str>,
);

impl Point {
    /// What it has in common with the points that differ from it in concurrency or name alone.
    pub fn deployment(&self) -> Deployment<'_> {
        let texts = [
            &self.image,
            &self.model,
            &self.model_prefix,
            &self.precision,
            &self.framework,
            &self.runner,
        ];
        (
            texts.map(String::as_str),
            &self.scenario,
            &self.topology,
            self.spec_decoding,
            self.router.as_ref(),
            self.kv_p2p_transfer.as_deref(),
        )
    }

    /// The type of its scenario.
    pub fn scenario_type(&self) -> ScenarioType {
        match self.scenario {
            Scenario::FixedSeqLen { .. } => ScenarioType::FixedSeqLen,
            Scenario::AgenticCoding(_) => ScenarioType::AgenticCoding,
        }
    }

    /// Nominal input and output length in tokens, where all requests have the same.
    pub fn lengths(&self) -> Option<(u32, u32)> {
        match self.scenario {
            Scenario::FixedSeqLen { isl, osl } => Some((isl, osl)),
            Scenario::AgenticCoding(_) => None,
        }
    }

    /// What an agentic scenario adds.
    pub fn agentic(&self) -> Option<&Agentic> {
        match &self.scenario {
            Scenario::AgenticCoding(agentic) => Some(agentic),
            Scenario::FixedSeqLen { .. } => None,
        }
    }

    /// The scenario's label: `1k1k`, `8k1k`, else `<isl>_<osl>`, as InferenceX names them; or `agentic`.
    pub fn sequence(&self) -> String {
        match self.lengths() {
            None => "agentic".to_owned(),
            Some((1024, 1024)) => "1k1k".to_owned(),
            Some((8192, 1024)) => "8k1k".to_owned(),
            Some((isl, osl)) => format!("{isl}_{osl}"),
        }
    }

    /// The longest sequence a request can reach, with InferenceX's allowance of 256 tokens. None where the traces
    /// decide.
    pub fn max_model_len(&self) -> Option<u32> {
        let (isl, osl) = self.lengths()?;
        Some(isl.saturating_add(osl).saturating_add(256))
    }

    /// The experiment's name in InferenceX's files; not unique.
    pub fn exp_name(&self) -> String {
        let Some(agentic) = self.agentic() else {
            return format!("{}_{}", self.model_prefix, self.sequence());
        };
        let backend = agentic
            .kv_offload_backend
            .as_ref()
            .map(|b| b.name.as_str())
            .unwrap_or_default();
        match &self.topology {
            Topology::Single(p) => {
                let offload = match agentic.kv_offloading {
                    KvOffloading::None => "kvnone".to_owned(),
                    KvOffloading::Dram => format!("kvdram-{backend}"),
                };
                let name = format!("{}_tp{}_conc{}_{offload}", self.model_prefix, p.tp, self.conc);
                match self.spec_decoding {
                    SpecDecoding::None => name,
                    spec => format!("{name}_spec-{}", spec.name()),
                }
            }
            Topology::Multi { prefill, decode, .. } => {
                let role = |worker: &Worker| {
                    let ep = if worker.ep == 1 {
                        String::new()
                    } else {
                        format!("ep{}", worker.ep)
                    };
                    let dpa = if worker.dp_attn { "dpa" } else { "" };
                    format!("{}x{}{ep}{dpa}", worker.num_worker, worker.tp)
                };
                let (prefix, conc) = (&self.model_prefix, self.conc);
                let name = format!("{prefix}_p{}_d{}_conc{conc}", role(prefill), role(decode));
                match agentic.kv_offloading {
                    KvOffloading::None => name,
                    KvOffloading::Dram => format!("{name}_kvdram-{backend}"),
                }
            }
        }
    }

    /// Config, sequence and topology: what the concurrencies of one curve share.
    pub fn curve(&self) -> String {
        format!("{}/{}/{}", self.config, self.sequence(), self.topology_label())
    }

    /// The stable id: `dsr1-fp8-h200-sglang/8k1k/tp8-ep8-dpa-mtp/c64`.
    pub fn id(&self) -> String {
        format!("{}/c{}", self.curve(), self.conc)
    }

    /// The topology as ids spell it: what is 1, off or none is left out.
    pub fn topology_label(&self) -> String {
        let mut label = match &self.topology {
            Topology::Single(p) => sizes_label(p.tp, p.pp, p.dcp_size, p.pcp_size, p.ep, p.dp_attn),
            Topology::Multi { prefill, decode, .. } => {
                let role = |letter: char, w: &Worker| {
                    let sizes = sizes_label(w.tp, w.pp, w.dcp_size, w.pcp_size, w.ep, w.dp_attn);
                    format!("{letter}{}x{sizes}", w.num_worker)
                };
                match decode.num_worker {
                    0 => role('a', prefill),
                    _ => format!("{}+{}", role('p', prefill), role('d', decode)),
                }
            }
        };
        match self.spec_decoding {
            SpecDecoding::None => {}
            SpecDecoding::Mtp => label.push_str("-mtp"),
            SpecDecoding::DraftModel => label.push_str("-draft"),
        }
        if let Some(agentic) = self.agentic()
            && agentic.kv_offloading != KvOffloading::None
        {
            label.push_str("-kv");
            label.push_str(agentic.kv_offloading.name());
            if let Some(backend) = &agentic.kv_offload_backend {
                label.push('-');
                label.extend(backend.name.chars().map(in_id));
            }
        }
        if !self.mark.is_empty() {
            label.push('@');
            label.push_str(&self.mark);
        }
        label
    }
}

/// A character of a name as ids spell it: none that patterns use.
fn in_id(c: char) -> char {
    if c.is_ascii_alphanumeric() || "._-".contains(c) {
        c
    } else {
        '_'
    }
}

fn sizes_label(tp: u32, pp: u32, dcp: u32, pcp: u32, ep: u32, dp_attn: bool) -> String {
    let mut label = format!("tp{tp}");
    for (name, size) in [("pp", pp), ("dcp", dcp), ("pcp", pcp), ("ep", ep)] {
        if size != 1 {
            label.push_str(&format!("-{name}{size}"));
        }
    }
    if dp_attn {
        label.push_str("-dpa");
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(topology: Topology, spec_decoding: SpecDecoding) -> Point {
        Point {
            config: ConfigKey("dsr1-fp8-h200-sglang".to_owned()),
            image: "i:1".to_owned(),
            model: "m".to_owned(),
            model_prefix: "dsr1".to_owned(),
            precision: "fp8".to_owned(),
            framework: "sglang".to_owned(),
            runner: "h200".to_owned(),
            scenario: Scenario::FixedSeqLen { isl: 8192, osl: 1024 },
            topology,
            spec_decoding,
            conc: 64,
            router: None,
            kv_p2p_transfer: None,
            mark: String::new(),
        }
    }

    fn worker(num_worker: u32, tp: u32, ep: u32, dp_attn: bool) -> Worker {
        Worker {
            num_worker,
            tp,
            pp: 1,
            dcp_size: 1,
            pcp_size: 1,
            ep,
            dp_attn,
            hardware: None,
            additional_settings: None,
        }
    }

    #[test]
    fn ids_spell_what_differs_from_the_plain_case() {
        let parallel = Parallel {
            tp: 8,
            pp: 1,
            dcp_size: 1,
            pcp_size: 1,
            ep: 8,
            dp_attn: true,
        };
        let single = point(Topology::Single(parallel), SpecDecoding::Mtp);
        assert_eq!(single.id(), "dsr1-fp8-h200-sglang/8k1k/tp8-ep8-dpa-mtp/c64");
        let prefill = worker(2, 4, 4, true);
        let disagg = Topology::Multi {
            disagg: true,
            prefill: prefill.clone(),
            decode: worker(1, 8, 1, false),
        };
        assert_eq!(disagg.gpus(), 16);
        assert_eq!(
            point(disagg, SpecDecoding::None).topology_label(),
            "p2xtp4-ep4-dpa+d1xtp8"
        );
        let together = Topology::Multi {
            disagg: false,
            prefill,
            decode: worker(0, 8, 1, false),
        };
        assert_eq!(
            point(together, SpecDecoding::None).topology_label(),
            "a2xtp4-ep4-dpa"
        );
    }

    #[test]
    fn agentic_ids_spell_the_offload() {
        let parallel = Parallel {
            tp: 8,
            pp: 1,
            dcp_size: 1,
            pcp_size: 1,
            ep: 1,
            dp_attn: false,
        };
        let agentic = |kv_offloading, backend: Option<&str>| Point {
            scenario: Scenario::AgenticCoding(Agentic {
                kv_offloading,
                kv_offload_backend: backend.map(|name| OffloadBackend {
                    name: name.to_owned(),
                    version: None,
                }),
                total_cpu_dram_gb: Some(0),
                duration: AGENTIC_DURATION,
            }),
            conc: 16,
            ..point(Topology::Single(parallel), SpecDecoding::None)
        };
        assert_eq!(
            agentic(KvOffloading::Dram, Some("hicache")).id(),
            "dsr1-fp8-h200-sglang/agentic/tp8-kvdram-hicache/c16"
        );
        assert_eq!(
            agentic(KvOffloading::None, None).id(),
            "dsr1-fp8-h200-sglang/agentic/tp8/c16"
        );
        assert_eq!(agentic(KvOffloading::None, None).max_model_len(), None);
    }
}
