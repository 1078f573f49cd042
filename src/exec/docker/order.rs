//! What a container is made of, and what its keeper is told.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, HealthConfig, HostConfig, HostConfigLogConfig, Mount,
    MountType, PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use serde::{Deserialize, Serialize};

use super::left::LeftServer;
use super::note::{self, Note};
use super::{RemoveError, remove};
use crate::config::container::{Container, Ipc, Network};
use crate::exec::gpu::AmdNodes;
use crate::exec::guard::{ExitFacts, Order};
use crate::exec::started::End;

/// The variable of the keeper's environment that holds its order as JSON. Secrets are in it, so it stands in no
/// argument list and no file.
const ORDER_VARIABLE: &str = "SWEEP_CONTAINER";

/// How much longer than the container's own grace its keeper may take: the engine has to answer, and to clean up.
const ENGINE_GRACE: Duration = Duration::from_secs(30);

/// What the keeper of one container is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerOrder {
    /// The engine, as `DOCKER_HOST` names it.
    pub engine: String,
    /// The container's name: who asks for it twice gets one.
    pub name: String,
    /// What it is started as.
    pub(super) start: String,
    pub body: ContainerCreateBody,
    /// The id of a container that is there already and is kept in the place of a new one.
    pub(super) adopts: Option<String>,
    /// What gives the files that it left in its workspace to who started it, where they may be another's.
    pub(super) hand_back: Option<ContainerCreateBody>,
    /// From TERM to KILL when it is stopped, in ms.
    pub grace_ms: u64,
    /// Where the keeper tells how it goes.
    pub note: PathBuf,
}

impl ContainerOrder {
    /// To keep what a killed run left in the place of a new container; nothing where the two are not the same.
    pub fn adopting(self, left: &LeftServer) -> Option<Self> {
        (self.start == left.start).then(|| Self {
            name: left.name.clone(),
            adopts: Some(left.id.clone()),
            ..self
        })
    }

    /// What the guard is told: to start a keeper, the program `sweep container`.
    pub fn keeper(&self, cwd: &Path) -> Order {
        let order = serde_json::to_string(self).expect("an order is plain data");
        let margin = u64::try_from(ENGINE_GRACE.as_millis()).unwrap_or(u64::MAX);
        Order {
            argv: vec!["/proc/self/exe".to_owned(), "container".to_owned()],
            env: BTreeMap::from([(ORDER_VARIABLE.to_owned(), order)]),
            cwd: cwd.to_owned(),
            grace_ms: self.grace_ms.saturating_add(margin),
        }
    }

    /// The order of this very process, if it is a keeper.
    pub(super) fn of_this_process() -> Result<Self, String> {
        let text = std::env::var(ORDER_VARIABLE).map_err(|_| format!("{ORDER_VARIABLE} is not set"))?;
        serde_json::from_str(&text).map_err(|error| format!("read {ORDER_VARIABLE}: {error}"))
    }

    /// What the one who started the keeper holds.
    pub fn contained(&self) -> Contained {
        let host = self.body.host_config.as_ref();
        Contained {
            engine: self.engine.clone(),
            name: self.name.clone(),
            note: self.note.clone(),
            is_published: host.is_some_and(|host| host.port_bindings.is_some()),
            is_adopted: self.adopts.is_some(),
        }
    }
}

/// A container as the one who started its keeper holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contained {
    pub(super) engine: String,
    pub(super) name: String,
    note: PathBuf,
    is_published: bool,
    is_adopted: bool,
}

impl Contained {
    /// Whether the server's port on loopback is the engine's, which passes connections on to the container.
    pub(crate) fn is_published(&self) -> bool {
        self.is_published
    }

    /// Whether it ran before its keeper did, and so may listen already.
    pub(crate) fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    /// The keeper's last word so far.
    pub(crate) fn told(&self) -> Option<Note> {
        Note::read(&self.note)
    }

    /// How it ended, once its keeper has.
    pub(crate) fn end(&self, keeper: ExitFacts) -> End {
        note::end_of(self.told(), keeper)
    }

    /// Makes sure that nothing is left of it, once its keeper has ended.
    pub(crate) async fn ensure_removed(&self) -> Result<(), RemoveError> {
        if self.told().is_some_and(|note| note.is_removed()) {
            return Ok(());
        }
        remove(&self.engine, &self.name).await
    }
}

/// How a container gets its GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpus {
    None,
    /// By index, through the engine's NVIDIA runtime.
    Nvidia(Vec<u32>),
    /// By their device nodes.
    Amd(AmdNodes),
}

/// Everything that decides what a container is.
pub(super) struct Parts<'a> {
    pub image: &'a str,
    /// The program and its arguments; never empty.
    pub argv: &'a [String],
    pub env: &'a BTreeMap<String, String>,
    pub labels: &'a BTreeMap<String, String>,
    /// Where the server will listen.
    pub port: u16,
    pub settings: &'a Container,
    pub gpus: &'a Gpus,
    /// The folder of the recipe's files on the host, and whether the container may write to it.
    pub work: (&'a Path, bool),
    /// Who the server is and where it may write; without it, as the image says, and nowhere.
    pub owner: Option<Owner<'a>>,
}

