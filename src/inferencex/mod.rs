//! Drop-in twins of InferenceX's tools: the same input, the same output, quirks included.
//!
//! The quirks live here and nowhere else. `docs/inferencex.md` maps each tool to its twin and lists where the twins
//! differ on purpose.

mod append_only;
mod changelog;
mod changelog_entry;
mod check;
mod collect;
mod concurrency;
mod decimal;
mod dram;
mod eval_rows;
mod eval_tables;
mod evals;
mod expand;
mod fnmatch;
mod input;
mod local_time;
mod master_schema;
mod model_dump;
mod power;
mod priority;
mod process_result;
mod python_json;
mod pyvalue;
mod pyyaml;
mod rows;
mod runners;
mod search_space;
mod success_rate;
mod validate_changelog;

pub use changelog::{ChangelogSweep, RUNNER_CONFIG, process as process_changelog};
pub use collect::{CollectError, collect_evals, collect_results};
pub use eval_tables::EvalOrder;
pub use evals::Evals;
pub use expand::{Filters, FullSweep, TestConfig, full_sweep, test_config};
pub use input::{Masters, read_masters};
pub use local_time::local_time_zone;
pub use power::gpu_power;
pub use priority::{Occasion, Policy, PriorityError, read_matrix, strings};
pub use process_result::{ProcessError, Processed, process as process_result};
pub use python_json::{Layout, dumps, loads};
pub use pyvalue::{Dict, PyValue, python_int};
pub use runners::Runners;
pub use success_rate::{Attempts, run_stats, success_rates};
pub use validate_changelog::{InvalidChangelog, validate as validate_changelog};
