//! The guard: a small process between `sweep` and what it starts, which leaves nothing running.
//!
//! ```text
//!   sweep ──stdin: one Order, then Requests; end of file = sweep is gone──▶ sweep guard ──▶ the server
//!         ◀──stdout: Reports, one JSON a line─────────────────────────────       (own process group)
//! ```
//!
//! A kill -9 of `sweep` closes the pipe, and the guard ends the server within its grace. As child subreaper the guard
//! inherits every descendant that leaves the server's group or session, so nothing escapes it. The environment of the
//! server, secrets included, travels over the pipe and stands in no argument list.

mod protocol;
mod watch;

pub use protocol::{ExitFacts, Order, Report, Request};
pub use watch::run;
