//! Targets, their ids, patterns over them, and the DAG they form.

pub mod advice;
mod build;
mod compile;
mod contradiction;
pub mod export;
#[cfg(test)]
pub(crate) mod fixture;
pub mod hardware;
mod names;
pub mod pattern;
mod recipe_match;
pub mod select;
pub mod spec;
mod target;
pub mod template;

pub use build::{Chain, Graph, Spec, Target};
pub use select::{SelectError, Selection, check_patterns, select};
pub use target::{Kind, TargetId, file_name};
