//! Executors, the server's life, attempts, signals and resume.
//!
//! [`build`](mod@build) leads from a plan to its outcome; `dispatch` owns the queues and the pools. Each `session` owns
//! one server and runs its points; `measure` runs one bench, `script` a combined script in the place of both; `ledger`
//! keeps what came of them. What happens is said as [`event`]s.
//!
//! What is started is a [`process`] under guard, everywhere: on a pool of containers it is the keeper of one, see
//! [`docker`].

mod attempt_result;
pub mod build;
mod committer;
mod compute;
mod conclude;
mod dispatch;
pub mod docker;
pub mod doctor;
pub mod event;
pub mod foretell;
mod forget;
pub mod gather;
pub mod gpu;
pub mod guard;
pub mod guards;
pub mod http;
pub mod image;
mod images;
pub mod journal;
mod launch;
mod ledger;
pub mod leftover;
pub mod log_tail;
mod measure;
mod measured;
pub mod port;
pub mod process;
pub mod procfs;
pub mod ready;
pub mod run;
mod script;
pub mod server;
mod session;
pub mod signals;
pub mod started;
mod trouble;
mod vacancy;
pub mod verify;
mod view;

pub use attempt_result::adopt;
pub use compute::WORDS;
pub use conclude::outcome_of_fresh;
