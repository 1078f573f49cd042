//! `sweep schema`: the schemas describe the files that this repository holds.

use std::path::Path;

use serde_json::Value;

use super::{Project, told};

const DOCUMENTS: [&str; 5] = ["sweepfile", "recipe", "launcher", "master", "changelog"];

fn schema(document: &str) -> Value {
    serde_json::from_str(&told(&Project::bare(), &["schema", document])).unwrap()
}

#[test]
fn each_is_a_json_schema_whose_references_lead_somewhere() {
    for document in DOCUMENTS {
        let schema = schema(document);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(
            schema["title"].is_string() && schema["description"].is_string(),
            "{document}"
        );
        for_each(&schema, &mut |value| {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(schema.pointer(pointer).is_some(), "{document}: {reference}");
            }
            // Whoever misspells a field must hear of it in an editor too.
            if value.get("properties").is_some() && value.get("type").is_some() {
                assert_eq!(value["additionalProperties"], false, "{document}: {value}");
            }
        });
    }
}

fn for_each(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| for_each(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| for_each(field, visit)),
        _ => {}
    }
}

#[test]
fn the_files_of_this_repository_conform() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<(&str, String)> = vec![
        ("sweepfile", "Sweepfile".to_owned()),
        ("changelog", "perf-changelog.yaml".to_owned()),
    ];
    for name in ["nvidia-master", "amd-master", "cpu-master"] {
        files.push(("master", format!("configs/{name}.yaml")));
    }
    for entry in std::fs::read_dir(root.join("benchmarks")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        files.push(("recipe", format!("benchmarks/{name}/recipe.yaml")));
    }
    for entry in std::fs::read_dir(root.join("runners")).unwrap() {
        files.push((
            "launcher",
            format!("runners/{}", entry.unwrap().file_name().to_str().unwrap()),
        ));
    }
    for (document, file) in files {
        let text = std::fs::read_to_string(root.join(&file)).unwrap();
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        let schema = schema(document);
        let mut wrong = Vec::new();
        conform(&schema, &schema, &value, &file, &mut wrong);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// The part of JSON Schema that these schemas use.
fn conform(root: &Value, schema: &Value, value: &Value, place: &str, wrong: &mut Vec<String>) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return conform(root, root.pointer(&reference[1..]).unwrap(), value, place, wrong);
    }
    let fits = |schema: &Value| {
        let mut inner = Vec::new();
        conform(root, schema, value, place, &mut inner);
        inner.is_empty()
    };
    for word in ["anyOf", "oneOf"] {
        if let Some(branches) = schema.get(word).and_then(Value::as_array)
            && branches.iter().filter(|branch| fits(branch)).count() != 1
        {
            wrong.push(format!("{place}: not {word} {branches:?}"));
        }
    }
    if let Some(condition) = schema.get("if") {
        let branch = if fits(condition) { "then" } else { "else" };
        conform(root, &schema[branch], value, place, wrong);
    }
    if schema.get("const").is_some_and(|c| c != value) {
        wrong.push(format!("{place}: not {}", schema["const"]));
    }
    if schema
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|e| !e.contains(value))
    {
        wrong.push(format!("{place}: not of {}", schema["enum"]));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |t: &Value| *t == kind || (*t == "number" && kind == "integer");
    match schema.get("type") {
        Some(Value::Array(several)) if !several.iter().any(is) => wrong.push(format!("{place}: {kind}")),
        Some(one @ Value::String(_)) if !is(one) => wrong.push(format!("{place}: {kind}, not {one}")),
        _ => {}
    }
    if let (Some(least), Some(number)) = (schema.get("minimum").and_then(Value::as_f64), value.as_f64())
        && number < least
    {
        wrong.push(format!("{place}: {number} < {least}"));
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        let of = schema
            .get("prefixItems")
            .and_then(|p| p.get(i))
            .or(schema.get("items"));
        if let Some(of) = of {
            conform(root, of, item, &format!("{place}/{i}"), wrong);
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let place = format!("{place}/{name}");
        match (
            schema.get("properties").and_then(|p| p.get(name)),
            schema.get("additionalProperties"),
        ) {
            (Some(property), _) => conform(root, property, field, &place, wrong),
            (None, Some(Value::Bool(false))) => wrong.push(format!("{place}: unknown")),
            (None, Some(other)) => conform(root, other, field, &place, wrong),
            (None, None) => {}
        }
    }
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
            wrong.push(format!("{place}: no {name}"));
        }
    }
}
