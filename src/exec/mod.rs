//! Executors, the server's life, attempts, signals and resume.

pub mod event;
pub mod journal;
