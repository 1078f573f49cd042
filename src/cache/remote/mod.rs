//! A cache that several machines share, in an object store or behind a web server.
//!
//! ```text
//! <URL>/v1/
//!   blobs/ab/cdef…      the blob whose BLAKE3 digest is abcdef…
//!   records/ab/cdef…    the latest record of the key abcdef…: signature 32 | a pack of this one record
//! ```
//!
//! An object is written whole, after all that it refers to, and never changed: a record gives way only to a later one of
//! the same key, which is as good. So machines that write at the same time never clash, and a reader sees nothing half
//! done. Records and blobs have the bytes and places that they have in a cache folder; taking them is a
//! [merge](super::merge) like any other.
//!
//! A remote is not trusted: a record counts when it is whole, is of the key that was asked for and of its own inputs,
//! and carries a valid signature where a [key](super::SigningKey) is configured; a blob, when its bytes are those of its
//! digest. Nor is it relied upon: what it does not give in time is measured here, and what it does not take is kept in
//! [`unsent`] for the next build.
//!
//! [`fetch`] asks for what a plan lacks. A [`Sender`] sends what a build measures, on a thread of its own; [`push`] sends
//! what is on record.

mod client;
mod fetch;
mod location;
mod object;
mod parcel;
mod push;
mod sender;
#[cfg(test)]
pub(super) mod tests;
pub mod unsent;

pub use client::{Client, RemoteError, Settings, runtime};
pub use fetch::{Fetched, fetch};
pub use parcel::Parcel;
pub use push::{Pushed, push};
pub use sender::{Sender, Sent};
