//! Servers in containers.
//!
//! ```text
//!   sweep ──▶ sweep guard ──▶ sweep container ──the engine's API──▶ the container
//!     ▲                           │   (its keeper)
//!     └──── container.json ───────┘
//! ```
//!
//! A container is started as a process is: under a guard, which ends it when `sweep` is gone. What the guard holds is
//! the container's [keeper], a process of this program that creates the container, copies its log, waits for its end,
//! stops and removes it. So everything that is true of processes is true of containers, kill -9 included; what a keeper
//! that was killed too leaves is found by its labels, and ended, or given a new keeper: see [`LeftServer`].

pub mod connect;
mod engine;
mod hand_back;
mod host;
pub mod keeper;
mod labels;
mod left;
mod note;
mod order;

pub use engine::RemoveError;
use engine::remove;
pub use host::{GpuError, Host, HostError, Wanted};
pub use labels::{Ended, Owner};
pub use left::{Heir, Heirs, LeftServer};
pub use note::{FILE as NOTE_FILE, Note};
pub use order::{Contained, ContainerOrder, Gpus, HOME, TEMPORARY};
