//! References to container images: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]` with Docker's defaults.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The registry of references that name none.
pub const DOCKER_HUB: &str = "docker.io";

/// The digest of a manifest or of an index of them, `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct ManifestDigest(#[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))] String);

impl ManifestDigest {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits, without the algorithm.
    pub fn hex(&self) -> &str {
        self.0.trim_start_matches(SHA256)
    }

    /// Enough of it for a table.
    pub fn short(&self) -> &str {
        &self.0[..SHA256.len() + 12]
    }
}

const SHA256: &str = "sha256:";

impl FromStr for ManifestDigest {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let hex = text.strip_prefix(SHA256).unwrap_or_default();
        let is_hex = hex
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex.len() == 64 && is_hex {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReferenceError::Digest(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ManifestDigest {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl fmt::Display for ManifestDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A container image's reference in its normal form: two that mean the same are equal.
///
/// Read from what Docker takes, with or without `docker://`, and from enroot's `REGISTRY#REPOSITORY`. Written as Docker
/// shows it: without `docker.io` and `library`, and with the tag `latest` where neither tag nor digest was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<ManifestDigest>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("an image's reference is empty")]
    Empty,
    #[error("`{0}` is a URL; write the image without `{1}://`")]
    Url(String, String),
    #[error("`{0}` has capitals in its repository, which registries refuse; write `{1}`")]
    Capitals(String, String),
    #[error("`{0}` is no repository; expected words of `a-z`, `0-9`, `.`, `_` and `-`, joined by `/`")]
    Repository(String),
    #[error("`{0}` is no registry; expected `HOST` or `HOST:PORT`")]
    Registry(String),
    #[error("`{0}` is no tag; expected up to 128 letters, digits, `_`, `.` and `-`")]
    Tag(String),
    #[error("`{0}` is no digest; expected `sha256:` and 64 hexadecimal digits")]
    Digest(String),
}

impl Reference {
    /// `docker.io` where none is written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// With `library/` where Docker adds it.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that it has itself, whatever its tag stands for.
    pub fn digest(&self) -> Option<&ManifestDigest> {
        self.digest.as_ref()
    }

    /// Registry and repository, as Docker shows them.
    pub fn name(&self) -> String {
        if self.registry == DOCKER_HUB {
            let repository = &self.repository;
            repository
                .strip_prefix("library/")
                .unwrap_or(repository)
                .to_owned()
        } else {
            format!("{}/{}", self.registry, self.repository)
        }
    }

    /// The image of this digest in the same repository, in the form that engines run.
    pub fn at(&self, digest: &ManifestDigest) -> String {
        format!("{}@{digest}", self.name())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let bare = text.strip_prefix("docker://").unwrap_or(text);
        if bare.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some((scheme, _)) = bare.split_once("://") {
            return Err(ReferenceError::Url(text.to_owned(), scheme.to_owned()));
        }
        let (named, digest) = match bare.split_once('@') {
            Some((named, digest)) => (named, Some(digest.parse()?)),
            None => (bare, None),
        };
        // A colon after the last slash begins a tag, one before it a registry's port.
        let name_ends = named.rfind(['/', '#']).map_or(0, |at| at + 1);
        let (name, tag) = match named[name_ends..].split_once(':') {
            Some((last, tag)) => (&named[..name_ends + last.len()], Some(tag)),
            None => (named, None),
        };
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag(tag.to_owned()));
        }
        let (registry, path) = split_registry(name);
        if !is_registry(registry) {
            return Err(ReferenceError::Registry(registry.to_owned()));
        }
        let repository = match registry {
            DOCKER_HUB if !path.contains('/') => format!("library/{path}"),
            _ => path.to_owned(),
        };
        if !is_repository(&repository) {
            let lower = path.to_ascii_lowercase();
            return Err(if is_repository(&lower) {
                ReferenceError::Capitals(text.to_owned(), text.replacen(path, &lower, 1))
            } else {
                ReferenceError::Repository(path.to_owned())
            });
        }
        let tag = tag.map(str::to_owned);
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.or_else(|| digest.is_none().then(|| "latest".to_owned())),
            digest,
        })
    }
}

/// The registry of a name and the rest. What stands before the first slash is a registry only where it looks like a
/// host; before enroot's `#` it always is.
fn split_registry(name: &str) -> (&str, &str) {
    let (registry, path) = match (name.split_once('#'), name.split_once('/')) {
        (Some(parts), _) => parts,
        (None, Some((first, path))) if first.contains(['.', ':']) || first == "localhost" => (first, path),
        (None, _) => (DOCKER_HUB, name),
    };
    match registry {
        "index.docker.io" | "registry-1.docker.io" => (DOCKER_HUB, path),
        _ => (registry, path),
    }
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    host.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_repository(repository: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter().all(|end| end.is_some_and(|b| is_word(*b)))
            && bytes.iter().all(|b| is_word(*b) || b"._-".contains(b))
    };
    repository.len() <= 255 && repository.split('/').all(is_part)
}

