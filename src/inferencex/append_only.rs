//! Append-only changes: new points on curves that exist, and nothing else.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::git::Git;
use crate::config::source::Source;

use super::changelog::{MASTER_CONFIGS, POINT_FIELDS, RUNNER_CONFIG};
use super::changelog_entry::{Entry, SCENARIO_TYPES};
use super::input::Masters;
use super::pyvalue::{Dict, PyValue};
use super::rows::AGENTIC;
use super::runners::Runners;

/// What a sweep was generated from at the base revision.
#[derive(Debug)]
pub(super) struct Base {
    pub masters: Masters,
    pub runners: Runners,
}

impl Base {
    pub(super) fn at(git: Git<'_>, revision: &str) -> Result<Self, Diagnostics> {
        let mut missing = Vec::new();
        let mut read = |path: &'static str| match git.show(revision, Path::new(path)) {
            Ok(text) => Arc::new(Source {
                path: format!("{revision}:{path}").into(),
                text,
            }),
            Err(_) => {
                missing.push(path);
                Arc::new(Source {
                    path: path.into(),
                    text: String::new(),
                })
            }
        };
        let masters = MASTER_CONFIGS.map(&mut read);
        let runners = read(RUNNER_CONFIG);
        if !missing.is_empty() {
            return Err(Diagnostic::error(format!(
                "append-only base revision is missing generation inputs: {}",
                quoted(&missing)
            ))
            .into());
        }
        // The base is history: what is odd in it was told when it was new.
        let mut notes = Diagnostics::default();
        Ok(Self {
            masters: Masters::of(&masters, &mut notes)?,
            runners: Runners::of(&runners, &mut notes)?,
        })
    }
}

/// Why a change is not append-only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAppendOnly {
    #[error("append-only requires every selected config to exist in the base revision; missing: {0}")]
    NewConfigs(String),
    #[error("append-only PR changed configs not selected by its changelog entry: {0}")]
    OtherConfigs(String),
    #[error("append-only added or removed a scenario in config '{0}'")]
    Scenarios(String),
    #[error(
        "append-only changed top-level fields of config '{0}' although its changelog scope leaves a scenario out"
    )]
    TopLevel(String),
    #[error("append-only changed a scenario outside its changelog scope: '{config}' / '{scenario}'")]
    OutOfScope { config: String, scenario: String },
    #[error("append-only may not remove or modify existing generated recipes")]
    Recipes,
    #[error("append-only may not remove existing concurrency points: {0:?}")]
    Points(Vec<i64>),
    #[error("append-only did not add any generated points")]
    Nothing,
    #[error("append-only points must extend an existing visual series; '{0}' begins a new one")]
    NewSeries(String),
    #[error("append-only points must use the one image of their visual series; '{point}' uses '{image}'")]
    Image { point: String, image: String },
}

impl From<NotAppendOnly> for String {
    fn from(reason: NotAppendOnly) -> Self {
        reason.to_string()
    }
}

impl From<NotAppendOnly> for Diagnostics {
    fn from(reason: NotAppendOnly) -> Self {
        Diagnostic::error(reason.to_string()).into()
    }
}

/// Whether only the selected configs changed, and in them only the scenarios that the entries are about.
pub(super) fn check_scope(
    base: &Masters,
    head: &Masters,
    selected: &[(&Entry, Vec<String>)],
) -> Result<(), NotAppendOnly> {
    let mut scope: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (entry, keys) in selected {
        for key in keys {
            let kinds = SCENARIO_TYPES.into_iter().filter(|kind| entry.covers(kind));
            scope.entry(key).or_default().extend(kinds);
        }
    }
    let missing = scope.keys().copied().filter(|key| base.get(key).is_none());
    if let Some(missing) = sorted(missing) {
        return Err(NotAppendOnly::NewConfigs(missing));
    }
    let all = base.keys().chain(head.keys());
    let changed = all.filter(|key| !scope.contains_key(key) && !same(base.get(key), head.get(key)));
    if let Some(changed) = sorted(changed) {
        return Err(NotAppendOnly::OtherConfigs(changed));
    }
    let mut scope: Vec<_> = scope.into_iter().collect();
    scope.sort_by_key(|(key, _)| *key);
    for (key, kinds) in scope {
        if let (Some(before), Some(after)) = (base.get(key), head.get(key)) {
            check_config(key, before, after, &kinds)?;
        }
    }
    Ok(())
}

