//! Manifests: what a registry has under a tag.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::config::pins::ImagePin;
use crate::config::reference::ManifestDigest;

/// What a registry must be told that the asker reads, or it answers as if nothing were there.
pub(super) const MEDIA_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// A manifest or an index, as far as a pin needs it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    digest: ManifestDigest,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// The digest of a manifest's bytes.
pub(super) fn digest_of(bytes: &[u8]) -> ManifestDigest {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
        .parse()
        .expect("it has the form of a digest")
}

/// The pin of a manifest whose bytes have been checked against `digest`.
pub(super) fn pin(digest: ManifestDigest, bytes: &[u8]) -> Result<ImagePin, String> {
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if manifest.schema_version != 2 {
        return Err(format!(
            "its manifest has schema version {}, which engines no longer pull; push it again",
            manifest.schema_version
        ));
    }
    let mut platforms = BTreeMap::new();
    for entry in manifest.manifests {
        // Attestations stand in an index as images of an unknown platform.
        if let Some(platform) = entry.platform.filter(|platform| platform.os != "unknown") {
            let variant = platform
                .variant
                .map(|variant| format!("/{variant}"))
                .unwrap_or_default();
            let name = format!("{}/{}{variant}", platform.os, platform.architecture);
            // Engines take the first that fits.
            platforms.entry(name).or_insert(entry.digest);
        }
    }
    Ok(ImagePin { digest, platforms })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn named(byte: u8) -> String {
        format!("sha256:{}", format!("{byte:02x}").repeat(32))
    }

    #[test]
    fn an_index_has_a_digest_a_platform() {
        let entry =
            |byte: u8, platform: &str| format!(r#"{{"digest":"{}","platform":{{{platform}}}}}"#, named(byte));
        let entries = [
            entry(1, r#""os":"linux","architecture":"amd64""#),
            entry(2, r#""os":"linux","architecture":"arm64","variant":"v8""#),
            entry(3, r#""os":"unknown","architecture":"unknown""#),
            entry(4, r#""os":"linux","architecture":"amd64""#),
        ];
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let pin = pin(digest_of(index.as_bytes()), index.as_bytes()).unwrap();
        let platforms: Vec<_> = pin
            .platforms
            .iter()
            .map(|(name, d)| (name.as_str(), d.to_string()))
            .collect();
        assert_eq!(
            platforms,
            [("linux/amd64", named(1)), ("linux/arm64/v8", named(2))]
        );
    }

    #[test]
    fn one_image_has_none_and_what_is_no_manifest_is_refused() {
        let digest = digest_of(b"");
        assert_eq!(
            digest.as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let image = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        assert!(pin(digest.clone(), image).unwrap().platforms.is_empty());
        assert!(
            pin(digest.clone(), br#"{"schemaVersion":1}"#)
                .unwrap_err()
                .contains("push it again")
        );
        assert!(pin(digest, b"<html>").is_err());
    }
}
