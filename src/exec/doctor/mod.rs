//! Whether this host can do what a project asks of it: one finding a matter, each with what mends it.

pub mod engine;
mod finding;
pub mod gpus;
pub mod host;
pub mod limits;
pub mod mounts;

pub use finding::{Finding, Level};
