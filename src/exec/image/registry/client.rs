//! Requests to registries.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, DATE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::{CredentialError, Login, login};
use super::manifest::{MEDIA_TYPES, digest_of, pin};
use crate::config::pins::ImagePin;
use crate::config::reference::{DOCKER_HUB, ManifestDigest, Reference};
use crate::exec::docker::connect::told;

/// What a registry has for a connection, and for an answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Pauses before a question is asked again that had no answer, or was one too many.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// As long as a registry may ask to be left alone for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A manifest is some kilobytes; registries refuse above 4 MiB.
const MANIFEST_LIMIT: usize = 8 << 20;

/// Why a reference could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("`{reference}` is not in its registry; check the name and the tag{said}")]
    NotFound { reference: String, said: String },
    #[error("the registry `{registry}` wants a login for `{reference}`; run `docker login {registry}`{said}")]
    NoLogin {
        registry: String,
        reference: String,
        said: String,
    },
    #[error(
        "the registry `{registry}` refuses the login of Docker's configuration for `{reference}`; run `docker login {registry}` again{said}"
    )]
    Refused {
        registry: String,
        reference: String,
        said: String,
    },
    #[error(
        "the registry `{registry}` lets nobody ask so often; wait, or `docker login {registry}` for a higher limit"
    )]
    TooMany { registry: String },
    #[error("the registry `{registry}` does not answer: {reason}")]
    Unreachable { registry: String, reason: String },
    #[error("the registry `{registry}` answered `{reference}` with {status}{said}")]
    Answer {
        registry: String,
        reference: String,
        status: StatusCode,
        said: String,
    },
    #[error("what the registry `{registry}` has under `{reference}` is no image: {reason}")]
    NoImage {
        registry: String,
        reference: String,
        reason: String,
    },
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("prepare for TLS: {0}; install the system's certificates (`ca-certificates`)")]
    Tls(String),
}

impl RegistryError {
    /// Whether the image may be there all the same: for the engine, or with it.
    pub fn leaves_hope(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::NotFound { .. } | Self::NoLogin { .. } | Self::Refused { .. }
        )
    }

    /// Whether what was written is wrong, rather than the way to the registry.
    pub fn is_of_the_reference(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoImage { .. })
    }

    /// What mends it.
    pub fn mend(&self) -> String {
        match self {
            Self::Unreachable { .. } => {
                "look at the network and at `HTTPS_PROXY`; pinned images that are here run without it"
                    .to_owned()
            }
            Self::NoLogin { registry, .. } | Self::Refused { registry, .. } | Self::TooMany { registry } => {
                format!("docker login {registry}")
            }
            Self::NotFound { .. } | Self::NoImage { .. } => "correct the `image` of the config".to_owned(),
            Self::Answer { .. } => "try again later, or ask who runs the registry".to_owned(),
            Self::Credential(_) | Self::Tls(_) => {
                "look at Docker's configuration, `~/.docker/config.json`".to_owned()
            }
        }
    }
}

/// Asks registries; may be shared.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
}

/// Who asks, in the way that the registry wants to be told.
enum Authorization {
    Basic { user: String, password: String },
    Bearer(String),
}

impl Authorization {
    fn of(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Basic { user, password } => request.basic_auth(user, Some(password)),
            Self::Bearer(token) => request.bearer_auth(token),
        }
    }
}

