//! Images from nothing: one layer that holds the files that are given, the same bytes and so the same digest each time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Bytes with their digest, `sha256:…`.
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let hex: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            digest: format!("sha256:{hex}"),
            bytes,
        }
    }
}

/// A manifest or an index.
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Manifest {
    fn new(media_type: &'static str, content: &Value) -> Self {
        let Blob { digest, bytes } = Blob::new(content.to_string().into_bytes());
        Self {
            digest,
            media_type,
            bytes,
        }
    }
}

/// An image that a registry takes.
pub(crate) struct Image {
    architecture: String,
    layer: Blob,
    config: Blob,
    manifest: Manifest,
}

impl Image {
    /// Files by their path in the image, all of them executable, and what is run.
    pub(crate) fn of_files(files: &[(&str, Vec<u8>)], entrypoint: &[&str]) -> Self {
        Self::of(architecture(), files, entrypoint)
    }

    /// The same for another architecture than this machine's.
    pub(crate) fn of(architecture: &str, files: &[(&str, Vec<u8>)], entrypoint: &[&str]) -> Self {
        let layer = Blob::new(layer(files));
        let config = Blob::new(
            json!({
                "architecture": architecture,
                "os": "linux",
                "config": { "Env": ["PATH=/bin"], "Entrypoint": entrypoint },
                "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
                "history": [{ "created": "1970-01-01T00:00:00Z" }],
            })
            .to_string()
            .into_bytes(),
        );
        let part = |kind: &str, blob: &Blob| {
            json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": blob.digest,
                "size": blob.bytes.len(),
            })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": part("config.v1+json", &config),
            "layers": [part("layer.v1.tar", &layer)],
        });
        Self {
            architecture: architecture.to_owned(),
            manifest: Manifest::new(MANIFEST, &manifest),
            layer,
            config,
        }
    }

    /// A program of this machine at `/bin/NAME`, with the libraries that it is linked to where it looks for them.
    pub(crate) fn of_program(name: &str, program: &Path, entrypoint: &[&str]) -> Self {
        Self::of_programs(&[(name, program)], entrypoint)
    }

    /// The same of several programs, by their names in the image.
    pub(crate) fn of_programs(programs: &[(&str, &Path)], entrypoint: &[&str]) -> Self {
        let mut files = BTreeMap::new();
        for (name, program) in programs {
            files.insert(format!("bin/{name}"), std::fs::read(program).unwrap());
            for library in libraries(program) {
                let inside = library.strip_prefix("/").unwrap().to_str().unwrap().to_owned();
                files.insert(inside, std::fs::read(&library).unwrap());
            }
        }
        let files: Vec<_> = files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.clone()))
            .collect();
        Self::of_files(&files, entrypoint)
    }

    /// What an engine loads without a registry; it has no digest there.
    pub(crate) fn archive(&self, reference: &str) -> Vec<u8> {
        let manifest = json!([{ "Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"] }]);
        let manifest = manifest.to_string().into_bytes();
        let mut archive = tar::Builder::new(Vec::new());
        let parts = [
            ("manifest.json", &manifest),
            ("config.json", &self.config.bytes),
            ("layer.tar", &self.layer.bytes),
        ];
        for (path, bytes) in parts {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, &bytes[..]).unwrap();
        }
        archive.into_inner().unwrap()
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn blobs(&self) -> [&Blob; 2] {
        [&self.layer, &self.config]
    }

    /// An index of the images, one a platform.
    pub(crate) fn index(images: &[&Self]) -> Manifest {
        let manifests: Vec<Value> = images
            .iter()
            .map(|image| {
                json!({
                    "mediaType": MANIFEST,
                    "digest": image.manifest.digest,
                    "size": image.manifest.bytes.len(),
                    "platform": { "architecture": image.architecture, "os": "linux" },
                })
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        Manifest::new(INDEX, &index)
    }
}

/// This machine's architecture in a registry's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The libraries of a program, as its loader finds them. None of a static one.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let told = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    let words = text.split_whitespace();
    words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn layer(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes).unwrap();
    };
    add("tmp/", tar::EntryType::Directory, 0o1777, &[]);
    add("workspace/", tar::EntryType::Directory, 0o777, &[]);
    for (path, bytes) in files {
        add(path, tar::EntryType::Regular, 0o755, bytes);
    }
    archive.into_inner().unwrap()
}
