//! `sweep log ID`: what the newest attempt of a target wrote, and what came of it.

mod attempts;
mod command;
mod facts;
mod printer;
mod watched;

pub use command::{LogArgs, LogError, run};
