//! JSON as Python's `json` module writes it: separators, ASCII escapes, the shortest floats in Python's notation.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::pyvalue::{Dict, PyValue};

/// How a text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `json.dumps(x)`: one line, `", "` and `": "`.
    Line,
    /// `separators=(",", ":")`.
    Compact,
    /// `separators=(",", ":"), sort_keys=True`.
    Canonical,
    /// `indent=2`.
    Indented,
    /// pydantic's `model_dump_json`: compact, and characters beyond ASCII as they are.
    Model,
}

/// The text of a value, without a line break at its end.
pub fn dumps(value: &PyValue, layout: Layout) -> String {
    let mut writer = Writer {
        text: String::new(),
        layout,
    };
    writer.value(value, 0);
    writer.text
}

/// Reads a JSON text. Of a key that stands twice the last value counts, at the first one's place.
pub fn loads(text: &str) -> Result<PyValue, serde_json::Error> {
    serde_json::from_str(text)
}

struct Writer {
    text: String,
    layout: Layout,
}

impl Writer {
    fn value(&mut self, value: &PyValue, depth: usize) {
        match value {
            PyValue::None => self.text.push_str("null"),
            PyValue::Bool(true) => self.text.push_str("true"),
            PyValue::Bool(false) => self.text.push_str("false"),
            PyValue::Int(value) => self.text.push_str(&value.to_string()),
            PyValue::Float(value) => self.text.push_str(&json_float(*value)),
            PyValue::Str(text) | PyValue::Date(text) => self.string(text),
            PyValue::List(items) => {
                self.block('[', ']', items.iter(), depth, |writer, item, depth| {
                    writer.value(item, depth);
                });
            }
            PyValue::Dict(dict) => self.dict(dict, depth),
        }
    }

    fn dict(&mut self, dict: &Dict, depth: usize) {
        let mut entries: Vec<_> = dict.iter().collect();
        if self.layout == Layout::Canonical {
            // Code points, as Python sorts; UTF-8 has the same order.
            entries.sort_unstable_by_key(|(key, _)| *key);
        }
        self.block(
            '{',
            '}',
            entries.into_iter(),
            depth,
            |writer, (key, value), depth| {
                writer.string(key);
                writer.text.push(':');
                if matches!(writer.layout, Layout::Line | Layout::Indented) {
                    writer.text.push(' ');
                }
                writer.value(value, depth);
            },
        );
    }

    fn block<T>(
        &mut self,
        open: char,
        close: char,
        items: impl ExactSizeIterator<Item = T>,
        depth: usize,
        mut write: impl FnMut(&mut Self, T, usize),
    ) {
        self.text.push(open);
        let any = items.len() > 0;
        for (i, item) in items.enumerate() {
            if i > 0 {
                self.text.push(',');
            }
            match self.layout {
                Layout::Indented => self.line(depth + 1),
                Layout::Line if i > 0 => self.text.push(' '),
                _ => {}
            }
            write(self, item, depth + 1);
        }
        if any && self.layout == Layout::Indented {
            self.line(depth);
        }
        self.text.push(close);
    }

    fn line(&mut self, depth: usize) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n("  ", depth));
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                c if c.is_ascii() && c >= ' ' => self.text.push(c),
                c if !c.is_ascii() && self.layout == Layout::Model => self.text.push(c),
                c => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.text.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
        }
        self.text.push('"');
    }
}

fn json_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        float_repr(value)
    }
}

/// Python's `repr` of a float: the shortest digits that read back as the same value, an exponent below 1e-4 and from
/// 1e16 on.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        format!("{digits}e{sign}{exponent:0>2}")
    } else if value.fract() == 0.0 {
        format!("{value:.1}")
    } else {
        value.to_string()
    }
}

impl<'de> Deserialize<'de> for PyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = PyValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<PyValue, E> {
        Ok(PyValue::None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<PyValue, E> {
        Ok(PyValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<PyValue, E> {
        Ok(PyValue::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<PyValue, E> {
        // Python's integers have no end; ours do, and what lies beyond is no count of anything here.
        Ok(i64::try_from(value).map_or(PyValue::Float(value as f64), PyValue::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<PyValue, E> {
        Ok(PyValue::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<PyValue, E> {
        Ok(PyValue::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<PyValue, E> {
        Ok(PyValue::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PyValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(PyValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PyValue, A::Error> {
        let mut entries: Vec<(String, PyValue)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        while let Some((key, value)) = map.next_entry::<String, PyValue>()? {
            match places.get(&key) {
                Some(&at) => {
                    let slot: &mut (String, PyValue) = &mut entries[at];
                    slot.1 = value;
                }
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push((key, value));
                }
            }
        }
        Ok(PyValue::Dict(entries.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layouts_are_those_of_python() {
        let value =
            loads(r#"{"b": [1, 2.0, null], "a": {"x": "é\u0001😀"}, "e": [], "f": {}, "b": true}"#).unwrap();
        assert_eq!(
            dumps(&value, Layout::Line),
            r#"{"b": true, "a": {"x": "\u00e9\u0001\ud83d\ude00"}, "e": [], "f": {}}"#
        );
        assert_eq!(
            dumps(&value, Layout::Canonical),
            r#"{"a":{"x":"\u00e9\u0001\ud83d\ude00"},"b":true,"e":[],"f":{}}"#
        );
        assert_eq!(
            dumps(&value, Layout::Model),
            "{\"b\":true,\"a\":{\"x\":\"é\\u0001😀\"},\"e\":[],\"f\":{}}"
        );
        let nested = loads(r#"{"a": [1, {"b": 2}], "c": []}"#).unwrap();
        assert_eq!(
            dumps(&nested, Layout::Indented),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": []\n}"
        );
    }

    #[test]
    fn floats_are_those_of_python() {
        for (value, text) in [
            (8.0, "8.0"),
            (0.1, "0.1"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (-0.0, "-0.0"),
            (0.325_160_492_800_000_03, "0.32516049280000003"),
            (1e100, "1e+100"),
        ] {
            assert_eq!(float_repr(value), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(x: f64, text in any::<String>(), n: i64) {
            let value = PyValue::List(vec![
                PyValue::Float(if x.is_finite() { x } else { 0.5 }), PyValue::from(text.as_str()), PyValue::Int(n),
            ]);
            for layout in [Layout::Line, Layout::Compact, Layout::Indented, Layout::Model] {
                prop_assert_eq!(loads(&dumps(&value, layout)).unwrap(), value.clone());
            }
        }
    }
}
