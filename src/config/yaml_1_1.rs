//! Scalars as PyYAML resolves them: YAML 1.1, where `yes` is a boolean, `017` is fifteen and `1e3` is a text.
//!
//! InferenceX's own files are read by PyYAML elsewhere, and must mean the same here. sweep's own files are YAML 1.2.

use super::source::Source;
use super::yaml::{Document, Node, Value};

/// What YAML 1.1 makes of a scalar.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A date or a time, as written.
    Date(String),
    Str(String),
}

/// A scalar's meaning in YAML 1.1; none for a list or a mapping.
pub fn scalar(source: &Source, node: &Node) -> Option<Scalar> {
    if matches!(node.value, Value::Seq(_) | Value::Map(_)) {
        return None;
    }
    let text = source.slice(node.span);
    Some(match (plain(text), &node.value) {
        (None, Value::Null) => Scalar::Null,
        (None, Value::Str(text)) => Scalar::Str(text.clone()),
        (Some(_), Value::Str(text)) if is_tagged(source, node) => Scalar::Str(text.clone()),
        (Some(scalar), _) => scalar,
        // A text that YAML 1.2 takes for something else, such as `1e3`.
        (None, _) => Scalar::Str(text.to_owned()),
    })
}

/// Resolves a document's scalars anew. Dates stay texts.
pub fn resolve(document: &mut Document) {
    resolve_node(&document.source, &mut document.root);
}

fn resolve_node(source: &Source, node: &mut Node) {
    let resolved = match &mut node.value {
        Value::Seq(items) => {
            items.iter_mut().for_each(|item| resolve_node(source, item));
            return;
        }
        Value::Map(entries) => {
            entries
                .iter_mut()
                .for_each(|(_, value)| resolve_node(source, value));
            return;
        }
        _ => scalar(source, node),
    };
    match resolved {
        // Most scalars are texts, and are so in both.
        None | Some(Scalar::Str(_) | Scalar::Date(_)) if matches!(node.value, Value::Str(_)) => {}
        None => {}
        Some(Scalar::Null) => node.value = Value::Null,
        Some(Scalar::Bool(value)) => node.value = Value::Bool(value),
        Some(Scalar::Int(value)) => node.value = Value::Int(value),
        Some(Scalar::Float(value)) => node.value = Value::Float(value),
        Some(Scalar::Str(text) | Scalar::Date(text)) => node.value = Value::Str(text),
    }
}

/// Whether a tag such as `!!str` stands before the scalar: then it is what the tag says.
fn is_tagged(source: &Source, node: &Node) -> bool {
    let before = source.text[..node.span.range().start].trim_end_matches(' ');
    let word = before
        .rsplit(|c: char| c.is_whitespace() || "[{,".contains(c))
        .next();
    word.is_some_and(|word| word.starts_with('!'))
}

/// What a plain scalar means beside a text; none for a text, and for anything in quotes or in a block.
fn plain(text: &str) -> Option<Scalar> {
    if text.is_empty() {
        return Some(Scalar::Null);
    }
    // A word that starts otherwise is a text; most are.
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.~nNyYtTfFoO".contains(c)) {
        return None;
    }
    match text {
        "~" | "null" | "Null" | "NULL" => return Some(Scalar::Null),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Some(Scalar::Bool(true));
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Some(Scalar::Bool(false));
        }
        _ => {}
    }
    int(text)
        .or_else(|| float(text).map(Scalar::Float))
        .or_else(|| is_date(text).then(|| Scalar::Date(text.to_owned())))
}

fn signed(text: &str) -> (i64, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    }
}

/// Digits in several bases. A number that no `i64` holds is infinite: it counts nothing here.
fn int(text: &str) -> Option<Scalar> {
    let (sign, digits) = signed(text);
    let (radix, digits) = if let Some(rest) = digits.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = digits.strip_prefix("0x") {
        (16, rest)
    } else if digits.len() > 1 && digits.starts_with('0') && !digits.contains(':') {
        (8, digits)
    } else if digits.starts_with(|c: char| c.is_ascii_digit()) {
        (10, digits)
    } else {
        return None;
    };
    if radix == 10 && digits.contains(':') {
        return sexagesimal(digits).map(|size| Scalar::Int(sign * size));
    }
    let clean = digits.replace('_', "");
    if clean.is_empty() || !clean.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(match i64::from_str_radix(&clean, radix) {
        Ok(size) => Scalar::Int(sign * size),
        Err(_) => Scalar::Float(sign as f64 * f64::INFINITY),
    })
}

/// `1:30` is ninety. It does not begin with a zero.
fn sexagesimal(digits: &str) -> Option<i64> {
    let mut parts = digits.split(':');
    let first = parts.next().filter(|first| !first.starts_with('0'))?;
    let first = first.replace('_', "").parse::<i64>().ok()?;
    parts.try_fold(first, |total, part| {
        total.checked_mul(60)?.checked_add(sixtieths(part)?)
    })
}

fn sixtieths(part: &str) -> Option<i64> {
    let tidy = matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_digit());
    part.parse::<i64>().ok().filter(|part| tidy && *part < 60)
}

