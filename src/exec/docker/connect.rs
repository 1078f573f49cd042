//! Which container engine is asked, over what, and what it turns out to be.
//!
//! The engine is chosen as the `docker` command chooses it: `DOCKER_HOST`, else the context that `DOCKER_CONTEXT` or
//! the Docker config names, else the usual socket.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, Docker};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Where an engine listens when nobody says otherwise.
const USUAL_SOCKET: &str = "/var/run/docker.sock";

/// Seconds that an engine has for a plain answer. Waiting for a container and following its log are not limited by it.
const ANSWER_LIMIT_S: u64 = 120;

/// Where an engine is reached: a socket of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(pub PathBuf);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

/// Why no engine could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("`{host}` ({from}) is no engine's address; write `unix:///path/to/docker.sock`")]
    Address { host: String, from: String },
    #[error(
        "`{host}` ({from}) may be another machine's engine: the load client measures over loopback, and containers get GPUs and folders of this machine; name the `unix://` socket of an engine here"
    )]
    Remote { host: String, from: String },
    #[error("there is no Docker context `{name}` in `{}`; `docker context ls` lists them", folder.display())]
    NoContext { name: String, folder: PathBuf },
    #[error("read `{}`: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
}

/// Why an engine did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("there is no container engine at {endpoint}; start one, or name another with `DOCKER_HOST`")]
    Absent { endpoint: Endpoint },
    #[error(
        "{endpoint} may not be opened by this user; add it to the socket's group: `sudo usermod -aG docker $USER`"
    )]
    Denied { endpoint: Endpoint },
    #[error("the container engine at {endpoint} does not answer: {reason}")]
    Unreachable { endpoint: Endpoint, reason: String },
}

/// Whose engine it is. Podman's answers Docker's calls, yet not in every point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Docker,
    Podman,
}

impl Make {
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
        }
    }
}

/// An engine that has answered.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Speaks the highest version of the API that both know.
    pub client: Docker,
    pub endpoint: Endpoint,
    pub make: Make,
    /// The engine's own, as `20.10.24`.
    pub version: String,
    /// Of the engine's API, as `1.41`.
    pub api: String,
    /// Its platform in a registry's words, as `linux/amd64`.
    pub platform: String,
}

impl Engine {
    /// Connects to the engine that the environment chooses.
    pub async fn connect() -> Result<Self, ConnectError> {
        Self::connect_to(chosen(&|name| std::env::var(name).ok())?).await
    }

    pub async fn connect_to(endpoint: Endpoint) -> Result<Self, ConnectError> {
        let failed = |error| unreachable_because(&endpoint, &error);
        let address = endpoint.to_string();
        let client = Docker::connect_with_unix(&address, ANSWER_LIMIT_S, API_DEFAULT_VERSION);
        let client = client.map_err(failed)?;
        let client = client.negotiate_version().await.map_err(failed)?;
        let version = client.version().await.map_err(failed)?;
        let components = version.components.unwrap_or_default();
        let make = if components.iter().any(|part| part.name == "Podman Engine") {
            Make::Podman
        } else {
            Make::Docker
        };
        Ok(Self {
            client,
            endpoint,
            make,
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
            platform: format!(
                "{}/{}",
                version.os.as_deref().unwrap_or("linux"),
                version.arch.as_deref().unwrap_or(std::env::consts::ARCH)
            ),
        })
    }
}

/// The engine that the environment chooses; `var` reads one of its variables.
pub fn chosen(var: &dyn Fn(&str) -> Option<String>) -> Result<Endpoint, EndpointError> {
    let set = |name| var(name).filter(|value| !value.is_empty());
    if let Some(host) = set("DOCKER_HOST") {
        return endpoint(&host, "DOCKER_HOST");
    }
    let usual = Endpoint(USUAL_SOCKET.into());
    let Some(folder) = config_folder(var) else {
        return Ok(usual);
    };
    let context = match set("DOCKER_CONTEXT") {
        Some(name) => Some(name),
        None => current_context(&folder)?,
    };
    match context.filter(|name| name != "default") {
        None => Ok(usual),
        Some(name) => context_endpoint(&folder, &name),
    }
}

/// The folder of Docker's configuration: `DOCKER_CONFIG`, else `~/.docker`.
pub fn config_folder(var: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = var("DOCKER_CONFIG").map(PathBuf::from);
    named.or_else(|| var("HOME").map(|home| Path::new(&home).join(".docker")))
}

fn endpoint(host: &str, from: &str) -> Result<Endpoint, EndpointError> {
    let (host, from) = (host.trim().to_owned(), from.to_owned());
    match host.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(Endpoint(path.into())),
        Some(("tcp" | "http" | "https" | "ssh", address)) if !address.is_empty() => {
            Err(EndpointError::Remote { host, from })
        }
        _ => Err(EndpointError::Address { host, from }),
    }
}

