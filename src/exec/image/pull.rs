//! Container images made present: pulled by the engine, once a digest at a time.
//!
//! The engine keeps each layer that is whole, so what was cut short goes on from there.

use std::path::Path;
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use indicatif::BinaryBytes;

use super::lock::{lock, mark_used};
use super::pull_progress::{Layers, PullProgress};
use super::registry::{CredentialError, login};
use crate::config::reference::{ManifestDigest, Reference};
use crate::exec::docker::connect::{Engine, told};

/// Pauses before a pull that was cut short goes on.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
];

/// How often progress is told at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a pull came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// What names exactly this image to the engine.
    pub name: String,
    /// How far the pull had got when it ended; none where the image was there.
    pub pulled: Option<PullProgress>,
}

/// Why an image is not here.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(
        "`{name}` is not in its registry any more, or never was; `sweep lock --update` pins what its tag stands for now ({said})"
    )]
    NotFound { name: String, said: String },
    #[error(
        "the registry `{registry}` gives `{name}` to nobody without the right login; run `docker login {registry}` ({said})"
    )]
    Unauthorized {
        registry: String,
        name: String,
        said: String,
    },
    #[error("there is no `{name}` for {platform}, the engine's platform ({said})")]
    Platform {
        name: String,
        platform: String,
        said: String,
    },
    #[error(
        "no space for `{name}`: {needed}{free}; free some with `docker image prune --all`, or move the engine's data to a larger disk"
    )]
    NoSpace {
        name: String,
        needed: String,
        free: String,
    },
    #[error("pull `{name}`: {reason}, after {tries} tries")]
    Broken {
        name: String,
        reason: String,
        tries: usize,
    },
    #[error("pull `{name}`: {0}", name = .1)]
    Credential(CredentialError, String),
    #[error("the container engine gave up: {0}")]
    Engine(String),
    #[error("lock the image's folder: {0}")]
    Lock(std::io::Error),
}

impl PullError {
    /// Whether the machinery failed, rather than what was asked for being wrong.
    pub fn is_machinery(&self) -> bool {
        !matches!(self, Self::NotFound { .. } | Self::Platform { .. })
    }
}

/// What an engine's error means for a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    NotFound,
    Unauthorized,
    Platform,
    NoSpace,
    /// It may go on: a reset, a registry that is busy.
    Passing,
    /// The engine itself is gone or cannot.
    Engine,
}

/// Makes the image present and says how far it is. `images` is the cache's folder of images, where the lock lies: a
/// build and a `sweep pull` of one image wait for each other. May be dropped at any time, which ends the pull.
pub async fn ensure(
    engine: &Engine,
    reference: &Reference,
    digest: &ManifestDigest,
    images: &Path,
    mut tell: impl FnMut(&PullProgress),
) -> Result<Present, PullError> {
    let name = reference.at(digest);
    if let Some(present) = present(engine, &name, digest).await? {
        return Ok(present);
    }
    let folder = images.join(digest.hex());
    std::fs::create_dir_all(&folder).map_err(PullError::Lock)?;
    let _lock = lock(&folder, &mut |_: &str| {}).await.map_err(PullError::Lock)?;
    mark_used(&folder);
    if let Some(present) = present(engine, &name, digest).await? {
        return Ok(present);
    }
    let registry = reference.registry();
    let login = login(registry)
        .await
        .map_err(|error| PullError::Credential(error, name.clone()))?;
    let mut layers = Layers::default();
    let mut pauses = PAUSES.iter();
    let mut tries = 1;
    loop {
        let credentials = login.as_ref().map(|login| login.for_engine(registry));
        let options = CreateImageOptionsBuilder::default().from_image(&name).build();
        let stream = engine.client.create_image(Some(options), None, credentials);
        let error = match follow(stream, &mut layers, &mut tell).await {
            Ok(()) => break,
            Err(error) => error,
        };
        match kind(&error) {
            Kind::Passing => match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => {
                    let reason = told(&error);
                    return Err(PullError::Broken { name, reason, tries });
                }
            },
            kind => return Err(refusal(engine, kind, (registry, name), &error, &layers.progress()).await),
        }
        tries += 1;
    }
    let pulled = Some(layers.progress());
    let there = present(engine, &name, digest).await?;
    let there = there
        .ok_or_else(|| PullError::Engine(format!("it says that it has pulled `{name}`, and has it not")))?;
    Ok(Present { pulled, ..there })
}

