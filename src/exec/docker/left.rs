//! Servers that killed runs of this cache folder left running, and which of them a session goes on with.
//!
//! A server is taken over in the place of starting one where nothing tells the two apart: the same server target, and
//! the engine asked for the same container in every point but whose it is. That is the digest in its labels, which its
//! port, its GPUs and its secrets are part of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum};

use super::labels;
use super::order::{HOME, TEMPORARY, WORKSPACE};
use crate::cache::Digest;

/// A server in a container whose run is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftServer {
    pub(super) id: String,
    pub(super) name: String,
    /// The run that started it.
    pub run: String,
    /// Of the server target, in hex.
    key: String,
    /// What it was started as.
    pub(super) start: String,
    pub pool: String,
    pub gpus: Vec<u32>,
    pub port: u16,
    /// The host's folder behind its temporary files, which goes with it.
    pub temporary: Option<PathBuf>,
}

impl LeftServer {
    /// Reads what the engine says of a container; nothing where nobody could go on with it.
    pub(super) fn read(container: &ContainerSummary) -> Option<Self> {
        let labels = container.labels.as_ref()?;
        let label = |name| labels.get(name).cloned();
        if container.state != Some(ContainerSummaryStateEnum::RUNNING) {
            return None;
        }
        let mounts = container.mounts.as_deref().unwrap_or_default();
        let mut folders = mounts.iter().filter_map(|mount| mount.source.as_deref());
        // Without its files it may run, and yet not serve what it has not read yet.
        if !folders.all(|folder| Path::new(folder).exists()) {
            return None;
        }
        let temporary = mounts
            .iter()
            .find(|mount| mount.destination.as_deref() == Some(TEMPORARY));
        let gpus = label(labels::GPUS)?;
        let gpus = gpus.split(',').filter(|index| !index.is_empty());
        Some(Self {
            id: container.id.clone()?,
            name: labels::name_of(container)?,
            run: label(labels::RUN)?,
            key: label(labels::KEY)?,
            start: label(labels::START)?,
            pool: label(labels::POOL)?,
            gpus: gpus.map(|index| index.parse().ok()).collect::<Option<_>>()?,
            port: label(labels::PORT)?.parse().ok()?,
            temporary: temporary.and_then(|mount| mount.source.as_ref().map(PathBuf::from)),
        })
    }
}

/// A session that could go on with a server of its own key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heir {
    /// Its index in the plan.
    pub session: usize,
    pub key: String,
    pub pools: Vec<String>,
    /// It has the machine to itself.
    pub quiet: bool,
}

/// The sessions of a run that could go on with what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heirs {
    pub sessions: Vec<Heir>,
    /// Some session of the run has the machine to itself, be it an heir or not.
    pub any_quiet: bool,
}

impl Heirs {
    /// Who gets which, by the session: each server goes to one at most, and each session gets one at most. A server that
    /// idles would disturb a session that has the machine to itself: where there are such, one of them may get one, and
    /// nobody else.
    pub(super) fn inherit(&self, left: impl IntoIterator<Item = LeftServer>) -> BTreeMap<usize, LeftServer> {
        let mut inherited = BTreeMap::new();
        for server in left {
            if self.any_quiet && !inherited.is_empty() {
                break;
            }
            let fits = |heir: &&Heir| {
                heir.key == server.key
                    && heir.pools.contains(&server.pool)
                    && heir.quiet == self.any_quiet
                    && !inherited.contains_key(&heir.session)
            };
            if let Some(heir) = self.sessions.iter().find(fits) {
                inherited.insert(heir.session, server);
            }
        }
        inherited
    }
}

/// What a container is started as, whoever asks for it: its server target's key and all that the engine is told, but
/// for labels and for the folders of the attempt, whose content the key has.
pub(super) fn start_digest(body: &ContainerCreateBody, key: &str) -> String {
    let mut body = body.clone();
    body.labels = None;
    let host = body.host_config.as_mut();
    for mount in host.and_then(|host| host.mounts.as_mut()).into_iter().flatten() {
        let is_attempts = |target: &String| [WORKSPACE, HOME, TEMPORARY].contains(&target.as_str());
        if mount.target.as_ref().is_some_and(is_attempts) {
            mount.source = None;
        }
    }
    let told = serde_json::to_vec(&body).expect("a request is plain data");
    Digest::of(&[key.as_bytes(), b"\n", &told].concat()).to_string()
}

