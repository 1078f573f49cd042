//! The graph for other programs and for eyes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use petgraph::graph::NodeIndex;
use petgraph::visit::EdgeRef;
use serde::Serialize;

use super::build::Graph;
use super::target::{Kind, TargetId};

/// A graph's shape; `version` rises when a field changes its meaning.
#[derive(Debug, Serialize)]
pub struct Exported<'a> {
    pub version: u32,
    pub profile: &'a str,
    pub targets: Vec<ExportedTarget<'a>>,
}

#[derive(Debug, Serialize)]
pub struct ExportedTarget<'a> {
    pub id: &'a TargetId,
    pub kind: Kind,
    /// Ids of the targets that it needs.
    pub needs: Vec<&'a TargetId>,
}

/// The chosen targets and the edges between them.
pub fn to_json<'a>(graph: &'a Graph, chosen: &BTreeSet<NodeIndex>) -> Exported<'a> {
    let targets = chosen.iter().map(|node| {
        let id = &graph.dag[*node].id;
        let needs = graph.dag.edges_directed(*node, petgraph::Direction::Incoming);
        let mut needs: Vec<_> = needs.map(|edge| &graph.dag[edge.source()].id).collect();
        needs.sort();
        ExportedTarget {
            id,
            kind: id.kind,
            needs,
        }
    });
    Exported {
        version: 1,
        profile: &graph.profile,
        targets: targets.collect(),
    }
}

/// Graphviz.
pub fn to_dot(graph: &Graph, chosen: &BTreeSet<NodeIndex>) -> String {
    let mut out =
        String::from("digraph sweep {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\"];\n");
    for node in chosen {
        let id = &graph.dag[*node].id;
        let _ = writeln!(
            out,
            "  n{} [label={:?}, style=filled, fillcolor={:?}];",
            node.index(),
            id.to_string(),
            color(id.kind)
        );
    }
    for (from, to) in edges(graph, chosen) {
        let _ = writeln!(out, "  n{} -> n{};", from.index(), to.index());
    }
    out.push_str("}\n");
    out
}

/// Mermaid, as GitHub renders it in a fenced block.
pub fn to_mermaid(graph: &Graph, chosen: &BTreeSet<NodeIndex>) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut by_kind = BTreeMap::<Kind, Vec<String>>::new();
    for node in chosen {
        let id = &graph.dag[*node].id;
        let _ = writeln!(
            out,
            "  n{}[\"{}\"]",
            node.index(),
            id.to_string().replace('"', "#quot;")
        );
        by_kind
            .entry(id.kind)
            .or_default()
            .push(format!("n{}", node.index()));
    }
    for (from, to) in edges(graph, chosen) {
        let _ = writeln!(out, "  n{} --> n{}", from.index(), to.index());
    }
    for (kind, nodes) in by_kind {
        let _ = writeln!(out, "  classDef {kind} fill:{}", color(kind));
        let _ = writeln!(out, "  class {} {kind}", nodes.join(","));
    }
    out
}

fn edges<'a>(
    graph: &'a Graph,
    chosen: &'a BTreeSet<NodeIndex>,
) -> impl Iterator<Item = (NodeIndex, NodeIndex)> + 'a {
    graph
        .dag
        .edge_references()
        .map(|edge| (edge.source(), edge.target()))
        .filter(|(from, to)| chosen.contains(from) && chosen.contains(to))
}

fn color(kind: Kind) -> &'static str {
    match kind {
        Kind::Image => "#dbeafe",
        Kind::Server => "#fde68a",
        Kind::Bench => "#bbf7d0",
        Kind::Eval => "#cffafe",
        Kind::Process => "#e9d5ff",
        Kind::Collect => "#fecdd3",
        Kind::Summarize => "#e5e7eb",
    }
}
