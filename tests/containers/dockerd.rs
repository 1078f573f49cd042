//! Debian's Docker engine, run by a test.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use rustix::process::Signal;
use tempfile::TempDir;

use super::client;
use super::daemon::Daemon;
use super::image::Image;
use crate::requirement::{has_program, skip};

/// The name under which `SWEEP_TEST_REQUIRE` asks for tests with a container engine.
const REQUIREMENT: &str = "docker";

/// An engine of its own: its images, containers and socket are in one folder, and it leaves the host's network alone.
pub(crate) struct Dockerd {
    // Fields are dropped in this order: the engine first, then its folder.
    daemon: Daemon,
    folder: TempDir,
    network: Network,
}

/// What an engine has of networks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    /// The host's, untouched: containers have that, or none.
    Hosts,
    /// One apart from the host's, in which it makes networks for its containers.
    Own,
}

impl Dockerd {
    /// Nothing where the machine has no engine to start: the test is then skipped.
    pub(crate) fn start() -> Option<Self> {
        Self::start_in(Network::Hosts, |_| {})
    }

    /// One that has a network of its own, so that its containers can have some too. Who wants to reach them has to be
    /// there: see [`Dockerd::enter`].
    pub(crate) fn start_with_network() -> Option<Self> {
        let has_all = ["unshare", "nsenter", "ip"]
            .iter()
            .all(|program| has_program(REQUIREMENT, program, &["-V"]));
        if !has_all {
            return None;
        }
        Self::start_in(Network::Own, |_| {})
    }

    /// One whose disk has this many bytes.
    pub(crate) fn start_with_room(bytes: u64) -> Option<Self> {
        Self::start_in(Network::Hosts, |folder| {
            let root = folder.join("root");
            fs::create_dir(&root).unwrap();
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]);
            assert!(mount.arg(&root).status().unwrap().success());
        })
    }

    fn start_in(network: Network, prepare: impl FnOnce(&Path)) -> Option<Self> {
        if !has_program(REQUIREMENT, "dockerd", &["--version"]) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip(REQUIREMENT, "only root starts an engine");
            return None;
        }
        // A socket's path has 107 bytes at most.
        let folder = TempDir::with_prefix_in("dockerd-", "/tmp").unwrap();
        prepare(folder.path());
        let daemon = run(folder.path(), network);
        Some(Self {
            daemon,
            folder,
            network,
        })
    }

    /// What `DOCKER_HOST` is to be.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", socket(self.folder.path()).display())
    }

    /// Loads an image under a reference.
    pub(crate) fn load(&self, image: &Image, reference: &str) {
        client::load(&self.host(), image, reference);
    }

    /// The containers that there are, running or not.
    pub(crate) fn containers(&self) -> Vec<ContainerInspectResponse> {
        client::containers(&self.host())
    }

    /// Asks the engine something.
    pub(crate) fn ask<T>(&self, what: impl AsyncFnOnce(&Docker) -> T) -> T {
        client::ask(&self.host(), what)
    }

    /// The command as one in the engine's network.
    pub(crate) fn enter(&self, command: Command) -> Command {
        if self.network == Network::Hosts {
            return command;
        }
        let mut entering = Command::new("nsenter");
        entering
            .arg(format!("--net=/proc/{}/ns/net", self.pid()))
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entering.env(name, value),
                None => entering.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            entering.current_dir(folder);
        }
        entering
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Kills the engine as `kill -9` does; its containers live on.
    pub(crate) fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Ends the engine by a signal.
    pub(crate) fn end(&mut self, signal: Signal) {
        self.daemon.end(signal);
    }

    /// Fills what is free of its disk, to the last byte; for one that was [started with room](Self::start_with_room).
    pub(crate) fn fill(&self) {
        let filler = File::options().create(true).append(true).open(self.filler());
        let mut filler = filler.unwrap();
        for size in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("root/filler")
    }

    /// Starts it again on what it had.
    pub(crate) fn start_again(&mut self) {
        self.daemon.end(Signal::TERM);
        self.daemon = run(self.folder.path(), self.network);
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("docker.sock")
}

fn run(folder: &Path, network: Network) -> Daemon {
    // An engine that was killed leaves its containerd, and the file that says so, which keeps a new one from starting.
    end_containerd(folder);
    let at = |name: &str| folder.join(name).display().to_string();
    let mut words = vec![
        format!("--data-root={}", at("root")),
        format!("--exec-root={}", at("exec")),
        format!("--pidfile={}", at("dockerd.pid")),
        format!("--host=unix://{}", at("docker.sock")),
    ];
    let no_rules = ["--iptables=false", "--ip6tables=false", "--ip-forward=false"];
    words.extend(no_rules.map(str::to_owned));
    // What runs in containers is found in no other cgroup tree than the machine's own.
    words.push("--exec-opt=native.cgroupdriver=cgroupfs".to_owned());
    let socket = socket(folder);
    let program = match network {
        Network::Hosts => {
            words.push("--bridge=none".to_owned());
            "dockerd"
        }
        Network::Own => {
            // Its first words are those of `unshare`; the shell is gone once the engine runs.
            let up = "ip link set lo up && exec dockerd \"$@\"";
            let before = ["--net", "--", "sh", "-c", up, "sh"];
            words.splice(..0, before.map(str::to_owned));
            "unshare"
        }
    };
    let path = format!("{}:{}", nvidia_stand_in(folder), std::env::var("PATH").unwrap());
    Daemon::start_with(&[("PATH", path)], program, &words, &folder.join("log"), || {
        UnixStream::connect(&socket).is_ok()
    })
}

/// A folder with what stands in for NVIDIA's hook. The engine takes requests for GPUs when it finds a program of that
/// name; which of them a container gets, it then tells the container by `NVIDIA_VISIBLE_DEVICES`.
fn nvidia_stand_in(folder: &Path) -> String {
    let bin = folder.join("bin");
    let hook = bin.join("nvidia-container-runtime-hook");
    fs::create_dir_all(&bin).unwrap();
    fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    bin.display().to_string()
}

fn end_containerd(folder: &Path) {
    let pid_file = folder.join("exec/containerd/containerd.pid");
    if let Ok(text) = fs::read_to_string(&pid_file) {
        let pid: i32 = text.trim().parse().unwrap();
        let is_ours = fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|words| String::from_utf8_lossy(&words).contains(&*folder.to_string_lossy()));
        if is_ours {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = fs::remove_file(&pid_file);
    }
    let _ = fs::remove_file(folder.join("dockerd.pid"));
}

/// What an engine that was killed leaves mounted.
pub(super) fn unmount_all(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let places = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1));
    // The later ones may lie in the earlier ones.
    for place in places.filter(|place| Path::new(place).starts_with(folder)) {
        let _ = Command::new("umount").args(["--lazy", place]).status();
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.daemon.end(Signal::TERM);
        end_containerd(self.folder.path());
        unmount_all(self.folder.path());
    }
}