fn check_config(key: &str, before: &Dict, after: &Dict, kinds: &HashSet<&str>) -> Result<(), NotAppendOnly> {
    let empty = Dict::default();
    let scenarios = |config: &Dict| config.get("scenarios").and_then(PyValue::as_dict).cloned();
    let (old, new) = (scenarios(before), scenarios(after));
    let (old, new) = (old.as_ref().unwrap_or(&empty), new.as_ref().unwrap_or(&empty));
    let names = |scenarios: &Dict| {
        scenarios
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect::<HashSet<_>>()
    };
    if names(old) != names(new) {
        return Err(NotAppendOnly::Scenarios(key.to_owned()));
    }
    let out_of_scope: Vec<&str> = old
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !kinds.contains(name))
        .collect();
    if !out_of_scope.is_empty()
        && before.identity_without(&["scenarios"]) != after.identity_without(&["scenarios"])
    {
        return Err(NotAppendOnly::TopLevel(key.to_owned()));
    }
    for scenario in out_of_scope {
        let unchanged = match (old.get(scenario), new.get(scenario)) {
            (Some(old), Some(new)) => old.equals(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if !unchanged {
            return Err(NotAppendOnly::OutOfScope {
                config: key.to_owned(),
                scenario: scenario.to_owned(),
            });
        }
    }
    Ok(())
}

fn same(before: Option<&Dict>, after: Option<&Dict>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => before.identity_without(&[]) == after.identity_without(&[]),
        _ => false,
    }
}

/// The rows that hold new points, with these alone, in the order of the head's rows.
pub(super) fn delta(base: &[Dict], head: Vec<Dict>) -> Result<Vec<Dict>, NotAppendOnly> {
    let before = recipes(base);
    let after = recipes(&head);
    if before.keys().any(|recipe| !after.contains_key(recipe)) {
        return Err(NotAppendOnly::Recipes);
    }
    let gone = before
        .iter()
        .flat_map(|(recipe, concs)| concs.difference(&after[recipe]).copied());
    let mut gone: Vec<i64> = gone.collect();
    if !gone.is_empty() {
        gone.sort_unstable();
        return Err(NotAppendOnly::Points(gone));
    }
    let images = series_images(base);
    let mut emitted: HashMap<String, HashSet<i64>> = HashMap::new();
    let mut delta = Vec::new();
    for mut row in head {
        let recipe = row.identity_without(POINT_FIELDS);
        let known = before.get(&recipe);
        let emitted = emitted.entry(recipe).or_default();
        let mut is_new = |conc: &PyValue| {
            conc.to_int()
                .is_some_and(|conc| known.is_none_or(|known| !known.contains(&conc)) && emitted.insert(conc))
        };
        match row.get("conc") {
            Some(PyValue::List(concs)) => {
                let new: Vec<PyValue> = concs.iter().filter(|conc| is_new(conc)).cloned().collect();
                if new.is_empty() {
                    continue;
                }
                row.set("conc", new);
            }
            Some(conc) if is_new(conc) => {}
            _ => continue,
        }
        check_series(&row, &images)?;
        delta.push(row);
    }
    if delta.is_empty() {
        return Err(NotAppendOnly::Nothing);
    }
    Ok(delta)
}

fn check_series(row: &Dict, images: &HashMap<String, HashSet<String>>) -> Result<(), NotAppendOnly> {
    let point = row.text("exp-name").to_owned();
    let Some(images) = images.get(&series(row)) else {
        return Err(NotAppendOnly::NewSeries(point));
    };
    let image = row.text("image");
    if images.len() != 1 || !images.contains(image) {
        return Err(NotAppendOnly::Image {
            point,
            image: image.to_owned(),
        });
    }
    Ok(())
}