fn is_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    (1..=128).contains(&bytes.len())
        && !b".-".contains(&bytes[0])
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn parts(text: &str) -> (String, String, Option<String>) {
        let reference: Reference = text.parse().unwrap();
        (reference.registry, reference.repository, reference.tag)
    }

    #[test]
    fn docker_s_defaults_are_filled_in() {
        let tagged = |registry: &str, repository: &str, tag: &str| {
            (registry.to_owned(), repository.to_owned(), Some(tag.to_owned()))
        };
        assert_eq!(parts("ubuntu"), tagged("docker.io", "library/ubuntu", "latest"));
        assert_eq!(
            parts("lmsysorg/sglang:v0.5.9"),
            tagged("docker.io", "lmsysorg/sglang", "v0.5.9")
        );
        assert_eq!(parts("docker://a/b:1"), parts("a/b:1"));
        assert_eq!(parts("index.docker.io/a/b:1"), parts("a/b:1"));
        assert_eq!(parts("localhost/b:1"), tagged("localhost", "b", "1"));
        assert_eq!(parts("127.0.0.1:5000/b"), tagged("127.0.0.1:5000", "b", "latest"));
        assert_eq!(
            parts("ghcr.io/a/b/c:1.0_x-y"),
            tagged("ghcr.io", "a/b/c", "1.0_x-y")
        );
        // As enroot has it.
        let nvidia = tagged("nvcr.io", "nvidia/tensorrt-llm/release", "1.1.0rc2");
        assert_eq!(parts("nvcr.io#nvidia/tensorrt-llm/release:1.1.0rc2"), nvidia);
        assert_eq!(
            parts("docker://nvcr.io#nvidia/tensorrt-llm/release:1.1.0rc2"),
            nvidia
        );
    }

    #[test]
    fn a_digest_needs_no_tag_and_may_have_one() {
        let plain: Reference = format!("a/b@{DIGEST}").parse().unwrap();
        assert_eq!((plain.tag(), plain.digest().unwrap().as_str()), (None, DIGEST));
        let tagged: Reference = format!("a/b:1@{DIGEST}").parse().unwrap();
        assert_eq!(tagged.to_string(), format!("a/b:1@{DIGEST}"));
        assert_eq!(tagged.at(tagged.digest().unwrap()), format!("a/b@{DIGEST}"));
    }

    #[test]
    fn what_is_no_reference_is_told_why() {
        let wrong = |text: &str| text.parse::<Reference>().unwrap_err().to_string();
        insta::assert_snapshot!([
            "", "https://ghcr.io/a/b", "Acme/Engine:1", "a//b", "a/b:", "a/b:-x", "a b", "bad_host.io/b", "h.io:x/b",
            "a/b@sha256:12", "_a/b", "#b",
        ]
        .map(wrong)
        .join("\n"), @"
        an image's reference is empty
        `https://ghcr.io/a/b` is a URL; write the image without `https://`
        `Acme/Engine:1` has capitals in its repository, which registries refuse; write `acme/engine:1`
        `a//b` is no repository; expected words of `a-z`, `0-9`, `.`, `_` and `-`, joined by `/`
        `` is no tag; expected up to 128 letters, digits, `_`, `.` and `-`
        `-x` is no tag; expected up to 128 letters, digits, `_`, `.` and `-`
        `a b` is no repository; expected words of `a-z`, `0-9`, `.`, `_` and `-`, joined by `/`
        `bad_host.io` is no registry; expected `HOST` or `HOST:PORT`
        `h.io:x` is no registry; expected `HOST` or `HOST:PORT`
        `sha256:12` is no digest; expected `sha256:` and 64 hexadecimal digits
        `_a/b` is no repository; expected words of `a-z`, `0-9`, `.`, `_` and `-`, joined by `/`
        `` is no registry; expected `HOST` or `HOST:PORT`
        ");
    }

    proptest! {
        #[test]
        fn the_normal_form_reads_back_as_itself(
            registry in prop_oneof![Just(""), Just("docker.io/"), Just("ghcr.io/"), Just("localhost:5000/"), Just("nvcr.io#")],
            repository in "[a-z0-9]{1,3}(/[a-z0-9]([._-][a-z0-9]){0,2}){0,2}",
            tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,4}"),
            digest in any::<bool>(),
        ) {
            let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
            let digest = if digest { format!("@{DIGEST}") } else { String::new() };
            let read: Reference = format!("{registry}{repository}{tag}{digest}").parse().unwrap();
            let again: Reference = read.to_string().parse().unwrap();
            prop_assert_eq!(again, read);
        }
    }
}
