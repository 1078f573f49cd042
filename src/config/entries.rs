//! Where the entries of a master config stand, told by its lines alone: to see which of them an edit touched without
//! reading the others.

use std::collections::HashSet;
use std::ops::Range;

/// A top-level entry: its key, and the bytes from its line to the next entry's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryText<'a> {
    pub key: &'a str,
    pub range: Range<usize>,
}

/// The entries of a text in which each begins with a line of its key alone and no entry refers to another. `None` where
/// lines do not tell, as with anchors, quoted keys or several documents.
pub fn split(text: &str) -> Option<Vec<EntryText<'_>>> {
    // Parsers do not agree on what else ends a line.
    let lone_return = text
        .match_indices('\r')
        .any(|(at, _)| !text[at..].starts_with("\r\n"));
    if lone_return || text.contains(['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}']) {
        return None;
    }
    let mut entries: Vec<EntryText<'_>> = Vec::new();
    let mut keys = HashSet::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let range = at..at + line.len();
        at = range.end;
        match line.as_bytes()[0] {
            b'#' => continue,
            b'\n' | b'\r' => continue,
            // An anchor or an alias, or a character that looks like one.
            _ if line.contains(['&', '*']) => return None,
            // A text that keeps the empty lines after it: these would be more with the next entry left out.
            _ if line.contains(['|', '>']) && line.contains('+') => return None,
            b' ' if entries.is_empty() && !line.trim().is_empty() => return None,
            b' ' => continue,
            _ => {}
        }
        let (key, rest) = line.split_once(':')?;
        let rest = rest.trim();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+@".contains(c);
        let is_alone = rest.is_empty() || rest.starts_with('#');
        if !is_alone || !key.starts_with(|c: char| c.is_ascii_alphanumeric()) || !key.chars().all(is_plain) {
            return None;
        }
        if let Some(before) = entries.last_mut() {
            before.range.end = range.start;
        }
        if !keys.insert(key) {
            return None;
        }
        entries.push(EntryText {
            key,
            range: range.start..text.len(),
        });
    }
    Some(entries)
}

/// The text with nothing but its line ends where `keeps` refuses an entry: what is left stands in the lines where it
/// stood.
pub fn only(text: &str, entries: &[EntryText<'_>], keeps: impl Fn(&EntryText<'_>) -> bool) -> String {
    let mut left = String::with_capacity(text.len());
    left.push_str(&text[..entries.first().map_or(text.len(), |first| first.range.start)]);
    for entry in entries {
        let own = &text[entry.range.clone()];
        if keeps(entry) {
            left.push_str(own);
        } else {
            left.extend(own.matches('\n'));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::diagnostic::Diagnostics;
    use super::super::source::Source;
    use super::super::yaml::Document;
    use super::*;

    const TEXT: &str = "\
# masters
a-fp8: # the first
  image: one

  tp: [1,
    2]
# of b
b.fp4:
  note: 'a
    b'
";

    fn keys<'a>(entries: &[EntryText<'a>]) -> Vec<&'a str> {
        entries.iter().map(|entry| entry.key).collect()
    }

    #[test]
    fn entries_are_told_by_their_lines() {
        let Some(entries) = split(TEXT) else {
            panic!("it can be split")
        };
        assert_eq!(keys(&entries), ["a-fp8", "b.fp4"]);
        assert!(TEXT[entries[0].range.clone()].ends_with("# of b\n"));
        assert_eq!(
            only(TEXT, &entries, |entry| entry.key == "b.fp4"),
            "# masters\n\n\n\n\n\n\nb.fp4:\n  note: 'a\n    b'\n"
        );
        assert_eq!(only(TEXT, &entries, |_| true), TEXT);
        assert_eq!(split("# nothing\n\n"), Some(Vec::new()));
    }

    #[test]
    fn what_lines_do_not_tell_is_not_split() {
        for text in [
            "a: { image: one }\n",
            "a: &a\n  b: 1\nc:\n  <<: *a\n",
            "a:\n  image: 'x & y'\n",
            "\"a\":\n  b: 1\n",
            "? a\n: b\n",
            "- a\n",
            "a:\n  b: 1\n---\nc:\n  b: 1\n",
            "%YAML 1.2\n",
            "a:\n  b: 1\na:\n  b: 2\n",
            "  a:\n    b: 1\n",
            "a:\n\tb: 1\nc\n",
            "a:\n  image: |+\n    text\nb:\n  c: 1\n",
            "a:\n  b: 1 # x\rc:\r  d: 1\n",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    fn parsed(text: &str) -> Option<Vec<(String, String)>> {
        let source = Arc::new(Source {
            path: PathBuf::from("m.yaml"),
            text: text.to_owned(),
        });
        let document = Document::parse(&source, &mut Diagnostics::default()).ok()?;
        let entries = document.root.entries().iter();
        Some(
            entries
                .map(|(key, node)| (key.name.clone(), format!("{} {}", key.span.line, node.to_json())))
                .collect(),
        )
    }

    /// Lines of which some open what others close.
    fn lines() -> impl Strategy<Value = Vec<&'static str>> {
        let line = prop::sample::select(vec![
            "a:",
            "b:",
            "c: # c",
            "# note",
            "",
            "  x: 1",
            "  y: 'one",
            "  z: two'",
            "  w: \"",
            "  v: [1,",
            "    2]",
            "  u: |",
            "  u: >-",
            "  u: |+",
            "   text",
            "  - 1",
            "  t: {",
            "  }",
            "  s: plain",
            "    more",
            "'",
            "\"",
        ]);
        prop::collection::vec(line, 0..14)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        /// Entries mean by themselves what they mean among others: whatever is parsed of some of them and of the rest is
        /// what is parsed of all, and the other way round.
        #[test]
        fn an_entry_by_itself_means_what_it_means_among_others(lines in lines(), kept in any::<[bool; 3]>()) {
            let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
            let Some(entries) = split(&text) else { return Ok(()) };
            let keeps = |key: &str| kept[["a", "b", "c"].iter().position(|name| *name == key).unwrap_or_default()];
            let of = |side: Option<bool>| {
                let keeps = |key: &str| side.is_none_or(|side| keeps(key) == side);
                let read = parsed(&only(&text, &entries, |entry| keeps(entry.key)));
                // As a project is kept and asked: only where both tell of the same keys.
                let keys = entries.iter().map(|entry| entry.key).filter(|key| keeps(key));
                read.filter(|read| keys.eq(read.iter().map(|(key, _)| key.as_str())))
            };
            let is_one_sided = [true, false].map(|side| entries.iter().all(|entry| keeps(entry.key) != side));
            prop_assume!(is_one_sided == [false; 2]);
            let (all, some, rest) = (of(None), of(Some(true)), of(Some(false)));
            prop_assert_eq!(all.is_some(), some.is_some() && rest.is_some());
            if let (Some(all), Some(some), Some(rest)) = (all, some, rest) {
                let (kept, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| keeps(key));
                prop_assert_eq!((kept, left), (some, rest));
            }
        }
    }
}
