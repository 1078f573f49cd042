//! This machine's container engine, as one run uses it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{getgid, getuid};

use super::connect::{ConnectError, Endpoint, Engine, Make, told};
use super::engine::{RemoveError, insist, remove_from};
use super::hand_back;
use super::labels::{Ended, LeftoverError, Owner, sort_leftovers};
use super::left::{Heirs, LeftServer, server_labels, start_digest};
use super::order::{self, ContainerOrder, Gpus, Parts};
use crate::config::container::{Container, User};
use crate::exec::gpu::{AmdError, AmdNodes, Vendor};
use crate::exec::guard::Order;

/// Why containers cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("look at the cache folder {}: {source}", cache.display())]
    Cache { cache: PathBuf, source: std::io::Error },
    #[error("ask the engine at {endpoint} what it is: {reason}")]
    Silent { endpoint: Endpoint, reason: String },
    #[error(transparent)]
    Leftover(#[from] LeftoverError),
}

/// Why a container cannot have the GPUs that it was given.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error(
        "Podman {version} does not pass NVIDIA GPUs on when Docker's API asks for them, and does not say so; use Docker's engine for this pool"
    )]
    Podman { version: String },
    #[error(transparent)]
    Amd(#[from] AmdError),
}

/// An engine, and on whose behalf containers are started on it.
#[derive(Debug)]
pub struct Host {
    engine: Engine,
    owner: Owner,
    /// The engine's root is this user, as far as the host can tell.
    is_rootless: bool,
    /// Servers of killed runs, by the session that is to go on with each.
    left: Mutex<BTreeMap<usize, LeftServer>>,
}

/// What a container is to run.
pub struct Wanted<'a> {
    pub image: &'a str,
    /// What would be started on the host itself.
    pub order: &'a Order,
    pub port: u16,
    pub settings: &'a Container,
    pub gpus: &'a Gpus,
    /// Whether it may write to its working folder.
    pub writes_to_work: bool,
    pub home: &'a Path,
    pub temporary: &'a Path,
    pub note: PathBuf,
    /// The target, its key in hex, and which attempt of the run it is.
    pub target: &'a str,
    pub key: &'a str,
    pub attempt: u32,
    /// The pool and its GPUs, of a server that a later run may go on with.
    pub place: Option<(&'a str, &'a [u32])>,
}

impl Host {
    /// Connects, keeps what dead runs of the same cache folder left for the heirs, and ends and tells the rest of it.
    ///
    /// Only for who holds the cache's lock.
    pub async fn open(owner: Owner, heirs: &Heirs) -> Result<(Self, Vec<Ended>), HostError> {
        let engine = Engine::connect().await?;
        let info = insist(|| engine.client.info()).await;
        let info = info.map_err(|error| HostError::Silent {
            endpoint: engine.endpoint.clone(),
            reason: told(&error),
        })?;
        let security = info.security_options.unwrap_or_default();
        let sorted = sort_leftovers(&engine, &owner, heirs).await?;
        let host = Self {
            engine,
            owner,
            is_rootless: security.iter().any(|option| option.starts_with("name=rootless")),
            left: Mutex::new(sorted.inherited),
        };
        Ok((host, sorted.ended))
    }

    /// The servers that still wait for their sessions.
    pub fn left(&self) -> Vec<(usize, LeftServer)> {
        let left = self.waiting().clone();
        left.into_iter().collect()
    }

    /// The server that a session is to go on with: once, as it is the session's from then on.
    pub fn inherit(&self, session: usize) -> Option<LeftServer> {
        self.waiting().remove(&session)
    }

    /// Ends and removes a server that nobody goes on with.
    pub async fn end(&self, left: &LeftServer) -> Result<Ended, RemoveError> {
        let removed = remove_from(&self.engine.client, &left.id).await;
        removed.map_err(|error| RemoveError::Refused {
            name: left.name.clone(),
            reason: told(&error),
        })?;
        Ok(Ended {
            name: left.name.clone(),
            run: left.run.clone(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<usize, LeftServer>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How a container here gets these GPUs of a pool.
    pub fn gpus(&self, kind: &str, indices: &[u32]) -> Result<Gpus, GpuError> {
        match Vendor::of(kind) {
            None => Ok(Gpus::None),
            Some(Vendor::Nvidia) if self.engine.make == Make::Podman => Err(GpuError::Podman {
                version: self.engine.version.clone(),
            }),
            Some(Vendor::Nvidia) => Ok(Gpus::Nvidia(indices.to_vec())),
            Some(Vendor::Amd) => Ok(Gpus::Amd(AmdNodes::of(indices)?)),
        }
    }

    /// The order for a container.
    pub fn order(&self, wanted: &Wanted<'_>) -> ContainerOrder {
        let owner = match wanted.settings.user {
            User::Image => None,
            User::Host => {
                // A rootless engine's root is this very user.
                let (user, group) = if self.is_rootless {
                    (0, 0)
                } else {
                    (getuid().as_raw(), getgid().as_raw())
                };
                Some(order::Owner {
                    user,
                    group,
                    home: wanted.home,
                    temporary: wanted.temporary,
                })
            }
        };
        let mut body = order::body(&Parts {
            image: wanted.image,
            argv: &wanted.order.argv,
            env: &wanted.order.env,
            labels: &self.owner.labels(wanted.target, wanted.attempt),
            port: wanted.port,
            settings: wanted.settings,
            gpus: wanted.gpus,
            work: (&wanted.order.cwd, wanted.writes_to_work),
            owner,
        });
        let is_image_s = wanted.settings.user == User::Image && !self.is_rootless && !getuid().is_root();
        let leaves_files = is_image_s && wanted.writes_to_work;
        let start = start_digest(&body, wanted.key);
        if let Some(place) = wanted.place {
            let labels = server_labels(start.clone(), wanted.key, place, wanted.port);
            body.labels.get_or_insert_default().extend(labels);
        }
        ContainerOrder {
            engine: self.engine.endpoint.to_string(),
            name: self.owner.name(wanted.key, wanted.attempt),
            start,
            hand_back: leaves_files.then(|| hand_back::body(&body, (getuid().as_raw(), getgid().as_raw()))),
            body,
            adopts: None,
            grace_ms: wanted.order.grace_ms,
            note: wanted.note.clone(),
        }
    }
}
