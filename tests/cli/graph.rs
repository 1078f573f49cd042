//! `sweep graph`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Project, told};

#[test]
fn the_three_formats_tell_the_same_graph() {
    let project = Project::new();
    let graph = project.json(&["graph", "--format", "json"]);
    let targets = graph["targets"].as_array().unwrap();
    let ids: BTreeSet<&str> = targets.iter().map(|t| t["id"].as_str().unwrap()).collect();
    let edges: BTreeSet<(String, String)> = targets
        .iter()
        .flat_map(|target| {
            let needs = target["needs"].as_array().unwrap().iter();
            needs.map(|needed| {
                (
                    needed.as_str().unwrap().to_owned(),
                    target["id"].as_str().unwrap().to_owned(),
                )
            })
        })
        .collect();
    // 2 images, 5 servers, 10 benches, 10 process targets, a collection and a summary.
    assert_eq!((targets.len(), ids.len()), (29, 29));
    assert_eq!(edges.len(), 5 + 10 + 10 + 10 + 1);
    assert!(
        edges
            .iter()
            .all(|(from, to)| ids.contains(from.as_str()) && ids.contains(to.as_str()))
    );

    let dot = told(&project, &["graph"]);
    let mermaid = told(&project, &["graph", "--format", "mermaid"]);
    for (nodes, found) in [dot_graph(&dot), mermaid_graph(&mermaid)] {
        assert_eq!(nodes.values().map(String::as_str).collect::<BTreeSet<_>>(), ids);
        let named = found
            .iter()
            .map(|(from, to)| (nodes[from].clone(), nodes[to].clone()));
        assert_eq!(named.collect::<BTreeSet<_>>(), edges);
    }
}

type Nodes = BTreeMap<String, String>;
type Edges = BTreeSet<(String, String)>;

/// Reads the form that is written: a statement a line, each node once, brackets and quotes in pairs.
fn dot_graph(text: &str) -> (Nodes, Edges) {
    let inner = text
        .strip_prefix("digraph sweep {\n")
        .and_then(|t| t.strip_suffix("}\n"))
        .unwrap();
    let (mut nodes, mut edges) = (Nodes::new(), Edges::new());
    for line in inner.lines() {
        let statement = line.trim().strip_suffix(';').unwrap();
        assert_eq!(line.matches('[').count(), line.matches(']').count(), "{line}");
        assert!(line.matches('"').count().is_multiple_of(2), "{line}");
        if let Some((from, to)) = statement.split_once(" -> ") {
            assert!(edges.insert((from.to_owned(), to.to_owned())), "{line}");
        } else if let Some((name, rest)) = statement.split_once(" [label=\"") {
            let label = rest.split('"').next().unwrap();
            assert_eq!(nodes.insert(name.to_owned(), label.to_owned()), None, "{line}");
        }
    }
    (nodes, edges)
}

fn mermaid_graph(text: &str) -> (Nodes, Edges) {
    let inner = text.strip_prefix("flowchart LR\n").unwrap();
    let (mut nodes, mut edges) = (Nodes::new(), Edges::new());
    for line in inner.lines().map(str::trim) {
        if let Some((from, to)) = line.split_once(" --> ") {
            assert!(edges.insert((from.to_owned(), to.to_owned())), "{line}");
        } else if let Some((name, rest)) = line.split_once("[\"") {
            let label = rest.strip_suffix("\"]").unwrap();
            assert_eq!(nodes.insert(name.to_owned(), label.to_owned()), None, "{line}");
        } else {
            assert!(
                line.starts_with("classDef ") || line.starts_with("class "),
                "{line}"
            );
        }
    }
    (nodes, edges)
}

#[test]
fn a_selection_is_drawn_with_what_it_needs() {
    let project = Project::new();
    insta::assert_snapshot!(told(&project, &["graph", "delta-*/**/c1"]), @r##"
    digraph sweep {
      rankdir=LR;
      node [shape=box, fontname="monospace"];
      n16 [label="image:vllm/vllm-openai:v0.11.0", style=filled, fillcolor="#dbeafe"];
      n21 [label="server:delta-fp4-h100-vllm/64_16/tp4/c1", style=filled, fillcolor="#fde68a"];
      n22 [label="bench:delta-fp4-h100-vllm/64_16/tp4/c1", style=filled, fillcolor="#bbf7d0"];
      n23 [label="process:delta-fp4-h100-vllm/64_16/tp4/c1", style=filled, fillcolor="#e9d5ff"];
      n27 [label="collect:delta-all_all_c1", style=filled, fillcolor="#fecdd3"];
      n28 [label="summarize:delta-all_all_c1", style=filled, fillcolor="#e5e7eb"];
      n16 -> n21;
      n21 -> n22;
      n22 -> n23;
      n23 -> n27;
      n27 -> n28;
    }
    "##);
    insta::assert_snapshot!(told(&project, &["graph", "delta-*/**/c1", "--format", "mermaid"]), @r#"
    flowchart LR
      n16["image:vllm/vllm-openai:v0.11.0"]
      n21["server:delta-fp4-h100-vllm/64_16/tp4/c1"]
      n22["bench:delta-fp4-h100-vllm/64_16/tp4/c1"]
      n23["process:delta-fp4-h100-vllm/64_16/tp4/c1"]
      n27["collect:delta-all_all_c1"]
      n28["summarize:delta-all_all_c1"]
      n16 --> n21
      n21 --> n22
      n22 --> n23
      n23 --> n27
      n27 --> n28
      classDef image fill:#dbeafe
      class n16 image
      classDef server fill:#fde68a
      class n21 server
      classDef bench fill:#bbf7d0
      class n22 bench
      classDef process fill:#e9d5ff
      class n23 process
      classDef collect fill:#fecdd3
      class n27 collect
      classDef summarize fill:#e5e7eb
      class n28 summarize
    "#);
}
