//! The simulated inference server, labelled as such wherever it shows.
//!
//! | module | one idea |
//! |---|---|
//! | [`gpu`], [`model`] | data sheets and model configurations |
//! | [`step`] | a roofline: the time of one engine step |
//! | [`kv`], [`engine`] | continuous batching on a virtual clock |
//! | [`closed_loop`] | a workload on that clock alone |
//! | [`config`] | what a server is told, and whether it can be |
//! | [`pacing`], [`driver`] | virtual time on the wall |
//! | [`prompt`], [`openai`], [`generation`], [`body`], [`metrics`] | requests in, events out |
//! | [`server`], [`running`] | HTTP, in the foreground or on a thread |

pub mod body;
pub mod closed_loop;
pub mod config;
pub mod driver;
pub mod engine;
pub mod generation;
pub mod gpu;
pub mod kv;
pub mod metrics;
pub mod model;
pub mod openai;
pub mod pacing;
pub mod prompt;
pub mod running;
pub mod server;
pub mod step;

pub use config::{ConfigError, Fault, SIM_VERSION, SimConfig};
pub use gpu::Precision;
pub use running::{RunningSim, spawn};
pub use server::ServeError;
pub use step::SpecDecoding;
