//! Keys against records: what is stale, why, and how the stale part groups into sessions.

mod command_diff;
pub mod compiled;
mod compute;
mod dialect;
mod estimate;
pub mod explain;
#[cfg(test)]
mod fixture;
mod handover;
pub mod reason;
mod session;
mod shard;
mod state;

pub use command_diff::{command_changes, differing_flags};
pub use compute::{Plan, Sweep};
pub use dialect::{collect_inputs, process_inputs, summarize_inputs};
pub use estimate::SERVER_START_MS;
pub use handover::{FORMAT as HANDOVER_FORMAT, Handover, NotAsPlanned, PlannedShard};
pub use reason::Reason;
pub use session::{Estimate, Session};
pub use shard::{Deal, Shard};
pub use state::{Evidence, Judge, Policy, State};
