//! Files that a container's own user left in a folder of the host's, given to who started it. Only the engine may do that
//! for who is not root.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions, WaitContainerOptions};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::connect::told;
use super::engine::remove_from;
use super::order::WORKSPACE;

/// How long it may take. It is over in a moment; the point's outcome waits for it.
const LIMIT: Duration = Duration::from_secs(20);

/// A container of the same image that gives all files in the other's workspace to a user and a group, and sees nothing
/// but those.
pub(super) fn body(of: &ContainerCreateBody, (user, group): (u32, u32)) -> ContainerCreateBody {
    let mounts = of.host_config.as_ref().and_then(|host| host.mounts.clone());
    let is_workspace = |target: &Option<String>| target.as_deref() == Some(WORKSPACE);
    let workspace = mounts.unwrap_or_default().into_iter();
    let words = ["-hR", &format!("{user}:{group}"), WORKSPACE].map(str::to_owned);
    ContainerCreateBody {
        image: of.image.clone(),
        entrypoint: Some(vec!["chown".to_owned()]),
        cmd: Some(words.to_vec()),
        user: Some("0:0".to_owned()),
        labels: of.labels.clone(),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            mounts: Some(workspace.filter(|mount| is_workspace(&mount.target)).collect()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Runs it to its end and removes it; the error is why files may not be the user's.
pub(super) async fn run(client: &Docker, name: &str, body: &ContainerCreateBody) -> Result<(), String> {
    let ended = timeout(LIMIT, once(client, name, body)).await;
    let removed = remove_from(client, name).await;
    match ended {
        Err(_) => Err(format!("`chown` took more than {LIMIT:?}")),
        Ok(Err(Error::DockerContainerWaitError { code, .. })) => {
            Err(format!("`chown` ended with exit code {code}"))
        }
        Ok(Err(error)) => Err(told(&error)),
        Ok(Ok(())) => removed.map_err(|error| told(&error)),
    }
}

async fn once(client: &Docker, name: &str, body: &ContainerCreateBody) -> Result<(), Error> {
    let options = CreateContainerOptions {
        name: Some(name.to_owned()),
        ..CreateContainerOptions::default()
    };
    client.create_container(Some(options), body.clone()).await?;
    client
        .start_container(name, None::<StartContainerOptions>)
        .await?;
    let mut ended = std::pin::pin!(client.wait_container(name, None::<WaitContainerOptions>));
    ended.next().await.map_or(Ok(()), |outcome| outcome.map(|_| ()))
}

#[cfg(test)]
mod tests {
    use bollard::models::Mount;

    use super::*;

    #[test]
    fn it_sees_the_workspace_alone() {
        let mount = |target: &str| Mount {
            target: Some(target.to_owned()),
            ..Mount::default()
        };
        let of = ContainerCreateBody {
            image: Some("acme/engine@sha256:00".to_owned()),
            env: Some(vec!["HF_TOKEN=x".to_owned()]),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount("/workspace"), mount("/models")]),
                privileged: Some(true),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let body = serde_json::to_value(body(&of, (1000, 100)));
        assert_eq!(
            body.unwrap_or_default(),
            serde_json::json!({
                "User": "0:0",
                "Image": "acme/engine@sha256:00",
                "Entrypoint": ["chown"],
                "Cmd": ["-hR", "1000:100", "/workspace"],
                "HostConfig": { "NetworkMode": "none", "Mounts": [{ "Target": "/workspace" }] },
            })
        );
    }
}
