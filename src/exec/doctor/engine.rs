//! The container engine, its disk, and the registries that images come from.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Finding;
use super::host::room_of;
use crate::exec::docker::connect::{ConnectError, EndpointError, Engine, Make};
use crate::exec::image::pull::free;
use crate::exec::image::registry::{Client, RegistryError};

/// The oldest API whose answers this program knows, that of Docker 20.10.
const OLDEST_API: (u32, u32) = (1, 41);

/// Two images of the kind that is measured here: each has 10 to 30 GB unpacked.
const LITTLE_ROOM: u64 = 60 << 30;

/// What was found of the engine. `needed` says whether pools of the profile run containers, `nvidia` whether such a pool
/// has NVIDIA's GPUs.
pub async fn engine(needed: bool, nvidia: bool) -> Vec<Finding> {
    let check = "engine";
    let engine = match Engine::connect().await {
        Ok(engine) => engine,
        Err(error) if needed => {
            let mend = match error {
                ConnectError::Endpoint(EndpointError::Remote { .. }) => {
                    "export DOCKER_HOST=unix:///var/run/docker.sock"
                }
                _ => "sudo systemctl start docker, or set `DOCKER_HOST`",
            };
            return vec![Finding::wrong(check, error.to_string(), mend)];
        }
        Err(_) => {
            return vec![Finding::ok(
                check,
                "none here, and no pool of this profile runs containers",
            )];
        }
    };
    let found = format!(
        "{} {} (API {}) at {}",
        engine.make.name(),
        engine.version,
        engine.api,
        engine.endpoint
    );
    let mut findings = vec![judged(engine.make, &engine.api, nvidia, found)];
    if let Some((folder, bytes)) = free(&engine).await {
        let mend = "docker image prune --all";
        findings.push(room_of("engine's disk", &folder, bytes, LITTLE_ROOM, mend));
    }
    findings
}

fn judged(make: Make, api: &str, nvidia: bool, found: String) -> Finding {
    let check = "engine";
    match make {
        Make::Podman if nvidia => Finding::wrong(
            check,
            format!("{found}, which passes no NVIDIA GPUs on to containers"),
            "use Docker for pools with NVIDIA GPUs",
        ),
        _ if is_old(api) => Finding::warn(check, found, "install Docker 20.10 or a later one"),
        _ => Finding::ok(check, found),
    }
}

fn is_old(api: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok();
    let version = api
        .split_once('.')
        .and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    version.is_none_or(|version| version < OLDEST_API)
}

/// What was found of each registry, and the time by the clock of one of them.
pub async fn registries(registries: BTreeSet<String>) -> (Vec<Finding>, Option<Timestamp>) {
    let client = match Client::new() {
        Ok(client) => client,
        Err(error) => {
            let mend = "sudo apt-get install ca-certificates";
            return (vec![Finding::wrong("registries", error.to_string(), mend)], None);
        }
    };
    let (mut findings, mut clock) = (Vec::new(), None);
    for registry in registries {
        let check = format!("registry {registry}");
        findings.push(match client.lets_in(&registry).await {
            Ok(date) => {
                clock = clock.or(date);
                Finding::ok(check, "it answers and lets this machine in")
            }
            Err(error @ RegistryError::Unreachable { .. }) => {
                Finding::warn(check, error.to_string(), error.mend())
            }
            Err(error) => Finding::wrong(check, error.to_string(), error.mend()),
        });
    }
    (findings, clock)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::{Make, is_old, judged};

    #[test]
    fn podman_is_wrong_for_nvidia_alone() {
        let level = |make, nvidia| judged(make, "1.41", nvidia, String::new()).level;
        assert_eq!(level(Make::Podman, true), Level::Wrong);
        assert_eq!(level(Make::Podman, false), Level::Ok);
        assert_eq!(level(Make::Docker, true), Level::Ok);
    }

    #[test]
    fn engines_older_than_20_10_are_old() {
        assert_eq!(
            ["1.40", "1.41", "1.53", "2.0", "x"].map(is_old),
            [true, false, false, false, true]
        );
    }
}
