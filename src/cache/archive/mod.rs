//! A cache, or a part of it, as one file: `.tar.zst`.
//!
//! ```text
//! manifest.json      format, and the digest and the size of everything that follows      [`manifest`]
//! log/records.log    a pack of the chosen records                                        [`log`](super::log)
//! cas/ab/cd…         the blobs that they name, in the order of their digests
//! ```
//!
//! The same records give the same bytes, whoever writes them, wherever and whenever. An archive is verified whole
//! before a byte of it takes effect; see [`import`].

mod error;
mod export;
#[cfg(test)]
mod hostile;
mod import;
mod manifest;

pub use error::ArchiveError;
pub use export::{Choice, Exported, export};
pub use import::{Limits, import};
