//! Checks in pydantic's manner: fields by kind, lax or strict, every violation with its path.

use super::pyvalue::{Dict, PyValue};

/// What is wrong at a path of keys and indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub path: Vec<String>,
    pub message: String,
}

impl Violation {
    /// The path as pydantic writes it: `scenarios.fixed-seq-len.0.isl`.
    pub(super) fn location(&self) -> String {
        self.path.join(".")
    }
}

pub(super) type Check = fn(&mut Checker, &PyValue);

/// A field of a mapping: kebab-case name, whether it must be there, how its value is checked.
pub(super) struct Field(pub &'static str, pub Need, pub Check);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    /// May be absent, but not null.
    Defaulted,
    /// May be absent or null.
    Nullable,
}

/// Walks a value and collects what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Checker {
    path: Vec<String>,
    pub violations: Vec<Violation>,
}

impl Checker {
    pub(super) fn wrong(&mut self, message: impl Into<String>) {
        self.violations.push(Violation {
            path: self.path.clone(),
            message: message.into(),
        });
    }

    /// Checks what lies under a key or an index.
    pub(super) fn under(&mut self, step: impl Into<String>, check: impl FnOnce(&mut Self)) {
        self.path.push(step.into());
        check(self);
        self.path.pop();
    }

    /// A mapping with these fields and no others. It is returned when nothing in it is wrong: rules across fields are
    /// asked only then.
    pub(super) fn model<'v>(&mut self, value: &'v PyValue, fields: &[&[Field]]) -> Option<&'v Dict> {
        let before = self.violations.len();
        let Some(dict) = value.as_dict() else {
            self.wrong("Input should be a valid dictionary");
            return None;
        };
        for Field(name, need, check) in fields.iter().copied().flatten() {
            match dict.get(name) {
                None if *need == Need::Required && !has_snake_case(dict, name) => {
                    self.under(*name, |c| c.wrong("Field required"));
                }
                None => {}
                Some(PyValue::None) if *need == Need::Nullable => {}
                Some(value) => self.under(*name, |c| check(c, value)),
            }
        }
        for (key, _) in dict.iter() {
            let mut names = fields.iter().copied().flatten().map(|field| field.0);
            if names.clone().all(|name| name != key) {
                let message = match names.find(|name| name.replace('-', "_") == key) {
                    // Upstream's validator lets it pass and its generator dies of it.
                    Some(name) => format!("Only the spelling `{name}` is read"),
                    None => "Extra inputs are not permitted".to_owned(),
                };
                self.under(key, |c| c.wrong(message));
            }
        }
        (self.violations.len() == before).then_some(dict)
    }

    /// A list whose items are all checked.
    pub(super) fn list<'v>(&mut self, value: &'v PyValue, check: Check) -> &'v [PyValue] {
        let PyValue::List(items) = value else {
            self.wrong("Input should be a valid list");
            return &[];
        };
        for (index, item) in items.iter().enumerate() {
            self.under(index.to_string(), |c| check(c, item));
        }
        items
    }

    pub(super) fn string(&mut self, value: &PyValue) {
        if value.as_str().is_none() {
            self.wrong("Input should be a valid string");
        }
    }

    pub(super) fn nonempty_string(&mut self, value: &PyValue) {
        match value.as_str() {
            None => self.wrong("Input should be a valid string"),
            Some("") => self.wrong("String should have at least 1 character"),
            Some(_) => {}
        }
    }

    /// An integer in lax mode: `"8"`, `8.0` and `true` pass.
    pub(super) fn int(&mut self, value: &PyValue) {
        if value.to_int().is_none() {
            self.wrong(match value {
                PyValue::Float(_) => "Input should be a valid integer, got a number with a fractional part",
                PyValue::Str(_) => "Input should be a valid integer, unable to parse string as an integer",
                _ => "Input should be a valid integer",
            });
        }
    }

    /// An integer in lax mode, at least one.
    pub(super) fn positive_int(&mut self, value: &PyValue) {
        match value.to_int() {
            Some(..=0) => self.wrong("Input should be greater than 0"),
            Some(_) => {}
            None => self.int(value),
        }
    }

    /// A number that is written as an integer, at least one.
    pub(super) fn strict_positive_int(&mut self, value: &PyValue) {
        match value {
            PyValue::Int(..=0) => self.wrong("Input should be greater than 0"),
            PyValue::Int(_) => {}
            _ => self.wrong("Input should be a valid integer"),
        }
    }

    /// A boolean in lax mode: `"yes"`, `"on"` and `1` pass.
    pub(super) fn bool(&mut self, value: &PyValue) {
        if value.to_bool().is_none() {
            self.wrong(match value {
                PyValue::Str(_) | PyValue::Int(_) => {
                    "Input should be a valid boolean, unable to interpret input"
                }
                _ => "Input should be a valid boolean",
            });
        }
    }

    pub(super) fn literal_bool(&mut self, value: &PyValue, expected: bool) {
        // Python finds 0 and 0.0 equal to False.
        if !value.equals(&PyValue::Bool(expected)) {
            self.wrong(if expected {
                "Input should be True"
            } else {
                "Input should be False"
            });
        }
    }

    pub(super) fn one_of(&mut self, value: &PyValue, choices: &[&str]) {
        if !value.as_str().is_some_and(|text| choices.contains(&text)) {
            let quoted: Vec<_> = choices.iter().map(|choice| format!("'{choice}'")).collect();
            let (last, others) = quoted
                .split_last()
                .map_or(("", &[][..]), |(l, o)| (l.as_str(), o));
            self.wrong(if others.is_empty() {
                format!("Input should be {last}")
            } else {
                format!("Input should be {} or {last}", others.join(", "))
            });
        }
    }
}

fn has_snake_case(dict: &Dict, name: &str) -> bool {
    name.contains('-') && dict.get(&name.replace('-', "_")).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::python_json::loads;
    use super::*;

    fn check(json: &str) -> Vec<(String, String)> {
        let mut checker = Checker::default();
        let value = loads(json).unwrap_or(PyValue::None);
        const FIELDS: &[Field] = &[
            Field("dp-attn", Need::Nullable, Checker::bool),
            Field("tp", Need::Required, Checker::int),
            Field("pp", Need::Defaulted, Checker::strict_positive_int),
            Field("spec", Need::Defaulted, |c, v| c.one_of(v, &["mtp", "none"])),
        ];
        checker.model(&value, &[FIELDS]);
        checker
            .violations
            .into_iter()
            .map(|v| (v.location(), v.message))
            .collect()
    }

    #[test]
    fn lax_fields_take_what_pydantic_takes() {
        for good in [
            r#"{"tp": "8", "dp-attn": "yes", "pp": 2, "spec": "none"}"#,
            r#"{"tp": true, "dp-attn": null}"#,
            r#"{"tp": 8.0, "dp-attn": 1}"#,
        ] {
            assert_eq!(check(good), [], "{good}");
        }
    }

    #[test]
    fn every_violation_is_found() {
        let found = check(r#"{"dp-attn": 2, "pp": true, "spec": null, "dp_attn": true, "x": 1}"#);
        let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["dp-attn", "tp", "pp", "spec", "dp_attn", "x"]);
        assert_eq!(found[3].1, "Input should be 'mtp' or 'none'");
        assert_eq!(found[4].1, "Only the spelling `dp-attn` is read");
    }
}
