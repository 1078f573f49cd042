//! The guard: a small process between `sweep` and what it starts, which leaves nothing running.
//!
//! ```text
//!   sweep ──stdin: Requests; end of file = sweep is gone──▶ sweep guard ──▶ the server
//!         ◀──stdout: Reports, one JSON a line─────────────       (own process group)
//! ```
//!
//! A kill -9 of `sweep` closes the pipe, and the guard ends the server within its grace. As child subreaper the guard
//! inherits every descendant that leaves the server's group or session, so nothing escapes it. The environment of the
//! server, secrets included, travels over the pipe and stands in no argument list.
//!
//! A guard whose program and descendants are gone has nothing left of them, and may be given another program.

mod input;
mod protocol;
mod start;
mod watch;

pub use protocol::{ExitFacts, Order, Report, Request};
pub use watch::run;
