//! What tests ask of an engine, by its API.

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{ImportImageOptions, InspectContainerOptions, ListContainersOptions};
use bollard::{API_DEFAULT_VERSION, Docker, body_full};
use futures_util::StreamExt;

use super::image::Image;

/// Asks the engine at `host` something.
pub(super) fn ask<T>(host: &str, what: impl AsyncFnOnce(&Docker) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let client = Docker::connect_with_unix(host, 60, API_DEFAULT_VERSION).unwrap();
        what(&client.negotiate_version().await.unwrap()).await
    })
}

/// Loads an image under a reference.
pub(super) fn load(host: &str, image: &Image, reference: &str) {
    let archive = image.archive(reference);
    ask(host, async |client| {
        let options = ImportImageOptions::default();
        let mut told = std::pin::pin!(client.import_image(options, body_full(archive.into()), None));
        while let Some(line) = told.next().await {
            line.unwrap();
        }
    });
}

/// The containers that there are, running or not.
pub(super) fn containers(host: &str) -> Vec<ContainerInspectResponse> {
    ask(host, async |client| {
        let options = ListContainersOptions {
            all: true,
            ..ListContainersOptions::default()
        };
        let mut found = Vec::new();
        for container in client.list_containers(Some(options)).await.unwrap() {
            let id = container.id.unwrap();
            // One that has gone in the meantime is none.
            found.extend(
                client
                    .inspect_container(&id, None::<InspectContainerOptions>)
                    .await,
            );
        }
        found
    })
}
