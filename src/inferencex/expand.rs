//! From master configs to matrix rows, as `full-sweep` and `test-config` select them.

use std::collections::HashSet;

use crate::config::diagnostic::{Diagnostic, Diagnostics};

use super::concurrency::{self, Bounds};
use super::evals::{self, Evals};
use super::fnmatch::fnmatch;
use super::input::Masters;
use super::master_schema::{scenarios_of, search_space};
use super::pyvalue::{Dict, PyValue};
use super::rows;
use super::runners::{Runners, unknown_labels};

/// What both commands select by.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    pub evals: Evals,
    /// Keep the nodes whose name contains this, a row each.
    pub runner_node_filter: Option<String>,
    /// Kinds of scenario; all when empty.
    pub scenario_types: Vec<String>,
    /// Input and output tokens of fixed-length rows; all when empty.
    pub sequences: Vec<(i64, i64)>,
}

/// What `full-sweep` selects by beside that.
#[derive(Debug, Clone)]
pub struct FullSweep {
    /// Beginnings of config keys.
    pub model_prefixes: Vec<String>,
    pub precisions: Vec<String>,
    pub frameworks: Vec<String>,
    pub runner_types: Vec<String>,
    /// Factor between the points of a range, at least two.
    pub step_size: i64,
    pub min_conc: Option<i64>,
    pub max_conc: Option<i64>,
    pub max_tp: Option<i64>,
    pub max_ep: Option<i64>,
    pub single_node: bool,
    pub multi_node: bool,
}

/// What `test-config` selects by beside that.
#[derive(Debug, Clone, Default)]
pub struct TestConfig {
    /// Keys, or patterns in shell style.
    pub config_keys: Vec<String>,
    /// Points to keep; all when empty.
    pub concs: Vec<i64>,
}

/// Every row that the masters hold, within limits.
pub fn full_sweep(
    masters: &Masters,
    runners: &Runners,
    filters: &Filters,
    sweep: &FullSweep,
) -> Result<Vec<Dict>, Diagnostics> {
    let known = runners.labels();
    let mut unknown: Vec<&str> = sweep.runner_types.iter().map(String::as_str).collect();
    unknown.retain(|label| !known.contains(label));
    if !unknown.is_empty() {
        unknown.sort_unstable();
        unknown.dedup();
        return Err(unknown_labels(&unknown, runners).into());
    }
    let among = |wanted: &[String], value: &str| wanted.is_empty() || wanted.iter().any(|one| one == value);
    let configs = masters.iter().filter(|(key, config)| {
        (sweep.model_prefixes.is_empty() || sweep.model_prefixes.iter().any(|start| key.starts_with(start)))
            && among(&sweep.precisions, config.text("precision"))
            && among(&sweep.frameworks, config.text("framework"))
            && among(&sweep.runner_types, config.text("runner"))
            && if is_multinode(config) {
                sweep.multi_node
            } else {
                sweep.single_node
            }
    });
    expand(masters, configs, runners, filters, &Points::Limited(sweep))
}

/// The rows of the named configs.
pub fn test_config(
    masters: &Masters,
    runners: &Runners,
    filters: &Filters,
    test: &TestConfig,
) -> Result<Vec<Dict>, Diagnostics> {
    let keys = resolve_keys(masters, &test.config_keys)?;
    let configs = keys
        .iter()
        .filter_map(|key| masters.get(key).map(|config| (*key, config)));
    expand(masters, configs, runners, filters, &Points::Among(&test.concs))
}

/// Keys and patterns, in the order of the request and of the files, each key once.
fn resolve_keys<'m>(masters: &'m Masters, wanted: &[String]) -> Result<Vec<&'m str>, Diagnostic> {
    let mut keys: Vec<&str> = Vec::new();
    let mut known = HashSet::new();
    for one in wanted {
        let is_pattern = one.contains(['*', '?']);
        let found: Vec<&str> = if is_pattern {
            masters.keys().filter(|key| fnmatch(one, key)).collect()
        } else {
            masters.key(one).into_iter().collect()
        };
        if found.is_empty() {
            let mut all: Vec<&str> = masters.keys().collect();
            all.sort_unstable();
            let message = if is_pattern {
                format!("Pattern '{one}' matched no config keys.")
            } else {
                format!("Config key(s) not found: {one}.")
            };
            return Err(Diagnostic::error(message)
                .nearest(one, all.iter().copied())
                .help(format!("Available keys: {}", all.join(", "))));
        }
        keys.extend(found.into_iter().filter(|key| known.insert(*key)));
    }
    Ok(keys)
}