/// Whether the engine has the image: by its digest, or where it is in no registry by its own id.
async fn present(engine: &Engine, name: &str, digest: &ManifestDigest) -> Result<Option<Present>, PullError> {
    for name in [name, digest.as_str()] {
        match engine.client.inspect_image(name).await {
            Ok(_) => {
                let (name, pulled) = (name.to_owned(), None);
                return Ok(Some(Present { name, pulled }));
            }
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(error) => return Err(PullError::Engine(told(&error))),
        }
    }
    Ok(None)
}

/// Reads what the engine says until the image is there.
async fn follow(
    stream: impl futures_util::Stream<Item = Result<bollard::models::CreateImageInfo, Error>>,
    layers: &mut Layers,
    tell: &mut impl FnMut(&PullProgress),
) -> Result<(), Error> {
    let mut stream = std::pin::pin!(stream);
    let mut told_at: Option<Instant> = None;
    while let Some(said) = stream.next().await {
        layers.hear(&said?);
        if told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            told_at = Some(Instant::now());
            tell(&layers.progress());
        }
    }
    tell(&layers.progress());
    Ok(())
}

/// Engines say it in words alone.
fn kind(error: &Error) -> Kind {
    let (status, text) = match error {
        Error::DockerResponseServerError { status_code, message } => (Some(*status_code), message),
        Error::DockerStreamError { error } => (None, error),
        _ => return Kind::Engine,
    };
    let text = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["no space left on device", "disk quota exceeded"]) {
        Kind::NoSpace
    } else if says(&["toomanyrequests", "too many requests"]) {
        Kind::Passing
    } else if says(&[
        "unauthorized",
        "denied",
        "no basic auth credentials",
        "authentication required",
    ]) {
        Kind::Unauthorized
    } else if says(&[
        "no matching manifest",
        "no image found in image index",
        "does not match the specified platform",
    ]) {
        Kind::Platform
    } else if status == Some(404) || says(&["manifest unknown", "not found"]) {
        Kind::NotFound
    } else {
        // Resets, time-outs, bad gateways and half layers have as many words as there are proxies.
        Kind::Passing
    }
}

async fn refusal(
    engine: &Engine,
    kind: Kind,
    (registry, name): (&str, String),
    error: &Error,
    progress: &PullProgress,
) -> PullError {
    let said = told(error);
    match kind {
        Kind::NotFound => PullError::NotFound { name, said },
        Kind::Unauthorized => PullError::Unauthorized {
            registry: registry.to_owned(),
            name,
            said,
        },
        Kind::Platform => PullError::Platform {
            name,
            platform: engine.platform.clone(),
            said,
        },
        Kind::NoSpace => PullError::NoSpace {
            name,
            needed: progress.needed(),
            free: match free(engine).await {
                Some((folder, bytes)) => format!("; {} is free in `{folder}`", BinaryBytes(bytes)),
                None => String::new(),
            },
        },
        Kind::Passing | Kind::Engine => PullError::Engine(said),
    }
}

/// The folder of an engine's data on this host, and the bytes that are free there.
pub async fn free(engine: &Engine) -> Option<(String, u64)> {
    let folder = engine.client.info().await.ok()?.docker_root_dir?;
    let room = rustix::fs::statvfs(folder.as_str()).ok()?;
    Some((folder, room.f_bavail * room.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_words_are_understood() {
        let stream = |text: &str| Error::DockerStreamError {
            error: text.to_owned(),
        };
        let server = |status_code: u16, text: &str| Error::DockerResponseServerError {
            status_code,
            message: text.to_owned(),
        };
        let expected = [
            (
                Kind::NotFound,
                server(
                    404,
                    "manifest for a/b@sha256:1 not found: manifest unknown: manifest unknown",
                ),
            ),
            (
                Kind::Unauthorized,
                server(
                    404,
                    "pull access denied for a/b, repository does not exist or may require 'docker login': denied",
                ),
            ),
            (
                Kind::Unauthorized,
                server(
                    500,
                    "Head \"http://127.0.0.1:5000/v2/a/manifests/1\": no basic auth credentials",
                ),
            ),
            (
                Kind::Platform,
                server(
                    404,
                    "no matching manifest for linux/arm64/v8 in the manifest list entries",
                ),
            ),
            (
                Kind::NoSpace,
                stream("failed to register layer: write /bin/x: no space left on device"),
            ),
            (
                Kind::Passing,
                server(500, "toomanyrequests: You have reached your pull rate limit"),
            ),
            (
                Kind::Passing,
                stream("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer"),
            ),
            (Kind::Passing, stream("unexpected EOF")),
            (Kind::Engine, Error::RequestTimeoutError),
        ];
        for (kind_of, error) in expected {
            assert_eq!(kind(&error), kind_of, "{error}");
        }
    }
}
