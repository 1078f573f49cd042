//! Pools, GPU indices, placement and order.
