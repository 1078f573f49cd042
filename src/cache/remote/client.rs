//! Requests to a remote: each within its time, and what went wrong in words.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use thiserror::Error as ThisError;
use tokio::time::timeout;

use super::super::fs::FsError;
use super::super::store::StoreError;
use super::super::{Digest, Key, SigningKey};
use super::location;

/// What users say of a remote.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `s3://…`, `gs://…`, `az://…`, `http://…` or `https://…`.
    pub url: String,
    /// Whether nothing is sent.
    pub read_only: bool,
    /// How long a build waits for it in vain, and the longest for one request.
    pub timeout: Duration,
    /// Requests at a time.
    pub concurrency: usize,
    /// Signs what is sent; what is not signed with it is refused.
    pub key: Option<SigningKey>,
    /// More bytes than this of one result are not taken.
    pub max_bytes: u64,
}

/// Why a remote did not do what was asked.
#[derive(Debug, ThisError)]
pub enum RemoteError {
    /// Its URL, or what the environment says of the way there.
    #[error("the remote cache `{url}` cannot be used: {reason}")]
    Location {
        /// As configured.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It did not answer, or refused.
    #[error("{0}")]
    Failed(String),
    /// It answered with what it cannot hold.
    #[error("{0}")]
    Lied(String),
    /// This side's disk.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// This side's cache.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread or its runtime could not be started.
    #[error("start the remote cache's thread: {0}")]
    Thread(io::Error),
}

/// A remote at work.
#[derive(Clone)]
pub struct Client {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    settings: Settings,
    credentials: Vec<String>,
}

impl Client {
    /// Opens a remote. Nothing is asked of it yet.
    pub fn open(settings: Settings) -> Result<Client, RemoteError> {
        let (store, folder) =
            location::open(&settings.url, settings.timeout).map_err(|reason| RemoteError::Location {
                url: settings.url.clone(),
                reason,
            })?;
        Ok(Client {
            store,
            folder: folder.join("v1"),
            settings,
            credentials: location::credentials(),
        })
    }

    /// One over a store of the test's own.
    #[cfg(test)]
    pub(in super::super) fn over(store: Arc<dyn ObjectStore>, settings: Settings) -> Client {
        Client {
            store,
            folder: Path::from("v1"),
            settings,
            credentials: Vec::new(),
        }
    }

    /// What users say of it.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How long it takes to answer that it lacks something. Blocks the thread.
    pub fn probe(&self) -> Result<Duration, RemoteError> {
        let runtime = runtime()?;
        let began = Instant::now();
        let nothing = self.record(&Key([0; 32]));
        runtime.block_on(self.get(&nothing, 0, |_| Ok(())))?;
        Ok(began.elapsed())
    }

    pub(super) fn blob(&self, digest: &Digest) -> Path {
        self.object("blobs", &digest.to_string())
    }

    pub(super) fn record(&self, key: &Key) -> Path {
        self.object("records", &key.to_string())
    }

    fn object(&self, kind: &str, hex: &str) -> Path {
        let (shard, rest) = hex.split_at(2);
        self.folder.clone().join(kind).join(shard).join(rest)
    }

    /// Gives an object's bytes to `take`, piece by piece; whether there is one. More than `most` bytes are not read.
    pub(super) async fn get(
        &self,
        path: &Path,
        most: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), FsError>,
    ) -> Result<bool, RemoteError> {
        let read = async {
            let found = match self.store.get(path).await {
                Ok(found) => found,
                Err(object_store::Error::NotFound { .. }) => return Ok(false),
                Err(error) => return Err(self.failed(&error)),
            };
            let (mut left, mut pieces) = (most, found.into_stream());
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| self.failed(&error))?;
                left = left
                    .checked_sub(piece.len() as u64)
                    .ok_or_else(|| RemoteError::Lied(format!("it gives more than {most} bytes")))?;
                take(&piece)?;
            }
            Ok(true)
        };
        self.in_time(read).await
    }

    /// Writes an object, over what is there.
    pub(super) async fn put(&self, path: &Path, bytes: Vec<u8>) -> Result<(), RemoteError> {
        let write = async {
            let put = self.store.put(path, PutPayload::from(bytes)).await;
            put.map(drop).map_err(|error| self.failed(&error))
        };
        self.in_time(write).await
    }

    async fn in_time<T>(
        &self,
        request: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let limit = self.settings.timeout;
        let outcome = timeout(limit, request).await;
        outcome.unwrap_or_else(|_| Err(RemoteError::Failed(format!("no answer within {limit:?}"))))
    }

    fn failed(&self, error: &(dyn Error + 'static)) -> RemoteError {
        let mut words = root_cause(error);
        for value in &self.credentials {
            words = words.replace(value.as_str(), "***");
        }
        RemoteError::Failed(words)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.settings).finish()
    }
}

/// A runtime on the calling thread.
pub fn runtime() -> Result<tokio::runtime::Runtime, RemoteError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(RemoteError::Thread)
}

/// The first cause in a line. What wraps it repeats the URL, which may carry a token, and says little.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    const MOST: usize = 200;
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    let root = root.to_string();
    let words: Vec<&str> = root.split_whitespace().collect();
    let mut words = words.join(" ");
    if let Some((cut, _)) = words.char_indices().nth(MOST) {
        words.truncate(cut);
        words.push('…');
    }
    words
}
