//! What people and programs see of a build while it runs: one reporter for each kind of reader, and the board that
//! the terminal and `sweep status` share.

mod board;
mod json;
mod pace;
mod phrase;
mod plain;
mod pool;
mod reporter;
mod state;
#[cfg(test)]
pub(in crate::cli) mod story;
mod terminal;

pub use board::Board;
pub use json::Json;
pub use pace::time_left;
pub(in crate::cli) use phrase::{counted, sent};
pub use phrase::{indices, short_ms};
pub use plain::Plain;
pub use pool::{Pool, Running, RunningStage, pools};
pub use reporter::{Format, Reporter, choose};
pub use state::{Bench, Counts, Failure, Finished, Place, Plan, Progress, Run, Session, Stage};
pub use terminal::Terminal;
