//! A project in a folder of its own, built by running the program.
//!
//! [`Project`] writes the files and edits them, [`Running`] is a `sweep` at work, [`Ran`] one that has ended, and
//! [`Story`] what its run said in `events.jsonl`. Processes that a test leaves are found by their folders and ended.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

mod files;
mod folder;
mod processes;
mod running;
mod story;

pub(crate) use files::{CONFIGS, RECIPES, RUNNERS, SWEEPFILE, config_of, faulty_recipe};
pub(crate) use folder::Project;
pub(crate) use processes::{Process, processes_in};
pub(crate) use running::{Ran, Running, wait_until};
pub(crate) use story::Story;
