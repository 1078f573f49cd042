//! How a launcher's hosts run containers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::quantity::Size;

/// Containers on a launcher's hosts. What is not said here a container does not get.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Container {
    /// The host's network, or one of its own with the server's port published on loopback.
    pub network: Network,
    /// Whether shared memory is the host's or the container's own.
    pub ipc: Ipc,
    /// Size of the container's own shared memory; the engine's default is 64 MiB.
    pub shm_size: Option<Size>,
    /// Memory that the container may use, swap included; without it as much as the host has.
    pub memory: Option<Size>,
    /// Limits by name, soft and hard alike, as `memlock: -1`; `-1` is none.
    pub ulimits: BTreeMap<String, i64>,
    /// Capabilities that are added, as `SYS_PTRACE`.
    pub capabilities: Vec<String>,
    /// Security options, as `seccomp=unconfined`.
    pub security: Vec<String>,
    /// Device nodes beside the GPUs', as `/dev/infiniband`.
    pub devices: Vec<PathBuf>,
    /// Groups beside those that own the GPUs' device nodes: numbers, or names of the image.
    pub groups: Vec<String>,
    /// Folders of the host, such as the cache of model weights.
    pub mounts: Vec<Mount>,
    /// Who the server is in its container.
    pub user: User,
    /// Why the container needs every right and every device of the host; without a reason it gets neither.
    #[schemars(length(min = 1))]
    pub privileged: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The host's: nothing stands between client and server.
    #[default]
    Host,
    /// Its own, with the server's port published on 127.0.0.1. The server has to listen on all addresses.
    Published,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ipc {
    #[default]
    Private,
    Host,
}

/// Who the server is in its container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum User {
    /// The user who runs sweep: all that it leaves belongs to them.
    #[default]
    Host,
    /// As the image says, often root. It can write nowhere outside the container but to `mounts`.
    Image,
}

/// A folder of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mount {
    /// The folder on the host, absolute. It has to be there.
    pub host: PathBuf,
    /// Where it stands in the container; the same place when left out.
    #[serde(default)]
    pub container: Option<PathBuf>,
    /// Whether the container may write to it.
    #[serde(default)]
    pub write: bool,
}

impl Container {
    /// What of this can change a number, by name: part of every server's key. Places on the host and users are not.
    pub fn facts(&self) -> BTreeMap<String, String> {
        let network = match self.network {
            Network::Host => "host",
            Network::Published => "published",
        };
        let mut facts = BTreeMap::from([("network".to_owned(), network.to_owned())]);
        let mut add = |name: &str, value: String| drop(facts.insert(name.to_owned(), value));
        if self.ipc == Ipc::Host {
            add("ipc", "host".to_owned());
        }
        if let Some(size) = self.shm_size {
            add("shm-size", size.0.to_string());
        }
        if let Some(size) = self.memory {
            add("memory", size.0.to_string());
        }
        for (name, limit) in &self.ulimits {
            add(&format!("ulimit {name}"), limit.to_string());
        }
        let listed = [
            ("capabilities", self.capabilities.clone()),
            ("security", self.security.clone()),
            (
                "devices",
                self.devices.iter().map(|d| d.display().to_string()).collect(),
            ),
        ];
        for (name, mut words) in listed {
            if !words.is_empty() {
                words.sort();
                add(name, words.join(", "));
            }
        }
        if self.privileged.is_some() {
            add("privileged", "yes".to_owned());
        }
        facts
    }

    /// What contradicts itself here: the field, what is wrong, and what was expected.
    pub fn contradictions(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut found = Vec::new();
        if self.ipc == Ipc::Host && self.shm_size.is_some() {
            let message = "`shm-size` has no effect beside `ipc: host`, whose shared memory is the host's";
            found.push(("shm-size", message.to_owned(), "expected one of the two"));
        }
        for mount in &self.mounts {
            let places = [Some(&mount.host), mount.container.as_ref()];
            if let Some(place) = places.into_iter().flatten().find(|place| !place.is_absolute()) {
                let message = format!("`{}` is no absolute path", place.display());
                found.push(("mounts", message, "expected a path that begins with `/`"));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_change_a_number_is_a_fact_and_places_are_none() {
        assert_eq!(
            Container::default().facts(),
            BTreeMap::from([("network".to_owned(), "host".to_owned())])
        );
        let all = Container {
            network: Network::Published,
            ipc: Ipc::Host,
            shm_size: Some(Size(1 << 30)),
            memory: Some(Size(1 << 31)),
            ulimits: BTreeMap::from([("memlock".to_owned(), -1)]),
            capabilities: vec!["SYS_PTRACE".to_owned(), "IPC_LOCK".to_owned()],
            security: vec!["seccomp=unconfined".to_owned()],
            devices: vec!["/dev/infiniband".into()],
            groups: vec!["44".to_owned()],
            mounts: vec![Mount {
                host: "/models".into(),
                container: None,
                write: true,
            }],
            user: User::Image,
            privileged: Some("the fabric's driver".to_owned()),
        };
        let facts: Vec<String> = all.facts().iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(
            facts,
            [
                "capabilities=IPC_LOCK, SYS_PTRACE",
                "devices=/dev/infiniband",
                "ipc=host",
                "memory=2147483648",
                "network=published",
                "privileged=yes",
                "security=seccomp=unconfined",
                "shm-size=1073741824",
                "ulimit memlock=-1",
            ]
        );
    }
}
