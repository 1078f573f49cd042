//! Sending what is on record, by hand.

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::super::store::Store;
use super::client::{Client, RemoteError, runtime};
use super::object;
use super::parcel::Parcel;
use super::unsent::Unsent;

/// What became of the results that were to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Sent now.
    pub sent: usize,
    /// The bytes of those.
    pub bytes: u64,
    /// There already, or a later one of the same key.
    pub there: usize,
    /// Not sent: a blob is damaged or gone here.
    pub incomplete: usize,
    /// Not sent, as the remote failed.
    pub failed: usize,
    /// Why.
    pub trouble: Option<String>,
}

enum Outcome {
    Sent(u64),
    There,
    Incomplete,
}

/// Sends the latest results of the targets that `is_meant` picks by their ids, unless the remote has them or later ones.
/// The first failure, after its retries, ends it.
pub fn push(client: &Client, store: &Store, is_meant: impl Fn(&str) -> bool) -> Result<Pushed, RemoteError> {
    let parcels = Parcel::of_targets(store, is_meant);
    let unsent = Unsent::of(store.dir());
    let runtime = runtime()?;
    let mut pushed = Pushed::default();
    let sending: Result<(), RemoteError> = runtime.block_on(async {
        let sending =
            stream::iter(&parcels).map(|parcel| async move { (parcel, send(client, store, parcel).await) });
        let mut outcomes = sending.buffer_unordered(client.settings().concurrency.max(1));
        while let Some((parcel, outcome)) = outcomes.next().await {
            match outcome {
                Ok(Outcome::Sent(bytes)) => {
                    pushed.sent += 1;
                    pushed.bytes += bytes;
                }
                Ok(Outcome::There) => pushed.there += 1,
                Ok(Outcome::Incomplete) => pushed.incomplete += 1,
                Err(RemoteError::Fs(error)) => return Err(RemoteError::Fs(error)),
                Err(error) => {
                    pushed.trouble = Some(error.to_string());
                    break;
                }
            }
            unsent.settle(&parcel.key)?;
        }
        Ok(())
    });
    runtime.shutdown_background();
    sending?;
    pushed.failed = parcels.len() - pushed.sent - pushed.there - pushed.incomplete;
    Ok(pushed)
}

async fn send(client: &Client, store: &Store, parcel: &Parcel) -> Result<Outcome, RemoteError> {
    let mut there = Vec::new();
    let take = |piece: &[u8]| {
        there.extend_from_slice(piece);
        Ok(())
    };
    let found = match client
        .get(&client.record(&parcel.key), object::LONGEST, take)
        .await
    {
        Ok(found) => found,
        // What is no record gives way to one.
        Err(RemoteError::Lied(_)) => false,
        Err(error) => return Err(error),
    };
    let key = client.settings().key.as_ref();
    if found && let Ok(records) = object::decode(&there, &parcel.key, key) {
        let mut placed = records.placed();
        let theirs = placed.next().map(|(origin, place, _)| (origin, place));
        if theirs >= Some((&parcel.origin, parcel.place)) {
            return Ok(Outcome::There);
        }
    }
    Ok(match parcel.send(client, store.cas()).await? {
        Some(bytes) => Outcome::Sent(bytes),
        None => Outcome::Incomplete,
    })
}
