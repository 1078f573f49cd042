//! Executors, the server's life, attempts, signals and resume.

pub mod event;
pub mod guard;
pub mod http;
pub mod image;
pub mod leftover;
pub mod log_tail;
pub mod port;
pub mod process;
pub mod procfs;
pub mod ready;
pub mod server;
pub mod signals;