impl Client {
    pub fn new() -> Result<Self, RegistryError> {
        // Two that install one at once install the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(ANSWER_LIMIT)
            .user_agent(concat!("sweep/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| RegistryError::Tls(told(&error)))?;
        Ok(Self { http })
    }

    /// What the reference stands for now; `known` where it still is that.
    ///
    /// The whole manifest is fetched only for another digest than the known one: registries count that as a pull.
    pub async fn resolve(
        &self,
        reference: &Reference,
        known: Option<&ImagePin>,
    ) -> Result<ImagePin, RegistryError> {
        let mut authorization = None;
        let tag = reference.tag().unwrap_or("latest");
        let head = self.ask(Method::HEAD, reference, tag, &mut authorization).await?;
        let digest = told_digest(&head);
        if let Some(known) = known.filter(|known| Some(&known.digest) == digest.as_ref()) {
            return Ok(known.clone());
        }
        // By its digest, so that the tag cannot move in between. Where none was told, by the tag.
        let wanted = digest.as_ref().map_or(tag, |digest| digest.as_str());
        let answer = self
            .ask(Method::GET, reference, wanted, &mut authorization)
            .await?;
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| unreachable(reference, told(&error)))?;
        let no_image = |reason: String| RegistryError::NoImage {
            registry: reference.registry().to_owned(),
            reference: reference.to_string(),
            reason,
        };
        if bytes.len() > MANIFEST_LIMIT {
            return Err(no_image(format!("its manifest has {} bytes", bytes.len())));
        }
        let found = digest_of(&bytes);
        if let Some(digest) = digest.filter(|digest| *digest != found) {
            return Err(no_image(format!(
                "it says `{digest}`, and what it sends is `{found}`"
            )));
        }
        pin(found, &bytes).map_err(no_image)
    }

    /// Whether the registry lets this machine in, with the login that there is, and the time by its clock. Asks for no
    /// image.
    pub async fn lets_in(&self, registry: &str) -> Result<Option<Timestamp>, RegistryError> {
        let reference: Reference = format!("{registry}/sweep/doctor:latest")
            .parse()
            .expect("a registry's name");
        let url = format!("{}/v2/", base(registry));
        let sent = self.http.get(&url).send().await;
        let answer = sent.map_err(|error| unreachable(&reference, told(&error)))?;
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp()));
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(date);
        }
        let authorization = self.authorize(&reference, &answer).await?;
        let sent = authorization.of(self.http.get(&url)).send().await;
        let answer = sent.map_err(|error| unreachable(&reference, told(&error)))?;
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(refused(&reference, true, String::new())),
            _ => Ok(date),
        }
    }

    /// Asks for the manifest that is `wanted` by a tag or a digest, until there is an answer that says something of it.
    async fn ask(
        &self,
        method: Method,
        reference: &Reference,
        wanted: &str,
        authorization: &mut Option<Authorization>,
    ) -> Result<Response, RegistryError> {
        let registry = reference.registry();
        let url = format!(
            "{}/v2/{}/manifests/{wanted}",
            base(registry),
            reference.repository()
        );
        let mut pauses = PAUSES.iter();
        loop {
            let mut request = self
                .http
                .request(method.clone(), &url)
                .header(ACCEPT, MEDIA_TYPES);
            if let Some(authorization) = authorization.as_ref() {
                request = authorization.of(request);
            }
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) => {
                    let Some(pause) = pauses.next() else {
                        return Err(unreachable(reference, told(&error)));
                    };
                    tokio::time::sleep(*pause).await;
                    continue;
                }
            };
            match answer.status() {
                status if status.is_success() => return Ok(answer),
                StatusCode::UNAUTHORIZED if authorization.is_none() => {
                    *authorization = Some(self.authorize(reference, &answer).await?);
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    let has_login = login(registry).await?.is_some();
                    return Err(refused(reference, has_login, said(answer).await));
                }
                StatusCode::NOT_FOUND => {
                    return Err(RegistryError::NotFound {
                        reference: reference.to_string(),
                        said: said(answer).await,
                    });
                }
                status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                    let asked = asked_pause(&answer);
                    match pauses.next() {
                        Some(pause) => tokio::time::sleep(asked.unwrap_or(*pause)).await,
                        None if status == StatusCode::TOO_MANY_REQUESTS => {
                            return Err(RegistryError::TooMany {
                                registry: registry.to_owned(),
                            });
                        }
                        None => {
                            let reason = format!("{status}{}", said(answer).await);
                            return Err(unreachable(reference, reason));
                        }
                    }
                }
                status => {
                    return Err(RegistryError::Answer {
                        registry: registry.to_owned(),
                        reference: reference.to_string(),
                        status,
                        said: said(answer).await,
                    });
                }
            }
        }
    }

    /// What a registry's refusal asks for.
    async fn authorize(
        &self,
        reference: &Reference,
        refusal: &Response,
    ) -> Result<Authorization, RegistryError> {
        let headers = refusal.headers().get_all(WWW_AUTHENTICATE);
        let challenges = headers
            .iter()
            .filter_map(|value| Challenge::parse(value.to_str().ok()?));
        // A token says less than a password.
        let challenge = challenges.max_by_key(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let login = login(reference.registry()).await?;
        match (challenge, login) {
            (Some(Challenge::Basic), Some(Login::Password { user, password })) => {
                Ok(Authorization::Basic { user, password })
            }
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                login,
            ) => {
                let service = service.unwrap_or_default();
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", reference.repository()));
                let asked = [("service", service.as_str()), ("scope", scope.as_str())];
                let token = self.token(reference, &realm, &asked, login.as_ref()).await?;
                Ok(Authorization::Bearer(token))
            }
            (Some(Challenge::Basic) | None, login) => Err(refused(reference, login.is_some(), String::new())),
        }
    }

    async fn token(
        &self,
        reference: &Reference,
        realm: &str,
        asked: &[(&str, &str)],
        login: Option<&Login>,
    ) -> Result<String, RegistryError> {
        let plain = |reason: String| unreachable(reference, reason);
        // A password goes out in the clear only where the registry itself is asked so.
        if !realm.starts_with("https://") && !is_loopback(reference.registry()) {
            return Err(plain(format!("its token server `{realm}` has no TLS")));
        }
        let get = || self.http.get(realm).query(asked);
        let request = match login {
            None => get(),
            Some(Login::Password { user, password }) => get().basic_auth(user, Some(password)),
            Some(Login::Identity(token)) => {
                let refresh = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token),
                    ("client_id", "sweep"),
                ];
                self.http.post(realm).form(&[&refresh, asked].concat())
            }
        };
        let answer = request.send().await.map_err(|error| plain(told(&error)))?;
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(refused(reference, login.is_some(), said(answer).await));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                return Err(RegistryError::TooMany {
                    registry: reference.registry().to_owned(),
                });
            }
            status => {
                return Err(plain(format!(
                    "its token server answered {status}{}",
                    said(answer).await
                )));
            }
        }
        /// Older servers have the one name, newer ones the other.
        #[derive(Deserialize)]
        struct Given {
            token: Option<String>,
            access_token: Option<String>,
        }
        let bytes = answer.bytes().await.map_err(|error| plain(told(&error)))?;
        let given: Option<Given> = serde_json::from_slice(&bytes).ok();
        given
            .and_then(|given| given.token.or(given.access_token))
            .ok_or_else(|| plain("its token server gave no token".to_owned()))
    }
}

