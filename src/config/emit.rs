//! A YAML tree as text: today's form of a migrated file. Comments are not part of the tree and are lost.

use super::yaml::{Node, Value};

/// Lines of a mapping within one pair of braces are at most this long.
const FLOW_WIDTH: usize = 108;

/// The text of a file. Reading it gives the same values in the same order.
pub fn to_yaml(root: &Node) -> String {
    let mut out = String::new();
    match &root.value {
        Value::Map(entries) if !entries.is_empty() => {
            for (i, (key, value)) in entries.iter().enumerate() {
                // A config or a label a paragraph.
                if i > 0 {
                    out.push('\n');
                }
                entry(&mut out, &key.name, value, 0);
            }
        }
        Value::Seq(items) if !items.is_empty() => list(&mut out, items, 0),
        _ => {
            out.push_str(&flow(root));
            out.push('\n');
        }
    }
    out
}

fn entry(out: &mut String, key: &str, value: &Node, indent: usize) {
    pad(out, indent);
    out.push_str(&text(key));
    out.push(':');
    nested(out, value, indent);
}

/// What follows a key: on its line where it is short, else below.
fn nested(out: &mut String, value: &Node, indent: usize) {
    match &value.value {
        Value::Map(entries) if !entries.is_empty() && (indent == 0 || !fits(value, indent)) => {
            out.push('\n');
            for (key, value) in entries {
                entry(out, &key.name, value, indent + 2);
            }
        }
        Value::Seq(items) if !items.is_empty() && (!fits(value, indent) || !items.iter().all(is_scalar)) => {
            out.push('\n');
            list(out, items, indent);
        }
        _ => {
            out.push(' ');
            out.push_str(&flow(value));
            out.push('\n');
        }
    }
}

fn list(out: &mut String, items: &[Node], indent: usize) {
    for item in items {
        pad(out, indent);
        out.push('-');
        match &item.value {
            Value::Map(entries) if !entries.is_empty() && !fits(item, indent) => {
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i == 0 {
                        out.push(' ');
                        out.push_str(&text(&key.name));
                        out.push(':');
                        nested(out, value, indent + 2);
                    } else {
                        entry(out, &key.name, value, indent + 2);
                    }
                }
            }
            _ => {
                out.push(' ');
                out.push_str(&flow(item));
                out.push('\n');
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn is_scalar(node: &Node) -> bool {
    !matches!(node.value, Value::Map(_) | Value::Seq(_))
}

/// Whether a value stands well on one line: it is short, and a mapping holds nothing deeper than a component.
fn fits(node: &Node, indent: usize) -> bool {
    let shallow = node.entries().iter().all(|(_, value)| {
        is_scalar(value)
            || value.items().iter().all(is_scalar) && value.entries().iter().all(|(_, v)| is_scalar(v))
    });
    shallow && indent + flow(node).len() <= FLOW_WIDTH
}

fn flow(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => float(*number),
        Value::Str(string) => text(string),
        Value::Seq(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Map(entries) => {
            let entry =
                |(key, value): &(super::yaml::Key, Node)| format!("{}: {}", text(&key.name), flow(value));
            format!(
                "{{ {} }}",
                entries.iter().map(entry).collect::<Vec<_>>().join(", ")
            )
        }
    }
}

fn float(number: f64) -> String {
    match number {
        n if n.is_nan() => ".nan".to_owned(),
        n if n.is_infinite() => if n > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
        // With a point, and in an exponent with a sign: every reader takes it for a float again.
        n => match format!("{n:?}").split_once('e') {
            None => format!("{n:?}"),
            Some((digits, exponent)) => {
                let point = if digits.contains('.') { "" } else { ".0" };
                let sign = if exponent.starts_with('-') { "" } else { "+" };
                format!("{digits}{point}e{sign}{exponent}")
            }
        },
    }
}

/// A string without quotes where every reader takes it for one, else in JSON's quotes, which are YAML's too.
pub(super) fn text(string: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || "._/-+=@".contains(c);
    let starts = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let lower = string.to_ascii_lowercase();
    let reserved = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf",
    ];
    // `:` and `#` are plain where no blank stands beside them, as in images and labels.
    let inner = |c: char| word(c) || c == ':' || c == '#';
    let plain =
        starts && string.chars().all(inner) && !string.ends_with(':') && !reserved.contains(&lower.as_str());
    if plain {
        string.to_owned()
    } else {
        serde_json::Value::from(string).to_string()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::diagnostic::Diagnostics;
    use super::super::source::{Source, Span};
    use super::super::yaml::{Document, Key};
    use super::super::yaml_1_1;
    use super::*;

    fn document(text: &str) -> Document {
        let source = Arc::new(Source {
            path: "x.yaml".into(),
            text: text.to_owned(),
        });
        Document::parse(&source, &mut Diagnostics::default())
            .map_err(|d| d.render(false))
            .unwrap()
    }

    fn parse(text: &str) -> Node {
        document(text).root
    }

    fn parse_1_1(text: &str) -> Node {
        let mut document = document(text);
        yaml_1_1::resolve(&mut document);
        document.root
    }

    #[test]
    fn entries_look_as_people_write_them() {
        let written = "dsr1-fp8-h200-sglang:\n  image: lmsysorg/sglang:v0.5.9\n  multinode: false\n  scenarios:\n    fixed-seq-len:\n    - isl: 8192\n      osl: 1024\n      search-space:\n      - { tp: 8, conc-start: 4, conc-end: 64 }\n      - { tp: 4, conc-list: [1, 2], router: { name: r, version: \"1.0\" } }\n";
        assert_eq!(to_yaml(&parse(written)), written);
    }

    fn node() -> impl Strategy<Value = Node> {
        let at = |value| Node {
            value,
            span: Span::default(),
        };
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i32>().prop_map(|i| Value::Int(i64::from(i))),
            (-1000i32..1000).prop_map(|i| Value::Float(f64::from(i) / 8.0)),
            prop::sample::select(vec![1e300, -2.5e-9, 1e16]).prop_map(Value::Float),
            "[ -~]{0,12}".prop_map(Value::Str),
            prop::sample::select(vec![
                "yes",
                "null",
                "1e3",
                "~",
                "a: b",
                "x #y",
                "é\n",
                "0x1F",
                "1_000",
                "-",
                "<<",
                "1:30",
                "017",
                "2026-08-01",
                ".5"
            ])
            .prop_map(|s| Value::Str(s.to_owned())),
        ]
        .prop_map(at);
        leaf.prop_recursive(4, 32, 4, move |inner| {
            let key = |name| Key {
                name,
                span: Span::default(),
                repeats: None,
            };
            let entries = prop::collection::btree_map("[a-z ]{1,9}|yes|8", inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::Seq),
                entries.prop_map(move |map| Value::Map(map.into_iter().map(|(k, v)| (key(k), v)).collect())),
            ]
            .prop_map(at)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(node in node()) {
            let text = to_yaml(&node);
            prop_assert_eq!(parse(&text).to_json(), node.to_json(), "{}", text);
            prop_assert_eq!(parse_1_1(&text).to_json(), node.to_json(), "{}", text);
        }
    }
}
