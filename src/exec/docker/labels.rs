//! Whose a container is: labels by which a later run finds what a killed one left.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptions;

use super::connect::{Engine, told};
use super::engine::{insist, remove_from};
use super::left::{Heirs, LeftServer};

const TARGET: &str = "sweep.target";
pub(super) const RUN: &str = "sweep.run";
const ATTEMPT: &str = "sweep.attempt";
const CACHE: &str = "sweep.cache";
// Of servers alone, as nobody goes on with what a combined script had begun.
pub(super) const START: &str = "sweep.start";
pub(super) const KEY: &str = "sweep.key";
pub(super) const POOL: &str = "sweep.pool";
pub(super) const GPUS: &str = "sweep.gpus";
pub(super) const PORT: &str = "sweep.port";

/// Who owns containers: a run, and the cache folder that it holds the lock of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    run: String,
    cache: String,
}

impl Owner {
    /// A run in a cache folder.
    pub fn new(cache: &Path, run: &str) -> io::Result<Self> {
        let cache = cache.canonicalize()?;
        // Two containers that share an engine may both have a folder of that name; they do not share the inode.
        let inode = cache.metadata()?.ino();
        Ok(Self {
            run: run.to_owned(),
            cache: format!("{}#{inode}", cache.display()),
        })
    }

    /// The name of the container of an attempt at a target with this key: the same however often it is asked for, and
    /// no other run's, also where two folders measure the same on one engine.
    pub fn name(&self, key: &str, attempt: u32) -> String {
        let key = key.get(..12).unwrap_or(key);
        let run = self.run.rsplit('-').next().unwrap_or(&self.run);
        format!("sweep-{key}-{run}-a{attempt}")
    }

    /// The labels of the container of a target's attempt.
    pub fn labels(&self, target: &str, attempt: u32) -> BTreeMap<String, String> {
        let text = |text: &str| text.to_owned();
        BTreeMap::from([
            (text(TARGET), text(target)),
            (text(RUN), self.run.clone()),
            (text(ATTEMPT), attempt.to_string()),
            (text(CACHE), self.cache.clone()),
        ])
    }
}

/// What earlier runs left could not be ended.
#[derive(Debug, thiserror::Error)]
#[error("end containers that an earlier run left: {0}")]
pub struct LeftoverError(String);

/// What came of containers that killed runs had left.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Servers that sessions can go on with, by the session.
    pub inherited: BTreeMap<usize, LeftServer>,
    /// The others, which were ended.
    pub ended: Vec<Ended>,
}

/// A container that a killed run had left, and that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub name: String,
    pub run: String,
}

/// Looks at every container of this cache folder that another run started, and ends those that no heir can use.
///
/// Only for who holds the cache's lock: no other run of it is alive then. Containers of other folders are not seen.
pub(super) async fn sort_leftovers(
    engine: &Engine,
    owner: &Owner,
    heirs: &Heirs,
) -> Result<Sorted, LeftoverError> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(HashMap::from([(
            "label".to_owned(),
            vec![format!("{CACHE}={}", owner.cache)],
        )])),
        ..ListContainersOptions::default()
    };
    let failed = |error| LeftoverError(told(&error));
    let found = insist(|| engine.client.list_containers(Some(options.clone())))
        .await
        .map_err(failed)?;
    let left: Vec<_> = found.iter().filter(|one| run_of(one) != owner.run).collect();
    let inherited = heirs.inherit(left.iter().filter_map(|container| LeftServer::read(container)));
    let mut ended = Vec::new();
    for container in left {
        let Some(id) = &container.id else { continue };
        if inherited.values().any(|server| server.id == *id) {
            continue;
        }
        remove_from(&engine.client, id).await.map_err(failed)?;
        ended.push(Ended {
            name: name_of(container).unwrap_or_else(|| id.clone()),
            run: run_of(container).to_owned(),
        });
    }
    Ok(Sorted { inherited, ended })
}

/// A container's name, as people write it.
pub(super) fn name_of(container: &ContainerSummary) -> Option<String> {
    let name = container.names.as_ref()?.first()?;
    Some(name.trim_start_matches('/').to_owned())
}

fn run_of(container: &ContainerSummary) -> &str {
    let labels = container.labels.as_ref();
    labels
        .and_then(|labels| labels.get(RUN))
        .map_or("", String::as_str)
}

/// Whether the labels are those of the same attempt.
pub(super) fn are_of_one_attempt(one: &HashMap<String, String>, other: &HashMap<String, String>) -> bool {
    [RUN, ATTEMPT, CACHE]
        .iter()
        .all(|label| one.get(*label).is_some() && one.get(*label) == other.get(*label))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn an_attempt_has_one_name_and_labels_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let owner = |run: &str| Owner::new(folder.path(), run).unwrap();
        let (one, other) = (owner("20261122T040412Z-0a1b2c"), owner("20261122T040412Z-0a1b2d"));
        let key = "0123456789abcdef0123456789abcdef";
        assert_eq!(one.name(key, 7), "sweep-0123456789ab-0a1b2c-a7");
        assert_ne!(one.name(key, 7), other.name(key, 7));
        let labels = |owner: &Owner, attempt| owner.labels("server:x", attempt).into_iter().collect();
        assert!(are_of_one_attempt(&labels(&one, 7), &labels(&one, 7)));
        assert!(!are_of_one_attempt(&labels(&one, 7), &labels(&one, 8)));
        assert!(!are_of_one_attempt(&labels(&one, 7), &labels(&other, 7)));
        assert!(
            !are_of_one_attempt(&HashMap::new(), &HashMap::new()),
            "somebody else's container"
        );
    }
}
