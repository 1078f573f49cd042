//! Executors, the server's life, attempts, signals and resume.
//!
//! [`build`](mod@build) is the dispatcher: it owns the queue and the pools. Each [`session`] owns one server and runs its
//! points; [`measure`] runs one bench. What happens is said as [`event`]s.

pub mod build;
mod compute;
pub mod event;
pub mod gather;
pub mod guard;
pub mod http;
pub mod image;
mod images;
pub mod journal;
mod launch;
pub mod leftover;
pub mod log_tail;
mod measure;
pub mod port;
pub mod process;
pub mod procfs;
pub mod ready;
pub mod run;
pub mod server;
mod session;
pub mod signals;
pub mod verify;
mod view;

pub use compute::WORDS;
