//! Digests, blobs, the record log and the lock: what survives a crash.
//!
//! ```text
//! .cache/
//!   cas/ab/cd…            blobs by BLAKE3 digest: write-once, read-only, verified whenever read     [`cas`]
//!   log/<run>.<hex>.log   records of finished targets: append-only, checksummed, one file a writer  [`log`]
//!   log/pack-<hex>.log    records of several such files in one, and what was forgotten               [`log`]
//!   stat/files            (dev, inode, size, mtime, ctime) -> digest, this machine's alone          [`stat`]
//!   runs/<run>/           attempts and what a run owns                                              [`run`]
//!   unsent/<key>          what a remote is still to get, this machine's alone                       [`remote`]
//!   lock                  held while building                                                       [`lock`]
//! ```
//!
//! [`Store`] bundles them. Blobs and records never name a host's paths and are never edited in place, so copying
//! one folder's `cas/` and `log/` over another's is a merge: the result holds what both held.

pub mod archive;
pub mod cas;
pub mod compact;
#[cfg(test)]
mod crash;
pub mod digest;
pub mod forget;
pub mod fs;
pub mod gc;
#[cfg(test)]
mod histories;
pub mod host;
mod incoming;
pub mod index;
pub mod inputs;
pub mod lock;
pub mod log;
pub mod merge;
pub mod payload;
pub mod record;
pub mod remote;
pub mod run;
pub mod seen;
mod signature;
mod stage;
pub mod stat;
pub mod stats;
pub mod store;
pub mod take;
pub mod verify;

pub use cas::{Blob, Cas, Fetched};
pub use digest::{Digest, Hasher, Key};
pub use fs::FsError;
pub use index::{RecordRef, Records};
pub use inputs::{Change, Input, Inputs};
pub use lock::{Holder, LockError, LockGuard, Wait};
pub use log::{Damage, Forgotten, Origin, Written};
pub use record::{Output, Provenance, Record, Verdict};
pub use run::{RunDir, RunId};
pub use seen::Seen;
pub use signature::{SigningKey, WeakKey};
pub use stat::StatCache;
pub use store::{Finished, Source, Store, StoreError};
