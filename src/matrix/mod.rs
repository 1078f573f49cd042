//! Search spaces expanded into points.

mod changed;
mod evals;
mod expand;
mod point;

pub use crate::config::concurrency::ladder;
pub use changed::{Changed, changed, lowest};
pub use evals::{EvalPolicy, can_be_checked, default_group, marked};
pub use expand::{Matrix, expand};
pub use point::{AGENTIC_DURATION, Agentic, ConfigKey, Deployment, Parallel, Point, Scenario, Topology};