/// What `docker context use` chose.
fn current_context(folder: &Path) -> Result<Option<String>, EndpointError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        current_context: Option<String>,
    }
    let config: Option<Config> = read_json(&folder.join("config.json"))?;
    Ok(config
        .and_then(|config| config.current_context)
        .filter(|name| !name.is_empty()))
}

fn context_endpoint(folder: &Path, name: &str) -> Result<Endpoint, EndpointError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Meta {
        endpoints: Endpoints,
    }
    #[derive(Deserialize)]
    struct Endpoints {
        docker: Option<At>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct At {
        host: String,
    }
    // A context's folder is named by the hash of its name.
    let id: String = Sha256::digest(name)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let meta: Option<Meta> = read_json(&folder.join("contexts/meta").join(&id).join("meta.json"))?;
    let Some(at) = meta.and_then(|meta| meta.endpoints.docker) else {
        return Err(EndpointError::NoContext {
            name: name.to_owned(),
            folder: folder.to_owned(),
        });
    };
    endpoint(&at.host, &format!("Docker context `{name}`"))
}

/// The file's content, nothing where there is no file.
fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, EndpointError> {
    let unreadable = |reason: String| EndpointError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error.to_string())),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| unreadable(e.to_string())),
    }
}

fn unreachable_because(endpoint: &Endpoint, error: &bollard::errors::Error) -> ConnectError {
    let endpoint = endpoint.clone();
    let socket_missing = matches!(error, bollard::errors::Error::SocketNotFoundError(_));
    match io_kind(error) {
        _ if socket_missing => ConnectError::Absent { endpoint },
        Some(io::ErrorKind::PermissionDenied) => ConnectError::Denied { endpoint },
        Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => ConnectError::Absent { endpoint },
        _ => ConnectError::Unreachable {
            endpoint,
            reason: told(error),
        },
    }
}

/// The system's word on an error, where it has one.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}

/// An engine's or a client's error with its causes, on one line.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<String, String> {
        let var = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        chosen(&var).map(|e| e.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_environment_names_the_engine() {
        assert_eq!(of(&[]).unwrap(), "unix:///var/run/docker.sock");
        assert_eq!(of(&[("DOCKER_HOST", "")]).unwrap(), "unix:///var/run/docker.sock");
        assert_eq!(
            of(&[("DOCKER_HOST", "unix:///run/p.sock")]).unwrap(),
            "unix:///run/p.sock"
        );
        for wrong in ["/run/p.sock", "unix://p.sock", "tcp://", "ftp://x"] {
            let said = of(&[("DOCKER_HOST", wrong)]).unwrap_err();
            assert!(said.contains("is no engine's address"), "{said}");
        }
        for remote in [
            "tcp://127.0.0.1:2375",
            "http://h:2375",
            "https://h:2376",
            "ssh://me@h",
        ] {
            let said = of(&[("DOCKER_HOST", remote)]).unwrap_err();
            assert!(
                said.contains(remote) && said.contains("measures over loopback"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_context_names_the_engine() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().to_str().unwrap();
        assert_eq!(
            of(&[("DOCKER_CONFIG", config)]).unwrap(),
            "unix:///var/run/docker.sock"
        );

        // `docker context create lab` names its folder so.
        let id: String = Sha256::digest("lab")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let meta = folder.path().join("contexts/meta").join(id);
        std::fs::create_dir_all(&meta).unwrap();
        let text =
            r#"{"Name":"lab","Endpoints":{"docker":{"Host":"unix:///run/lab.sock","SkipTLSVerify":false}}}"#;
        std::fs::write(meta.join("meta.json"), text).unwrap();
        let by_variable = [("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "lab")];
        assert_eq!(of(&by_variable).unwrap(), "unix:///run/lab.sock");

        std::fs::write(folder.path().join("config.json"), r#"{"currentContext":"lab"}"#).unwrap();
        assert_eq!(of(&[("DOCKER_CONFIG", config)]).unwrap(), "unix:///run/lab.sock");
        let overruled = [("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "default")];
        assert_eq!(of(&overruled).unwrap(), "unix:///var/run/docker.sock");

        let unknown = [("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "gone")];
        assert!(of(&unknown).unwrap_err().contains("no Docker context `gone`"));
        std::fs::write(folder.path().join("config.json"), "{").unwrap();
        assert!(
            of(&[("DOCKER_CONFIG", config)])
                .unwrap_err()
                .contains("config.json")
        );
    }
}
