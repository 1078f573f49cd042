//! Debian's Docker engine, run by a test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{ImportImageOptions, InspectContainerOptions, ListContainersOptions};
use bollard::{API_DEFAULT_VERSION, Docker, body_full};
use futures_util::StreamExt;
use rustix::process::Signal;
use tempfile::TempDir;

use super::daemon::Daemon;
use super::image::Image;
use crate::requirement::{has_program, skip};

/// The name under which `SWEEP_TEST_REQUIRE` asks for tests with a container engine.
const REQUIREMENT: &str = "docker";

/// An engine of its own: its images, containers and socket are in one folder, and it leaves the host's network alone,
/// so that containers have the host's network or none.
pub(crate) struct Dockerd {
    // Fields are dropped in this order: the engine first, then its folder.
    daemon: Daemon,
    folder: TempDir,
}

impl Dockerd {
    /// Nothing where the machine has no engine to start: the test is then skipped.
    pub(crate) fn start() -> Option<Self> {
        Self::start_in(|_| {})
    }

    /// One whose disk has this many bytes.
    pub(crate) fn start_with_room(bytes: u64) -> Option<Self> {
        Self::start_in(|folder| {
            let root = folder.join("root");
            fs::create_dir(&root).unwrap();
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]);
            assert!(mount.arg(&root).status().unwrap().success());
        })
    }

    fn start_in(prepare: impl FnOnce(&Path)) -> Option<Self> {
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
        let daemon = run(folder.path());
        Some(Self { daemon, folder })
    }

    /// What `DOCKER_HOST` is to be.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", socket(self.folder.path()).display())
    }

    /// Loads an image under a reference.
    pub(crate) fn load(&self, image: &Image, reference: &str) {
        let archive = image.archive(reference);
        self.ask(async |client| {
            let options = ImportImageOptions::default();
            let mut told = std::pin::pin!(client.import_image(options, body_full(archive.into()), None));
            while let Some(line) = told.next().await {
                line.unwrap();
            }
        });
    }

    /// The containers that there are, running or not.
    pub(crate) fn containers(&self) -> Vec<ContainerInspectResponse> {
        self.ask(async |client| {
            let options = ListContainersOptions {
                all: true,
                ..ListContainersOptions::default()
            };
            let mut found = Vec::new();
            for container in client.list_containers(Some(options)).await.unwrap() {
                let id = container.id.unwrap();
                // One that has gone in the meantime is none.
                found.extend(
                    client
                        .inspect_container(&id, None::<InspectContainerOptions>)
                        .await,
                );
            }
            found
        })
    }

    /// Asks the engine something.
    pub(crate) fn ask<T>(&self, what: impl AsyncFnOnce(&Docker) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let client = Docker::connect_with_unix(&self.host(), 60, API_DEFAULT_VERSION).unwrap();
            what(&client.negotiate_version().await.unwrap()).await
        })
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

    /// Starts it again on what it had.
    pub(crate) fn start_again(&mut self) {
        self.daemon.end(Signal::TERM);
        self.daemon = run(self.folder.path());
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("docker.sock")
}

fn run(folder: &Path) -> Daemon {
    // An engine that was killed leaves its containerd, and the file that says so, which keeps a new one from starting.
    end_containerd(folder);
    let at = |name: &str| folder.join(name).display().to_string();
    let mut words = vec![
        format!("--data-root={}", at("root")),
        format!("--exec-root={}", at("exec")),
        format!("--pidfile={}", at("dockerd.pid")),
        format!("--host=unix://{}", at("docker.sock")),
    ];
    let no_network = [
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
    ];
    words.extend(no_network.map(str::to_owned));
    // What runs in containers is found in no other cgroup tree than the machine's own.
    words.push("--exec-opt=native.cgroupdriver=cgroupfs".to_owned());
    let socket = socket(folder);
    let path = format!("{}:{}", nvidia_stand_in(folder), std::env::var("PATH").unwrap());
    Daemon::start_with(&[("PATH", path)], "dockerd", &words, &folder.join("log"), || {
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
fn unmount_all(folder: &Path) {
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
