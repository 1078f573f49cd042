//! Which job goes first: a score a job from a policy, and the token by which a scheduler knows the job.

use std::collections::BTreeSet;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::config::diagnostic::{Diagnostic, Diagnostics};

use super::changelog::hex;
use super::decimal::Decimal;
use super::input::read;
use super::python_json::{Layout, dumps, loads};
use super::pyvalue::{Dict, PyValue};
use super::pyyaml;

/// What is known of the event that asks.
#[derive(Debug, Clone, Default)]
pub struct Occasion {
    pub event_name: String,
    /// The pull request's labels.
    pub labels: Vec<String>,
    /// What sets these jobs' tokens apart from those of other runs.
    pub queue_namespace: String,
    pub pr_number: Option<i64>,
    /// The facts that a classifier found; every fact counts when none was asked.
    pub criteria: Option<Vec<String>>,
}

/// Why there are no scores.
#[derive(Debug, thiserror::Error)]
pub enum PriorityError {
    #[error("{flag} must be a JSON array of strings")]
    NotStrings { flag: &'static str },
    #[error("{flag} is no JSON: {error}")]
    NotJson {
        flag: &'static str,
        error: serde_json::Error,
    },
    #[error("Unsupported CI priority policy version: {0}")]
    Version(String),
    #[error("the CI priority policy has no number at {0}")]
    Number(String),
    #[error("Unknown CI priority criteria: [{0}]")]
    Criteria(String),
    #[error(transparent)]
    Unreadable(#[from] Diagnostics),
}

/// The strings of a flag's JSON array. Nothing and null are none.
pub fn strings(flag: &'static str, text: &str) -> Result<Option<Vec<String>>, PriorityError> {
    if text.is_empty() {
        return Ok(None);
    }
    let value = loads(text).map_err(|error| PriorityError::NotJson { flag, error })?;
    let strings = match &value {
        PyValue::None => return Ok(None),
        PyValue::List(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    };
    strings.map(Some).ok_or(PriorityError::NotStrings { flag })
}

/// How jobs are scored.
#[derive(Debug)]
pub struct Policy {
    adjustments: Dict,
    labels: Dict,
    base: Decimal,
}

impl Policy {
    pub fn read(path: &Path) -> Result<Self, PriorityError> {
        let source = read(path, "CI priority policy").map_err(Diagnostics::from)?;
        let (_, value) = pyyaml::load(&source, &mut Diagnostics::default()).map_err(Diagnostics::from)?;
        Self::of(&value)
    }

    fn of(value: &PyValue) -> Result<Self, PriorityError> {
        let empty = Dict::default();
        let root = value.as_dict().unwrap_or(&empty);
        let version = root.get("version").unwrap_or(&PyValue::None);
        if !version.equals(&PyValue::Int(1)) {
            return Err(PriorityError::Version(version.to_string()));
        }
        let dict = |key: &str| {
            root.get(key)
                .and_then(PyValue::as_dict)
                .cloned()
                .unwrap_or_default()
        };
        let base = root.get("base-score").and_then(Decimal::of);
        Ok(Self {
            adjustments: dict("adjustments"),
            labels: dict("labels"),
            base: base.ok_or_else(|| PriorityError::Number("base-score".to_owned()))?,
        })
    }

    /// A copy of a matrix in which every job has its priority and its token. A job is a mapping with a runner and a
    /// framework, at any depth.
    pub fn annotate(&self, matrix: &PyValue, occasion: &Occasion) -> Result<PyValue, PriorityError> {
        self.annotated(matrix, occasion, &mut Vec::new())
    }

    fn check_criteria(&self, criteria: &[String]) -> Result<(), PriorityError> {
        const ALWAYS: [&str; 5] = [
            "multi-node",
            "agentic",
            "eval-only",
            "checklist-complete",
            "patchwork",
        ];
        let tables = ["precision", "spec-decoding", "framework-prefix", "model-prefix"];
        let is_known = |criterion: &str| {
            ALWAYS.contains(&criterion)
                || tables
                    .iter()
                    .any(|table| self.table(table).get(criterion).is_some())
        };
        let unknown: BTreeSet<_> = criteria.iter().filter(|criterion| !is_known(criterion)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let quoted: Vec<_> = unknown.iter().map(|criterion| format!("'{criterion}'")).collect();
        Err(PriorityError::Criteria(quoted.join(", ")))
    }

    fn annotated(
        &self,
        value: &PyValue,
        occasion: &Occasion,
        path: &mut Vec<String>,
    ) -> Result<PyValue, PriorityError> {
        match value {
            PyValue::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    list.push(self.annotated(item, occasion, path)?);
                    path.pop();
                }
                Ok(PyValue::List(list))
            }
            PyValue::Dict(dict) => {
                let mut entries = Vec::with_capacity(dict.len() + 3);
                for (key, item) in dict.iter() {
                    path.push(key.to_owned());
                    entries.push((key.to_owned(), self.annotated(item, occasion, path)?));
                    path.pop();
                }
                let mut copy: Dict = entries.into_iter().collect();
                if dict.get("runner").is_some() && dict.get("framework").is_some() {
                    copy.set("priority", self.score(dict, occasion)?.to_thousandths());
                    copy.set("queue-token", token(value, &occasion.queue_namespace, path));
                    let skip = self.label("skip-queue");
                    if occasion.labels.iter().any(|label| label == skip.text("name")) {
                        copy.set_some("skip-queue-pr", occasion.pr_number);
                    }
                }
                Ok(PyValue::Dict(copy))
            }
            other => Ok(other.clone()),
        }
    }

    fn score(&self, job: &Dict, occasion: &Occasion) -> Result<Decimal, PriorityError> {
        let named = |fact: &str| {
            let criteria = occasion.criteria.as_ref();
            criteria.is_some_and(|criteria| criteria.iter().any(|criterion| criterion == fact))
        };
        // A fact of the job counts unless a classifier was asked and did not name it.
        let counts = |fact: &str| occasion.criteria.is_none() || named(fact);
        let labelled = |names: Option<&PyValue>| {
            let names = names
                .map_or(&[][..], PyValue::items)
                .iter()
                .filter_map(PyValue::as_str);
            names
                .into_iter()
                .any(|name| occasion.labels.iter().any(|label| label == name))
        };
        let patchwork = self.label("patchwork");
        if (named("patchwork") || labelled(patchwork.get("names"))) && !labelled(patchwork.get("waived-by")) {
            return number(patchwork.get("score"), "labels.patchwork.score");
        }
        if let Some(criteria) = &occasion.criteria {
            self.check_criteria(criteria)?;
        }
        let mut score = self.base + self.adjustment("event", &occasion.event_name)?;
        for (fact, holds) in [
            ("multi-node", job.some("prefill").is_some()),
            ("agentic", job.text("scenario-type") == "agentic-coding"),
            ("eval-only", job.get("eval-only") == Some(&PyValue::Bool(true))),
        ] {
            if holds && counts(fact) {
                score = score + optional(self.adjustments.get(fact), fact)?;
            }
        }
        for (table, field) in [("precision", "precision"), ("spec-decoding", "spec-decoding")] {
            let value = job.get(field).map_or_else(String::new, PyValue::to_string);
            if counts(&value) {
                score = score + self.adjustment(table, &value)?;
            }
        }
        let framework = job.get("framework").map_or_else(String::new, PyValue::to_string);
        let frameworks = self.table("framework-prefix");
        let is_of = |prefix: &str| {
            framework
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        if frameworks
            .iter()
            .any(|(prefix, _)| is_of(prefix) && counts(prefix))
            && let Some((prefix, value)) = frameworks.iter().find(|(prefix, _)| is_of(prefix))
        {
            score = score + number(Some(value), prefix)?;
        }
        let model = job
            .get("model-prefix")
            .map_or_else(String::new, PyValue::to_string);
        if counts(&model) {
            score = score + self.adjustment("model-prefix", &model)?;
        }
        let checklist = self.label("checklist-complete");
        if named("checklist-complete") || labelled(checklist.get("names")) {
            score = score
                + optional(
                    checklist.get("adjustment"),
                    "labels.checklist-complete.adjustment",
                )?;
        }
        Ok(score)
    }

    fn table(&self, name: &str) -> Dict {
        let table = self.adjustments.get(name).and_then(PyValue::as_dict);
        table.cloned().unwrap_or_default()
    }

    fn label(&self, name: &str) -> Dict {
        let label = self.labels.get(name).and_then(PyValue::as_dict);
        label.cloned().unwrap_or_default()
    }

    fn adjustment(&self, table: &str, key: &str) -> Result<Decimal, PriorityError> {
        optional(self.table(table).get(key), table)
    }
}

fn optional(value: Option<&PyValue>, at: &str) -> Result<Decimal, PriorityError> {
    match value {
        None => Ok(Decimal::ZERO),
        some => number(some, at),
    }
}

fn number(value: Option<&PyValue>, at: &str) -> Result<Decimal, PriorityError> {
    value
        .and_then(Decimal::of)
        .ok_or_else(|| PriorityError::Number(at.to_owned()))
}

/// Half a sha256 over where the job stands and what it is.
fn token(job: &PyValue, namespace: &str, path: &[String]) -> String {
    let material = format!("{namespace}:{}:{}", path.join("/"), dumps(job, Layout::Canonical));
    hex(&Sha256::digest(material)[..16])
}

/// Reads a matrix.
pub fn read_matrix(path: &str, text: &str) -> Result<PyValue, Diagnostic> {
    loads(text).map_err(|error| Diagnostic::error(format!("{path} is no JSON: {error}")))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn policy() -> Policy {
        Policy::of(
            &loads(
                r#"{"version": 1, "base-score": 1.0, "adjustments": {"event": {"push": 2.0}, "multi-node": 1.25,
                "agentic": 1.0, "precision": {"fp4": 0.75}, "framework-prefix": {"dynamo": 0.5, "dynamo-sglang": 0.25},
                "model-prefix": {"glm5": 0.75}}, "labels": {"skip-queue": {"name": "skip"},
                "checklist-complete": {"names": ["done"], "adjustment": 0.25},
                "patchwork": {"names": ["patch"], "score": 0.0, "waived-by": ["waived"]}}}"#,
            )
            .unwrap(),
        )
        .unwrap()
    }

    fn priority(job: &str, occasion: &Occasion) -> String {
        let annotated = policy().annotate(&loads(job).unwrap(), occasion).unwrap();
        annotated.as_dict().unwrap().text("priority").to_owned()
    }

    const JOB: &str = r#"{"runner": "r", "framework": "dynamo-sglang", "precision": "fp4", "prefill": {},
                          "model-prefix": "glm5.2"}"#;

