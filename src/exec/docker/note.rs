//! What a container's keeper tells: one small file in the attempt, replaced as things go.

use std::num::NonZeroU32;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cache::{FsError, fs};
use crate::exec::guard::ExitFacts;
use crate::exec::started::End;

/// Its name in the attempt's folder.
pub const FILE: &str = "container.json";

/// How a container is, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Note {
    Running {
        id: String,
        /// Its first process, as the host counts.
        pid: NonZeroU32,
    },
    /// Whether it still runs is being found out, or how it ended.
    Unsure,
    /// It ended, and was removed.
    Ended {
        code: i64,
        /// The kernel ended it for its memory.
        out_of_memory: bool,
    },
    /// The engine would not make such a container.
    Refused { reason: String },
    /// The engine failed under it.
    Lost {
        reason: String,
        /// Whether nothing is left of it.
        removed: bool,
    },
}

impl Note {
    /// The last one written; nothing where there is none yet.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok().flatten()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), FsError> {
        let json = serde_json::to_vec(self).expect("a note is plain data");
        fs::write_atomic(path, &json)
    }

    /// Whether the engine may still have a container of a run that was killed, whose attempts are in this folder.
    pub fn is_left_in(attempts: &Path) -> Result<bool, FsError> {
        for (name, _) in fs::list(attempts)? {
            let note = Self::read(&attempts.join(name).join(FILE));
            if note.is_some_and(|note| !note.is_removed()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the engine has nothing of the container any more.
    pub(super) fn is_removed(&self) -> bool {
        match self {
            Self::Running { .. } | Self::Unsure => false,
            Self::Ended { .. } | Self::Refused { .. } => true,
            Self::Lost { removed, .. } => *removed,
        }
    }
}

/// How a container ended whose keeper went so.
pub(super) fn end_of(told: Option<Note>, keeper: ExitFacts) -> End {
    match told {
        Some(Note::Ended {
            out_of_memory: true, ..
        }) => End::OutOfMemory,
        Some(Note::Ended { code, .. }) => End::Exit(exit_facts(code)),
        Some(Note::Refused { reason }) => End::Refused(reason),
        Some(Note::Lost { reason, .. }) => End::Machinery(reason),
        Some(Note::Running { .. } | Note::Unsure) | None => {
            End::Machinery(format!("the keeper of its container ended first ({keeper})"))
        }
    }
}

/// Engines add 128 to a signal's number, as shells do.
fn exit_facts(code: i64) -> ExitFacts {
    let code = i32::try_from(code).unwrap_or(i32::MAX);
    match code {
        129..=192 => ExitFacts::Signal(code - 128),
        code => ExitFacts::Code(code),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn notes_are_read_back_and_lines_are_stable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("container.json");
        assert_eq!(Note::read(&path), None);
        let running = Note::Running {
            id: "c0".to_owned(),
            pid: NonZeroU32::new(7).unwrap(),
        };
        running.write(&path).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            r#"{"state":"running","id":"c0","pid":7}"#
        );
        assert_eq!(Note::read(&path), Some(running));
    }

    #[test]
    fn what_may_be_left_is_seen() {
        let attempts = tempfile::tempdir().unwrap();
        let note = |name: &str, note: &Note| {
            let folder = attempts.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            note.write(&folder.join(FILE)).unwrap();
        };
        std::fs::create_dir(attempts.path().join("bench")).unwrap();
        let ended = Note::Ended {
            code: 0,
            out_of_memory: false,
        };
        note("server", &ended);
        assert!(!Note::is_left_in(attempts.path()).unwrap());
        note("other", &Note::Unsure);
        assert!(Note::is_left_in(attempts.path()).unwrap());
    }

    #[test]
    fn an_end_is_the_containers_not_its_keepers() {
        let keeper = ExitFacts::Code(0);
        let ended = |code, out_of_memory| {
            let note = Note::Ended { code, out_of_memory };
            end_of(Some(note), keeper)
        };
        assert_eq!(ended(3, false), End::Exit(ExitFacts::Code(3)));
        assert_eq!(ended(137, false), End::Exit(ExitFacts::Signal(9)));
        assert_eq!(ended(137, true), End::OutOfMemory);
        let lost = end_of(None, ExitFacts::Signal(9));
        assert!(matches!(lost, End::Machinery(_)), "{lost}");
    }
}
