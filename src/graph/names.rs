//! The names that a recipe's templates may use, and what they stand for at a point.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::context;
use minijinja::value::{Enumerator, Object, Value};

use super::template::PORT_MARK;
use crate::config::master::Worker;
use crate::matrix::{Agentic, Parallel, Point, Topology};

/// All names, those that only some points have among them.
const NAMES: [&str; 30] = [
    "conc",
    "config",
    "dcp_size",
    "decode",
    "disagg",
    "dp_attn",
    "duration",
    "ep",
    "framework",
    "gpu",
    "gpus",
    "image",
    "isl",
    "kv_offload_backend",
    "kv_offloading",
    "kv_p2p_transfer",
    "max_model_len",
    "model",
    "model_prefix",
    "model_revision",
    "osl",
    "pcp_size",
    "port",
    "pp",
    "precision",
    "prefill",
    "runner",
    "spec_decoding",
    "total_cpu_dram_gb",
    "tp",
];

/// A point on GPUs of a kind, its model in a pinned revision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) point: &'a Point,
    pub(super) gpu: &'a str,
    pub(super) revision: Option<&'a str>,
}

impl Names<'_> {
    /// What a name stands for; none where the point has none of this name.
    pub(super) fn value(self, name: &str) -> Option<Value> {
        let point = self.point;
        let single = |value: fn(&Parallel) -> Value| match &point.topology {
            Topology::Single(parallel) => Some(value(parallel)),
            Topology::Multi { .. } => None,
        };
        let agentic = |value: fn(&Agentic) -> Value| point.agentic().map(value);
        let multi = |value: fn(bool, &Worker, &Worker) -> Value| match &point.topology {
            Topology::Single(_) => None,
            Topology::Multi {
                disagg,
                prefill,
                decode,
            } => Some(value(*disagg, prefill, decode)),
        };
        match name {
            "config" => Some(Value::from(&point.config.0)),
            "model" => Some(Value::from(&point.model)),
            "model_revision" => Some(Value::from(self.revision.unwrap_or_default())),
            "model_prefix" => Some(Value::from(&point.model_prefix)),
            "image" => Some(Value::from(&point.image)),
            "precision" => Some(Value::from(&point.precision)),
            "framework" => Some(Value::from(&point.framework)),
            "runner" => Some(Value::from(&point.runner)),
            "conc" => Some(Value::from(point.conc)),
            "spec_decoding" => Some(Value::from(point.spec_decoding.name())),
            "gpus" => Some(Value::from(point.topology.gpus())),
            "gpu" => Some(Value::from(self.gpu)),
            "port" => Some(Value::from(PORT_MARK)),
            "isl" => point.lengths().map(|(isl, _)| Value::from(isl)),
            "osl" => point.lengths().map(|(_, osl)| Value::from(osl)),
            "max_model_len" => point.lengths().map(|_| Value::from(point.max_model_len())),
            "kv_offloading" => agentic(|agentic| Value::from(agentic.kv_offloading.name())),
            "kv_offload_backend" => agentic(|agentic| {
                let backend = agentic.kv_offload_backend.as_ref();
                Value::from(backend.map(|backend| backend.name.clone()))
            }),
            "total_cpu_dram_gb" => agentic(|agentic| Value::from(agentic.total_cpu_dram_gb)),
            "duration" => agentic(|agentic| Value::from(agentic.duration)),
            "tp" => single(|parallel| Value::from(parallel.tp)),
            "pp" => single(|parallel| Value::from(parallel.pp)),
            "ep" => single(|parallel| Value::from(parallel.ep)),
            "dcp_size" => single(|parallel| Value::from(parallel.dcp_size)),
            "pcp_size" => single(|parallel| Value::from(parallel.pcp_size)),
            "dp_attn" => single(|parallel| Value::from(parallel.dp_attn)),
            "disagg" => multi(|disagg, _, _| Value::from(disagg)),
            "prefill" => multi(|_, prefill, _| worker(prefill)),
            "decode" => multi(|_, _, decode| worker(decode)),
            "kv_p2p_transfer" => {
                multi(|_, _, _| Value::UNDEFINED).map(|_| Value::from(point.kv_p2p_transfer.clone()))
            }
            _ => None,
        }
    }

    /// The names that the point has, sorted.
    pub(super) fn known(self) -> Vec<String> {
        let known = NAMES.into_iter().filter(|name| self.value(name).is_some());
        known.map(str::to_owned).collect()
    }
}

fn worker(worker: &Worker) -> Value {
    let settings: BTreeMap<String, String> = worker
        .additional_settings
        .iter()
        .flatten()
        .filter_map(|s| s.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    context! {
        num_worker => worker.num_worker, tp => worker.tp, pp => worker.pp, ep => worker.ep,
        dcp_size => worker.dcp_size, pcp_size => worker.pcp_size, dp_attn => worker.dp_attn,
        settings => settings,
    }
}

/// A name that was read and what it stood for; none where there was none of this name.
pub(super) type Read = (String, Option<Value>);

/// The names of a point as a template reads them, and which of them it did read.
#[derive(Debug)]
pub(super) struct Watched {
    point: Point,
    gpu: String,
    revision: Option<String>,
    read: Mutex<Vec<Read>>,
}

impl Watched {
    pub(super) fn new(names: Names<'_>) -> Arc<Self> {
        Arc::new(Self {
            point: names.point.clone(),
            gpu: names.gpu.to_owned(),
            revision: names.revision.map(str::to_owned),
            read: Mutex::default(),
        })
    }

    fn names(&self) -> Names<'_> {
        Names {
            point: &self.point,
            gpu: &self.gpu,
            revision: self.revision.as_deref(),
        }
    }

    /// What was read, in order.
    pub(super) fn read(&self) -> Vec<Read> {
        std::mem::take(&mut self.read.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Object for Watched {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let value = self.names().value(name);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.push((name.to_owned(), value.clone()));
        value
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}
