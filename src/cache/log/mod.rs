//! The record log: append-only segments, one a writer, that no crash can make unreadable.
//!
//! A writer never opens another's segment, so nothing is glued to a torn tail, and folders merge by copying files.
//! A [`Pack`] is a segment written whole: what compaction, an import or a `clean` leaves, each record still told with
//! the segment and the place where it was first written, which is what orders records.
//! What is damaged is cut at the last whole frame of its own segment; every other segment is untouched by it.

mod frame;
mod pack;
mod reader;
mod writer;

pub use frame::{Damaged, FORMAT};
pub use pack::{Forgotten, Origin, Pack};
pub use reader::{Damage, LogError, Placed, Segment, read_all, read_bytes, read_unchanged};
pub use writer::{LogWriter, Written};
