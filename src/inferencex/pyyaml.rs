//! Scalars as PyYAML resolves them: YAML 1.1, where `yes` is a boolean, `017` is fifteen and `1e3` is a text.

use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::source::Source;
use crate::config::yaml::{Document, Node, Value};

use super::pyvalue::PyValue;

/// Parses a text as PyYAML's safe loader does. Repeated keys become warnings in `notes`; the last one counts.
pub(super) fn load(source: &Arc<Source>, notes: &mut Diagnostics) -> Result<(Document, PyValue), Diagnostic> {
    let document = Document::parse(source, notes)?;
    let value = value(&document, &document.root);
    Ok((document, value))
}

fn value(document: &Document, node: &Node) -> PyValue {
    match &node.value {
        Value::Seq(items) => PyValue::List(items.iter().map(|item| value(document, item)).collect()),
        Value::Map(entries) => PyValue::Dict(
            entries
                .iter()
                .map(|(key, item)| (key.name.clone(), value(document, item)))
                .collect(),
        ),
        scalar => {
            let text = document.source.slice(node.span);
            match plain(text) {
                Some(value) => value,
                None => match scalar {
                    Value::Null => PyValue::None,
                    Value::Str(text) => PyValue::Str(text.clone()),
                    // A text that YAML 1.2 takes for something else, such as `1e3`.
                    _ => PyValue::from(text),
                },
            }
        }
    }
}

/// What a plain scalar means beside a text; none for a text, and for anything in quotes or in a block.
fn plain(text: &str) -> Option<PyValue> {
    if text.is_empty() {
        return Some(PyValue::None);
    }
    // A word that starts otherwise is a text; most are.
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.~nNyYtTfFoO".contains(c)) {
        return None;
    }
    match text {
        "~" | "null" | "Null" | "NULL" => return Some(PyValue::None),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Some(true.into()),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Some(false.into());
        }
        _ => {}
    }
    int(text)
        .map(PyValue::Int)
        .or_else(|| float(text).map(PyValue::Float))
        .or_else(|| is_date(text).then(|| PyValue::Date(text.to_owned())))
}

fn signed(text: &str) -> (i64, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    }
}

fn int(text: &str) -> Option<i64> {
    let (sign, digits) = signed(text);
    let radix = |radix: u32, digits: &str| {
        let clean = digits.replace('_', "");
        let whole = !clean.is_empty() && clean.chars().all(|c| c.is_digit(radix));
        whole.then(|| i64::from_str_radix(&clean, radix).ok()).flatten()
    };
    let size = if digits == "0" {
        Some(0)
    } else if let Some(rest) = digits.strip_prefix("0b") {
        radix(2, rest)
    } else if let Some(rest) = digits.strip_prefix("0x") {
        radix(16, rest)
    } else if let Some(rest) = digits.strip_prefix('0') {
        radix(8, rest)
    } else if digits.starts_with(|c: char| c.is_ascii_digit()) {
        if digits.contains(':') {
            sexagesimal(digits)
        } else {
            radix(10, digits)
        }
    } else {
        None
    };
    size.map(|size| sign * size)
}

/// `1:30` is ninety.
fn sexagesimal(digits: &str) -> Option<i64> {
    let mut parts = digits.split(':');
    let first = parts.next()?.replace('_', "").parse::<i64>().ok()?;
    parts.try_fold(first, |total, part| {
        let tidy = matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_digit());
        let part = part.parse::<i64>().ok().filter(|part| tidy && *part < 60)?;
        total.checked_mul(60)?.checked_add(part)
    })
}

/// A fraction needs its point and an exponent its sign: `1e3` and `1.0e3` are texts.
fn float(text: &str) -> Option<f64> {
    let (_, digits) = signed(text);
    match digits {
        ".inf" | ".Inf" | ".INF" => {
            return Some(if text.starts_with('-') {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            });
        }
        ".nan" | ".NaN" | ".NAN" if digits == text => return Some(f64::NAN),
        _ => {}
    }
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.')?;
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let starts = if whole.is_empty() { fraction } else { whole };
    let signed_exponent = exponent.is_none_or(|exponent| {
        exponent.len() > 1
            && exponent.starts_with(['+', '-'])
            && exponent[1..].bytes().all(|b| b.is_ascii_digit())
    });
    if !starts.starts_with(|c: char| c.is_ascii_digit())
        || !number(whole)
        || !number(fraction)
        || !signed_exponent
    {
        return None;
    }
    text.replace('_', "").parse().ok()
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

    use super::*;

    fn loaded(text: &str) -> PyValue {
        let source = Arc::new(Source {
            path: "x.yaml".into(),
            text: text.to_owned(),
        });
        load(&source, &mut Diagnostics::default()).unwrap().1
    }

    #[test]
    fn scalars_are_those_of_yaml_1_1() {
        use PyValue::{Bool, Date, Float, Int, None, Str};
        let text = |text: &str| Str(text.to_owned());
        for (written, meant) in [
            ("2_063_837", Int(2_063_837)),
            ("017", Int(15)),
            ("0o17", text("0o17")),
            ("08", text("08")),
            ("0x1F", Int(31)),
            ("1:30", Int(90)),
            ("1e3", text("1e3")),
            ("1.5e+3", Float(1500.0)),
            ("1.", Float(1.0)),
            (".5", Float(0.5)),
            ("-8", Int(-8)),
            ("8.0", Float(8.0)),
            ("yes", Bool(true)),
            ("Off", Bool(false)),
            ("y", text("y")),
            ("'yes'", text("yes")),
            ("\"8\"", text("8")),
            ("~", None),
            ("", None),
            ("none", text("none")),
            ("1.2.3", text("1.2.3")),
            ("0.3.12.post1", text("0.3.12.post1")),
            ("2026-08-01", Date("2026-08-01".to_owned())),
            ("nvcr.io/nvidia/x:1.0", text("nvcr.io/nvidia/x:1.0")),
        ] {
            assert_eq!(
                loaded(&format!("a: {written} # comment\n"))
                    .as_dict()
                    .unwrap()
                    .get("a"),
                Some(&meant),
                "{written}"
            );
            assert_eq!(
                loaded(&format!("{{ a: {written}, b: 1 }}\n"))
                    .as_dict()
                    .unwrap()
                    .get("a"),
                Some(&meant),
                "{written}"
            );
        }
        let block = loaded("a: |\n  yes\nb: yes\n  no\n");
        let block = block.as_dict().unwrap();
        assert_eq!(block.get("a"), Some(&text("yes\n")));
        assert_eq!(block.get("b"), Some(&text("yes no")));
    }
}
