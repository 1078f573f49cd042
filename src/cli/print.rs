//! Standard output: whole texts at a time, and no panic when its reader has gone.

use std::io::Write;

use serde::Serialize;

/// Writes a text. A reader that has gone, as in `sweep ls | head`, is no failure; a full disk is.
pub(super) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: write to standard output: {error}");
            std::process::exit(i32::from(super::failure::MACHINERY));
        }
        _ => {}
    }
}

/// Writes a value as JSON and a line break.
pub(super) fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("what commands print has text keys");
    out(&text);
    out("\n");
}
