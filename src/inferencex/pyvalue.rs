//! Values as Python holds them between reading YAML and writing JSON: what was written is kept as it was written.

use std::borrow::Cow;
use std::fmt;

use super::python_json::float_repr;

/// A value of PyYAML's safe loader or of Python's `json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum PyValue {
    #[default]
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    /// A date or time of YAML 1.1, as written; Python holds an object here that no schema accepts.
    Date(String),
    List(Vec<PyValue>),
    Dict(Dict),
}

/// A mapping whose keys stand in the order in which they were first set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dict(Vec<(Cow<'static, str>, PyValue)>);

impl PyValue {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Self::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether Python's `if` takes it.
    pub fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Date(_) => true,
            Self::List(items) => !items.is_empty(),
            Self::Dict(dict) => !dict.is_empty(),
        }
    }

    /// The integer that pydantic's lax mode makes of it.
    pub fn to_int(&self) -> Option<i64> {
        match self {
            Self::Bool(value) => Some(i64::from(*value)),
            Self::Int(value) => Some(*value),
            Self::Float(value) if value.fract() == 0.0 && value.abs() < 9.2e18 => Some(*value as i64),
            Self::Str(text) => lax_int(text),
            _ => None,
        }
    }

    /// The boolean that pydantic's lax mode makes of it.
    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Int(0) => Some(false),
            Self::Int(1) => Some(true),
            Self::Float(value) if *value == 0.0 => Some(false),
            Self::Float(value) if *value == 1.0 => Some(true),
            Self::Str(text) => match text.to_ascii_lowercase().as_str() {
                "0" | "off" | "f" | "false" | "n" | "no" => Some(false),
                "1" | "on" | "t" | "true" | "y" | "yes" => Some(true),
                _ => None,
            },
            _ => None,
        }
    }

    /// The number that pydantic's lax mode makes of it.
    pub fn to_float(&self) -> Option<f64> {
        match self {
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Str(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The name of its type in Python.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Date(_) => "date",
            Self::List(_) => "list",
            Self::Dict(_) => "dict",
        }
    }

    /// A text that is equal for values that Python finds equal, whatever the order of their keys: `True`, `1` and
    /// `1.0` are one.
    pub fn identity(&self) -> String {
        let mut text = String::new();
        self.write_identity(&mut text);
        text
    }

    fn write_identity(&self, text: &mut String) {
        use fmt::Write as _;
        // Writing to a String cannot fail.
        let _ = match (self, self.number_as_int()) {
            (_, Some(int)) => write!(text, "i{int},"),
            (Self::Float(value), None) => write!(text, "f{},", float_repr(*value)),
            (Self::Str(value) | Self::Date(value), _) => write!(text, "s{}:{value}", value.len()),
            (Self::List(items), _) => {
                text.push('[');
                for item in items {
                    item.write_identity(text);
                }
                write!(text, "]")
            }
            (Self::Dict(dict), _) => {
                dict.write_identity(&[], text);
                Ok(())
            }
            _ => write!(text, "n,"),
        };
    }

    fn number_as_int(&self) -> Option<i64> {
        match self {
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => self.to_int(),
            _ => None,
        }
    }

    /// Whether Python finds the two equal.
    pub fn equals(&self, other: &Self) -> bool {
        self == other || self.identity() == other.identity()
    }
}

/// What Python's `int` reads out of a text: blanks around digits, single underscores between them.
pub fn python_int(text: &str) -> Option<i64> {
    lax_int(text).filter(|_| !text.contains('.'))
}

/// What pydantic reads out of a text as an integer: digits, single underscores between them, a zero fraction.
fn lax_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    let tidy = digits.starts_with(|c: char| c.is_ascii_digit())
        && !digits.ends_with('_')
        && !digits.contains("__")
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    if tidy {
        whole.replace('_', "").parse().ok()
    } else {
        None
    }
}

