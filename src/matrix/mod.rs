//! Search spaces expanded into points.

mod expand;
mod point;

pub use expand::{expand, ladder};
pub use point::{ConfigKey, Parallel, Point, Topology};
