//! Container engines, found and named; a real one is started for it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod containers;
mod requirement;

use std::path::Path;

use containers::Dockerd;
use sweep::exec::docker::connect::{ConnectError, Endpoint, Engine, Make};

fn endpoint(host: &str) -> Endpoint {
    Endpoint(host.strip_prefix("unix://").unwrap().into())
}

#[tokio::test]
async fn an_engine_tells_what_it_is() {
    let Some(dockerd) = Dockerd::start() else { return };
    let engine = Engine::connect_to(endpoint(&dockerd.host())).await.unwrap();
    assert_eq!(engine.make, Make::Docker);
    assert!(
        engine.version.starts_with(|c: char| c.is_ascii_digit()),
        "{engine:?}"
    );
    assert!(engine.platform.starts_with("linux/"), "{engine:?}");
    assert_eq!(engine.client.info().await.unwrap().images, Some(0));
}

#[tokio::test]
async fn an_engine_that_was_killed_starts_again_on_what_it_had() {
    let Some(mut dockerd) = Dockerd::start() else {
        return;
    };
    let at = endpoint(&dockerd.host());
    let id = |engine: Engine| async move { engine.client.info().await.unwrap().id };
    let before = id(Engine::connect_to(at.clone()).await.unwrap()).await;
    dockerd.kill();
    let gone = Engine::connect_to(at.clone()).await.unwrap_err();
    assert!(matches!(gone, ConnectError::Absent { .. }), "{gone}");
    dockerd.start_again();
    assert_eq!(id(Engine::connect_to(at).await.unwrap()).await, before);
}

#[tokio::test]
async fn no_engine_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = folder.path().join("docker.sock");
    let absent = async |path: &Path| Engine::connect_to(Endpoint(path.to_owned())).await.unwrap_err();
    let error = absent(&nothing).await;
    assert!(matches!(error, ConnectError::Absent { .. }), "{error}");
    std::fs::write(&nothing, "").unwrap();
    let error = absent(&nothing).await;
    assert!(matches!(error, ConnectError::Absent { .. }), "{error}");
}
