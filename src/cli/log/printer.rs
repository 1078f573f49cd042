//! Printing files as they grow.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::command::LogError;

/// Says which file speaks before its words, as `tail` does.
pub(super) struct Printer<'a> {
    out: &'a mut dyn Write,
    /// How far each file has been printed.
    files: Vec<(PathBuf, u64)>,
    /// How many lines of no file.
    lines: usize,
    /// Whose words were printed last.
    speaker: Option<String>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            files: Vec::new(),
            lines: 0,
            speaker: None,
        }
    }

    /// What the file has that was not printed; nothing while it is not there.
    pub(super) fn file(&mut self, path: &Path) -> Result<(), LogError> {
        let known = self.files.iter().position(|(file, _)| file == path);
        let index = known.unwrap_or_else(|| {
            self.files.push((path.to_owned(), 0));
            self.files.len() - 1
        });
        let unread = |cause| LogError::Read {
            path: path.to_owned(),
            cause,
        };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unread(error)),
        };
        file.seek(SeekFrom::Start(self.files[index].1)).map_err(unread)?;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let length = match file.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unread(error)),
            };
            self.speaks(&path.display().to_string())?;
            self.write(&chunk[..length])?;
            self.files[index].1 += length as u64;
        }
    }

    /// Those of the lines so far that were not printed.
    pub(super) fn lines(&mut self, lines: &[String]) -> Result<(), LogError> {
        for line in lines.iter().skip(self.lines) {
            self.write(format!("{line}\n").as_bytes())?;
        }
        self.lines = lines.len();
        Ok(())
    }

    /// Lines under a title.
    pub(super) fn section(&mut self, title: &str, lines: &[String]) -> Result<(), LogError> {
        self.speaks(title)?;
        self.write((lines.join("\n") + "\n").as_bytes())
    }

    fn speaks(&mut self, speaker: &str) -> Result<(), LogError> {
        let gap = match self.speaker.as_deref() {
            Some(before) if before == speaker => return Ok(()),
            Some(_) => "\n",
            None => "",
        };
        self.speaker = Some(speaker.to_owned());
        self.write(format!("{gap}==> {speaker} <==\n").as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        written.map_err(LogError::Write)
    }
}
