//! Every event as a line of JSON, progress included, for programs.

use std::io::Write;

use super::reporter::Reporter;
use crate::exec::event::Stamped;

/// Writes the lines of `events.jsonl`, and with them the progress that is not kept there.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
    /// Lines that are not written yet.
    lines: Vec<u8>,
}

impl<W: Write> Json<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            lines: Vec::new(),
        }
    }
}

impl<W: Write> Reporter for Json<W> {
    fn event(&mut self, stamped: &Stamped) {
        if let Ok(line) = serde_json::to_vec(stamped) {
            self.lines.extend(line);
            self.lines.push(b'\n');
        }
    }

    fn flush(&mut self) {
        // A reader that has gone away does not end a build.
        let _ = self.out.write_all(&self.lines).and_then(|()| self.out.flush());
        self.lines.clear();
    }

    fn finish(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::story::story;
    use super::*;

    #[test]
    fn the_lines_read_back() {
        let mut json = Json::new(Vec::new());
        for stamped in story() {
            json.event(&stamped);
        }
        json.flush();
        let text = String::from_utf8(json.out).unwrap();
        let read: Vec<Stamped> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(read, story());
        insta::assert_snapshot!(text.lines().last().unwrap(), @r#"{"v":1,"unix_ms":1013000,"event":"bench-progress","target":"bench:dsr1-fp8-h200-sglang/8k1k/tp8/c16","session":0,"done":120,"failed":0,"requests":640}"#);
    }
}
