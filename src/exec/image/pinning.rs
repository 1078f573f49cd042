//! Pins taken and verified: what references stand for now, against what `sweep.lock` says.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

use super::registry::{Client, RegistryError, login};
use crate::config::pins::{ImagePin, Pins};
use crate::config::reference::{ManifestDigest, Reference};
use crate::exec::docker::connect::Engine;

/// Questions to registries at a time.
const AT_ONCE: usize = 8;

/// What became of a reference's pin.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pinned {
    #[serde(serialize_with = "as_text")]
    pub image: Reference,
    pub state: PinState,
    /// What it was pinned to before.
    pub old: Option<ManifestDigest>,
    /// What its tag stands for now; none where that could not be asked.
    pub new: Option<ManifestDigest>,
    /// Why not.
    pub reason: Option<String>,
    #[serde(skip)]
    pub error: Option<RegistryError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinState {
    /// Pinned for the first time.
    New,
    /// Its tag stands for what it is pinned to.
    Verified,
    /// Its tag stands for another image, which is pinned now.
    Updated,
    /// Its tag stands for another image; the pin stays.
    Moved,
    /// It could not be asked; the pin stays.
    Unverified,
    /// It could not be asked, and there is no pin.
    Missing,
    /// No config names it any more.
    Removed,
}

impl PinState {
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Verified => "verified",
            Self::Updated => "updated",
            Self::Moved => "moved",
            Self::Unverified => "unverified",
            Self::Missing => "missing",
            Self::Removed => "removed",
        }
    }
}

/// Asks what each reference stands for and pins those that have no pin; with `update` those too whose tag has moved.
/// What became of each, in the order of `wanted`.
pub async fn pin(
    pins: &mut Pins,
    wanted: Vec<Reference>,
    update: bool,
) -> Result<Vec<Pinned>, RegistryError> {
    let asker = Arc::new(Asker {
        registries: Client::new()?,
        engine: OnceCell::new(),
        places: Semaphore::new(AT_ONCE),
    });
    let mut asked = JoinSet::new();
    for (at, reference) in wanted.iter().cloned().enumerate() {
        let (asker, known) = (asker.clone(), pins.images.get(&reference).cloned());
        asked.spawn(async move { (at, asker.resolve(&reference, known.as_ref()).await) });
    }
    let mut found: Vec<_> = asked.join_all().await;
    found.sort_by_key(|(at, _)| *at);
    let told = wanted.into_iter().zip(found);
    Ok(told
        .map(|(reference, (_, found))| settle(pins, reference, found, update))
        .collect())
}

/// Decides what becomes of one pin.
fn settle(pins: &mut Pins, image: Reference, found: Result<ImagePin, RegistryError>, update: bool) -> Pinned {
    let old = pins.images.get(&image).map(|pin| pin.digest.clone());
    let (new, error) = match found {
        Ok(pin) => (Some(pin), None),
        Err(error) => (None, Some(error)),
    };
    let state = match (&old, &new) {
        (None, None) => PinState::Missing,
        (Some(_), None) => PinState::Unverified,
        (None, Some(_)) => PinState::New,
        (Some(old), Some(new)) if *old == new.digest => PinState::Verified,
        (Some(_), Some(_)) if update => PinState::Updated,
        (Some(_), Some(_)) => PinState::Moved,
    };
    let digest = new.as_ref().map(|pin| pin.digest.clone());
    if let (Some(pin), PinState::New | PinState::Updated) = (new, state) {
        pins.images.insert(image.clone(), pin);
    }
    Pinned {
        image,
        state,
        old,
        new: digest,
        reason: error.as_ref().map(ToString::to_string),
        error,
    }
}

/// Asks registries, and where one does not help the engine: it may have a mirror, know the registry as one without
/// TLS, or have an image that is in no registry.
struct Asker {
    registries: Client,
    engine: OnceCell<Option<Engine>>,
    places: Semaphore,
}

impl Asker {
    async fn resolve(
        &self,
        reference: &Reference,
        known: Option<&ImagePin>,
    ) -> Result<ImagePin, RegistryError> {
        let _place = self.places.acquire().await.expect("it is never closed");
        let error = match self.registries.resolve(reference, known).await {
            Err(error) if error.leaves_hope() => error,
            answered => return answered,
        };
        let engine = self
            .engine
            .get_or_init(async || Engine::connect().await.ok())
            .await;
        let Some(engine) = engine else { return Err(error) };
        let is_unreachable = matches!(error, RegistryError::Unreachable { .. });
        let mut digest = None;
        if is_unreachable {
            digest = by_engine(engine, reference).await;
        }
        // A copy from before tells nothing of where a tag has moved since.
        if digest.is_none() && (known.is_none() || !is_unreachable) {
            digest = here(engine, reference).await;
        }
        let Some(digest) = digest else { return Err(error) };
        Ok(match known.filter(|known| known.digest == digest) {
            // What the registry itself said of the platforms is kept.
            Some(known) => known.clone(),
            None => ImagePin {
                digest,
                platforms: BTreeMap::new(),
            },
        })
    }
}

/// What the registry tells the engine.
async fn by_engine(engine: &Engine, reference: &Reference) -> Option<ManifestDigest> {
    let login = login(reference.registry()).await.ok()?;
    let login = login.map(|login| login.for_engine(reference.registry()));
    let name = reference.to_string();
    let asked = engine.client.inspect_registry_image(&name, login).await;
    asked.ok()?.descriptor.digest?.parse().ok()
}

/// The image that the engine has under this name: its digest where it came from a registry, else its own id.
async fn here(engine: &Engine, reference: &Reference) -> Option<ManifestDigest> {
    let found = engine.client.inspect_image(&reference.to_string()).await.ok()?;
    let digests = found.repo_digests.unwrap_or_default();
    let of_name = digests
        .iter()
        .filter_map(|text| text.strip_prefix(&format!("{}@", reference.name())));
    of_name
        .chain(found.id.as_deref())
        .find_map(|digest| digest.parse().ok())
}

fn as_text<S: serde::Serializer>(reference: &Reference, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reference)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn image(byte: u8) -> ImagePin {
        ImagePin {
            digest: format!("sha256:{}", format!("{byte:02x}").repeat(32))
                .parse()
                .unwrap(),
            platforms: BTreeMap::new(),
        }
    }

    #[test]
    fn a_pin_moves_only_when_it_is_told_to() {
        let reference: Reference = "a/b:1".parse().unwrap();
        let gone = || {
            Err(RegistryError::TooMany {
                registry: "docker.io".to_owned(),
            })
        };
        let settled = |before: Option<u8>, found: Result<ImagePin, RegistryError>, update: bool| {
            let mut pins = Pins::default();
            pins.images
                .extend(before.map(|byte| (reference.clone(), image(byte))));
            let told = settle(&mut pins, reference.clone(), found, update);
            (told.state, pins.images.get(&reference).cloned())
        };
        for update in [false, true] {
            assert_eq!(
                settled(None, Ok(image(1)), update),
                (PinState::New, Some(image(1)))
            );
            assert_eq!(
                settled(Some(1), Ok(image(1)), update),
                (PinState::Verified, Some(image(1)))
            );
            assert_eq!(
                settled(Some(1), gone(), update),
                (PinState::Unverified, Some(image(1)))
            );
            assert_eq!(settled(None, gone(), update), (PinState::Missing, None));
        }
        assert_eq!(
            settled(Some(1), Ok(image(2)), false),
            (PinState::Moved, Some(image(1)))
        );
        assert_eq!(
            settled(Some(1), Ok(image(2)), true),
            (PinState::Updated, Some(image(2)))
        );
    }
}
