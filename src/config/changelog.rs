//! `perf-changelog.yaml`: what changed, and which configs that concerns. Append-only.
//!
//! Keys in old entries may name configs that are gone: only what a range of commits adds is looked up.

use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::source::{Source, Span};
use super::typed;
use super::yaml::{Document, Value};
use super::yaml_1_1;

/// The changelog: a list of entries, the oldest first.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Changelog(pub Vec<Entry>);

/// One change.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("x-elsewhere" = {
    "date": "git knows when the entry was added; remove the field",
}))]
pub struct Entry {
    /// Names of configs, or patterns with `*`.
    #[schemars(length(min = 1), extend("x-hint" = "write a list, also of one: `config-keys: [dsr1-fp8-h200-sglang]`"))]
    pub config_keys: Vec<String>,
    #[schemars(length(min = 1), extend("x-hint" = "write a list, a line each: `description: [\"what changed\"]`"))]
    pub description: Vec<String>,
    pub pr_link: String,
    #[serde(default)]
    pub evals_only: bool,
    #[serde(default)]
    pub all_evals: bool,
    #[serde(default)]
    pub append_only: bool,
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub eval_min_prefill_ep: Option<u32>,
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub scenario_type: Option<Vec<ScenarioType>>,
}

/// What a scenario sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScenarioType {
    FixedSeqLen,
    AgenticCoding,
}

impl ScenarioType {
    pub const ALL: [Self; 2] = [Self::FixedSeqLen, Self::AgenticCoding];
}

/// An entry that a range of commits added, with the configs that it names.
#[derive(Debug, Clone)]
pub struct Addition {
    pub entry: Entry,
    /// Config keys, each once, in the order in which the entry names them.
    pub configs: Vec<String>,
}

impl Entry {
    /// Whether the entry is about scenarios of this type.
    pub fn concerns(&self, scenario: ScenarioType) -> bool {
        self.scenario_type
            .as_ref()
            .is_none_or(|types| types.contains(&scenario))
    }

    /// Whether points are to be measured, not only checked for accuracy.
    pub fn measures(&self) -> bool {
        !self.evals_only && !self.all_evals
    }
}

/// Removed lines that a message shows, and how much of each.
const SHOWN_REMOVED: usize = 3;
const SHOWN_CHARS: usize = 80;

/// Reads the entries that `diff`, git's unified diff of the changelog at `path`, adds, and looks up what they name
/// among `configs`. Removed lines are an error: the log only grows.
pub fn additions(path: &Path, diff: &str, configs: &[&str]) -> Result<Vec<Addition>, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let changes = Changes::of(diff);
    if let [(first, _), ..] = changes.removed[..] {
        let mut wrong = Diagnostic::error(format!(
            "`{}` may only grow: line {first} was removed",
            path.display()
        ));
        for (line, text) in changes.removed.iter().take(SHOWN_REMOVED) {
            let text: String = text.trim().chars().take(SHOWN_CHARS).collect();
            wrong = wrong.help(format!("line {line} was `{text}`"));
        }
        if changes.removed.len() > SHOWN_REMOVED {
            wrong = wrong.help(format!(
                "and {} more lines",
                changes.removed.len() - SHOWN_REMOVED
            ));
        }
        return Err(wrong
            .help("restore what was removed; a correction is an entry of its own")
            .into());
    }
    if changes.added.trim().is_empty() {
        return Ok(Vec::new());
    }
    let source = Arc::new(Source {
        path: path.to_path_buf(),
        text: changes.added,
    });
    let mut document = Document::parse(&source, &mut diagnostics)?;
    yaml_1_1::resolve(&mut document);
    if !matches!(document.root.value, Value::Seq(_)) {
        let wrong = document.error(
            "the added lines are no list of entries",
            document.root.span,
            "added here",
        );
        return Err(wrong
            .help("an entry begins with `- config-keys:`; add whole entries")
            .into());
    }
    let reader = typed::Reader::<Entry>::new();
    let name = path.to_string_lossy();
    let mut additions = Vec::new();
    for node in document.root.items() {
        let Some(entry) = reader.read(&document, node, &name, &mut diagnostics) else {
            continue;
        };
        let evals = entry.evals_only || entry.all_evals || entry.eval_min_prefill_ep.is_some();
        if entry.append_only && evals {
            let span = node.nearest_at(&["append-only"]).span;
            diagnostics.push(document.error(
                "`append-only` adds points; it selects no evals",
                span,
                "expected no `evals-only`, `all-evals` or `eval-min-prefill-ep` beside it",
            ));
        }
        let mut named = Vec::new();
        for (i, key) in entry.config_keys.iter().enumerate() {
            let span = node.nearest_at(&["config-keys", &i.to_string()]).span;
            look_up(&document, key, span, configs, &mut named, &mut diagnostics);
        }
        additions.push(Addition {
            entry,
            configs: named,
        });
    }
    diagnostics.check(additions).map(|(additions, _)| additions)
}

fn look_up(
    document: &Document,
    key: &str,
    span: Span,
    configs: &[&str],
    named: &mut Vec<String>,
    diagnostics: &mut Diagnostics,
) {
    let mut matching = configs.iter().filter(|config| matches(key, config)).peekable();
    if matching.peek().is_none() {
        let what = if key.contains('*') { "matches" } else { "is called" };
        let near = super::nearest::nearest(&key.replace('*', ""), configs.iter().copied());
        let wrong = document.error(format!("no config {what} `{key}`"), span, "named here");
        diagnostics.push(match near {
            Some(near) => wrong.help(format!("did you mean `{near}`?")),
            None => wrong,
        });
    }
    for config in matching {
        if !named.iter().any(|known| known == config) {
            named.push((*config).to_owned());
        }
    }
}