    #[test]
    fn scores_add_up() {
        // The framework's first table entry counts; model prefixes are exact.
        assert_eq!(priority(JOB, &Occasion::default()), "3.500");
        let push = Occasion {
            event_name: "push".to_owned(),
            labels: vec!["done".to_owned()],
            ..Occasion::default()
        };
        assert_eq!(priority(JOB, &push), "5.750");
    }

    #[test]
    fn a_classifier_limits_what_counts() {
        let named = |criteria: &[&str]| Occasion {
            criteria: Some(criteria.iter().map(|c| (*c).to_owned()).collect()),
            ..Occasion::default()
        };
        assert_eq!(priority(JOB, &named(&["fp4", "agentic"])), "1.750");
        assert_eq!(priority(JOB, &named(&["patchwork", "fp4"])), "0.000");
        let unknown = policy()
            .annotate(&loads(JOB).unwrap(), &named(&["x"]))
            .unwrap_err();
        assert_eq!(unknown.to_string(), "Unknown CI priority criteria: ['x']");
    }

    #[test]
    fn patches_wait_unless_waived() {
        let labels = |labels: &[&str]| Occasion {
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
            ..Occasion::default()
        };
        assert_eq!(priority(JOB, &labels(&["patch"])), "0.000");
        assert_eq!(priority(JOB, &labels(&["patch", "waived"])), "3.500");
    }

    #[test]
    fn flags_are_arrays_of_strings() {
        assert_eq!(strings("--x", "").unwrap(), None);
        assert_eq!(strings("--x", "null").unwrap(), None);
        assert_eq!(strings("--x", r#"["a"]"#).unwrap(), Some(vec!["a".to_owned()]));
        for bad in ["{}", "[1]", "\"a\"", "["] {
            assert!(strings("--x", bad).unwrap_err().to_string().starts_with("--x"));
        }
    }
}
