//! What users write: parsing, validation, and messages that name file, line and remedy.

pub mod advice;
pub mod changelog;
pub mod concurrency;
pub mod diagnostic;
pub mod emit;
pub mod git;
pub mod launcher;
mod lax;
pub mod legacy;
pub mod lists;
pub mod looked;
pub mod master;
pub mod nearest;
pub mod pins;
pub mod priority;
pub mod project;
pub mod quantity;
pub mod recipe;
mod recipe_rules;
pub mod reference;
pub mod remote;
pub mod rules;
pub mod runners;
pub mod source;
pub mod sweepfile;
pub mod typed;
pub mod yaml;
