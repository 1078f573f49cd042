//! Standard output: whole texts at a time, and no panic when its reader has gone.

use std::io::Write;

use serde::Serialize;

/// Writes a text. A closed pipe ends the program quietly, as `sweep ls | head` expects.
pub(super) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

/// Writes a value as JSON and a line break.
pub(super) fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("what commands print has text keys");
    out(&text);
    out("\n");
}
