//! A log's last lines, as a message quotes them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// How much of a log's end is read.
const TAIL_BYTES: u64 = 64 * 1024;
/// How much of one line is quoted, in characters.
const LINE_CHARS: usize = 400;

/// The last `lines` lines of a log that are not blank, without colours and overwritten progress bars.
///
/// What stands before byte `from`, an earlier start's output, does not count. Empty when there is no log, or nothing
/// in it.
pub fn last_lines(log: &Path, from: u64, lines: usize) -> Vec<String> {
    read_tail(log, from)
        .map(|text| clean(&text, lines))
        .unwrap_or_default()
}

fn read_tail(log: &Path, from: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES).max(from)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn clean(text: &str, lines: usize) -> Vec<String> {
    let mut kept: Vec<String> = text
        .lines()
        .rev()
        .map(shown)
        .filter(|line| !line.is_empty())
        .take(lines)
        .collect();
    kept.reverse();
    kept
}

/// A line as a terminal would show it in the end.
pub fn shown(line: &str) -> String {
    // A progress bar returns to the line's start and writes over it.
    let line = line
        .trim_end_matches('\r')
        .rsplit('\r')
        .next()
        .unwrap_or_default();
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            // A control sequence: ESC [ parameters, and one final byte from @ to ~.
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    characters.find(|character| ('@'..='~').contains(character));
                }
            }
            '\t' => plain.push_str("    "),
            character if character.is_control() => {}
            character => plain.push(character),
        }
    }
    let plain = plain.trim_end();
    match plain.char_indices().nth(LINE_CHARS) {
        Some((cut, _)) => format!("{}…", &plain[..cut]),
        None => plain.to_owned(),
    }
}

/// The lines as the tail of a message: each on a line of its own, or a word about there being none.
pub fn quote(lines: &[String]) -> String {
    if lines.is_empty() {
        return "; it wrote nothing".to_owned();
    }
    let quoted: Vec<String> = lines.iter().map(|line| format!("\n  | {line}")).collect();
    format!("; its last lines:{}", quoted.concat())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_end_of_a_long_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("server.log");
        let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&log, text).unwrap();
        assert_eq!(last_lines(&log, 0, 2), ["line 19998", "line 19999"]);
        let end = std::fs::metadata(&log).unwrap().len();
        assert_eq!(last_lines(&log, end - 11, 2), ["line 19999"]);
        assert!(last_lines(&log, end, 2).is_empty());
        assert!(last_lines(&folder.path().join("none"), 0, 2).is_empty());
    }

    #[test]
    fn colours_and_progress_bars_are_gone() {
        let text = "\u{1b}[1;31mERROR\u{1b}[0m out of memory\n 10%\r 50%\r100% done\r\n\n\t\n";
        assert_eq!(clean(text, 9), ["ERROR out of memory", "100% done"]);
    }

    #[test]
    fn quotes() {
        assert_eq!(quote(&[]), "; it wrote nothing");
        assert_eq!(
            quote(&["a".into(), "b".into()]),
            "; its last lines:\n  | a\n  | b"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_logged_few_short_plain_lines_are_quoted(text in any::<String>(), lines in 0_usize..5) {
            let quoted = clean(&text, lines);
            prop_assert!(quoted.len() <= lines);
            prop_assert!(quoted.iter().all(|line| line.chars().count() <= LINE_CHARS + 1));
            prop_assert!(quoted.iter().all(|line| !line.chars().any(char::is_control)));
        }
    }
}
