//! Which rows are evaluated for accuracy, and at which concurrency.

use std::collections::HashMap;

use super::pyvalue::{Dict, PyValue};
use super::rows::AGENTIC;

/// Points below this are too slow to evaluate at.
const LEAST_CONC: i64 = 16;

/// What says whether and how a row is evaluated, beside its points: no part of a deployment's topology.
const NOT_TOPOLOGY: &[&str] = &[
    "conc",
    "exp-name",
    "run-eval",
    "eval-only",
    "eval-conc",
    "eval-all-concs",
];

/// Which evals a sweep has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evals {
    /// Rows that are to be evaluated too are marked.
    #[default]
    Marked,
    /// No row is.
    None,
    /// Only rows that are evaluated, and only to be evaluated.
    Only,
    /// The same, for every row that can be evaluated.
    All,
}

/// Marks rows and keeps those that are wanted.
pub(super) fn select(mut rows: Vec<Dict>, evals: Evals) -> Vec<Dict> {
    match evals {
        Evals::None => rows,
        Evals::Marked => {
            mark(&mut rows, false);
            rows
        }
        Evals::Only | Evals::All => {
            mark(&mut rows, true);
            if evals == Evals::All {
                rows = mark_all(rows);
            }
            rows.retain(|row| row.get("run-eval").is_some_and(PyValue::is_true));
            for row in &mut rows {
                row.set("eval-only", true);
            }
            rows
        }
    }
}

/// The default selection: of the 8k1k rows those at the highest and the median concurrency of a group on one node, and
/// one at the highest concurrency of a topology on several; `agentic` adds one for each deployment of these.
fn mark(rows: &mut [Dict], agentic: bool) {
    let mut marked: HashMap<usize, Option<i64>> = HashMap::new();
    mark_single_fixed(rows, &mut marked);
    mark_multi(rows, is_eligible_sequence, &mut marked);
    if agentic {
        mark_single_agentic(rows, &mut marked);
        mark_multi(rows, is_agentic, &mut marked);
    }
    for (index, row) in rows.iter_mut().enumerate() {
        let mark = marked.get(&index);
        row.set("run-eval", mark.is_some());
        if let Some(Some(conc)) = mark {
            row.set("eval-conc", *conc);
        }
    }
}

fn mark_single_fixed(rows: &[Dict], marked: &mut HashMap<usize, Option<i64>>) {
    const GROUP: [&str; 6] = [
        "model",
        "runner",
        "framework",
        "precision",
        "spec-decoding",
        "dp-attn",
    ];
    let mut groups: HashMap<String, Vec<(usize, i64)>> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        if is_single(row) && is_eligible_sequence(row) && highest(row) >= LEAST_CONC {
            let group = groups.entry(identity(row, &GROUP)).or_default();
            group.push((index, highest(row)));
        }
    }
    for group in groups.values() {
        let mut concs: Vec<i64> = group.iter().map(|(_, conc)| *conc).collect();
        concs.sort_unstable();
        concs.dedup();
        let median = concs[concs.len() / 2];
        let top = concs.last().copied();
        let chosen = group
            .iter()
            .filter(|(_, conc)| *conc == median || Some(*conc) == top);
        marked.extend(chosen.map(|(index, _)| (*index, None)));
    }
}

fn mark_multi(rows: &[Dict], wanted: fn(&Dict) -> bool, marked: &mut HashMap<usize, Option<i64>>) {
    let mut best: HashMap<String, (usize, i64)> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let conc = highest(row);
        if !is_single(row) && wanted(row) && conc >= LEAST_CONC {
            keep_first_highest(&mut best, row.identity_without(NOT_TOPOLOGY), (index, conc));
        }
    }
    marked.extend(best.into_values().map(|(index, conc)| (index, Some(conc))));
}

/// Any concurrency will do here.
fn mark_single_agentic(rows: &[Dict], marked: &mut HashMap<usize, Option<i64>>) {
    const GROUP: [&str; 4] = ["model", "runner", "framework", "precision"];
    let mut best: HashMap<String, (usize, i64)> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        if is_single(row) && is_agentic(row) {
            keep_first_highest(&mut best, identity(row, &GROUP), (index, highest(row)));
        }
    }
    marked.extend(best.into_values().map(|(index, _)| (index, None)));
}

fn keep_first_highest(best: &mut HashMap<String, (usize, i64)>, group: String, candidate: (usize, i64)) {
    let known = best.entry(group).or_insert(candidate);
    if candidate.1 > known.1 {
        *known = candidate;
    }
}

/// Every 8k1k and every agentic row; those of one topology on several nodes become one.
fn mark_all(rows: Vec<Dict>) -> Vec<Dict> {
    let mut all: Vec<Dict> = Vec::new();
    let mut topologies: HashMap<String, usize> = HashMap::new();
    for mut row in rows {
        if !is_agentic(&row) && !is_eligible_sequence(&row) {
            all.push(row);
            continue;
        }
        row.set("run-eval", true);
        if is_single(&row) {
            all.push(row);
            continue;
        }
        let concs = concs(&row);
        match topologies.get(&row.identity_without(NOT_TOPOLOGY)) {
            Some(&at) => {
                let mut joined = self::concs(&all[at]);
                joined.extend(concs);
                set_batch(&mut all[at], joined);
            }
            None => {
                topologies.insert(row.identity_without(NOT_TOPOLOGY), all.len());
                set_batch(&mut row, concs);
                all.push(row);
            }
        }
    }
    all
}

