//! Debian's image registry, run by a test.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use tempfile::TempDir;

use super::daemon::Daemon;
use super::image::{Image, Manifest};
use crate::requirement::has_program;

/// The name under which `SWEEP_TEST_REQUIRE` asks for tests with a registry.
const REQUIREMENT: &str = "registry";

pub(crate) const USER: &str = "sweep";
pub(crate) const PASSWORD: &str = "open sesame";
/// The password as `htpasswd -B` keeps it.
const HTPASSWD: &str = "sweep:$2y$04$3IuqX//0w4Xq4dVJbKMo8eTZetv9B8cwLTC3BpRivvY4NGdqCNFzC\n";
/// `sweep:open sesame` in base64.
pub(crate) const BASIC: &str = "c3dlZXA6b3BlbiBzZXNhbWU=";

/// A registry of its own on a port of loopback.
pub(crate) struct Registry {
    daemon: Daemon,
    folder: TempDir,
    port: u16,
    has_password: bool,
}

impl Registry {
    /// One that lets everybody in. Nothing where the machine has no registry: the test is then skipped.
    pub(crate) fn start() -> Option<Self> {
        Self::with(false)
    }

    /// One that lets in only [`USER`] with [`PASSWORD`].
    pub(crate) fn with_password() -> Option<Self> {
        Self::with(true)
    }

    fn with(has_password: bool) -> Option<Self> {
        if !has_program(REQUIREMENT, "docker-registry", &["--version"]) {
            return None;
        }
        let folder = TempDir::with_prefix_in("registry-", "/tmp").unwrap();
        // Free now; should another take it before the registry does, that says so and ends.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let at = folder.path().display();
        let auth = if has_password {
            fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
            format!("auth: {{htpasswd: {{realm: test, path: {at}/htpasswd}}}}\n")
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {at}/data}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n{auth}"
        );
        let path = folder.path().join("config.yml");
        fs::write(&path, config).unwrap();
        let words = ["serve".to_owned(), path.display().to_string()];
        let log = folder.path().join("log");
        let daemon = Daemon::start("docker-registry", &words, &log, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(Self {
            daemon,
            folder,
            port,
            has_password,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `127.0.0.1:PORT`, which begins the names of its images.
    pub(crate) fn host(&self) -> String {
        self.address().to_string()
    }

    /// Puts an image there under a tag; gives its digest.
    pub(crate) fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        for blob in image.blobs() {
            let uploads = format!("/v2/{repository}/blobs/uploads/");
            let begun = self.ask("POST", &uploads, "application/octet-stream", &[]);
            assert_eq!(begun.status, 202, "{begun:?}");
            let place = begun.header("location").unwrap();
            let (_, path) = place.split_once(&self.host()).unwrap_or(("", &place));
            let path = format!("{path}&digest={}", blob.digest);
            let put = self.ask("PUT", &path, "application/octet-stream", &blob.bytes);
            assert_eq!(put.status, 201, "{put:?}");
        }
        self.push_manifest(repository, tag, image.manifest())
    }

    /// Puts the images there, and under the tag an index of them.
    pub(crate) fn push_index(&self, repository: &str, tag: &str, images: &[&Image]) -> String {
        for image in images {
            self.push(repository, &image.manifest().digest, image);
        }
        self.push_manifest(repository, tag, &Image::index(images))
    }

    fn push_manifest(&self, repository: &str, tag: &str, manifest: &Manifest) -> String {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let put = self.ask("PUT", &path, manifest.media_type, &manifest.bytes);
        assert_eq!(put.status, 201, "{put:?}");
        manifest.digest.clone()
    }

    /// One request on a connection of its own.
    fn ask(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        let host = self.host();
        let length = body.len();
        let login = if self.has_password {
            format!("Authorization: Basic {BASIC}\r\n")
        } else {
            String::new()
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\n{login}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Answer::read(&String::from_utf8_lossy(&answer))
    }
}

/// What the registry said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<String> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    }
}
