//! From a changelog's added entries to the jobs of a sweep.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::git::Git;

use super::append_only::{self, Base};
use super::changelog_entry::{Entry, SCENARIO_TYPES};
use super::evals::Evals;
use super::expand::{Filters, TestConfig, test_config};
use super::input::{Masters, read_masters};
use super::model_dump::dump;
use super::python_json::{Layout, dumps};
use super::pyvalue::{Dict, PyValue};
use super::rows::{AGENTIC, sequence_name};
use super::runners::Runners;

/// Where the masters stand in a checkout, in the order in which they are merged.
pub(super) const MASTER_CONFIGS: [&str; 2] = ["configs/amd-master.yaml", "configs/nvidia-master.yaml"];

/// Where the runners stand in a checkout.
pub const RUNNER_CONFIG: &str = "configs/runners.yaml";

/// What a changelog sweep is asked.
#[derive(Debug, Clone)]
pub struct ChangelogSweep {
    pub base_ref: String,
    pub head_ref: String,
    pub changelog: PathBuf,
    /// Keep one point a deployment, the lowest.
    pub trim_conc: bool,
    /// Evaluate every row that can be, beside the throughput rows.
    pub all_evals: bool,
    /// No throughput rows.
    pub evals_only: bool,
}

/// The jobs of what was added to the changelog between two revisions, and the entries themselves. The checkout's own
/// configs are swept.
pub fn process(root: &Path, sweep: &ChangelogSweep, notes: &mut Diagnostics) -> Result<PyValue, Diagnostics> {
    let git = Git(root);
    let diff = git
        .diff(&[&sweep.base_ref, &sweep.head_ref], &sweep.changelog)
        .map_err(|error| Diagnostic::error(error.to_string()))?;
    let added = added_lines(&diff, &sweep.changelog)?;
    let entries = Entry::read_all(&sweep.changelog, added)?;
    let has_append_only = entries.iter().any(|entry| entry.append_only);
    if has_append_only && !entries.iter().all(|entry| entry.append_only) {
        return Err(Diagnostic::error(
            "append-only entries cannot share a sweep with regular changelog entries",
        )
        .into());
    }
    if has_append_only && (sweep.all_evals || sweep.evals_only) {
        return Err(
            Diagnostic::error("append-only sweeps cannot use all-evals or evals-only modifiers").into(),
        );
    }
    let masters = read_masters(&MASTER_CONFIGS.map(|path| root.join(path)), notes)?;
    let runners = Runners::read(&root.join(RUNNER_CONFIG), notes)?;
    let mut resolved = Vec::new();
    for entry in &entries {
        resolved.push((entry, resolve_keys(&masters, &entry.config_keys)?));
    }
    let base = if has_append_only {
        let base = Base::at(git, &sweep.base_ref)?;
        append_only::check_scope(&base.masters, &masters, &resolved)?;
        Some(base)
    } else {
        None
    };
    // The broader selection wins where entries name the same config.
    resolved.sort_by_key(|(entry, _)| !entry.all_evals);
    let mut jobs = Jobs::default();
    let mut swept = Seen::default();
    let mut evaluated = Seen::default();
    for (entry, keys) in &resolved {
        if !(sweep.evals_only || entry.evals_only || entry.all_evals) {
            for (kinds, keys) in swept.groups(entry, keys) {
                let filters = Filters {
                    evals: Evals::None,
                    scenario_types: kinds,
                    ..Filters::default()
                };
                let test = of_keys(keys);
                let rows = test_config(&masters, &runners, &filters, &test)?;
                jobs.throughput.extend(match &base {
                    None => rows,
                    Some(base) => {
                        let before = test_config(&base.masters, &base.runners, &filters, &test)?;
                        append_only::delta(&before, rows).map_err(Diagnostic::error)?
                    }
                });
            }
        }
        if entry.append_only {
            continue;
        }
        for (kinds, keys) in evaluated.groups(entry, keys) {
            let filters = Filters {
                evals: if sweep.all_evals || entry.all_evals {
                    Evals::All
                } else {
                    Evals::Only
                },
                scenario_types: kinds,
                ..Filters::default()
            };
            let mut rows = test_config(&masters, &runners, &filters, &of_keys(keys))?;
            if let Some(least) = entry.eval_min_prefill_ep {
                rows.retain(|row| prefill_ep(row).is_none_or(|ep| ep >= least));
            }
            jobs.evals.extend(rows);
        }
    }
    if sweep.trim_conc {
        jobs.throughput = trimmed(jobs.throughput);
    }
    Ok(jobs.into_sweep(sweep, &entries))
}