/// Whether a key of an entry names a config: `*` stands for any text, all else for itself.
pub fn matches(key: &str, config: &str) -> bool {
    let mut parts = key.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = config.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// What a unified diff of one file does.
struct Changes {
    /// The added lines, each on the line where the new file has it, so that messages name the right one.
    added: String,
    /// Removed lines that are not blank, with their numbers in the old file.
    removed: Vec<(u64, String)>,
}

/// A file's line numbers end here; what a diff claims beyond it is no changelog.
const MOST_LINES: u64 = 10_000_000;

impl Changes {
    fn of(diff: &str) -> Self {
        let mut changes = Self {
            added: String::new(),
            removed: Vec::new(),
        };
        let (mut old, mut new, mut written) = (0u64, 0u64, 1u64);
        // Before the first hunk stand the names of the files.
        let mut within = false;
        for line in diff.lines() {
            if let Some((at_old, at_new)) = hunk(line) {
                (old, new, within) = (at_old, at_new.min(MOST_LINES), true);
            } else if !within {
            } else if let Some(text) = line.strip_prefix('+') {
                while written < new {
                    changes.added.push('\n');
                    written += 1;
                }
                changes.added.push_str(text);
                changes.added.push('\n');
                written += 1;
                new += 1;
            } else if let Some(text) = line.strip_prefix('-') {
                if !text.trim().is_empty() {
                    changes.removed.push((old, text.to_owned()));
                }
                old += 1;
            } else if line.starts_with(' ') || line.is_empty() {
                old += 1;
                new += 1;
            } else if line.starts_with("diff ") {
                within = false;
            }
        }
        changes
    }
}

/// The first lines of a hunk in the old and the new file: `@@ -12,3 +12,9 @@`.
fn hunk(line: &str) -> Option<(u64, u64)> {
    let (old, rest) = line.strip_prefix("@@ -")?.split_once(" +")?;
    let (new, _) = rest.split_once(" @@")?;
    let first = |range: &str| range.split(',').next()?.parse().ok();
    Some((first(old)?, first(new)?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const CONFIGS: [&str; 3] = [
        "dsr1-fp8-h200-sglang",
        "dsr1-fp4-b200-trt",
        "gptoss-fp4-h100-vllm",
    ];

    fn read(added: &[&str]) -> Result<Vec<Addition>, String> {
        let lines: String = added.iter().map(|line| format!("+{line}\n")).collect();
        let diff = format!("--- a/log.yaml\n+++ b/log.yaml\n@@ -7,2 +7,9 @@ context\n \n{lines}");
        additions(Path::new("log.yaml"), &diff, &CONFIGS).map_err(|d| d.to_string())
    }

    #[test]
    fn added_entries_name_their_configs() {
        let added = read(&[
            "- config-keys: [dsr1-*, dsr1-fp4-b200-trt]",
            "  description: [x]",
            "  pr-link: y",
            "  scenario-type: [fixed-seq-len]",
        ])
        .unwrap();
        assert_eq!(added[0].configs, ["dsr1-fp8-h200-sglang", "dsr1-fp4-b200-trt"]);
        assert!(added[0].entry.measures());
        assert!(!added[0].entry.concerns(ScenarioType::AgenticCoding));
    }

    #[test]
    fn wrong_additions_are_shown_at_their_lines() {
        let shown = read(&[
            "- config-keys: [dsr1-fp8-h200-sglan]",
            "  description: x",
            "  pr-link: y",
            "  date: z",
        ]);
        let shown = shown.unwrap_err();
        for expected in ["log.yaml:9:16", "write a list", "log.yaml:11:3", "git knows"] {
            assert!(shown.contains(expected), "{expected} is missing from\n{shown}");
        }
        let shown = read(&[
            "- config-keys: [dsr1-fp8-h200-sglan]",
            "  description: [x]",
            "  pr-link: y",
        ]);
        let shown = shown.unwrap_err();
        assert!(shown.contains("did you mean `dsr1-fp8-h200-sglang`?"), "{shown}");
    }

    #[test]
    fn removed_lines_are_refused_with_their_numbers() {
        let diff = "--- a/log.yaml\n+++ b/log.yaml\n@@ -7,3 +7,1 @@\n x\n-- config-keys: [a]\n-\n";
        let shown = additions(Path::new("log.yaml"), diff, &CONFIGS)
            .unwrap_err()
            .to_string();
        assert!(
            shown.contains("line 8 was removed") && shown.contains("`- config-keys: [a]`"),
            "{shown}"
        );
        assert!(additions(Path::new("log.yaml"), "", &CONFIGS).unwrap().is_empty());
    }

    #[test]
    fn stars_stand_for_any_text_and_nothing_else_is_special() {
        for (key, config, expected) in [
            ("*", "a-b", true),
            ("a*", "a-b", true),
            ("*b", "a-b", true),
            ("a*c", "a-b", false),
            ("a?b", "a-b", false),
            ("a-b", "a-b", true),
            ("a", "a-b", false),
            ("a*-*b", "a-x-b", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(key, config), expected, "{key} {config}");
        }
    }
}
