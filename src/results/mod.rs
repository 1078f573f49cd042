//! Raw traces to metrics, rows, collections and tables.

mod object;
mod order;
pub mod statistics;

pub use object::Object;
