//! The names that a recipe's templates may use, and what they stand for at a point.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::context;
use minijinja::value::{Enumerator, Object, Value};

use super::template::PORT_MARK;
use crate::config::master::Worker;
use crate::matrix::{Agentic, Parallel, Point, Topology};

/// What a name stands for at a point; none where the point has none of this name.
type Meaning = fn(Names<'_>) -> Option<Value>;

/// All names, sorted, those that only some points have among them.
const NAMES: [(&str, Meaning); 30] = [
    ("conc", |of| Some(of.point.conc.into())),
    ("config", |of| Some((&of.point.config.0).into())),
    ("dcp_size", |of| of.single(|sizes| sizes.dcp_size.into())),
    ("decode", |of| of.multi(|_, _, decode| worker(decode))),
    ("disagg", |of| of.multi(|disagg, _, _| disagg.into())),
    ("dp_attn", |of| of.single(|sizes| sizes.dp_attn.into())),
    ("duration", |of| of.agentic(|agentic| agentic.duration.into())),
    ("ep", |of| of.single(|sizes| sizes.ep.into())),
    ("framework", |of| Some((&of.point.framework).into())),
    ("gpu", |of| Some(of.gpu.into())),
    ("gpus", |of| Some(of.point.topology.gpus().into())),
    ("image", |of| Some((&of.point.image).into())),
    ("isl", |of| of.point.lengths().map(|(isl, _)| isl.into())),
    ("kv_offload_backend", |of| {
        of.agentic(|agentic| {
            let backend = agentic.kv_offload_backend.as_ref();
            backend.map(|backend| backend.name.clone()).into()
        })
    }),
    ("kv_offloading", |of| {
        of.agentic(|agentic| agentic.kv_offloading.name().into())
    }),
    ("kv_p2p_transfer", |of| {
        let is_multi = matches!(of.point.topology, Topology::Multi { .. });
        is_multi.then(|| of.point.kv_p2p_transfer.clone().into())
    }),
    ("max_model_len", |of| {
        of.point.lengths().map(|_| of.point.max_model_len().into())
    }),
    ("model", |of| Some((&of.point.model).into())),
    ("model_prefix", |of| Some((&of.point.model_prefix).into())),
    ("model_revision", |of| {
        Some(of.revision.unwrap_or_default().into())
    }),
    ("osl", |of| of.point.lengths().map(|(_, osl)| osl.into())),
    ("pcp_size", |of| of.single(|sizes| sizes.pcp_size.into())),
    ("port", |_| Some(PORT_MARK.into())),
    ("pp", |of| of.single(|sizes| sizes.pp.into())),
    ("precision", |of| Some((&of.point.precision).into())),
    ("prefill", |of| of.multi(|_, prefill, _| worker(prefill))),
    ("runner", |of| Some((&of.point.runner).into())),
    ("spec_decoding", |of| Some(of.point.spec_decoding.name().into())),
    ("total_cpu_dram_gb", |of| {
        of.agentic(|agentic| agentic.total_cpu_dram_gb.into())
    }),
    ("tp", |of| of.single(|sizes| sizes.tp.into())),
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
        let at = NAMES.binary_search_by_key(&name, |(name, _)| name).ok()?;
        NAMES[at].1(self)
    }

    /// The names that the point has, sorted.
    pub(super) fn known(self) -> Vec<String> {
        let known = NAMES.iter().filter(|(_, meaning)| meaning(self).is_some());
        known.map(|(name, _)| (*name).to_owned()).collect()
    }

    fn single(self, value: impl FnOnce(&Parallel) -> Value) -> Option<Value> {
        match &self.point.topology {
            Topology::Single(parallel) => Some(value(parallel)),
            Topology::Multi { .. } => None,
        }
    }

    fn multi(self, value: impl FnOnce(bool, &Worker, &Worker) -> Value) -> Option<Value> {
        match &self.point.topology {
            Topology::Single(_) => None,
            Topology::Multi {
                disagg,
                prefill,
                decode,
            } => Some(value(*disagg, prefill, decode)),
        }
    }

    fn agentic(self, value: impl FnOnce(&Agentic) -> Value) -> Option<Value> {
        self.point.agentic().map(value)
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

    /// What was read, each name once.
    pub(super) fn read(&self) -> Vec<Read> {
        std::mem::take(&mut self.read.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Object for Watched {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let value = self.names().value(name);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.iter().all(|(known, _)| known != name) {
            read.push((name.to_owned(), value.clone()));
        }
        value
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted() {
        assert!(NAMES.is_sorted_by_key(|(name, _)| name));
    }
}
