//! Raw traces to metrics, rows, collections and tables.
//!
//! [`Metrics`] reduce a trace by InferenceX's definitions, [`raw_json`] writes them as its benchmark file, [`aggregate()`]
//! makes that file or a [script's own](client_file()) a [`Row`], and a [`Collection`] of rows with their [`Provenance`] becomes `agg_bmk.json`, tables and
//! `summary.md`. Each step reads only what the one before wrote, so a file made elsewhere can enter anywhere.
//!
//! Simulated rows keep their mark through all of it. A table or chart takes [`Rows`], which are of one [`Nature`] by
//! construction.

pub mod aggregate;
mod client_file;
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

pub use aggregate::{AggregateError, GPU_POWER, aggregate};
pub use client_file::{ClientFileError, Expected, client_file};
pub use collect::{Collected, Collection, Export, Provenance, Rows, State, export_name};
pub use csv_export::csv;
pub use deployment::{Deployment, Role, Shard, Spread};
pub use metrics::Metrics;
pub use object::Object;
pub use raw::raw_json;
pub use row::{Nature, Row};
pub use summary::{Absence, Absent, summary};
pub use table::{Look, markdown, terminal};
