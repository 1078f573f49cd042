//! What a tag stands for, asked of its registry by the distribution protocol.
//!
//! A registry that wants to know who asks says how in its first answer: by a password in each request, or by a token
//! that a server of its own gives. Both use the login that Docker's configuration has.

mod challenge;
mod client;
mod credentials;
mod manifest;

pub use client::{Client, RegistryError};
pub use credentials::{CredentialError, Login, login};
