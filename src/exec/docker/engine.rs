//! Asking an engine that may be gone for a moment.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::RemoveContainerOptions;
use tokio::time::{Instant, sleep};

use super::connect::{ConnectError, Engine, chosen, told};

/// How long an engine may be gone: as long as it takes to start it again. What is measured meanwhile goes on.
pub(super) const OUTAGE: Duration = Duration::from_secs(20);
/// How often an engine that is gone is looked for.
const POLL: Duration = Duration::from_millis(100);

/// Asks until the engine answers, [`OUTAGE`] at most; its answer may be an error.
pub(super) async fn insist<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let deadline = Instant::now() + OUTAGE;
    loop {
        match ask().await {
            Err(error) if !is_answer(&error) && Instant::now() < deadline => sleep(POLL).await,
            outcome => return outcome,
        }
    }
}

/// Whether the engine itself says so, rather than nobody.
pub(super) fn is_answer(error: &Error) -> bool {
    matches!(
        error,
        Error::DockerResponseServerError { .. }
            | Error::DockerStreamError { .. }
            | Error::DockerContainerWaitError { .. }
    )
}

/// The status of an engine's answer.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Why a container is not known to be gone.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("remove the container `{name}`: {source}")]
    NoEngine { name: String, source: Box<ConnectError> },
    #[error("remove the container `{name}`: {reason}")]
    Refused { name: String, reason: String },
}

/// Ends a container at once and removes it; one that is not there is fine.
pub(super) async fn remove(engine: &str, name: &str) -> Result<(), RemoveError> {
    let no_engine = |source| RemoveError::NoEngine {
        name: name.to_owned(),
        source: Box::new(source),
    };
    let at = chosen(&|variable| (variable == "DOCKER_HOST").then(|| engine.to_owned()));
    let at = at.map_err(|error| no_engine(error.into()))?;
    let engine = Engine::connect_to(at).await.map_err(no_engine)?;
    remove_from(&engine.client, name)
        .await
        .map_err(|error| RemoveError::Refused {
            name: name.to_owned(),
            reason: told(&error),
        })
}

pub(super) async fn remove_from(client: &Docker, name: &str) -> Result<(), Error> {
    let options = RemoveContainerOptions {
        // Volumes that the image declares are the container's own.
        v: true,
        force: true,
        link: false,
    };
    match insist(|| client.remove_container(name, Some(options.clone()))).await {
        // Not there, or being removed by another.
        Err(error) if matches!(status(&error), Some(404 | 409)) => Ok(()),
        outcome => outcome,
    }
}