/// As Python's `str` shows it.
impl fmt::Display for PyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => f.write_str(&float_repr(*value)),
            Self::Str(text) | Self::Date(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Dict(dict) => {
                f.write_str("{")?;
                for (i, (key, value)) in dict.iter().enumerate() {
                    write!(f, "{}'{key}': {value}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

impl Dict {
    /// Sets a key, at its old place if it had one.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<PyValue>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some(slot) => slot.1 = value,
            None => self.0.push((key, value)),
        }
    }

    /// Sets a key if there is a value.
    pub fn set_some(&mut self, key: &'static str, value: Option<impl Into<PyValue>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    pub fn get(&self, key: &str) -> Option<&PyValue> {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }

    /// The value, unless it is absent or null.
    pub fn some(&self, key: &str) -> Option<&PyValue> {
        self.get(key).filter(|value| !value.is_none())
    }

    /// The text under a key; empty when there is none.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).and_then(PyValue::as_str).unwrap_or_default()
    }

    /// The integer under a key, in pydantic's lax reading.
    pub fn int(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(PyValue::to_int)
    }

    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(known, _)| known != key);
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &PyValue)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// The entries by value, in order.
    pub fn into_entries(self) -> impl Iterator<Item = (Cow<'static, str>, PyValue)> {
        self.0.into_iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A text that is equal for equal mappings, the keys in `without` left out.
    pub fn identity_without(&self, without: &[&str]) -> String {
        let mut text = String::new();
        self.write_identity(without, &mut text);
        text
    }

    fn write_identity(&self, without: &[&str], text: &mut String) {
        let mut sorted: Vec<_> = self.iter().filter(|(key, _)| !without.contains(key)).collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        text.push('{');
        for (key, value) in sorted {
            text.push_str(key);
            text.push('=');
            value.write_identity(text);
        }
        text.push('}');
    }
}

impl<K: Into<Cow<'static, str>>> FromIterator<(K, PyValue)> for Dict {
    /// Keys must differ; [`Dict::set`] where they may not.
    fn from_iter<I: IntoIterator<Item = (K, PyValue)>>(entries: I) -> Self {
        Self(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect(),
        )
    }
}

impl From<bool> for PyValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for PyValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for PyValue {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<f64> for PyValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for PyValue {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for PyValue {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<&PyValue> for PyValue {
    fn from(value: &PyValue) -> Self {
        value.clone()
    }
}

impl From<Vec<PyValue>> for PyValue {
    fn from(items: Vec<PyValue>) -> Self {
        Self::List(items)
    }
}

impl From<Dict> for PyValue {
    fn from(dict: Dict) -> Self {
        Self::Dict(dict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_integers_as_pydantic_reads_them() {
        for (text, int) in [
            ("8", Some(8)),
            (" +8 ", Some(8)),
            ("-3", Some(-3)),
            ("8.00", Some(8)),
            ("1_000", Some(1000)),
            ("8.5", None),
            ("1__0", None),
            ("_1", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(PyValue::from(text).to_int(), int, "{text:?}");
        }
        assert_eq!(PyValue::Float(8.0).to_int(), Some(8));
        assert_eq!(PyValue::Float(8.5).to_int(), None);
        assert_eq!(PyValue::Bool(true).to_int(), Some(1));
    }

    #[test]
    fn equal_in_python_is_equal_here() {
        let eight = [PyValue::Int(8), PyValue::Float(8.0)];
        assert_eq!(eight[0].identity(), eight[1].identity());
        assert!(PyValue::Bool(true).equals(&PyValue::Int(1)));
        assert!(!PyValue::from("8").equals(&PyValue::Int(8)));
        let mut one = Dict::default();
        one.set("a", 1);
        one.set("b", PyValue::List(vec![PyValue::None]));
        let mut other = Dict::default();
        other.set("b", PyValue::List(vec![PyValue::None]));
        other.set("a", 1.0);
        assert_eq!(one.identity_without(&[]), other.identity_without(&[]));
        assert_ne!(one.identity_without(&["a"]), other.identity_without(&[]));
    }
}
