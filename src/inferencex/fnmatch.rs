//! Shell-style patterns as Python's `fnmatch` matches them: `*` and `?` match anything, `/` too.

/// Whether a whole name matches.
pub(super) fn fnmatch(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // The last `*` and where its text ended: on a mismatch it takes one character more.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(after) = matches_one(&pattern, p, name[n]) {
            p = after;
            n += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Where the pattern goes on after one character, if the character fits.
fn matches_one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match class(pattern, at) {
            Some((inside, after)) => in_class(inside, c).then_some(after),
            None => (c == '[').then_some(at + 1),
        },
        literal => (c == literal).then_some(at + 1),
    }
}

/// What stands in the brackets, and where the pattern goes on. A `]` at the very start is a member.
fn class(pattern: &[char], at: usize) -> Option<(&[char], usize)> {
    let start = at + 1;
    let mut end = start;
    if pattern.get(end) == Some(&'!') {
        end += 1;
    }
    if pattern.get(end) == Some(&']') {
        end += 1;
    }
    let close = end + pattern.get(end..)?.iter().position(|c| *c == ']')?;
    Some((&pattern[start..close], close + 1))
}

fn in_class(inside: &[char], c: char) -> bool {
    let (negated, mut members) = match inside {
        ['!', rest @ ..] => (true, rest),
        _ => (false, inside),
    };
    let mut found = false;
    while let Some((first, rest)) = members.split_first() {
        members = match rest {
            ['-', last, rest @ ..] => {
                found |= (*first..=*last).contains(&c);
                rest
            }
            _ => {
                found |= *first == c;
                rest
            }
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_python() {
        for (pattern, name, matches) in [
            ("*", "", true),
            ("dsr1-*", "dsr1-fp8/x", true),
            ("dsr1-fp?-*", "dsr1-fp8-h200", true),
            ("dsr1-fp?-*", "dsr1-fp-h200", false),
            ("*[48]-?", "fp8-x", true),
            ("*[!48]-?", "fp8-x", false),
            ("*[4-8]", "fp5", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[a", "[a", true),
            ("[]x]*", "]y", true),
            ("DSR1*", "dsr1", false),
        ] {
            assert_eq!(fnmatch(pattern, name), matches, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_and_with_stars(name in "[a-z0-9.-]{0,12}", at in 0_usize..13) {
            prop_assert!(fnmatch(&name, &name));
            let at = at.min(name.len());
            let pattern = format!("{}*{}", &name[..at], &name[at..]);
            prop_assert!(fnmatch(&pattern, &name));
        }
    }
}
