//! Images: what a server runs in.

pub mod requirements;
pub mod venv;