/// The user of a container whose files stay on the host.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    pub user: u32,
    pub group: u32,
    /// The host's folders behind [`HOME`] and [`TEMPORARY`].
    pub home: &'a Path,
    pub temporary: &'a Path,
}

/// Where the recipe's files are in every container: as InferenceX has it.
pub(super) const WORKSPACE: &str = "/workspace";
/// A container's own folder of the attempt, where it may write.
pub const HOME: &str = "/attempt";
pub const TEMPORARY: &str = "/tmp";

/// What the engine is asked to create.
pub(super) fn body(parts: &Parts<'_>) -> ContainerCreateBody {
    let (program, arguments) = parts.argv.split_first().expect("a command has a program");
    let published = parts.settings.network == Network::Published;
    let port = format!("{}/tcp", parts.port);
    ContainerCreateBody {
        image: Some(parts.image.to_owned()),
        // The image's own entry point would be put before the recipe's command.
        entrypoint: Some(vec![program.clone()]),
        cmd: Some(arguments.to_vec()),
        env: Some(
            parts
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        working_dir: Some(WORKSPACE.to_owned()),
        user: parts.owner.map(|owner| format!("{}:{}", owner.user, owner.group)),
        labels: Some(parts.labels.clone().into_iter().collect()),
        exposed_ports: published.then(|| vec![port.clone()]),
        // An image's health checks would disturb what is measured.
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        host_config: Some(host_config(parts, published.then_some(port))),
        ..ContainerCreateBody::default()
    }
}

fn host_config(parts: &Parts<'_>, published: Option<String>) -> HostConfig {
    let settings = parts.settings;
    let bytes = |size: crate::config::quantity::Size| i64::try_from(size.0).unwrap_or(i64::MAX);
    let network = if published.is_some() { "bridge" } else { "host" };
    let mut devices = settings.devices.clone();
    let mut groups = settings.groups.clone();
    if let Gpus::Amd(nodes) = parts.gpus {
        devices.extend(nodes.devices.iter().cloned());
        groups.extend(nodes.groups.iter().map(u32::to_string));
    }
    HostConfig {
        network_mode: Some(network.to_owned()),
        port_bindings: published.map(|port| HashMap::from([(port, Some(vec![on_loopback(parts.port)]))])),
        ipc_mode: (settings.ipc == Ipc::Host).then(|| "host".to_owned()),
        shm_size: settings.shm_size.map(bytes),
        memory: settings.memory.map(bytes),
        memory_swap: settings.memory.map(bytes),
        ulimits: some(
            settings
                .ulimits
                .iter()
                .map(|(name, limit)| limit_of(name, *limit))
                .collect(),
        ),
        cap_add: some(settings.capabilities.clone()),
        security_opt: some(settings.security.clone()),
        devices: some(devices.iter().map(|path| device(path)).collect()),
        device_requests: match parts.gpus {
            Gpus::Nvidia(indices) => Some(vec![nvidia(indices)]),
            Gpus::None | Gpus::Amd(_) => None,
        },
        group_add: some(groups),
        mounts: Some(mounts(parts)),
        privileged: settings.privileged.is_some().then_some(true),
        // The first process of a container gets no signal that it does not handle, and reaps nobody.
        init: Some(true),
        // The one driver that every engine can be asked for what it has logged.
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: None,
        }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..HostConfig::default()
    }
}

/// What is not asked for is not mentioned.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn on_loopback(port: u16) -> PortBinding {
    PortBinding {
        host_ip: Some("127.0.0.1".to_owned()),
        host_port: Some(port.to_string()),
    }
}

fn limit_of(name: &str, limit: i64) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(limit),
        hard: Some(limit),
    }
}

fn device(path: &Path) -> DeviceMapping {
    let path = path.to_string_lossy().into_owned();
    DeviceMapping {
        path_on_host: Some(path.clone()),
        path_in_container: Some(path),
        cgroup_permissions: Some("rwm".to_owned()),
    }
}

/// By index, as a number of GPUs would be the first ones for everybody.
fn nvidia(indices: &[u32]) -> DeviceRequest {
    DeviceRequest {
        device_ids: Some(indices.iter().map(u32::to_string).collect()),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }
}

fn mounts(parts: &Parts<'_>) -> Vec<Mount> {
    let (work, writes) = parts.work;
    let mut mounts = vec![mount(work, Path::new(WORKSPACE), writes)];
    if let Some(owner) = parts.owner {
        mounts.push(mount(owner.home, Path::new(HOME), true));
        mounts.push(mount(owner.temporary, Path::new(TEMPORARY), true));
    }
    for folder in &parts.settings.mounts {
        let inside = folder.container.as_ref().unwrap_or(&folder.host);
        mounts.push(mount(&folder.host, inside, folder.write));
    }
    mounts
}