/// The points of a merged row, sorted, and how they are evaluated: fixed lengths at all of them, agentic at the highest.
fn set_batch(row: &mut Dict, mut concs: Vec<(i64, PyValue)>) {
    concs.sort_by_key(|(conc, _)| *conc);
    concs.dedup_by_key(|(conc, _)| *conc);
    let top = concs.last().map(|(conc, _)| *conc);
    row.set(
        "conc",
        PyValue::List(concs.into_iter().map(|(_, written)| written).collect()),
    );
    if is_agentic(row) {
        row.set_some("eval-conc", top);
    } else {
        row.set("eval-all-concs", true);
        row.remove("eval-conc");
    }
}

/// A row's points with what was written for them.
fn concs(row: &Dict) -> Vec<(i64, PyValue)> {
    let conc = row.get("conc").unwrap_or(&PyValue::None);
    let list = match conc {
        PyValue::List(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    list.iter()
        .filter_map(|written| written.to_int().map(|conc| (conc, written.clone())))
        .collect()
}

fn highest(row: &Dict) -> i64 {
    match row.get("conc") {
        Some(PyValue::List(items)) => items.iter().filter_map(PyValue::to_int).max(),
        Some(one) => one.to_int(),
        None => None,
    }
    .unwrap_or(i64::MIN)
}

fn is_single(row: &Dict) -> bool {
    row.get("tp").is_some()
}

fn is_agentic(row: &Dict) -> bool {
    row.text("scenario-type") == AGENTIC
}

fn is_eligible_sequence(row: &Dict) -> bool {
    (row.int("isl"), row.int("osl")) == (Some(8192), Some(1024))
}

fn identity(row: &Dict, keys: &[&str]) -> String {
    let null = PyValue::None;
    keys.iter()
        .map(|key| row.get(key).unwrap_or(&null).identity())
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::super::python_json::loads;
    use super::*;

    fn single(conc: i64, tp: i64) -> Dict {
        row(&format!(
            r#"{{"model": "m", "runner": "r", "framework": "f", "precision": "p", "isl": 8192, "osl": 1024,
                "spec-decoding": "none", "dp-attn": false, "tp": {tp}, "conc": {conc}}}"#
        ))
    }

    fn multi(concs: &str, image: &str) -> Dict {
        row(&format!(
            r#"{{"image": "{image}", "isl": 8192, "osl": 1024, "prefill": {{"tp": 8}}, "conc": {concs}, "exp-name": "e"}}"#
        ))
    }

    fn row(json: &str) -> Dict {
        loads(json).unwrap().as_dict().cloned().unwrap()
    }

    fn marks(rows: &[Dict]) -> Vec<bool> {
        rows.iter()
            .map(|row| row.get("run-eval") == Some(&PyValue::Bool(true)))
            .collect()
    }

    #[test]
    fn one_node_is_marked_at_the_highest_and_the_median() {
        let rows = [(4, 8), (16, 8), (32, 8), (64, 8), (64, 4), (128, 8)].map(|(conc, tp)| single(conc, tp));
        let rows = select(rows.to_vec(), Evals::Marked);
        // Eligible: 16, 32, 64, 128; the upper median is 64, at either TP.
        assert_eq!(marks(&rows), [false, false, false, true, true, true]);
    }

    #[test]
    fn several_nodes_are_marked_once_a_topology() {
        let rows = vec![
            multi("[512, 4]", "a"),
            multi("[1024, 512]", "a"),
            multi("[1024]", "a"),
            multi("[8]", "b"),
        ];
        let rows = select(rows, Evals::Marked);
        assert_eq!(marks(&rows), [false, true, false, false]);
        assert_eq!(rows[1].get("eval-conc"), Some(&PyValue::Int(1024)));
    }

    #[test]
    fn all_evals_join_the_points_of_a_topology() {
        let rows = vec![multi("[512, 4]", "a"), multi("[8, 4]", "a"), single(4, 8)];
        let rows = select(rows, Evals::All);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].get("conc").unwrap(), &loads("[4, 8, 512]").unwrap());
        assert_eq!(rows[0].get("eval-conc"), None);
        assert!(
            rows.iter()
                .all(|row| row.get("eval-only") == Some(&PyValue::Bool(true)))
        );
    }

    #[test]
    fn other_lengths_are_not_evaluated() {
        let mut other = single(64, 8);
        other.set("isl", 1024);
        assert!(select(vec![other.clone()], Evals::All).is_empty());
        assert_eq!(select(vec![other.clone()], Evals::None), [other]);
    }
}
