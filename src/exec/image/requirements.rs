//! Hash-locked requirements files: what `pypi:FILE` may hold, and the key that follows from it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Options that say where packages come from. Hashes pin what comes, so these are in no key: an index, a mirror and a
/// folder of wheels on this machine give the same environment.
const SOURCES: [&str; 8] = [
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--no-index",
    "--trusted-host",
    "--pre",
];
/// Options that choose between the files that the hashes allow.
const CHOICES: [&str; 3] = ["--only-binary", "--no-binary", "--prefer-binary"];
/// The algorithms that pip takes in `--hash`, with their length in hexadecimal digits.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// What an environment made from a requirements file depends on: the packages with their hashes, and the platform.
///
/// The Python version is not in it, though wheels are chosen by it: planning never runs a program, and a key says the
/// same on every machine. It stands in the record, as provenance, with the rest of what the machine contributed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VenvKey([u8; 32]);

impl VenvKey {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for VenvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for VenvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VenvKey({self})")
    }
}

/// Why a requirements file does not pin its environment.
#[derive(Debug, thiserror::Error)]
pub enum RequirementsError {
    #[error("read the requirements file {}: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    /// A line that leaves something open.
    #[error("{}:{line}: {problem}\n  | {text}", file.display())]
    Line {
        file: PathBuf,
        line: usize,
        text: String,
        problem: Problem,
    },
    #[error("{}: it names no package", file.display())]
    Empty { file: PathBuf },
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(
        "no `--hash`, so what is installed may change; write the file with `pip-compile --generate-hashes` or `uv pip compile --generate-hashes`"
    )]
    NoHash,
    #[error("no exact version; pin it as `{0}==VERSION`")]
    NotPinned(String),
    #[error("`{0}` is no hash; expected `sha256:`, `sha384:` or `sha512:` and its hexadecimal digits")]
    BadHash(String),
    #[error("`{0}` brings in what the file itself does not hold; expected packages with `==` and `--hash`")]
    Option(String),
}

/// A requirements file that pins its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// What the key is made of: options that choose, then packages with sorted hashes, sorted.
    pinned: Vec<String>,
}

impl Requirements {
    /// Reads and checks a file.
    pub fn read(file: &Path) -> Result<Self, RequirementsError> {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|source| RequirementsError::Read {
            file: file.to_owned(),
            source,
        })?;
        Self::parse(file, &text)
    }

    /// Checks a file's text; `file` is only named in errors.
    pub fn parse(file: &Path, text: &str) -> Result<Self, RequirementsError> {
        let mut choices = Vec::new();
        let mut packages = Vec::new();
        for (line, logical) in logical_lines(text) {
            let parsed = parse_line(&logical).map_err(|problem| {
                let text = text.lines().nth(line - 1).unwrap_or_default().trim().to_owned();
                RequirementsError::Line {
                    file: file.to_owned(),
                    line,
                    text,
                    problem,
                }
            })?;
            match parsed {
                Line::Package(package) => packages.push(package),
                Line::Choice(choice) => choices.push(choice),
                Line::Source => {}
            }
        }
        if packages.is_empty() {
            return Err(RequirementsError::Empty {
                file: file.to_owned(),
            });
        }
        packages.sort();
        packages.dedup();
        choices.append(&mut packages);
        Ok(Self { pinned: choices })
    }

    /// The key of the environment on this platform. Comments, layout, order and package sources do not change it.
    pub fn key(&self) -> VenvKey {
        let mut hasher = blake3::Hasher::new_derive_key("sweep image pypi 1");
        let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
        for part in std::iter::once(&platform).chain(&self.pinned) {
            hasher.update(part.as_bytes());
            hasher.update(b"\n");
        }
        VenvKey(*hasher.finalize().as_bytes())
    }
}

enum Line {
    Package(String),
    Choice(String),
    Source,
}

/// Lines as pip joins them: a trailing backslash continues, a comment does not; each with its first line's number.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        let (part, continues) = match line.trim_end().strip_suffix('\\') {
            Some(part) if !is_comment => (part, true),
            _ => (line, false),
        };
        match joined.last_mut() {
            Some((_, last)) if open => {
                last.push(' ');
                last.push_str(without_comment(part));
            }
            _ => joined.push((index + 1, without_comment(part).to_owned())),
        }
        open = continues;
    }
    joined.retain(|(_, line)| !line.trim().is_empty());
    joined
}

/// A comment starts at a `#` that begins the line or follows white space; a URL's fragment does neither.
fn without_comment(line: &str) -> &str {
    let starts = |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    line.match_indices('#')
        .find(starts)
        .map_or(line, |(at, _)| &line[..at])
}