/// Where a registry's API is. Loopback is asked without TLS, as by Docker.
fn base(registry: &str) -> String {
    match registry {
        DOCKER_HUB => "https://registry-1.docker.io".to_owned(),
        local if is_loopback(local) => format!("http://{local}"),
        other => format!("https://{other}"),
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn told_digest(answer: &Response) -> Option<ManifestDigest> {
    let header = answer.headers().get("docker-content-digest")?;
    header.to_str().ok()?.parse().ok()
}

/// How long the registry wants to be left alone, in s; never longer than we are willing to wait.
fn asked_pause(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// The registry's own words: `: MANIFEST_UNKNOWN manifest unknown`.
async fn said(answer: Response) -> String {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Wrong>,
    }
    #[derive(Deserialize)]
    struct Wrong {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let bytes = answer.bytes().await.unwrap_or_default();
    let body: Option<Body> = serde_json::from_slice(&bytes).ok();
    let first = body.and_then(|body| body.errors.into_iter().next());
    first.map_or_else(String::new, |wrong| {
        format!(" ({}: {})", wrong.code, wrong.message)
    })
}

fn unreachable(reference: &Reference, reason: String) -> RegistryError {
    RegistryError::Unreachable {
        registry: reference.registry().to_owned(),
        reason,
    }
}

fn refused(reference: &Reference, has_login: bool, said: String) -> RegistryError {
    let (registry, reference) = (reference.registry().to_owned(), reference.to_string());
    if has_login {
        RegistryError::Refused {
            registry,
            reference,
            said,
        }
    } else {
        RegistryError::NoLogin {
            registry,
            reference,
            said,
        }
    }
}
