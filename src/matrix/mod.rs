//! Search spaces expanded into points.

mod expand;
mod point;

pub use crate::config::concurrency::ladder;
pub use expand::{Matrix, expand};
pub use point::{AGENTIC_DURATION, Agentic, ConfigKey, Parallel, Point, Scenario, Topology};