/// The lines that a diff adds. A changelog only grows.
pub(super) fn added_lines(diff: &str, changelog: &Path) -> Result<String, Diagnostic> {
    let mut added = Vec::new();
    for line in diff.split('\n') {
        if line.starts_with("---") || line.starts_with("+++") {
            continue;
        }
        if let Some(deleted) = line.strip_prefix('-') {
            if !deleted.trim().is_empty() {
                return Err(Diagnostic::error(format!(
                    "Deletions are not allowed in {}. Only additions to the changelog are permitted. \
                     Found deleted line: {deleted}",
                    changelog.display()
                ))
                .help("restore the line as it was, and append an entry of its own for the change"));
            }
        } else if let Some(text) = line.strip_prefix('+') {
            added.push(text);
        }
    }
    let added = added.join("\n");
    if added.trim().is_empty() {
        return Err(Diagnostic::error("No additions found in the changelog file."));
    }
    Ok(added)
}

/// Keys and patterns, in which only `*` is special, each key once.
fn resolve_keys(masters: &Masters, wanted: &[String]) -> Result<Vec<String>, Diagnostic> {
    let mut keys: Vec<String> = Vec::new();
    let mut known = HashSet::new();
    for one in wanted {
        let found: Vec<&str> = if one.contains('*') {
            masters.keys().filter(|key| star_match(one, key)).collect()
        } else {
            masters.key(one).into_iter().collect()
        };
        if found.is_empty() {
            let message = if one.contains('*') {
                format!("No config keys matched the wildcard pattern '{one}' in master configs.")
            } else {
                format!("Config key '{one}' not found in master configs.")
            };
            return Err(Diagnostic::error(message).nearest(one, masters.keys()));
        }
        let new = found.into_iter().filter(|key| known.insert(*key));
        keys.extend(new.map(str::to_owned));
    }
    Ok(keys)
}

/// Whether a name is the pattern's parts in their order, with anything between them.
fn star_match(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else {
        return pattern == name;
    };
    let Some(rest) = name.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    let middle = parts.try_fold(rest, |rest, part| {
        rest.find(part).map(|at| &rest[at + part.len()..])
    });
    middle.is_some()
}

fn of_keys(config_keys: Vec<String>) -> TestConfig {
    TestConfig {
        config_keys,
        concs: Vec::new(),
    }
}

fn prefill_ep(row: &Dict) -> Option<i64> {
    let prefill = row.get("prefill").and_then(PyValue::as_dict)?;
    Some(prefill.get("ep").map_or(1, |ep| ep.to_int().unwrap_or(i64::MIN)))
}

/// Which scenarios of a config an earlier entry has taken.
#[derive(Debug, Default)]
struct Seen(HashMap<String, [bool; 2]>);

impl Seen {
    /// Takes what an entry is about and is not taken: configs with the same kinds of scenario together.
    fn groups(&mut self, entry: &Entry, keys: &[String]) -> Vec<(Vec<String>, Vec<String>)> {
        let mut groups: Vec<(Vec<String>, Vec<String>)> = Vec::new();
        for key in keys {
            let seen = self.0.entry(key.clone()).or_default();
            let mut kinds = Vec::new();
            for (kind, seen) in SCENARIO_TYPES.iter().zip(seen) {
                if entry.covers(kind) && !*seen {
                    *seen = true;
                    kinds.push((*kind).to_owned());
                }
            }
            if kinds.is_empty() {
                continue;
            }
            match groups.iter_mut().find(|(known, _)| *known == kinds) {
                Some((_, keys)) => keys.push(key.clone()),
                None => groups.push((kinds, vec![key.clone()])),
            }
        }
        groups
    }
}

/// What says where on a curve a row is, not which.
pub(super) const POINT_FIELDS: &[&str] = &["conc", "exp-name"];

/// One row a deployment on one node, the first with the lowest concurrency; one point a row on several.
fn trimmed(rows: Vec<Dict>) -> Vec<Dict> {
    let conc = |row: &Dict| row.int("conc").unwrap_or(i64::MAX);
    let mut lowest: HashMap<String, (usize, i64)> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        if row.some("prefill").is_none() {
            let at = lowest
                .entry(row.identity_without(POINT_FIELDS))
                .or_insert((index, conc(row)));
            if conc(row) < at.1 {
                *at = (index, conc(row));
            }
        }
    }
    let kept: HashSet<usize> = lowest.into_values().map(|(index, _)| index).collect();
    let mut trimmed = Vec::new();
    for (index, mut row) in rows.into_iter().enumerate() {
        if row.some("prefill").is_some() {
            let least = row.get("conc").map_or(&[][..], PyValue::items);
            let least = least.iter().min_by_key(|conc| conc.to_int()).cloned();
            row.set_some("conc", least.map(|conc| vec![conc]));
            trimmed.push(row);
        } else if kept.contains(&index) {
            trimmed.push(row);
        }
    }
    trimmed
}

/// What a throughput row was generated from, all but its point: sha256 over its canonical JSON.
pub(super) fn recipe_fingerprint(row: &Dict) -> String {
    let mut recipe = row.clone();
    for key in POINT_FIELDS {
        recipe.remove(key);
    }
    recipe.remove("recipe-fingerprint");
    hex(&Sha256::digest(dumps(&recipe.into(), Layout::Canonical)))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Debug, Default)]