/// A fraction needs its point, an exponent its sign, and a sign a digit behind it: `1e3`, `1.0e3` and `-.5` are texts.
fn float(text: &str) -> Option<f64> {
    let (sign, digits) = signed(text);
    match digits {
        ".inf" | ".Inf" | ".INF" => return Some(sign as f64 * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if digits == text => return Some(f64::NAN),
        _ => {}
    }
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.')?;
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    if !number(fraction) {
        return None;
    }
    if let Some((first, rest)) = whole.split_once(':') {
        return sexagesimal_float(sign, first, rest, fraction).filter(|_| exponent.is_none());
    }
    let starts = if whole.is_empty() { fraction } else { whole };
    let signed_exponent = exponent.is_none_or(|exponent| {
        exponent.len() > 1
            && exponent.starts_with(['+', '-'])
            && exponent[1..].bytes().all(|b| b.is_ascii_digit())
    });
    let is_float = starts.starts_with(|c: char| c.is_ascii_digit())
        && number(whole)
        && signed_exponent
        && (!whole.is_empty() || digits == text);
    is_float.then(|| text.replace('_', "").parse().ok()).flatten()
}

/// `1:30.5` is ninety and a half.
fn sexagesimal_float(sign: i64, first: &str, rest: &str, fraction: &str) -> Option<f64> {
    let starts = first.starts_with(|c: char| c.is_ascii_digit());
    let first: f64 = first.replace('_', "").parse().ok().filter(|_| starts)?;
    let (middle, last) = rest.rsplit_once(':').map_or((None, rest), |(m, l)| (Some(m), l));
    let whole = middle
        .into_iter()
        .flat_map(|middle| middle.split(':'))
        .try_fold(first, |total, part| Some(total * 60.0 + sixtieths(part)? as f64))?;
    sixtieths(last)?;
    let last: f64 = format!("{last}.{fraction}").replace('_', "").parse().ok()?;
    Some(sign as f64 * (whole * 60.0 + last))
}

/// `2026-08-01`, with or without a time behind it.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let day = text.find(['T', 't', ' ']).map_or(text, |at| &text[..at]);
    let parts: Vec<&str> = day.split('-').collect();
    let timed = day.len() < text.len();
    digit(0)
        && parts.len() == 3
        && parts[0].len() == 4
        && parts[1..]
            .iter()
            .all(|part| part.len() == 2 || (timed && part.len() == 1))
        && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()))
        && (!timed || text[day.len()..].contains(':'))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use super::super::diagnostic::Diagnostics;
    use super::*;

    fn document(text: &str) -> Document {
        let source = Arc::new(Source {
            path: "x.yaml".into(),
            text: text.to_owned(),
        });
        Document::parse(&source, &mut Diagnostics::default()).unwrap()
    }

    fn meaning(text: &str) -> Scalar {
        let document = document(text);
        scalar(&document.source, document.root.get("a").unwrap()).unwrap()
    }

    #[test]
    fn scalars_are_those_of_yaml_1_1() {
        use Scalar::{Bool, Date, Float, Int, Null, Str};
        let text = |text: &str| Str(text.to_owned());
        for (written, meant) in [
            ("2_063_837", Int(2_063_837)),
            ("017", Int(15)),
            ("0_", Int(0)),
            ("0o17", text("0o17")),
            ("08", text("08")),
            ("0x1F", Int(31)),
            ("0b11", Int(3)),
            ("1:30", Int(90)),
            ("1:60", text("1:60")),
            ("-1:30", Int(-90)),
            ("1:30.5", Float(90.5)),
            ("190:20:30.15", Float(685_230.15)),
            ("1e3", text("1e3")),
            ("1.5e+3", Float(1500.0)),
            ("1.", Float(1.0)),
            (".5", Float(0.5)),
            ("-.5", text("-.5")),
            ("-8", Int(-8)),
            ("8.0", Float(8.0)),
            ("99999999999999999999", Float(f64::INFINITY)),
            ("yes", Bool(true)),
            ("Off", Bool(false)),
            ("y", text("y")),
            ("'yes'", text("yes")),
            ("\"8\"", text("8")),
            ("!!str 8", text("8")),
            ("~", Null),
            ("", Null),
            ("none", text("none")),
            ("1.2.3", text("1.2.3")),
            ("0.3.12.post1", text("0.3.12.post1")),
            ("2026-08-01", Date("2026-08-01".to_owned())),
            ("nvcr.io/nvidia/x:1.0", text("nvcr.io/nvidia/x:1.0")),
        ] {
            assert_eq!(meaning(&format!("a: {written} # comment\n")), meant, "{written}");
            assert_eq!(
                meaning(&format!("{{ a: {written}, b: 1 }}\n")),
                meant,
                "{written}"
            );
        }
        assert_eq!(meaning("a: |\n  yes\n"), text("yes\n"));
        assert_eq!(meaning("a: yes\n  no\n"), text("yes no"));
    }

    #[test]
    fn aliases_and_merged_keys_mean_what_their_anchors_say() {
        let mut document =
            document("a: &a { x: 017, y: yes, z: &z 1:30 }\nb: { <<: *a, y: 2026-08-01 }\nc: *z\n");
        resolve(&mut document);
        assert_eq!(
            document.root.to_json(),
            serde_json::json!({
                "a": {"x": 15, "y": true, "z": 90},
                "b": {"x": 15, "y": "2026-08-01", "z": 90},
                "c": 90,
            })
        );
    }
}
