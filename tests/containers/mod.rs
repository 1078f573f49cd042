//! A real container engine and a real registry, each in a folder of its own and on loopback alone, and images for them
//! that are made here from nothing.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

mod client;
mod daemon;
mod dockerd;
mod image;
mod podman;
mod proxy;
mod registry;

pub(crate) use dockerd::Dockerd;
pub(crate) use image::Image;
pub(crate) use podman::Podman;
pub(crate) use proxy::CuttingProxy;
pub(crate) use registry::{BASIC, PASSWORD, Registry, USER};
