//! The record log: append-only segments, one a writer, that no crash can make unreadable.
//!
//! A writer never opens another's segment, so nothing is glued to a torn tail, and folders merge by copying files.
//! What is damaged is cut at the last whole frame of its own segment; every other segment is untouched by it.

mod frame;
mod reader;
mod writer;

pub use frame::{Damaged, FORMAT};
pub use reader::{Damage, LogError, Segment, read_all};
pub use writer::LogWriter;
