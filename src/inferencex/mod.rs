//! Drop-in twins of InferenceX's tools: the same input, the same output, quirks included.
//!
//! The quirks live here and nowhere else. `docs/inferencex.md` maps each tool to its twin and lists where the twins
//! differ on purpose.

mod append_only;
mod changelog;
mod changelog_entry;
mod check;
mod concurrency;
mod decimal;
mod dram;
mod evals;
mod expand;
mod fnmatch;
mod git;
mod input;
mod master_schema;
mod model_dump;
mod python_json;
mod pyvalue;
mod pyyaml;
mod rows;
mod runners;
mod search_space;
mod validate_changelog;

pub use changelog::{ChangelogSweep, RUNNER_CONFIG, process as process_changelog};
pub use evals::Evals;
pub use expand::{Filters, FullSweep, TestConfig, full_sweep, test_config};
pub use input::{Masters, read_masters};
pub use python_json::{Layout, dumps, loads};
pub use pyvalue::{Dict, PyValue};
pub use runners::Runners;
pub use validate_changelog::{InvalidChangelog, validate as validate_changelog};
