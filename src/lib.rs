//! `sweep` builds LLM inference benchmark sweeps the way a build system builds programs: what users write compiles
//! into a content-hashed graph of targets, and only the stale part runs.
//!
//! The modules stand in the order in which data walks through them. [`config`], [`schedule`], [`mod@bench`], [`sim`] and
//! [`cache`] use none of the others; nothing uses [`cli`].
//!
//! | module | takes | gives |
//! |---|---|---|
//! | [`config`] | Sweepfile, master configs, recipes, launchers | typed configs, or messages with file and line |
//! | [`matrix`] | typed configs | points |
//! | [`graph`] | points and recipes | a DAG of targets |
//! | [`plan`] | the graph and the records | what is stale and why, in sessions |
//! | [`schedule`] | sessions and pools | placements |
//! | [`exec`] | placements | attempts and records |
//! | [`mod@bench`] | a server and a workload | a raw trace |
//! | [`sim`] | a GPU, a model, a topology | a simulated server, labelled as such |
//! | [`results`] | raw traces | metrics, rows, tables |
//! | [`cache`] | bytes and records | what survives a crash |
//! | [`inferencex`] | InferenceX's files | what InferenceX's own tools make of them |
//! | [`cli`] | the command line | wiring and printing |

pub mod bench;
pub mod cache;
pub mod cli;
pub mod config;
pub mod exec;
pub mod graph;
pub mod inferencex;
pub mod matrix;
pub mod plan;
pub mod results;
pub mod schedule;
pub mod sim;
