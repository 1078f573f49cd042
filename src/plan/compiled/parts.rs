//! What each config adds to a plan in which all is fresh, told apart: after an edit only the edited ones are planned
//! anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cache::Digest;
use crate::config::entries::{EntryText, split};
use crate::config::project::Project;
use crate::graph::{Graph, Selection, Spec};
use crate::matrix::default_group;

/// The configs of a project in the order of files and keys, and which plan they are parts of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// The sweep's name.
    pub sweep: String,
    pub profile: String,
    pub files: Vec<FileParts>,
}

/// The configs of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileParts {
    /// As the Sweepfile names it.
    pub path: PathBuf,
    pub configs: Vec<Part>,
}

/// A config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub key: String,
    /// Of its text; none where the file has to be read whole to know what is in it.
    pub text: Option<Digest>,
    /// All points that it writes, selected or not, and those that it writes twice.
    pub points: usize,
    /// What it may have in common with other configs: its servers, and the groups in which points compete for a check of
    /// accuracy. Two configs without a common number have nothing in common.
    pub ties: Vec<u64>,
    /// What of it was selected; none where nothing was.
    pub selected: Option<Selected>,
}

/// The selected points of a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    pub points: usize,
    /// GPUs of a server: the least and the most.
    pub gpus: (u32, u32),
    pub pools: BTreeSet<String>,
    /// Ids of the checks of accuracy.
    pub evals: Vec<String>,
}

impl Parts {
    /// The configs of a project, and of them what the selection takes.
    pub fn of(project: &Project, graph: &Graph, selection: &Selection) -> Self {
        let mut points = BTreeMap::<&str, Vec<usize>>::new();
        for (i, point) in graph.points.iter().enumerate() {
            points.entry(&point.config.0).or_default().push(i);
        }
        let mut evals = BTreeMap::<usize, String>::new();
        evals.extend(
            selection
                .evals(graph)
                .map(|(point, eval)| (point, graph.dag[eval].id.to_string())),
        );
        let written = project.configs.iter();
        let written: HashMap<&str, usize> = written
            .map(|config| (config.key.as_str(), config.entry.point_count()))
            .collect();
        let files = project.masters.iter().map(|master| {
            let text = master.source.text.as_str();
            let entries = master.root.entries();
            // Where lines tell otherwise than the parser, they do not tell.
            let split = split(text).filter(|split| {
                let keys = entries.iter().map(|(key, _)| key.name.as_str());
                split.iter().map(|entry| entry.key).eq(keys)
            });
            let configs = entries.iter().enumerate().map(|(n, (key, _))| {
                let points = points.get(key.name.as_str()).map_or(&[][..], Vec::as_slice);
                Part {
                    key: key.name.clone(),
                    text: split.as_ref().map(|split| digest_of(text, &split[n])),
                    points: written.get(key.name.as_str()).copied().unwrap_or_default(),
                    ties: ties(graph, points),
                    selected: selected(graph, selection, points, &evals),
                }
            });
            FileParts {
                path: master.source.path.clone(),
                configs: configs.collect(),
            }
        });
        Self {
            sweep: selection.name.clone(),
            profile: graph.profile.clone(),
            files: files.collect(),
        }
    }

    /// All configs in order.
    pub fn configs(&self) -> impl Iterator<Item = &Part> {
        self.files.iter().flat_map(|file| &file.configs)
    }
}

/// Of an entry's text.
pub(super) fn digest_of(text: &str, entry: &EntryText<'_>) -> Digest {
    Digest::of(text[entry.range.clone()].as_bytes())
}

fn ties(graph: &Graph, points: &[usize]) -> Vec<u64> {
    let servers = points
        .iter()
        .filter_map(|point| graph.chains[*point].as_ref().ok())
        .filter_map(|chain| match &graph.dag[chain.server].spec {
            Spec::Server { key, .. } => key.0.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)),
            _ => None,
        });
    let groups = points
        .iter()
        .filter_map(|point| default_group(&graph.points[*point]));
    let ties: BTreeSet<u64> = servers.chain(groups).collect();
    ties.into_iter().collect()
}

fn selected(
    graph: &Graph,
    selection: &Selection,
    points: &[usize],
    evals: &BTreeMap<usize, String>,
) -> Option<Selected> {
    let of_points = points.iter().filter(|point| selection.points.contains(point));
    let servers: Vec<_> = of_points
        .filter_map(|point| graph.chains[*point].as_ref().ok())
        .map(|chain| graph.server(chain.server))
        .collect();
    let evals: Vec<String> = points
        .iter()
        .filter_map(|point| evals.get(point).cloned())
        .collect();
    if servers.is_empty() && evals.is_empty() {
        return None;
    }
    let gpus = servers.iter().map(|server| server.gpus * server.nodes);
    Some(Selected {
        points: servers.len(),
        gpus: (
            gpus.clone().min().unwrap_or_default(),
            gpus.max().unwrap_or_default(),
        ),
        pools: servers.iter().flat_map(|server| server.pools.clone()).collect(),
        evals,
    })
}