/// A mount, as binds would make a missing folder of the host, and root its owner.
fn mount(host: &Path, container: &Path, write: bool) -> Mount {
    let text = |path: &Path| Some(path.to_string_lossy().into_owned());
    Mount {
        typ: Some(MountType::BIND),
        source: text(host),
        target: text(container),
        read_only: Some(!write),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::config::container;
    use crate::config::quantity::Size;

    fn body_of(settings: &Container, gpus: &Gpus, owner: Option<Owner<'_>>) -> serde_json::Value {
        let argv = ["vllm", "serve", "m"].map(str::to_owned);
        let env = BTreeMap::from([("PORT".to_owned(), "8001".to_owned())]);
        let labels = BTreeMap::from([("sweep.run".to_owned(), "r".to_owned())]);
        let body = body(&Parts {
            image: "acme/engine@sha256:00",
            argv: &argv,
            env: &env,
            labels: &labels,
            port: 8001,
            settings,
            gpus,
            work: (Path::new("/p/work"), false),
            owner,
        });
        serde_json::to_value(body).unwrap()
    }

    #[test]
    fn a_container_gets_what_is_said_and_no_more() {
        let plain = body_of(&Container::default(), &Gpus::None, None);
        assert_eq!(
            plain,
            serde_json::json!({
                "Image": "acme/engine@sha256:00",
                "Entrypoint": ["vllm"],
                "Cmd": ["serve", "m"],
                "Env": ["PORT=8001"],
                "WorkingDir": "/workspace",
                "Labels": { "sweep.run": "r" },
                "Healthcheck": { "Test": ["NONE"] },
                "HostConfig": {
                    "NetworkMode": "host",
                    "Mounts": [{ "Type": "bind", "Source": "/p/work", "Target": "/workspace", "ReadOnly": true }],
                    "Init": true,
                    "LogConfig": { "Type": "json-file" },
                    "RestartPolicy": { "Name": "no" },
                },
            })
        );
    }

    #[test]
    fn settings_reach_the_engine() {
        let settings = Container {
            network: Network::Published,
            shm_size: Some(Size(16 << 30)),
            memory: Some(Size(1 << 30)),
            ulimits: BTreeMap::from([("memlock".to_owned(), -1)]),
            capabilities: vec!["SYS_PTRACE".to_owned()],
            security: vec!["seccomp=unconfined".to_owned()],
            groups: vec!["audio".to_owned()],
            mounts: vec![container::Mount {
                host: "/models".into(),
                container: Some("/root/models".into()),
                write: true,
            }],
            privileged: Some("because".to_owned()),
            ..Container::default()
        };
        let nodes = AmdNodes {
            devices: vec!["/dev/kfd".into(), "/dev/dri/renderD128".into()],
            groups: vec![44],
        };
        let owner = Owner {
            user: 1000,
            group: 100,
            home: Path::new("/p/home"),
            temporary: Path::new("/p/t1"),
        };
        let body = body_of(&settings, &Gpus::Amd(nodes), Some(owner));
        assert_eq!(body["User"], "1000:100");
        assert_eq!(body["ExposedPorts"], serde_json::json!({ "8001/tcp": {} }));
        let host = &body["HostConfig"];
        assert_eq!(
            host["PortBindings"],
            serde_json::json!({ "8001/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8001" }] })
        );
        assert_eq!(host["NetworkMode"], "bridge");
        assert_eq!(host["ShmSize"], 16_u64 << 30);
        assert_eq!(
            (&host["Memory"], &host["MemorySwap"]),
            (&(1 << 30).into(), &(1 << 30).into())
        );
        assert_eq!(
            host["Ulimits"],
            serde_json::json!([{ "Name": "memlock", "Soft": -1, "Hard": -1 }])
        );
        assert_eq!(host["CapAdd"], serde_json::json!(["SYS_PTRACE"]));
        assert_eq!(host["SecurityOpt"], serde_json::json!(["seccomp=unconfined"]));
        assert_eq!(host["GroupAdd"], serde_json::json!(["audio", "44"]));
        assert_eq!(host["Privileged"], true);
        let devices: Vec<_> = host["Devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| &d["PathOnHost"])
            .collect();
        assert_eq!(devices, ["/dev/kfd", "/dev/dri/renderD128"]);
        let mounts: Vec<_> = host["Mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| format!("{}:{}:{}", m["Source"], m["Target"], m["ReadOnly"]).replace('"', ""))
            .collect();
        assert_eq!(
            mounts,
            [
                "/p/work:/workspace:true",
                "/p/home:/attempt:false",
                "/p/t1:/tmp:false",
                "/models:/root/models:false"
            ]
        );
    }

    #[test]
    fn nvidia_gpus_are_named_one_by_one() {
        let body = body_of(&Container::default(), &Gpus::Nvidia(vec![4, 5]), None);
        assert_eq!(
            body["HostConfig"]["DeviceRequests"],
            serde_json::json!([{ "DeviceIDs": ["4", "5"], "Capabilities": [["gpu"]] }])
        );
    }
}