/// The points of each recipe.
fn recipes(rows: &[Dict]) -> HashMap<String, HashSet<i64>> {
    let mut recipes: HashMap<String, HashSet<i64>> = HashMap::new();
    for row in rows {
        let points = recipes.entry(row.identity_without(POINT_FIELDS)).or_default();
        match row.get("conc") {
            Some(PyValue::List(concs)) => points.extend(concs.iter().filter_map(PyValue::to_int)),
            Some(conc) => points.extend(conc.to_int()),
            None => {}
        }
    }
    recipes
}

fn series_images(rows: &[Dict]) -> HashMap<String, HashSet<String>> {
    let mut images: HashMap<String, HashSet<String>> = HashMap::new();
    for row in rows {
        images
            .entry(series(row))
            .or_default()
            .insert(row.text("image").to_owned());
    }
    images
}

/// What a row is drawn under in a chart.
fn series(row: &Dict) -> String {
    let null = PyValue::None;
    let agentic = row.text("scenario-type") == AGENTIC;
    let mut series = String::new();
    for key in [
        "model",
        "model-prefix",
        "precision",
        "framework",
        "runner",
        "isl",
        "osl",
    ] {
        series.push_str(&row.get(key).unwrap_or(&null).identity());
    }
    let disagg = row.get("disagg").is_some_and(PyValue::is_true);
    let offloads = !matches!(row.text("kv-offloading"), "" | "none");
    series.push_str(&format!("{disagg} {agentic} {offloads} "));
    if !agentic {
        series.push_str(row.text("spec-decoding"));
    }
    for role in ["prefill", "decode"] {
        let worker = row.get(role).and_then(PyValue::as_dict);
        let hardware = worker.map_or("", |worker| worker.text("hardware"));
        series.push_str(&format!(" {hardware}"));
    }
    series
}

fn sorted<'k>(keys: impl Iterator<Item = &'k str>) -> Option<String> {
    let mut keys: Vec<&str> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    (!keys.is_empty()).then(|| quoted(&keys))
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    format!("[{}]", names.join(", "))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::python_json::loads;
    use super::*;

    fn rows(points: &[(&str, &str, &str)]) -> Vec<Dict> {
        let row = |(image, tp, conc): &(&str, &str, &str)| {
            let json = format!(r#"{{"image": "{image}", "model": "m", "tp": {tp}, "conc": {conc}}}"#);
            loads(&json).unwrap().as_dict().cloned().unwrap()
        };
        points.iter().map(row).collect()
    }

    fn concs(rows: &[Dict]) -> Vec<String> {
        rows.iter()
            .map(|row| row.get("conc").unwrap().to_string())
            .collect()
    }

    #[test]
    fn only_new_points_are_left() {
        let base = rows(&[("i", "8", "4"), ("i", "1", "[4, 8]")]);
        let head = rows(&[
            ("i", "8", "8"),
            ("i", "8", "4"),
            ("i", "8", "8"),
            ("i", "1", "[16, 4, 8, 2]"),
            ("i", "2", "4"),
        ]);
        assert_eq!(concs(&delta(&base, head).unwrap()), ["8", "[16, 2]", "4"]);
    }

    #[test]
    fn what_is_not_an_addition_is_refused() {
        let base = rows(&[("i", "8", "4"), ("i", "8", "8")]);
        let refused = |head: &[(&str, &str, &str)]| delta(&base, rows(head)).unwrap_err();
        assert_eq!(refused(&[("i", "4", "4")]), NotAppendOnly::Recipes);
        assert_eq!(
            refused(&[("i", "8", "4"), ("i", "8", "16")]),
            NotAppendOnly::Points(vec![8])
        );
        assert_eq!(
            refused(&[("i", "8", "4"), ("i", "8", "8")]),
            NotAppendOnly::Nothing
        );
        let image = refused(&[("i", "8", "4"), ("i", "8", "8"), ("j", "8", "16")]);
        assert!(matches!(image, NotAppendOnly::Image { .. }));
    }
}
