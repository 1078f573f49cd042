//! A run whose journal is read as it grows.

use super::attempts::{Attempt, Attempts};
use super::command::LogError;
use super::facts;
use super::printer::Printer;
use crate::cli::report::{Bench, Board, Stage};
use crate::cli::runs::{Host, Life, RunFolder};
use crate::exec::journal::Tail;

/// A run: its journal as far as it has been read, and what follows from it.
pub(super) struct Watched {
    pub(super) folder: RunFolder,
    pub(super) board: Board,
    pub(super) attempts: Attempts,
    tail: Tail,
}

impl Watched {
    pub(super) fn open(folder: RunFolder) -> Result<Self, LogError> {
        let mut watched = Self {
            tail: Tail::of(&folder.path),
            folder,
            board: Board::default(),
            attempts: Attempts::default(),
        };
        watched.poll()?;
        Ok(watched)
    }

    pub(super) fn poll(&mut self) -> Result<(), LogError> {
        for stamped in self.tail.poll()? {
            self.board.apply(&stamped);
            self.attempts.apply(&stamped.event);
        }
        Ok(())
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self, id: &str, host: &Host) -> bool {
        let ended = |server: &str| {
            let mut sessions = self
                .board
                .sessions
                .values()
                .filter(|session| session.server == server);
            sessions.all(|session| session.stage == Stage::Ended)
        };
        let known = match self.attempts.of(id) {
            None => false,
            Some(Attempt::Image { target, .. }) => !self.board.images.contains_key(&target),
            Some(Attempt::Server { target, .. }) => ended(&target),
            Some(Attempt::Bench { target, .. } | Attempt::ServerOf { target, .. }) => matches!(
                self.board.bench(&target),
                Some(Bench::Passed | Bench::Failed | Bench::Skipped)
            ),
        };
        known || host.life_of(&self.board) != Life::Running
    }

    /// Prints what has been written since the last time.
    pub(super) fn print(&self, id: &str, printer: &mut Printer<'_>) -> Result<(), LogError> {
        let at = |folder: &str, file: &str| self.folder.path.join(folder).join(file);
        match self.attempts.of(id) {
            None => Ok(()),
            Some(Attempt::Image { lines, .. }) => printer.lines(lines),
            Some(Attempt::Server { folder, .. } | Attempt::ServerOf { folder, .. }) => {
                printer.file(&at(folder, "server.log"))
            }
            Some(Attempt::Bench { folder, server, .. }) => {
                printer.file(&at(folder, "bench.log"))?;
                // A combined script's server writes into the script's own folder.
                printer.file(&at(folder, "work/server.log"))?;
                server.map_or(Ok(()), |server| printer.file(&at(server, "server.log")))
            }
        }
    }

    /// Prints what came of it: why it failed, and the facts of a bench's result.
    pub(super) fn print_outcome(&self, id: &str, printer: &mut Printer<'_>) -> Result<(), LogError> {
        let mut lines = Vec::new();
        let failed = |target: &str| {
            let failure = self
                .board
                .failures
                .iter()
                .find(|failure| failure.target == target);
            failure.map(|failure| format!("failed: {}", failure.reason))
        };
        let target = match self.attempts.of(id) {
            None | Some(Attempt::Image { .. }) => return Ok(()),
            Some(Attempt::Server { target, .. }) => {
                let mut sessions = self.board.sessions.values();
                let session = sessions.find(|session| session.server == target);
                let from = session.and_then(|session| session.place.as_ref()?.adopted_from.as_ref());
                lines.extend(from.map(|run| format!("adopted from run {run}, which was killed")));
                lines.extend(failed(&target));
                target
            }
            Some(Attempt::ServerOf { target, .. }) => {
                let session = self.board.session_of(&target);
                let session = session.and_then(|index| self.board.sessions.get(&index));
                lines.extend(session.and_then(|session| failed(&session.server)));
                target
            }
            Some(Attempt::Bench { target, folder, .. }) => {
                lines.extend(failed(&target));
                lines.extend(facts::of_result(
                    &self.folder.path.join(folder).join("result.json"),
                )?);
                target
            }
        };
        match lines.as_slice() {
            [] => Ok(()),
            lines => printer.section(&target, lines),
        }
    }
}