/// How points are chosen: the one thing in which the two commands expand differently, with their runners.
enum Points<'a> {
    Limited(&'a FullSweep),
    Among(&'a [i64]),
}

fn expand<'c>(
    masters: &Masters,
    configs: impl Iterator<Item = (&'c str, &'c Dict)>,
    runners: &Runners,
    filters: &Filters,
    points: &Points<'_>,
) -> Result<Vec<Dict>, Diagnostics> {
    let mut rows = Vec::new();
    let mut wrong = Diagnostics::default();
    let mut count = 0;
    let mut counted = |key: &str, points: usize, nodes: usize| {
        count += points * nodes;
        let most = masters.most_points();
        if count <= most {
            return Ok(());
        }
        Err(Diagnostic::error(format!(
            "the configs expand to more than {most} points, the last of `{key}`"
        ))
        .help("narrow its search space, or select fewer configs"))
    };
    let wants =
        |kind: &str| filters.scenario_types.is_empty() || filters.scenario_types.iter().any(|t| t == kind);
    for (key, config) in configs {
        let nodes = points.runners(
            config.text("runner"),
            runners,
            filters.runner_node_filter.as_deref(),
        );
        if nodes.is_empty() {
            continue;
        }
        if wants("fixed-seq-len") {
            for sequence in scenarios_of(config, "fixed-seq-len")
                .iter()
                .filter_map(PyValue::as_dict)
            {
                let lengths = sequence.int("isl").zip(sequence.int("osl"));
                if !filters.sequences.is_empty() && !lengths.is_some_and(|l| filters.sequences.contains(&l)) {
                    continue;
                }
                for entry in search_space(sequence) {
                    let Some(ep) = points.expert_parallelism(config, entry) else {
                        continue;
                    };
                    let concs = points.fixed(config, entry);
                    counted(key, concs.len(), nodes.len())?;
                    if !concs.is_empty() {
                        rows.extend(rows::fixed(config, sequence, entry, &ep, &concs, &nodes));
                    }
                }
            }
        }
        if wants(rows::AGENTIC) {
            for scenario in scenarios_of(config, rows::AGENTIC)
                .iter()
                .filter_map(PyValue::as_dict)
            {
                for entry in search_space(scenario) {
                    let concs = points.agentic(entry);
                    counted(key, concs.len(), nodes.len())?;
                    match rows::agentic(config, scenario, entry, &concs, &nodes, runners) {
                        Ok(agentic) => rows.extend(agentic),
                        Err(error) => wrong.push(Diagnostic::error(format!("{key}: {error}"))),
                    }
                }
            }
        }
    }
    wrong.check(())?;
    Ok(evals::select(rows, filters.evals))
}

impl Points<'_> {
    /// The labels of an entry's rows. `test-config` takes the label itself for a candidate too.
    fn runners<'r>(&self, label: &'r str, runners: &'r Runners, filter: Option<&str>) -> Vec<&'r str> {
        let Some(filter) = filter.filter(|filter| !filter.is_empty()) else {
            return vec![label];
        };
        let nodes = runners.nodes(label).iter().map(String::as_str);
        let nodes = nodes.filter(|node| node.contains(filter));
        match self {
            Self::Limited(_) => nodes.collect(),
            Self::Among(_) => {
                let mut once: Vec<&str> = Vec::new();
                for node in std::iter::once(label)
                    .filter(|label| label.contains(filter))
                    .chain(nodes)
                {
                    if !once.contains(&node) {
                        once.push(node);
                    }
                }
                once
            }
        }
    }

    /// The entry's EP within the limits; none when they leave the entry out.
    fn expert_parallelism(&self, config: &Dict, entry: &Dict) -> Option<PyValue> {
        let ep = entry.get("ep").cloned().unwrap_or(PyValue::None);
        let Self::Limited(sweep) = self else {
            return Some(ep);
        };
        if is_multinode(config) {
            return Some(ep);
        }
        if let Some(max) = sweep.max_tp
            && (max <= 0 || entry.int("tp").is_some_and(|tp| tp > max))
        {
            return None;
        }
        match sweep.max_ep {
            Some(..=0) => None,
            Some(max) if ep.to_int().is_some_and(|ep| ep > max) => Some(max.into()),
            _ => Some(ep),
        }
    }

    fn fixed(&self, config: &Dict, entry: &Dict) -> Vec<concurrency::Conc> {
        match self {
            Self::Limited(sweep) if is_multinode(config) => {
                concurrency::bounded(concurrency::points(entry, sweep.step_size), sweep.bounds())
            }
            Self::Limited(sweep) => concurrency::single_node_points(entry, sweep.step_size, sweep.bounds()),
            Self::Among(concs) => among(concurrency::points(entry, 2), concs),
        }
    }

    fn agentic(&self, entry: &Dict) -> Vec<concurrency::Conc> {
        match self {
            Self::Limited(sweep) => {
                concurrency::within(concurrency::points(entry, sweep.step_size), sweep.bounds())
            }
            Self::Among(concs) => among(concurrency::points(entry, 2), concs),
        }
    }
}

fn among(mut points: Vec<concurrency::Conc>, concs: &[i64]) -> Vec<concurrency::Conc> {
    points.retain(|conc| concs.is_empty() || concs.contains(&conc.value));
    points
}

impl FullSweep {
    fn bounds(&self) -> Bounds {
        Bounds {
            min: self.min_conc,
            max: self.max_conc,
        }
    }
}

fn is_multinode(config: &Dict) -> bool {
    config.get("multinode").is_some_and(PyValue::is_true)
}
