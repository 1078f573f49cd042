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

/// Text in columns; those after the first that hold numbers are aligned to the right.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..count)
        .map(|i| {
            rows.iter()
                .map(|row| row[i].chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let numeric: Vec<bool> = (0..count)
        .map(|i| {
            rows.iter()
                .skip(1)
                .all(|r| r[i].starts_with(|c: char| c.is_ascii_digit()))
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(i, cell)| {
            let pad = " ".repeat(widths[i] - cell.chars().count());
            if numeric[i] {
                format!("{pad}{cell}")
            } else {
                format!("{cell}{pad}")
            }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
