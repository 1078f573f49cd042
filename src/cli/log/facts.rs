//! What a bench's `result.json` says, in lines.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::command::LogError;

/// The single values of the result, as `path.to.it: value`; lists are not facts. None while it is not there.
pub(super) fn of_result(path: &Path) -> Result<Vec<String>, LogError> {
    let json = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|cause| LogError::Read {
            path: path.to_owned(),
            cause,
        })?,
    };
    let mut facts = Vec::new();
    // A result is renamed into place whole; what is not JSON is none.
    if let Ok(result) = serde_json::from_slice(&json) {
        walk("", &result, &mut facts);
    }
    Ok(facts)
}

fn walk(path: &str, value: &Value, facts: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                walk(&format!("{path}{dot}{name}"), member, facts);
            }
        }
        Value::Array(_) => {}
        Value::String(text) => facts.push(format!("{path}: {text}")),
        single => facts.push(format!("{path}: {single}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_values_are_facts_and_lists_are_not() {
        let value = serde_json::json!({"a": {"b": 1.5, "c": "text"}, "list": [1], "none": null});
        let mut facts = Vec::new();
        walk("", &value, &mut facts);
        assert_eq!(facts, ["a.b: 1.5", "a.c: text", "none: null"]);
    }
}
