//! `events.jsonl`: what a run said, one line of JSON each, written while it happens and read by whoever asks later.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::event::{EVENT_VERSION, Stamped};

/// The file's name in a run's folder.
pub const EVENTS_FILE: &str = "events.jsonl";

/// The journal's file could not be used.
#[derive(Debug, Error)]
#[error("{doing} `{}`: {cause}", path.display())]
pub struct JournalError {
    /// What was being done, as `write`.
    pub doing: &'static str,
    pub path: PathBuf,
    #[source]
    pub cause: io::Error,
}

/// The writing end: one for a run.
#[derive(Debug)]
pub struct Journal<W = File> {
    file: W,
    path: PathBuf,
    /// An append failed half way: the next line must not continue what it left.
    torn: bool,
}

impl Journal {
    /// Creates the journal of a new run in its folder; fails when there is one already.
    pub fn create(run_dir: &Path) -> Result<Self, JournalError> {
        let path = run_dir.join(EVENTS_FILE);
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => Ok(Self {
                file,
                path,
                torn: false,
            }),
            Err(cause) => Err(JournalError {
                doing: "create",
                path,
                cause,
            }),
        }
    }
}

impl<W: Write> Journal<W> {
    /// Appends an event; see [`Journal::append_all`].
    pub fn append(&mut self, stamped: &Stamped) -> Result<(), JournalError> {
        self.append_all(std::slice::from_ref(stamped))
    }

    /// Appends events in one write; those that are only for eyes are passed over. Nothing is flushed to the disk: the
    /// journal tells people what happened, results do not depend on it.
    pub fn append_all(&mut self, events: &[Stamped]) -> Result<(), JournalError> {
        let mut lines = if self.torn { b"\n".to_vec() } else { Vec::new() };
        let mut kept = events.iter().filter(|stamped| stamped.event.is_kept()).peekable();
        if kept.peek().is_none() {
            return Ok(());
        }
        let formed = kept.try_for_each(|stamped| {
            serde_json::to_writer(&mut lines, stamped)?;
            lines.push(b'\n');
            Ok::<_, io::Error>(())
        });
        let written = formed.and_then(|()| self.file.write_all(&lines));
        self.torn = written.is_err();
        written.map_err(|cause| JournalError {
            doing: "write",
            path: self.path.clone(),
            cause,
        })
    }
}

/// The reading end: remembers how far it has read, so that it can be asked again while the run goes on.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
    /// The beginning of a line whose end is not written yet.
    partial: Vec<u8>,
}

impl Tail {
    /// At the beginning of a run's journal, which need not exist yet.
    pub fn of(run_dir: &Path) -> Self {
        Self {
            path: run_dir.join(EVENTS_FILE),
            offset: 0,
            partial: Vec::new(),
        }
    }

    /// The events written since it was last asked. Passes over lines that are torn or garbage, events that it does
    /// not know and those of a later version.
    pub fn poll(&mut self) -> Result<Vec<Stamped>, JournalError> {
        let fresh = read_from(&self.path, self.offset).map_err(|cause| JournalError {
            doing: "read",
            path: self.path.clone(),
            cause,
        })?;
        self.offset += fresh.len() as u64;
        self.partial.extend_from_slice(&fresh);
        let whole = match self.partial.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => self.partial.drain(..=last).collect(),
            None => Vec::new(),
        };
        Ok(parse(&whole))
    }
}

/// All events of a run, empty when it kept none.
pub fn read(run_dir: &Path) -> Result<Vec<Stamped>, JournalError> {
    Tail::of(run_dir).poll()
}

fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(bytes),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(offset))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(lines: &[u8]) -> Vec<Stamped> {
    lines
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .filter(|stamped: &Stamped| stamped.v <= EVENT_VERSION)
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;
    use crate::exec::event::Event;

    fn healed(what: &str) -> Stamped {
        Stamped {
            v: EVENT_VERSION,
            unix_ms: 1,
            event: Event::Healed {
                what: what.to_owned(),
            },
        }
    }

    fn write_raw(dir: &Path, bytes: &[u8]) {
        let path = dir.join(EVENTS_FILE);
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    }

    #[test]
    fn what_is_kept_reads_back_and_progress_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path()).unwrap();
        let progress = Event::BenchProgress {
            target: "bench:a".into(),
            session: 0,
            done: 1,
            failed: 0,
            requests: 2,
        };
        journal.append(&healed("one")).unwrap();
        journal
            .append(&Stamped {
                event: progress,
                ..healed("")
            })
            .unwrap();
        journal.append(&healed("two")).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [healed("one"), healed("two")]);
        assert!(Journal::create(dir.path()).is_err(), "a run has one journal");
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), [], "no journal yet");
        let lines = [
            r#"{"v":1,"unix_ms":1,"event":"healed","what":"a","later-field":{"x":[1]}}"#,
            r#"{"v":1,"unix_ms":2,"event":"teleported","target":"x"}"#,
            r#"{"v":2,"unix_ms":3,"event":"healed","what":"it means something else by now"}"#,
            "\u{0}\u{0}garbage",
            "",
            r#"{"v":1,"unix_ms":1,"event":"healed","what":"b"}"#,
            r#"{"v":1,"unix_ms":1,"event":"hea"#,
        ];
        write_raw(dir.path(), lines.join("\n").as_bytes());
        write_raw(dir.path(), b"\xff\xfe");
        assert_eq!(read(dir.path()).unwrap(), [healed("a"), healed("b")]);
    }

    #[test]
    fn a_line_is_told_once_its_end_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut tail = Tail::of(dir.path());
        write_raw(dir.path(), br#"{"v":1,"unix_ms":1,"event":"#);
        assert_eq!(tail.poll().unwrap(), []);
        write_raw(dir.path(), b"\"healed\",\"what\":\"a\"}\n");
        assert_eq!(tail.poll().unwrap(), [healed("a")]);
        assert_eq!(tail.poll().unwrap(), []);
    }

    /// A disk that fills up after some bytes and is emptied again.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            let taken = buffer.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.bytes.extend_from_slice(&buffer[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn a_full_disk_costs_only_what_did_not_fit(room in 0_usize..120) {
            let file = Disk { bytes: Vec::new(), room };
            let mut journal = Journal { file, path: PathBuf::new(), torn: false };
            let first = journal.append(&healed("first"));
            journal.file.room = usize::MAX;
            journal.append(&healed("second")).unwrap();
            let found = parse(&journal.file.bytes);
            prop_assert_eq!(found.last(), Some(&healed("second")));
            prop_assert!(first.is_err() || found.len() == 2);
        }

        #[test]
        fn any_cut_keeps_the_lines_before_it(names in prop::collection::vec("\\PC{0,8}", 0..6), at in 0.0..1.0) {
            let mut bytes = Vec::new();
            for name in &names {
                serde_json::to_writer(&mut bytes, &healed(name)).unwrap();
                bytes.push(b'\n');
            }
            let cut = (bytes.len() as f64 * at) as usize;
            let whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
            let dir = tempfile::tempdir().unwrap();
            write_raw(dir.path(), &bytes[..cut]);
            let expected: Vec<_> = names[..whole].iter().map(|name| healed(name)).collect();
            prop_assert_eq!(read(dir.path()).unwrap(), expected);
        }
    }
}