/// The labels by which a later run finds a server and knows what it was started as.
pub(super) fn server_labels(
    start: String,
    key: &str,
    (pool, gpus): (&str, &[u32]),
    port: u16,
) -> [(String, String); 5] {
    let gpus: Vec<String> = gpus.iter().map(u32::to_string).collect();
    let labels = [
        (labels::START, start),
        (labels::KEY, key.to_owned()),
        (labels::POOL, pool.to_owned()),
        (labels::GPUS, gpus.join(",")),
        (labels::PORT, port.to_string()),
    ];
    labels.map(|(name, value)| (name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::HashMap;

    use bollard::models::{HostConfig, Mount, MountPoint};

    use super::*;

    fn server(name: &str, key: &str, pool: &str) -> LeftServer {
        LeftServer {
            id: format!("id of {name}"),
            name: name.to_owned(),
            run: "r".to_owned(),
            key: key.to_owned(),
            start: "s".to_owned(),
            pool: pool.to_owned(),
            gpus: vec![0],
            port: 8000,
            temporary: None,
        }
    }

    fn heir(session: usize, key: &str, quiet: bool) -> Heir {
        Heir {
            session,
            key: key.to_owned(),
            pools: vec!["p".to_owned()],
            quiet,
        }
    }

    /// Which session gets which server.
    fn shares(heirs: &[Heir], any_quiet: bool, left: &[LeftServer]) -> Vec<(usize, String)> {
        let heirs = Heirs {
            sessions: heirs.to_vec(),
            any_quiet,
        };
        let inherited = heirs.inherit(left.to_vec());
        let named = inherited
            .into_iter()
            .map(|(session, server)| (session, server.name));
        named.collect()
    }

    #[test]
    fn each_session_gets_one_server_of_its_own_key_and_pool() {
        let heirs = [heir(0, "a", false), heir(1, "b", false), heir(2, "b", false)];
        let left = [
            server("b1", "b", "p"),
            server("other pool", "a", "q"),
            server("b2", "b", "p"),
            server("b3", "b", "p"),
            server("gone", "c", "p"),
        ];
        assert_eq!(
            shares(&heirs, false, &left),
            [(1, "b1".to_owned()), (2, "b2".to_owned())]
        );
        assert_eq!(shares(&[], false, &left), []);
    }

    #[test]
    fn nothing_idles_beside_a_session_that_has_the_machine_to_itself() {
        let left = [
            server("a", "a", "p"),
            server("b", "b", "p"),
            server("c", "c", "p"),
        ];
        let heirs = [heir(0, "a", false), heir(1, "b", true), heir(2, "c", true)];
        assert_eq!(shares(&heirs, true, &left), [(1, "b".to_owned())]);
        assert_eq!(shares(&heirs[..1], true, &left), [], "who is quiet is no heir");
    }

    fn body(change: impl FnOnce(&mut ContainerCreateBody)) -> ContainerCreateBody {
        let mount = |source: &str, target: &str| Mount {
            source: Some(source.to_owned()),
            target: Some(target.to_owned()),
            ..Mount::default()
        };
        let mut body = ContainerCreateBody {
            image: Some("acme/engine@sha256:00".to_owned()),
            cmd: Some(vec!["--port".to_owned(), "8001".to_owned()]),
            labels: Some(HashMap::from([("sweep.run".to_owned(), "r1".to_owned())])),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount("/r1/work", "/workspace"), mount("/models", "/models")]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        change(&mut body);
        body
    }

    #[test]
    fn a_start_is_told_from_another_by_all_but_whose_it_is() {
        let start = start_digest(&body(|_| {}), "key");
        let mounts = |body: &mut ContainerCreateBody, index: usize| {
            let host = body.host_config.as_mut().unwrap();
            host.mounts.as_mut().unwrap()[index].source = Some("/elsewhere".to_owned());
        };
        assert_eq!(start_digest(&body(|body| body.labels = None), "key"), start);
        assert_eq!(start_digest(&body(|b| mounts(b, 0)), "key"), start);
        assert_ne!(start_digest(&body(|b| mounts(b, 1)), "key"), start);
        assert_ne!(start_digest(&body(|_| {}), "other key"), start);
        let others: [fn(&mut ContainerCreateBody); 4] = [
            |body| body.image = Some("acme/engine@sha256:01".to_owned()),
            |body| body.cmd = Some(vec!["--port".to_owned(), "8002".to_owned()]),
            |body| body.env = Some(vec!["HF_TOKEN=x".to_owned()]),
            |body| body.host_config.as_mut().unwrap().shm_size = Some(1),
        ];
        for change in others {
            assert_ne!(start_digest(&body(change), "key"), start);
        }
    }

    #[test]
    fn a_server_is_read_from_its_container() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        let mut labels = HashMap::from(server_labels("s".to_owned(), "k", ("p", &[4, 5]), 8000));
        labels.insert(labels::RUN.to_owned(), "r".to_owned());
        let mut container = ContainerSummary {
            id: Some("c0".to_owned()),
            names: Some(vec!["/sweep-k-r-a1".to_owned()]),
            state: Some(ContainerSummaryStateEnum::RUNNING),
            labels: Some(labels),
            mounts: Some(vec![MountPoint {
                source: Some(at.to_owned()),
                destination: Some("/tmp".to_owned()),
                ..MountPoint::default()
            }]),
            ..ContainerSummary::default()
        };
        let read = LeftServer::read(&container).unwrap();
        assert_eq!(
            (read.name.as_str(), read.gpus.as_slice(), read.port),
            ("sweep-k-r-a1", [4, 5].as_slice(), 8000)
        );
        assert_eq!(read.temporary.as_deref(), Some(folder.path()));

        container.state = Some(ContainerSummaryStateEnum::PAUSED);
        assert_eq!(LeftServer::read(&container), None);
        container.state = Some(ContainerSummaryStateEnum::RUNNING);
        container.mounts.as_mut().unwrap()[0].source = Some(format!("{at}/gone"));
        assert_eq!(LeftServer::read(&container), None);
        container.mounts = None;
        container.labels.as_mut().unwrap().remove(labels::START);
        assert_eq!(LeftServer::read(&container), None, "a combined script");
    }
}
