//! The simulated inference server, labelled as such wherever it shows.

pub mod closed_loop;
pub mod config;
pub mod engine;
pub mod gpu;
pub mod kv;
pub mod model;
pub mod prompt;
pub mod step;
