//! Images that need no container engine: what a server runs in, made in the cache.

mod requirements;
mod venv;

pub use requirements::{Requirements, RequirementsError, VenvKey};
pub use venv::{ImageError, InstallCause, Venv, VenvMaker, venv_key};
