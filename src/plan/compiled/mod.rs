//! The compiled plan: what a build that found everything fresh looked at, and what it then said.
//!
//! Reading YAML, building the graph and reading the log cost far more than finding out that nothing has changed. So a
//! build that had nothing to do keeps, in `.cache/plan/`, a list of all that its answer rests on. The next one that asks
//! the same looks at each of these once more; where all are as they were, the answer is what it was. A plan is a cache
//! of a cache: one that is missing, damaged, of another program or in any doubt is a miss, and the project is read.
//!
//! # Why a hit never says fresh wrongly
//!
//! An answer is a function of the following, and of nothing else. A hit has seen each to be the same.
//!
//! | what decides | how a hit knows |
//! |---|---|
//! | the program | device, inode, size, mtime and ctime of the executable are in the question, with its version |
//! | which project | the root is found as ever, and is in the question |
//! | what is asked: every word and option, and how it is to be printed | in the question |
//! | `--max-age` and the clock | the oldest measurement is kept, and its age judged by the clock now |
//! | `--rerun`, `--changed`, `--shard`, `--dry-run` | never asked of a plan |
//! | files that were read: Sweepfile, configs, runners, priorities, recipes, launchers, recipes' files, requirements | each looks as it did, or its bytes have the digest they had |
//! | folders that were listed: recipes, launchers | each looks as it did, or holds the same names |
//! | files that only had to be there, or had to be absent | they are, or are not |
//! | this machine's processor, where it is a fact of a pool | its model is the same |
//! | the records | the log's folder and every segment look as they did |
//! | the blobs of all outputs: rows, traces, the collection, the summary | each looks as it did, by one system call each. What is read for the table was verified by the build that kept the plan |
//! | what a remote cache is still to get, which a build sends | nothing, now as then |
//! | `results/<sweep>/`, which a build brings in line | its files look as they did; one that must not be there is not |
//! | secrets, the environment, `GITHUB_STEP_SUMMARY` | none decides what is fresh; the last says where the summary goes, and is obeyed |
//!
//! *Looks as it did* means that device, inode, size, mtime and ctime are equal. No tool sets a ctime back, so an edit that
//! keeps size and mtime shows, and so does damage to a blob by anything that goes through the file system. It is trusted
//! only for what had settled two seconds before the build that keeps the plan began ([`Seen::is_settled`]), though it is
//! looked at when that build ends: whatever changed in between did not settle. Of files and folders that had not, the
//! digest decides; where a segment, a blob or a result had not, nothing is kept, and the next build tries again. Nor is
//! anything kept where the clock jumped meanwhile, on file systems other than a local machine's own, which may tell
//! stale times, or where the build met anything unusual: a record whose outputs were gone, a file that could not be
//! read, a cache folder other than `.cache`.
//!
//! # After an edit
//!
//! `sweep plan` asks the same of the [`Parts`] that are kept beside an answer, and takes it that the text of master configs
//! changed ([`ask_edited`]). What of a config the plan tells is a function of that config's entry and of what is in the table
//! above, as long as it has nothing in common with another one. Two have in common: a config key, which is an error; a
//! server, which is named after its first point; and a group of points that compete for a check of accuracy. All this is
//! told by numbers that [`Part::ties`] holds, and where what was edited or went shares one, now or before, with what is as it
//! was, there is no answer. Nor is there one where entries changed places, or where what is read for the edited ones is not
//! what was looked at. A point's id begins with its config's key, so none is equal to another config's. What the parts cannot tell
//! is what became of the rows' collection; where a row is stale it is stale as well, and where none is there is no answer.
//! The limit on the points of a project is checked over all of them. Warnings speak of several files or of none, so parts
//! are kept and told without any only.
//!
//! [`Seen::is_settled`]: crate::cache::Seen::is_settled

mod answer;
mod ask;
mod edited;
mod format;
mod keep;
mod parts;
mod question;
#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use ask::{Hit, ask};
pub use edited::{Edited, ask_edited};
pub use keep::{Found, Watch};
pub use parts::{Part, Parts, Selected};
pub use question::Question;

/// The folder of plans, below a project's root. A cache that lies elsewhere has none: only the Sweepfile, which is not
/// read here, knows where it is.
const CACHE: &str = ".cache";
const FOLDER: &str = "plan";
