//! Which session runs when, on which nodes and GPUs: one set of rules, used live and to foretell a plan.

mod fleet;
mod pool;
#[cfg(test)]
mod properties;
mod queue;
mod simulate;

pub use fleet::{Fleet, NeverFits};
pub use pool::{Demand, Placement, PoolSpec, Share};
pub use queue::{PASSES_BEFORE_RESERVING, Queue, Session};
pub use simulate::{Placed, Schedule, Unplaceable, simulate};
