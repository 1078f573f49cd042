//! Logins at registries, as `docker login` keeps them: in Docker's configuration or with a helper that it names.

use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError, DockerCredential};

use crate::config::reference::DOCKER_HUB;
use crate::exec::docker::connect::config_folder;

/// What a registry is told about who asks. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    Password {
        user: String,
        password: String,
    },
    /// For the registry's token server alone.
    Identity(String),
}

/// Why it could not be looked up.
#[derive(Debug, thiserror::Error)]
#[error("look up the login for `{registry}` in Docker's configuration: {reason}")]
pub struct CredentialError {
    registry: String,
    reason: String,
}

/// The login for a registry; none where there is none. A helper, which may ask a network, runs on another thread.
pub async fn login(registry: &str) -> Result<Option<Login>, CredentialError> {
    let wrong = |reason: String| CredentialError {
        registry: registry.to_owned(),
        reason,
    };
    let folder = config_folder(&|name| std::env::var(name).ok());
    if !folder.is_some_and(|folder| folder.join("config.json").exists()) {
        return Ok(None);
    }
    let server = server(registry);
    let found = tokio::task::spawn_blocking(move || docker_credential::get_credential(&server)).await;
    match found.map_err(|error| wrong(error.to_string()))? {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Some(Login::Password { user, password }))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Login::Identity(token))),
        Err(error) if is_none(&error) => Ok(None),
        Err(error) => Err(wrong(told(&error))),
    }
}

/// Under which name Docker keeps the login.
fn server(registry: &str) -> String {
    match registry {
        DOCKER_HUB => "https://index.docker.io/v1/".to_owned(),
        other => other.to_owned(),
    }
}

fn is_none(error: &CredentialRetrievalError) -> bool {
    match error {
        CredentialRetrievalError::NoCredentialConfigured => true,
        // What helpers say, by the protocol of Docker's own ones.
        CredentialRetrievalError::HelperFailure { stdout, .. } => stdout.contains("credentials not found"),
        _ => false,
    }
}

/// On one line, with what to do. A helper's output is its own words, not a secret: it failed.
fn told(error: &CredentialRetrievalError) -> String {
    match error {
        CredentialRetrievalError::HelperFailure {
            helper,
            stdout,
            stderr,
        } => {
            let words = format!("{stdout} {stderr}");
            let words: Vec<&str> = words.split_whitespace().collect();
            format!("`{helper} get` failed: {}", words.join(" "))
        }
        CredentialRetrievalError::HelperCommunicationError => {
            "the helper that `credHelpers` or `credsStore` names cannot be run; install it, or log in again"
                .to_owned()
        }
        CredentialRetrievalError::ConfigReadError => "`config.json` is no JSON that Docker writes".to_owned(),
        other => other.to_string(),
    }
}

impl Login {
    /// As an engine is told it.
    pub fn for_engine(&self, registry: &str) -> DockerCredentials {
        let login = match self {
            Self::Password { user, password } => DockerCredentials {
                username: Some(user.clone()),
                password: Some(password.clone()),
                ..DockerCredentials::default()
            },
            Self::Identity(token) => DockerCredentials {
                identitytoken: Some(token.clone()),
                ..DockerCredentials::default()
            },
        };
        DockerCredentials {
            serveraddress: Some(server(registry)),
            ..login
        }
    }
}
