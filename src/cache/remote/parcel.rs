//! A result on its way to a remote.

use std::collections::{HashMap, HashSet};

use super::super::cas::{Cas, Fetched};
use super::super::index::RecordRef;
use super::super::log::{Origin, Written};
use super::super::store::Store;
use super::super::{Digest, Key, Record, payload};
use super::client::{Client, RemoteError};
use super::object;

/// A passed record with where it was first written.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub(super) key: Key,
    pub(super) origin: Origin,
    pub(super) place: u32,
    payload: Vec<u8>,
    blobs: Vec<Digest>,
}

impl Parcel {
    /// One that was just written.
    pub fn of(record: &Record, written: Written) -> Parcel {
        Parcel {
            key: record.key,
            origin: written.origin,
            place: written.place,
            payload: payload::encode(record),
            blobs: record.outputs.iter().map(|output| output.digest).collect(),
        }
    }

    fn of_stored(origin: &Origin, place: u32, record: RecordRef<'_>) -> Parcel {
        let head = record.head();
        Parcel {
            key: head.key,
            origin: origin.clone(),
            place,
            payload: record.payload().to_vec(),
            blobs: head.outputs().map(|(digest, _)| digest).collect(),
        }
    }

    /// The latest result of each of these keys, of those that were there when the store was opened.
    pub fn of_keys(store: &Store, keys: impl IntoIterator<Item = Key>) -> Vec<Parcel> {
        let mut wanted: HashSet<Key> = keys.into_iter().collect();
        let mut parcels = Vec::new();
        for (origin, place, record) in store.records().placed().rev() {
            if record.head().passed && wanted.remove(&record.head().key) {
                parcels.push(Parcel::of_stored(origin, place, record));
            }
        }
        parcels
    }

    /// The latest results of the targets that `is_meant` picks by their ids, one a key.
    pub(super) fn of_targets(store: &Store, is_meant: impl Fn(&str) -> bool) -> Vec<Parcel> {
        let mut latest = HashMap::new();
        for (origin, place, record) in store.records().placed() {
            let head = record.head();
            if head.passed && is_meant(head.target) {
                latest.insert(head.key, (origin, place, record));
            }
        }
        let mut parcels: Vec<Parcel> = latest
            .into_values()
            .map(|(origin, place, record)| Parcel::of_stored(origin, place, record))
            .collect();
        parcels.sort_unstable_by_key(|parcel| parcel.key);
        parcels
    }

    /// Sends the blobs, then the record that names them; the bytes sent. `None`: a blob is damaged or gone, so that
    /// there is nothing to send.
    pub(super) async fn send(&self, client: &Client, cas: &Cas) -> Result<Option<u64>, RemoteError> {
        let key = client.settings().key.as_ref();
        let object = object::encode(&self.origin, self.place, &self.payload, key)
            .map_err(|error| RemoteError::Failed(error.to_string()))?;
        let mut sent = object.len() as u64;
        for digest in &self.blobs {
            let Fetched::Found(bytes) = cas.get(digest)? else {
                return Ok(None);
            };
            sent += bytes.len() as u64;
            client.put(&client.blob(digest), bytes).await?;
        }
        client.put(&client.record(&self.key), object).await?;
        Ok(Some(sent))
    }
}
