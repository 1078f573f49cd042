//! YAML files as PyYAML's safe loader reads them.

use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::source::Source;
use crate::config::yaml::{Document, Node, Value};
use crate::config::yaml_1_1::{Scalar, scalar};

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
        _ => match scalar(&document.source, node) {
            None | Some(Scalar::Null) => PyValue::None,
            Some(Scalar::Bool(value)) => PyValue::Bool(value),
            Some(Scalar::Int(value)) => PyValue::Int(value),
            Some(Scalar::Float(value)) => PyValue::Float(value),
            Some(Scalar::Date(text)) => PyValue::Date(text),
            Some(Scalar::Str(text)) => PyValue::Str(text),
        },
    }
}