fn parse_line(line: &str) -> Result<Line, Problem> {
    let mut tokens = line.split_whitespace();
    let first = line.split_whitespace().next().unwrap_or_default();
    if first.starts_with('-') {
        let option = tokens.collect::<Vec<_>>().join(" ").replacen('=', " ", 1);
        return match option.split(' ').next().unwrap_or_default() {
            name if SOURCES.contains(&name) => Ok(Line::Source),
            name if CHOICES.contains(&name) => Ok(Line::Choice(option)),
            _ => Err(Problem::Option(first.to_owned())),
        };
    }
    let mut words = Vec::new();
    let mut hashes = Vec::new();
    while let Some(token) = tokens.next() {
        if token == "--hash" {
            hashes.push(checked_hash(tokens.next().unwrap_or_default())?);
        } else if let Some(hash) = token.strip_prefix("--hash=") {
            hashes.push(checked_hash(hash)?);
        } else if token.starts_with("--") {
            return Err(Problem::Option(token.to_owned()));
        } else {
            words.push(token);
        }
    }
    let package = words.join(" ");
    let (name, _marker) = package.split_once(';').unwrap_or((&package, ""));
    if !(name.contains("==") || name.contains(" @ ")) || name.contains('*') {
        let bare = name.split(['=', '<', '>', '!', '~', ' ']).next().unwrap_or(name);
        return Err(Problem::NotPinned(bare.to_owned()));
    }
    if hashes.is_empty() {
        return Err(Problem::NoHash);
    }
    hashes.sort();
    hashes.dedup();
    Ok(Line::Package(format!("{package} {}", hashes.join(" "))))
}

fn checked_hash(hash: &str) -> Result<String, Problem> {
    let hash = hash.to_ascii_lowercase();
    let is_known = ALGORITHMS.iter().any(|(algorithm, length)| {
        hash.strip_prefix(algorithm)
            .and_then(|rest| rest.strip_prefix(':'))
            .is_some_and(|digits| digits.len() == *length && digits.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    if is_known {
        Ok(hash)
    } else {
        Err(Problem::BadHash(hash))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Requirements, RequirementsError> {
        Requirements::parse(Path::new("engine.txt"), text)
    }

    fn problem(text: &str) -> (usize, Problem) {
        match parse(text).unwrap_err() {
            RequirementsError::Line { line, problem, .. } => (line, problem),
            other => panic!("{other}"),
        }
    }

    fn hash(digit: char) -> String {
        format!("sha256:{}", String::from(digit).repeat(64))
    }

    #[test]
    fn layout_comments_order_and_sources_are_not_in_the_key() {
        let (a, b) = (hash('a'), hash('b'));
        let plain = format!("one==1.0 --hash={a} --hash={b}\ntwo==2 --hash={a}\n");
        let dressed = format!(
            "# made by a tool\n--index-url https://mirror.invalid/simple\n--find-links=/opt/wheels\n\n\
             two==2 \\\n    --hash={a}\n    # via one\none==1.0 \\\n  --hash {b} \\\n  --hash={a}  # pinned\n"
        );
        assert_eq!(parse(&plain).unwrap().key(), parse(&dressed).unwrap().key());
        let chosen = format!("--only-binary :all:\n{plain}");
        assert_ne!(parse(&plain).unwrap().key(), parse(&chosen).unwrap().key());
        assert_eq!(parse(&plain).unwrap().key().to_string().len(), 64);
    }

    #[test]
    fn what_leaves_something_open_is_refused_with_its_line() {
        let a = hash('a');
        let good = format!("one==1 --hash={a}\n");
        assert_eq!(problem(&format!("# x\n{good}two==2\n")), (3, Problem::NoHash));
        assert_eq!(
            problem(&format!("{good}two>=2 --hash={a}")),
            (2, Problem::NotPinned("two".into()))
        );
        assert_eq!(
            problem(&format!("two==2.* --hash={a}")),
            (1, Problem::NotPinned("two".into()))
        );
        let marker = format!("two; python_version == '3.9' --hash={a}");
        assert_eq!(problem(&marker), (1, Problem::NotPinned("two".into())));
        assert_eq!(
            problem("two==2 --hash=md5:00"),
            (1, Problem::BadHash("md5:00".into()))
        );
        assert_eq!(problem("two==2 --hash"), (1, Problem::BadHash(String::new())));
        assert_eq!(
            problem(&format!("{good}-r other.txt")),
            (2, Problem::Option("-r".into()))
        );
        assert_eq!(problem("-e ."), (1, Problem::Option("-e".into())));
        assert!(matches!(
            parse("# nothing\n").unwrap_err(),
            RequirementsError::Empty { .. }
        ));
        let message = parse(&format!("{good}two==2")).unwrap_err().to_string();
        assert!(message.starts_with("engine.txt:2: no `--hash`"), "{message}");
        assert!(message.ends_with("\n  | two==2"), "{message}");
    }

    #[test]
    fn a_url_may_have_a_fragment() {
        let line = format!("one @ https://files.invalid/one.whl#egg=one --hash={}", hash('a'));
        assert!(parse(&line).unwrap().pinned[0].contains("#egg=one"));
    }

    proptest! {
        /// Any text gives a key or an error, and equal pins give equal keys in any order.
        #[test]
        fn total(text in "[a-z=#\\\\ \\-\n;@:*]{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn order_is_nothing_and_every_digit_counts(
            digits in prop::collection::vec("[0-9a-f]{64}", 2..6), turn in 1_usize..5, at in 0_usize..64,
        ) {
            let mut lines: Vec<String> = digits.iter().enumerate()
                .map(|(n, digits)| format!("p{n}=={n} --hash=sha256:{digits}\n")).collect();
            let key = parse(&lines.concat()).unwrap().key();
            let middle = turn % lines.len();
            lines.rotate_left(middle);
            prop_assert_eq!(parse(&lines.concat()).unwrap().key(), key);
            let place = lines[0].len() - 65 + at;
            let other = if lines[0].as_bytes()[place] == b'0' { "1" } else { "0" };
            lines[0].replace_range(place..=place, other);
            prop_assert_ne!(parse(&lines.concat()).unwrap().key(), key);
        }
    }
}
