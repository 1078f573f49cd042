//! What of a pool can change a number, and which pools run a point.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cache::host::cpu_model;
use crate::config::project::Project;
use crate::config::sweepfile::{Executor, Pool, Profile, Share, Simulate};

/// The identity of the hardware behind a runner label: the same for every pool that serves it.
///
/// The number of nodes, host names and the executor are no part of it: they change when a result is there, not what
/// it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hardware {
    pub gpu: String,
    /// GPUs a node has, of which a server may use fewer.
    pub gpus_per_node: u32,
    pub share: Share,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// Variables that the launcher adds to every server's environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Settings of the launcher's containers that can change a number; nothing where there are no containers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub container: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulate: Option<Simulate>,
}

/// Why a label has no hardware.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HardwareError {
    #[error("no pool of profile `{profile}` serves the runner label `{label}`")]
    NoPool { profile: String, label: String },
    #[error(
        "pools `{first}` and `{second}` of profile `{profile}` both serve `{label}` but differ in hardware: a number would depend on where it ran"
    )]
    Differ {
        profile: String,
        label: String,
        first: String,
        second: String,
    },
}

/// The hardware of a label under a profile, and the pools that have it, by name.
#[derive(Debug, Clone)]
pub struct Served {
    pub hardware: Hardware,
    pub pools: Vec<String>,
}

/// What serves `label`.
pub fn served(project: &Project, profile: (&str, &Profile), label: &str) -> Result<Served, HardwareError> {
    let (profile_name, profile) = profile;
    let mut found: Option<Served> = None;
    for (name, pool) in profile
        .pools
        .iter()
        .filter(|(_, pool)| pool.serves.iter().any(|l| l == label))
    {
        let hardware = hardware_of(project, pool);
        match &mut found {
            None => {
                found = Some(Served {
                    hardware,
                    pools: vec![name.clone()],
                });
            }
            Some(served) if served.hardware == hardware => served.pools.push(name.clone()),
            Some(served) => {
                return Err(HardwareError::Differ {
                    profile: profile_name.to_owned(),
                    label: label.to_owned(),
                    first: served.pools[0].clone(),
                    second: name.clone(),
                });
            }
        }
    }
    found.ok_or_else(|| HardwareError::NoPool {
        profile: profile_name.to_owned(),
        label: label.to_owned(),
    })
}

fn hardware_of(project: &Project, pool: &Pool) -> Hardware {
    Hardware {
        gpu: pool.gpu.clone(),
        gpus_per_node: pool.gpus,
        share: pool.share,
        facts: facts(pool),
        env: project
            .launcher(pool)
            .map(|launcher| launcher.env.clone())
            .unwrap_or_default(),
        container: container_facts(project, pool),
        simulate: pool.simulate,
    }
}

fn container_facts(project: &Project, pool: &Pool) -> BTreeMap<String, String> {
    match pool.executor {
        Executor::Docker => project.container(pool).facts(),
        Executor::Process | Executor::Slurm => BTreeMap::new(),
    }
}

/// The pool's facts. Where the engine runs on this machine's own cores, their model is one: a number of another CPU is
/// another number. Whoever wants to compare across machines says `cpu:` in `facts` himself.
fn facts(pool: &Pool) -> BTreeMap<String, String> {
    let mut facts = pool.facts.clone();
    if is_this_cpu(pool) {
        facts.entry("cpu".to_owned()).or_insert_with(cpu_model);
    }
    facts
}

/// Whether the model of this machine's processors is a fact of the pool, unless it states its own.
pub fn is_this_cpu(pool: &Pool) -> bool {
    pool.gpu == CPU && pool.executor.is_local() && pool.simulate.is_none()
}

/// The GPU kind of pools whose engine runs on the host's cores.
pub const CPU: &str = "cpu";
