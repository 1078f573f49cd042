//! `cache.remote`: a URL, or a URL with options.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::quantity::TimeSpan;
use super::typed::{Format, string_schema};

/// What begins the URL of a remote.
const SCHEMES: [&str; 5] = ["s3://", "gs://", "az://", "http://", "https://"];

pub const REMOTE_URL: Format = Format {
    name: "remote cache's URL",
    check: check_url,
};

/// A cache that several machines share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub url: String,
    /// Nothing is sent to it.
    pub read_only: bool,
    /// How long a build waits for it in vain.
    pub timeout: TimeSpan,
    /// Requests at a time.
    pub concurrency: u32,
}

/// The same with its options, as it is written in a Sweepfile.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "RemoteOptions")]
struct Options {
    /// `s3://BUCKET/FOLDER`, `gs://…`, `az://…`, `http://…` or `https://…`; credentials come from the environment.
    #[schemars(schema_with = "url_schema")]
    url: String,
    /// Nothing is sent to it.
    #[serde(default)]
    read_only: bool,
    /// How long a build waits for it in vain, and the longest for one request.
    #[serde(default = "default_timeout")]
    timeout: TimeSpan,
    /// Requests at a time.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 256))]
    concurrency: u32,
}

impl Remote {
    /// A remote with the default options.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            read_only: false,
            timeout: default_timeout(),
            concurrency: default_concurrency(),
        }
    }
}

/// What is wrong with a remote's URL.
pub fn check_url(url: &str) -> Result<(), String> {
    let Some(rest) = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return Err(
            "expected a URL that begins with `s3://`, `gs://`, `az://`, `http://` or `https://`".to_owned(),
        );
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() {
        return Err("expected a bucket or a host after `://`".to_owned());
    }
    if host.contains('@') {
        return Err("credentials come from the environment, never from a URL".to_owned());
    }
    if url.contains(['?', '#', ' ']) {
        return Err("expected a URL without `?`, `#` and spaces".to_owned());
    }
    Ok(())
}

fn default_timeout() -> TimeSpan {
    TimeSpan(std::time::Duration::from_secs(30))
}

fn default_concurrency() -> u32 {
    16
}

fn url_schema(_: &mut SchemaGenerator) -> Schema {
    string_schema(&REMOTE_URL, "s3://bucket/sweep")
}

impl<'de> Deserialize<'de> for Remote {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Remote;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a mapping with a `url`")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<Remote, E> {
                Ok(Remote::at(url))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Remote, A::Error> {
                let options = Options::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Remote {
                    url: options.url,
                    read_only: options.read_only,
                    timeout: options.timeout,
                    concurrency: options.concurrency,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Remote {
    fn schema_name() -> Cow<'static, str> {
        "Remote".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let options = generator.subschema_for::<Options>();
        json_schema!({ "anyOf": [url_schema(generator), options] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_known_scheme_a_place_and_no_credentials() {
        for right in [
            "s3://bucket",
            "gs://b/folder",
            "az://c/f",
            "http://127.0.0.1:9/x",
            "https://h/",
        ] {
            assert_eq!(check_url(right), Ok(()), "{right}");
        }
        for wrong in [
            "",
            "bucket",
            "file:///tmp",
            "S3://bucket",
            "s3://",
            "s3:///folder",
            "https://user:word@host/",
            "https://host/?token=x",
            "s3://a b",
        ] {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
    }
}
