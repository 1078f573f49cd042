//! Search spaces expanded into points.

mod expand;
mod point;

pub use expand::expand;
pub use point::{ConfigKey, Parallel, Point, Topology};
