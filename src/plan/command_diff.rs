//! How two commands differ, flag by flag.

use std::collections::BTreeMap;

/// What differs from `old` to `new`, a line each: `--max-num-seqs 256 → 512`, `+ --enable-x`, `- --port 1`.
///
/// Flags are paired by name, so their order does not matter where names are unique; words that are no flags are
/// compared as one text.
pub fn command_changes(old: &str, new: &str) -> Vec<String> {
    let (old_words, old_flags) = parts(old);
    let (new_words, new_flags) = parts(new);
    let mut lines = Vec::new();
    if old_words != new_words {
        lines.push(format!("{} → {}", old_words.join(" "), new_words.join(" ")));
    }
    for (flag, new_value) in &new_flags {
        match old_flags.get(flag) {
            Some(old_value) if old_value == new_value => {}
            Some(old_value) => lines.push(format!("{flag} {} → {}", shown(old_value), shown(new_value))),
            None => lines.push(format!("+ {}", joined(flag, new_value))),
        }
    }
    for (flag, value) in old_flags
        .iter()
        .filter(|(flag, _)| !new_flags.contains_key(*flag))
    {
        lines.push(format!("- {}", joined(flag, value)));
    }
    if lines.is_empty() && old != new {
        lines.push("the same flags in another order".to_owned());
    }
    lines
}

/// The names of the flags (or `command`) in which two commands differ.
pub fn differing_flags(a: &str, b: &str) -> Vec<String> {
    let (a_words, a_flags) = parts(a);
    let (b_words, b_flags) = parts(b);
    let mut names: Vec<String> = a_flags
        .keys()
        .chain(b_flags.keys().filter(|flag| !a_flags.contains_key(*flag)))
        .filter(|flag| a_flags.get(*flag) != b_flags.get(*flag))
        .cloned()
        .collect();
    if a_words != b_words {
        names.insert(0, "command".to_owned());
    }
    names
}

/// The leading words, and each flag with the words that follow it up to the next; a repeated flag keeps all.
fn parts(command: &str) -> (Vec<String>, BTreeMap<String, Vec<String>>) {
    let words = shell_words::split(command)
        .unwrap_or_else(|_| command.split_whitespace().map(str::to_owned).collect());
    let mut leading = Vec::new();
    let mut flags = BTreeMap::<String, Vec<String>>::new();
    let mut current: Option<String> = None;
    for word in words {
        // Short flags before the first long one belong to the program that is started, as in `python3 -m module`.
        if word.starts_with("--") || (current.is_some() && is_short_flag(&word)) {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            flags.entry(flag.clone()).or_default().extend(value);
            current = Some(flag);
        } else {
            match &current {
                Some(flag) => flags.entry(flag.clone()).or_default().push(word),
                None => leading.push(word),
            }
        }
    }
    (leading, flags)
}

/// `-tp`, and not a number such as `-1`.
fn is_short_flag(word: &str) -> bool {
    word.strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
}

fn shown(values: &[String]) -> String {
    if values.is_empty() {
        "(set)".to_owned()
    } else {
        values.join(" ")
    }
}

fn joined(flag: &str, values: &[String]) -> String {
    if values.is_empty() {
        flag.to_owned()
    } else {
        format!("{flag} {}", values.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let old = "vllm serve m --port $PORT --max-num-seqs 256 --gone 1 --same a b";
        let new = "vllm serve m --port $PORT --max-num-seqs 512 --same a b --new-flag";
        assert_eq!(
            command_changes(old, new),
            ["--max-num-seqs 256 → 512", "+ --new-flag", "- --gone 1"]
        );
        assert_eq!(
            differing_flags(old, new),
            ["--gone", "--max-num-seqs", "--new-flag"]
        );
        assert!(command_changes(old, old).is_empty());
        assert_eq!(
            differing_flags(
                "python3 -m a --port 1 -tp 4 -x -1",
                "python3 -m a --port 1 -tp 8 -x -1"
            ),
            ["-tp"]
        );
    }

    #[test]
    fn other_programs_and_orders_are_told() {
        assert_eq!(command_changes("a x --f", "b x --f"), ["a x → b x"]);
        assert_eq!(
            command_changes("a --f --g", "a --g --f"),
            ["the same flags in another order"]
        );
    }
}
