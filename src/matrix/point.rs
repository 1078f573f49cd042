//! Points: fully expanded benchmarks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::master::{Component, SpecDecoding, Worker};

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
    /// Input length in tokens.
    pub isl: u32,
    /// Output length in tokens.
    pub osl: u32,
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

/// How a deployment is spread over GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// GPUs: TP x PP x PCP, at most `u32::MAX`. EP and DCP divide these, they add none.
    pub fn gpus(&self) -> u32 {
        self.tp.saturating_mul(self.pp).saturating_mul(self.pcp_size)
    }
}

impl Topology {
    /// GPUs of the whole deployment, at most `u32::MAX`.
    pub fn gpus(&self) -> u32 {
        match self {
            Self::Single(parallel) => parallel.gpus(),
            Self::Multi { prefill, decode, .. } => {
                let role = |worker: &Worker| worker.gpus().saturating_mul(worker.num_worker);
                role(prefill).saturating_add(role(decode))
            }
        }
    }
}

impl Point {
    /// The sequence's label: `1k1k`, `8k1k`, else `<isl>_<osl>`, as InferenceX names them.
    pub fn sequence(&self) -> String {
        match (self.isl, self.osl) {
            (1024, 1024) => "1k1k".to_owned(),
            (8192, 1024) => "8k1k".to_owned(),
            (isl, osl) => format!("{isl}_{osl}"),
        }
    }

    /// The longest sequence a request can reach, with InferenceX's allowance of 256 tokens.
    pub fn max_model_len(&self) -> u32 {
        self.isl.saturating_add(self.osl).saturating_add(256)
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
        if !self.mark.is_empty() {
            label.push('@');
            label.push_str(&self.mark);
        }
        label
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
            isl: 8192,
            osl: 1024,
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
}
