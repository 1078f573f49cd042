//! Where a remote is: a URL, with what the environment says of the way there and of the credentials.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderValue};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::{Position, Url};

/// The variable whose value web servers get as `Authorization`.
const AUTHORIZATION: &str = "SWEEP_CACHE_REMOTE_AUTHORIZATION";

/// A store, and the folder in it.
pub(super) type Opened = (Arc<dyn ObjectStore>, Path);

/// How often a request is tried again, within the time that it has.
const RETRIES: usize = 3;

/// Opens a store; nothing is asked of it yet. A request has `limit`, however often it is tried.
pub(super) fn open(url: &str, limit: Duration) -> Result<Opened, String> {
    // Whoever chose another provider before has chosen for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let (scheme, folder) = ObjectStoreScheme::parse(&url).map_err(|error| error.to_string())?;
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: limit,
    };
    let store: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::AmazonS3 => Arc::new(s3(&url, limit, retry).map_err(|e| e.to_string())?),
        ObjectStoreScheme::GoogleCloudStorage => Arc::new(
            GoogleCloudStorageBuilder::from_env()
                .with_url(url.as_str())
                .with_skip_signature(!any_set(&GOOGLE))
                .with_client_options(options(limit, false))
                .with_retry(retry)
                .build()
                .map_err(|e| e.to_string())?,
        ),
        ObjectStoreScheme::MicrosoftAzure => Arc::new(
            MicrosoftAzureBuilder::from_env()
                .with_url(url.as_str())
                .with_skip_signature(!any_set(&AZURE))
                .with_client_options(options(limit, is_plain("AZURE_STORAGE_ENDPOINT")))
                .with_retry(retry)
                .build()
                .map_err(|e| e.to_string())?,
        ),
        ObjectStoreScheme::Http => {
            let mut options = options(limit, url.scheme() == "http");
            if let Ok(value) = std::env::var(AUTHORIZATION) {
                let mut value = HeaderValue::from_str(&value)
                    .map_err(|_| format!("the value of `{AUTHORIZATION}` is none for a header"))?;
                value.set_sensitive(true);
                options =
                    options.with_default_headers(HeaderMap::from_iter([(header::AUTHORIZATION, value)]));
            }
            Arc::new(
                HttpBuilder::new()
                    .with_url(&url[..Position::BeforePath])
                    .with_client_options(options)
                    .with_retry(retry)
                    .build()
                    .map_err(|e| e.to_string())?,
            )
        }
        _ => {
            return Err(format!(
                "`{}` is none of s3, gs, az, http and https",
                url.scheme()
            ));
        }
    };
    Ok((store, folder))
}

/// Where none of these is set, requests are not signed. So nothing is asked of a cloud's metadata service unless its
/// address is given: on a machine that is in no cloud that would only cost time.
const AWS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
];

const GOOGLE: [&str; 5] = [
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BEARER_TOKEN",
];

const AZURE: [&str; 6] = [
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_MSI_ENDPOINT",
];

fn s3(url: &Url, limit: Duration, retry: RetryConfig) -> object_store::Result<object_store::aws::AmazonS3> {
    let plain = ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"];
    AmazonS3Builder::from_env()
        .with_url(url.as_str())
        .with_skip_signature(!any_set(&AWS))
        .with_client_options(options(limit, plain.into_iter().any(is_plain)))
        .with_retry(retry)
        .build()
}

fn any_set(names: &[&str]) -> bool {
    names
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Whether the variable names a server without TLS, which was then asked for.
fn is_plain(name: &str) -> bool {
    std::env::var(name).is_ok_and(|endpoint| endpoint.starts_with("http://"))
}

fn options(limit: Duration, plain: bool) -> ClientOptions {
    ClientOptions::new()
        .with_timeout(limit)
        .with_connect_timeout(limit)
        .with_allow_http(plain)
}

/// Values that must not be printed, whatever a server or a library says.
pub(super) fn credentials() -> Vec<String> {
    const OURS: [&str; 4] = ["AWS_", "GOOGLE_", "AZURE_", "SWEEP_CACHE_"];
    const SECRET: [&str; 6] = ["KEY", "SECRET", "TOKEN", "PASSWORD", "AUTHORIZATION", "SAS"];
    let is_secret = |name: &str| {
        OURS.iter().any(|ours| name.starts_with(ours)) && SECRET.iter().any(|word| name.contains(word))
    };
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, value)| is_secret(name) && value.len() >= 6)
        .map(|(_, value)| value)
        .collect()
}
