//! Images: what a server runs in, made present on this host.

mod install_cause;
mod lock;
pub mod pinning;
pub mod pull;
pub mod pull_progress;
pub mod registry;
mod requirements;
mod venv;

pub use install_cause::InstallCause;
pub use requirements::{Requirements, RequirementsError, VenvKey};
pub use venv::{ImageError, Venv, VenvMaker, venv_key};