struct Jobs {
    throughput: Vec<Dict>,
    evals: Vec<Dict>,
}

impl Jobs {
    /// Sorts the rows into the buckets that workflows dispatch.
    fn into_sweep(self, sweep: &ChangelogSweep, entries: &[Entry]) -> PyValue {
        let mut nodes = [Buckets::default(), Buckets::default()];
        for row in &self.throughput {
            let null = PyValue::None;
            let bucket = if row.text("scenario-type") == AGENTIC {
                "agentic".to_owned()
            } else {
                sequence_name(row.get("isl").unwrap_or(&null), row.get("osl").unwrap_or(&null))
            };
            let mut dumped = dump(row);
            dumped.set("recipe-fingerprint", recipe_fingerprint(row));
            nodes[usize::from(row.some("prefill").is_some())].push(bucket, dumped);
        }
        let evals = |multi: bool, agentic: bool| {
            let rows = self.evals.iter().filter(|row| {
                row.some("prefill").is_some() == multi && (row.text("scenario-type") == AGENTIC) == agentic
            });
            PyValue::List(rows.map(|row| dump(row).into()).collect())
        };
        let mut metadata = Dict::default();
        metadata.set("base_ref", sweep.base_ref.as_str());
        metadata.set("head_ref", sweep.head_ref.as_str());
        let entries = entries.iter().map(|entry| entry.to_metadata().into());
        metadata.set("entries", PyValue::List(entries.collect()));
        let [single, multi] = nodes;
        let mut all = Dict::default();
        all.set("single_node", single.into_dict());
        all.set("multi_node", multi.into_dict());
        all.set("evals", evals(false, false));
        all.set("agentic_evals", evals(false, true));
        all.set("multinode_evals", evals(true, false));
        all.set("multinode_agentic_evals", evals(true, true));
        all.set("changelog_metadata", metadata);
        all.into()
    }
}

/// Rows by sequence, in the order in which sequences first come.
#[derive(Debug, Default)]
struct Buckets(Vec<(String, Vec<PyValue>)>);

impl Buckets {
    fn push(&mut self, bucket: String, row: Dict) {
        match self.0.iter_mut().find(|(known, _)| *known == bucket) {
            Some((_, rows)) => rows.push(row.into()),
            None => self.0.push((bucket, vec![row.into()])),
        }
    }

    fn into_dict(self) -> Dict {
        self.0
            .into_iter()
            .map(|(bucket, rows)| (bucket, PyValue::List(rows)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::python_json::loads;
    use super::*;

    fn row(json: &str) -> Dict {
        loads(json).unwrap().as_dict().cloned().unwrap()
    }

    #[test]
    fn only_additions_pass() {
        let log = Path::new("log.yaml");
        let diff = "--- a/log.yaml\n+++ b/log.yaml\n@@ -1 +1,2 @@\n old\n-  \n+- a: 1\n+  b: 2\n";
        assert_eq!(added_lines(diff, log).unwrap(), "- a: 1\n  b: 2");
        let told = added_lines(&diff.replace("-  \n", "-gone\n"), log).unwrap_err();
        assert!(told.message.contains("Found deleted line: gone"));
        assert!(added_lines("", log).is_err() && added_lines("+ \n", log).is_err());
    }

    #[test]
    fn only_stars_are_special_in_changelog_patterns() {
        for (pattern, name, matches) in [
            ("a-*", "a-b/c", true),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acbc", true),
            ("a*b*c", "ac", false),
            ("a?*", "ab", false),
            ("a?*", "a?b", true),
            ("a[b]*", "ab", false),
        ] {
            assert_eq!(star_match(pattern, name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn trimming_keeps_the_lowest_point_of_a_deployment() {
        let rows = [
            r#"{"tp": 8, "conc": 8, "exp-name": "a"}"#,
            r#"{"tp": 8, "conc": 4, "exp-name": "b"}"#,
            r#"{"tp": 8, "conc": 4, "exp-name": "c"}"#,
            r#"{"tp": 4, "conc": 64}"#,
            r#"{"prefill": {}, "conc": [64, 8]}"#,
        ];
        let kept = trimmed(rows.map(row).to_vec());
        let shown: Vec<_> = kept
            .iter()
            .map(|row| row.get("conc").unwrap().to_string())
            .collect();
        assert_eq!(shown, ["4", "64", "[8]"]);
        assert_eq!(kept[0].text("exp-name"), "b");
    }

    #[test]
    fn a_fingerprint_does_not_know_the_point() {
        let one = recipe_fingerprint(&row(r#"{"tp": 8, "conc": 8, "exp-name": "a"}"#));
        assert_eq!(
            one,
            recipe_fingerprint(&row(r#"{"exp-name": "b", "conc": 4, "tp": 8}"#))
        );
        assert_eq!(one, hex(&Sha256::digest(r#"{"tp":8}"#)));
    }
}
