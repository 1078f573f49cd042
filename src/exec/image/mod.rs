//! Images that need no container engine: what a server runs in, made in the cache.

mod install_cause;
mod requirements;
mod venv;

pub use install_cause::InstallCause;
pub use requirements::{Requirements, RequirementsError, VenvKey};
pub use venv::{ImageError, Venv, VenvMaker, venv_key};
