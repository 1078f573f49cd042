//! Reading through: the results of keys that the cache lacks.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::super::fs::Temp;
use super::super::index::Records;
use super::super::merge::{Stage, commit};
use super::super::store::Store;
use super::super::{Digest, Hasher, Key};
use super::client::{Client, RemoteError, runtime};
use super::object;

/// After so many requests in a row that failed, each tried several times, nothing more is asked.
const FAILURES: usize = 3;

/// What a remote gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Results that are here now.
    pub results: usize,
    /// Their blobs that were not here.
    pub blobs: usize,
    /// The sizes of those together.
    pub bytes: u64,
    /// What went wrong, a line each; what it did not give is simply not here.
    pub trouble: Vec<String>,
    /// How long it was waited for after the last result that it gave.
    pub in_vain: Duration,
}

/// A result, verified, whose blobs lie in temporary files.
struct Hit {
    records: Records,
    blobs: Vec<(Temp, Digest, u64)>,
}

/// Takes the results of `keys` that the remote has, a number of them at a time, all verified before any is used.
///
/// It is waited for no longer than its time-out after the last result that it gave. Whatever it does, only this side's
/// disk is an error.
pub fn fetch(client: &Client, store: &mut Store, keys: &[Key]) -> Result<Fetched, RemoteError> {
    store.require_lock()?;
    let mut fetched = Fetched::default();
    if keys.is_empty() {
        return Ok(fetched);
    }
    let runtime = runtime()?;
    let stage = RefCell::new(Stage::create(store.dir())?);
    let records = runtime.block_on(ask_all(client, store, &stage, keys, &mut fetched))?;
    // Requests that were given up must not hold up the build.
    runtime.shutdown_background();
    let merged = commit(store, &records, stage.into_inner())?;
    fetched.results = records.len();
    fetched.blobs = merged.blobs;
    fetched.bytes = merged.bytes;
    Ok(fetched)
}

async fn ask_all(
    client: &Client,
    store: &Store,
    stage: &RefCell<Stage>,
    keys: &[Key],
    fetched: &mut Fetched,
) -> Result<Vec<Records>, RemoteError> {
    let limit = client.settings().timeout;
    let asked = stream::iter(keys).map(|key| hit(client, store, stage, key));
    let mut answers = asked.buffer_unordered(client.settings().concurrency.max(1));
    let mut last = Instant::now();
    let (mut records, mut staged) = (Vec::new(), HashSet::new());
    let (mut failures, mut lies, mut lie) = (0, 0_usize, None);
    loop {
        let Ok(answer) = timeout_at(last + limit, answers.next()).await else {
            let trouble = format!("no result came within {limit:?}, so it was not waited for any longer");
            fetched.trouble.push(trouble);
            break;
        };
        match answer {
            None => break,
            Some(Ok(None)) => failures = 0,
            Some(Ok(Some(hit))) => {
                failures = 0;
                last = Instant::now();
                for (file, digest, size) in hit.blobs {
                    if staged.insert(digest) {
                        stage.borrow_mut().keep(file, digest, size)?;
                    }
                }
                records.push(hit.records);
            }
            Some(Err(error @ RemoteError::Fs(_))) => return Err(error),
            Some(Err(RemoteError::Lied(reason))) => {
                lies += 1;
                lie.get_or_insert(reason);
            }
            Some(Err(error)) => {
                failures += 1;
                if failures >= FAILURES {
                    fetched.trouble.push(error.to_string());
                    break;
                }
            }
        }
    }
    if let Some(lie) = lie {
        fetched
            .trouble
            .push(format!("{lies} results are not to be trusted: {lie}"));
    }
    fetched.in_vain = last.elapsed();
    Ok(records)
}

/// The result of a key, verified; `None`: the remote has none.
async fn hit(
    client: &Client,
    store: &Store,
    stage: &RefCell<Stage>,
    key: &Key,
) -> Result<Option<Hit>, RemoteError> {
    let mut bytes = Vec::new();
    let take = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    if !client.get(&client.record(key), object::LONGEST, take).await? {
        return Ok(None);
    }
    let lied = |what: String| RemoteError::Lied(format!("the record of the key {}: {what}", key.short()));
    let settings = client.settings();
    let records = object::decode(&bytes, key, settings.key.as_ref()).map_err(lied)?;
    let outputs: Vec<_> = records
        .iter()
        .flat_map(|record| record.head().outputs())
        .collect();
    let total = outputs
        .iter()
        .fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
    if total > settings.max_bytes {
        let most = settings.max_bytes;
        return Err(lied(format!(
            "it tells of {total} bytes, and at most {most} are taken"
        )));
    }
    let mut blobs = Vec::new();
    for (digest, size) in outputs {
        if store.cas().is_intact(&digest) {
            continue;
        }
        let mut file = stage.borrow().begin()?;
        let (mut hasher, mut got) = (Hasher::new(), 0);
        let take = |piece: &[u8]| {
            hasher.update(piece);
            got += piece.len() as u64;
            file.write_all(piece)
        };
        if !client.get(&client.blob(&digest), size, take).await? {
            return Err(lied(format!("its output {} is not there", digest.short())));
        }
        if got != size || hasher.finish() != digest {
            let short = digest.short();
            return Err(lied(format!(
                "the bytes of its output {short} are not those of its digest"
            )));
        }
        blobs.push((file, digest, size));
    }
    Ok(Some(Hit { records, blobs }))
}
