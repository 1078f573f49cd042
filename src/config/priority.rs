//! `ci-priority.yaml`: which benchmarks go first.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// A priority policy, in InferenceX's form: a base and what is added to it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CiPriority {
    /// The format's version: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    pub base_score: f64,
    pub adjustments: Adjustments,
    /// What labels of a pull request do; `sweep inferencex ci-priority` reads them, a build has none.
    #[serde(default)]
    pub labels: serde_json::Map<String, serde_json::Value>,
}

/// Scores that add up over what holds for a benchmark.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Adjustments {
    /// By the event that asked; a build has none.
    pub event: BTreeMap<String, f64>,
    pub multi_node: f64,
    pub agentic: f64,
    pub eval_only: f64,
    pub precision: BTreeMap<String, f64>,
    pub spec_decoding: BTreeMap<String, f64>,
    /// By the framework's name or what stands before a `-` in it: the longest that fits.
    pub framework_prefix: BTreeMap<String, f64>,
    /// By the exact model prefix.
    pub model_prefix: BTreeMap<String, f64>,
}

/// What of a benchmark the policy looks at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub multi_node: bool,
    pub agentic: bool,
    pub precision: &'a str,
    pub spec_decoding: &'a str,
    pub framework: &'a str,
    pub model_prefix: &'a str,
}

impl CiPriority {
    /// The score; higher goes first.
    pub fn score(&self, facts: &Facts<'_>) -> f64 {
        let adjust = &self.adjustments;
        let flag = |holds: bool, by: f64| if holds { by } else { 0.0 };
        let exact = |table: &BTreeMap<String, f64>, name: &str| table.get(name).copied().unwrap_or_default();
        let framework = adjust.framework_prefix.iter().filter(|(prefix, _)| {
            facts
                .framework
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        let framework = framework
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(_, by)| *by);
        self.base_score
            + flag(facts.multi_node, adjust.multi_node)
            + flag(facts.agentic, adjust.agentic)
            + exact(&adjust.precision, facts.precision)
            + exact(&adjust.spec_decoding, facts.spec_decoding)
            + framework.unwrap_or_default()
            + exact(&adjust.model_prefix, facts.model_prefix)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn scores_add_up_and_frameworks_match_at_dashes() {
        let policy: CiPriority = serde_json::from_value(serde_json::json!({
            "version": 1, "base-score": 1.0,
            "adjustments": {
                "multi-node": 1.25, "precision": {"fp4": 0.75}, "framework-prefix": {"sglang": 0.5},
                "model-prefix": {"glm5": 0.75},
            },
        }))
        .unwrap();
        let facts = Facts {
            multi_node: true,
            agentic: false,
            precision: "fp4",
            spec_decoding: "none",
            framework: "sglang-disagg",
            model_prefix: "glm5.2",
        };
        assert_eq!(policy.score(&facts), 3.5);
        assert_eq!(
            policy.score(&Facts {
                framework: "sglangx",
                ..facts
            }),
            3.0
        );
    }
}
