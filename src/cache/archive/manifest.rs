//! The first entry of an archive: what the others have to be.

use serde::{Deserialize, Serialize};

use super::super::Digest;
use super::super::signature::{Purpose, Signature, SigningKey};

/// The format of archives that this sweep writes, and the latest that it reads.
pub(super) const FORMAT: u64 = 1;

/// The manifest's name in the archive.
pub(super) const NAME: &str = "manifest.json";

/// The pack's name in the archive.
pub(super) const LOG: &str = "log/records.log";

/// No manifest is longer: it lists some two million blobs.
pub(super) const LONGEST: u64 = 256 << 20;

/// A file of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

/// Everything that an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: u64,
    pub(super) log: Part,
    /// In the order of their digests.
    pub(super) blobs: Vec<Part>,
    /// Over the manifest without it, so over all that the archive holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<Signature>,
}

/// Only the format, of whatever version.
#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

/// Why bytes are no manifest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAManifest {
    Newer(u64),
    Malformed(String),
}

impl Manifest {
    pub(super) fn sign(&mut self, key: &SigningKey) {
        self.signature = Some(key.sign(Purpose::Archive, &self.unsigned_bytes()));
    }

    /// What is wrong with the signature.
    pub(super) fn verify(&self, key: &SigningKey) -> Result<(), &'static str> {
        match &self.signature {
            None => Err("it is not signed"),
            Some(signature) if key.verifies(Purpose::Archive, &self.unsigned_bytes(), signature) => Ok(()),
            Some(_) => Err("its signature is not that of the configured key"),
        }
    }

    fn unsigned_bytes(&self) -> Vec<u8> {
        let unsigned = Manifest {
            signature: None,
            ..self.clone()
        };
        unsigned.to_bytes()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("digests and numbers are always JSON");
        bytes.push(b'\n');
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Manifest, NotAManifest> {
        let malformed =
            |reason: String| NotAManifest::Malformed(format!("its manifest is malformed: {reason}"));
        let versioned: Versioned = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if versioned.format > FORMAT {
            return Err(NotAManifest::Newer(versioned.format));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if manifest.format != FORMAT {
            return Err(malformed(format!("there was no format {}", manifest.format)));
        }
        if !manifest.blobs.is_sorted_by(|a, b| a.digest < b.digest) {
            return Err(malformed("its blobs are not in order".to_owned()));
        }
        Ok(manifest)
    }

    /// How many bytes all parts have together; a sum that no disk holds is the largest number.
    pub(super) fn bytes(&self) -> u64 {
        let parts = self.blobs.iter().chain([&self.log]);
        parts.fold(0, |sum: u64, part| sum.saturating_add(part.bytes))
    }
}

/// Where a blob lies, in the archive as in the cache folder.
pub(super) fn blob_name(digest: &Digest) -> String {
    let hex = digest.to_string();
    let (shard, rest) = hex.split_at(2);
    format!("cas/{shard}/{rest}")
}
