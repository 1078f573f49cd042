//! Values in a spelling that InferenceX's reader takes too: `"8"`, `8.0` and `true` for a number, `yes` for a boolean.

use serde_json::Value as Json;

use super::yaml::{Node, Value};

/// Whether a field's schema says that it takes such spellings: `x-lax`.
pub(super) fn is_lax(schema: &Json) -> bool {
    schema.get("x-lax").is_some()
}

/// Whether the value is true, however it is spelled.
pub(super) fn is_true(node: &Node) -> bool {
    matches!(node.value, Value::Bool(true)) || boolean(&node.value) == Some(true)
}

/// The value as one of the expected types, where it is only spelled otherwise.
pub(super) fn coerce(expected: &[&str], node: &Node) -> Option<Node> {
    let value = expected.iter().find_map(|kind| match *kind {
        "boolean" => boolean(&node.value).map(Value::Bool),
        "integer" => integer(&node.value).map(Value::Int),
        "number" => number(&node.value).map(Value::Float),
        _ => None,
    })?;
    Some(Node {
        value,
        span: node.span,
    })
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Int(0) => Some(false),
        Value::Int(1) => Some(true),
        Value::Str(word) => match word.to_ascii_lowercase().as_str() {
            "0" | "off" | "f" | "false" | "n" | "no" => Some(false),
            "1" | "on" | "t" | "true" | "y" | "yes" => Some(true),
            _ => None,
        },
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(flag) => Some(i64::from(*flag)),
        Value::Float(x) => whole(*x),
        Value::Str(text) => {
            let digits = text.trim().replace('_', "");
            digits.parse().ok().or_else(|| whole(digits.parse().ok()?))
        }
        _ => None,
    }
}

fn whole(x: f64) -> Option<i64> {
    // Up to here every whole number has a float of its own.
    (x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0).then_some(x as i64)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Str(text) => text.trim().parse().ok().filter(|x: &f64| x.is_finite()),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coerced(kind: &str, value: Value) -> Option<Value> {
        let span = super::super::source::Span::default();
        coerce(&[kind], &Node { value, span }).map(|node| node.value)
    }

    #[test]
    fn numbers_and_booleans_in_other_spellings_are_what_they_mean() {
        let text = |t: &str| Value::Str(t.to_owned());
        assert_eq!(coerced("integer", text("8")), Some(Value::Int(8)));
        assert_eq!(coerced("integer", text("1_000")), Some(Value::Int(1000)));
        assert_eq!(coerced("integer", Value::Float(8.0)), Some(Value::Int(8)));
        assert_eq!(coerced("integer", Value::Bool(true)), Some(Value::Int(1)));
        assert_eq!(coerced("boolean", text("Yes")), Some(Value::Bool(true)));
        assert_eq!(coerced("boolean", Value::Int(0)), Some(Value::Bool(false)));
        for wrong in [text("x"), text(""), Value::Float(8.5), Value::Null] {
            assert_eq!(coerced("integer", wrong), None);
        }
        assert_eq!(coerced("boolean", Value::Int(2)), None);
        assert_eq!(coerced("boolean", text("maybe")), None);
    }
}
