//! Raw traces to metrics, rows, collections and tables.

pub mod aggregate;
pub mod collect;
mod columns;
mod csv_export;
mod deployment;
#[cfg(test)]
mod fixture;
pub mod metrics;
mod object;
mod order;
pub mod raw;
mod row;
pub mod statistics;
mod summary;
pub mod table;

pub use aggregate::{AggregateError, aggregate};
pub use collect::{Collected, Collection, Export, Provenance, Rows, State, export_name};
pub use csv_export::csv;
pub use deployment::{Deployment, Role, Shard, Spread};
pub use metrics::Metrics;
pub use object::Object;
pub use raw::raw_json;
pub use row::{Nature, Row};
pub use summary::{Absence, Absent, summary};
pub use table::{Look, markdown, terminal};
