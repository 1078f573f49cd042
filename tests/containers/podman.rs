//! Debian's Podman, run by a test as an engine of Docker's API.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use bollard::models::ContainerInspectResponse;
use rustix::process::Signal;
use tempfile::TempDir;

use super::client;
use super::daemon::Daemon;
use super::dockerd::unmount_all;
use super::image::Image;
use crate::requirement::{has_program, skip};

/// The name under which `SWEEP_TEST_REQUIRE` asks for tests with Podman.
const REQUIREMENT: &str = "podman";

/// What a machine without systemd, and with nothing above its own limits, needs to be told.
const CONFIG: &str = "\
[engine]
runtime = \"runc\"
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
[containers]
default_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]
";

/// An engine of its own: all that it keeps is in one folder.
pub(crate) struct Podman {
    // Fields are dropped in this order: the service first, then its folder.
    daemon: Daemon,
    folder: TempDir,
}

impl Podman {
    /// Nothing where the machine has no Podman to start: the test is then skipped.
    pub(crate) fn start() -> Option<Self> {
        // With it, what its containers begin with, and what makes them.
        let needed = [
            ("podman", "--version"),
            ("catatonit", "-V"),
            ("runc", "--version"),
        ];
        let has = |(program, word): &(&str, &str)| has_program(REQUIREMENT, program, &[word]);
        if !needed.iter().all(has) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip(REQUIREMENT, "only root starts an engine");
            return None;
        }
        // A socket's path has 107 bytes at most.
        let folder = TempDir::with_prefix_in("podman-", "/tmp").unwrap();
        let at = folder.path();
        fs::write(at.join("containers.conf"), CONFIG).unwrap();
        let socket = at.join("podman.sock");
        let mut words = storage(at);
        words.extend(["system", "service", "--time", "0"].map(str::to_owned));
        words.push(format!("unix://{}", socket.display()));
        let daemon = Daemon::start_with(&[config(at)], "podman", &words, &at.join("log"), || {
            UnixStream::connect(&socket).is_ok()
        });
        Some(Self { daemon, folder })
    }

    /// What `DOCKER_HOST` is to be.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("podman.sock").display())
    }

    pub(crate) fn load(&self, image: &Image, reference: &str) {
        client::load(&self.host(), image, reference);
    }

    pub(crate) fn containers(&self) -> Vec<ContainerInspectResponse> {
        client::containers(&self.host())
    }
}

fn config(folder: &Path) -> (&'static str, String) {
    let path = folder.join("containers.conf");
    ("CONTAINERS_CONF", path.display().to_string())
}

fn storage(folder: &Path) -> Vec<String> {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut words = vec!["--storage-driver=vfs".to_owned()];
    words.push(format!("--root={}", at("root")));
    words.push(format!("--runroot={}", at("run")));
    words.push(format!("--tmpdir={}", at("tmp")));
    words
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.daemon.end(Signal::TERM);
        // What a test left has a process of its own that watches it.
        let _ = Command::new("podman")
            .args(storage(self.folder.path()))
            .args(["rm", "--all", "--force"])
            .envs([config(self.folder.path())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        unmount_all(self.folder.path());
    }
}
