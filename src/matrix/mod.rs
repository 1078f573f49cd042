//! Search spaces expanded into points.
