//! Sessions whose servers run in containers, on a real engine that each test starts for itself.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod adoption;
#[path = "../containers/mod.rs"]
mod containers;
mod crash;
mod engine_lost;
mod failing;
mod gpus;
mod lab;
mod podman;
#[path = "../project/mod.rs"]
mod project;
mod published;
mod pulled;
#[path = "../requirement/mod.rs"]
mod requirement;
mod script;
mod session;
mod upstream;
mod user;
