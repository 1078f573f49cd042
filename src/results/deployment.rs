//! What a row says of a benchmark beside its numbers.

use crate::config::master::{Component, Worker};
use crate::matrix::{Parallel, Point, Topology};

/// A deployment in the words of InferenceX's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The runner label.
    pub hw: String,
    pub image: String,
    pub model_prefix: String,
    pub framework: String,
    pub precision: String,
    pub spec_decoding: String,
    pub disagg: bool,
    /// Empty when there is none.
    pub recipe_fingerprint: String,
    /// Nominal input length in tokens; 0 where traces decide.
    pub isl: u32,
    /// Nominal output length in tokens; 0 where traces decide.
    pub osl: u32,
    pub router: Option<Component>,
    pub kv_p2p_transfer: Option<String>,
    pub spread: Spread,
}

/// How a deployment is spread over GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spread {
    Single(Shard),
    Multi { prefill: Role, decode: Role },
}

/// The parallelism of one server or worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub tp: u32,
    pub pp: u32,
    pub dcp_size: u32,
    pub pcp_size: u32,
    pub ep: u32,
    /// `true` or `false`: rows hold it as text.
    pub dp_attention: String,
}

/// All workers of one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub shard: Shard,
    pub num_workers: u32,
    /// GPUs of all workers together.
    pub gpus: u32,
    pub hardware: Option<String>,
}

impl Deployment {
    /// What the rows of a point say.
    pub fn of(point: &Point) -> Self {
        let (disagg, spread) = match &point.topology {
            Topology::Single(parallel) => (false, Spread::Single(Shard::of(parallel))),
            Topology::Multi {
                disagg,
                prefill,
                decode,
            } => {
                let (prefill, decode) = (Role::of(prefill), Role::of(decode));
                (*disagg, Spread::Multi { prefill, decode })
            }
        };
        // Agent traces have no nominal lengths; rows need numbers, as InferenceX's.
        let (isl, osl) = point.lengths().unwrap_or_default();
        Self {
            hw: point.runner.clone(),
            image: point.image.clone(),
            model_prefix: point.model_prefix.clone(),
            framework: point.framework.clone(),
            precision: point.precision.clone(),
            spec_decoding: point.spec_decoding.name().to_owned(),
            disagg,
            recipe_fingerprint: String::new(),
            isl,
            osl,
            router: point.router.clone(),
            kv_p2p_transfer: point.kv_p2p_transfer.clone(),
            spread,
        }
    }
}

impl Shard {
    fn of(parallel: &Parallel) -> Self {
        Self {
            tp: parallel.tp,
            pp: parallel.pp,
            dcp_size: parallel.dcp_size,
            pcp_size: parallel.pcp_size,
            ep: parallel.ep,
            dp_attention: parallel.dp_attn.to_string(),
        }
    }

    /// GPUs: TP x PP x PCP. EP and DCP divide these, they add none.
    pub fn gpus(&self) -> u32 {
        self.tp * self.pp * self.pcp_size
    }
}

impl Role {
    fn of(worker: &Worker) -> Self {
        Self {
            shard: Shard {
                tp: worker.tp,
                pp: worker.pp,
                dcp_size: worker.dcp_size,
                pcp_size: worker.pcp_size,
                ep: worker.ep,
                dp_attention: worker.dp_attn.to_string(),
            },
            num_workers: worker.num_worker,
            gpus: worker.gpus() * worker.num_worker,
            hardware: worker.hardware.clone(),
        }
    }
}
