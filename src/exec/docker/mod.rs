//! What is asked of a container engine.

pub mod connect;
