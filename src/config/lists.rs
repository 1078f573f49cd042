//! Lists of topology values, as some forks write them: `tp: [4, 8]` is an entry for each, several lists their product.

use super::diagnostic::Diagnostics;
use super::yaml::{Document, Node, Value};

/// Values that may stand in a list, in the order in which the product varies: the last one fastest.
const FIELDS: [&str; 9] = [
    "num-worker",
    "tp",
    "pp",
    "dcp-size",
    "pcp-size",
    "ep",
    "dp-attn",
    "spec-decoding",
    "kv-offloading",
];

/// Entries that one entry may stand for.
const MOST: usize = 1024;

/// Entries that all lists of a file may stand for.
pub const MOST_IN_FILE: usize = 100_000;

/// Writes every list of topology values in the search spaces of a master config out; says whether there were any.
pub fn write_out(document: &mut Document, diagnostics: &mut Diagnostics) -> bool {
    let mut any = false;
    let mut wrong = Vec::new();
    let mut total = 0usize;
    if let Value::Map(entries) = &mut document.root.value {
        for (_, entry) in entries {
            let Some(scenarios) = entry.get_mut("scenarios") else {
                continue;
            };
            for kind in ["fixed-seq-len", "agentic-coding"] {
                for scenario in scenarios.get_mut(kind).map(Node::items_mut).unwrap_or_default() {
                    if let Some(Value::Seq(space)) = scenario.get_mut("search-space").map(|s| &mut s.value)
                        && space.iter().any(|search| count(search) != 1)
                    {
                        any = true;
                        total = space.iter().map(count).fold(total, usize::saturating_add);
                        if total > MOST_IN_FILE {
                            break;
                        }
                        let written = std::mem::take(space);
                        for search in written {
                            spread(search, space, &mut wrong);
                        }
                    }
                }
            }
        }
    }
    if total > MOST_IN_FILE {
        diagnostics.push(document.error(
            format!("the lists of this file stand for more than {MOST_IN_FILE} topologies"),
            document.root.span,
            "in this file",
        ));
        return any;
    }
    for node in wrong {
        diagnostics.push(document.error(
            format!("the lists here stand for more than {MOST} topologies"),
            node.span,
            "in this entry",
        ));
    }
    any
}

/// Puts the entries that `search` stands for into `space`.
fn spread(search: Node, space: &mut Vec<Node>, wrong: &mut Vec<Node>) {
    match count(&search) {
        1 => space.push(search),
        n if n > MOST => wrong.push(search),
        _ => {
            let mut written = vec![search];
            for path in paths() {
                written = written.into_iter().flat_map(|node| each(node, &path)).collect();
            }
            space.extend(written);
        }
    }
}

/// Where a list may stand: beside the concurrencies, or in a worker.
fn paths() -> Vec<Vec<&'static str>> {
    let fields = |role: Option<&'static str>| {
        FIELDS.map(move |field| role.into_iter().chain([field]).collect::<Vec<_>>())
    };
    [fields(None), fields(Some("prefill")), fields(Some("decode"))].concat()
}

/// How many entries a search-space entry stands for.
fn count(search: &Node) -> usize {
    let lengths = [Some(search), search.get("prefill"), search.get("decode")];
    let lists = lengths.into_iter().flatten().flat_map(Node::entries);
    lists
        .filter(|(key, value)| FIELDS.contains(&key.name.as_str()) && is_spread(value))
        .fold(1, |product: usize, (_, value)| {
            product.saturating_mul(value.items().len())
        })
}

/// An empty list stays, so that its type is called wrong.
fn is_spread(value: &Node) -> bool {
    matches!(&value.value, Value::Seq(items) if !items.is_empty())
}

fn each(node: Node, path: &[&str]) -> Vec<Node> {
    let Some(list) = node.at(path).filter(|value| is_spread(value)) else {
        return vec![node];
    };
    let one = |value: &Node| {
        let mut node = node.clone();
        if let Some(at) = node.at_mut(path) {
            *at = value.clone();
        }
        node
    };
    list.items().iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use serde_json::json;

    use super::super::source::Source;
    use super::*;

    fn written_out(search: &str) -> (serde_json::Value, String) {
        let text = format!("k: {{scenarios: {{fixed-seq-len: [{{search-space: [{search}]}}]}}}}\n");
        let source = Arc::new(Source {
            path: "x.yaml".into(),
            text,
        });
        let mut notes = Diagnostics::default();
        let mut document = Document::parse(&source, &mut notes).unwrap();
        write_out(&mut document, &mut notes);
        let space = ["k", "scenarios", "fixed-seq-len", "0", "search-space"];
        (document.root.nearest_at(&space).to_json(), notes.to_string())
    }

    #[test]
    fn lists_are_their_product_in_the_order_of_the_fields() {
        let (space, notes) = written_out("{spec-decoding: [none, mtp], tp: [4, 8], conc-list: [1, 2]}");
        let one = |tp: u32, spec: &str| json!({"tp": tp, "spec-decoding": spec, "conc-list": [1, 2]});
        assert_eq!(
            space,
            json!([one(4, "none"), one(4, "mtp"), one(8, "none"), one(8, "mtp")])
        );
        assert_eq!(notes, "");
    }

    #[test]
    fn workers_may_have_lists_and_plain_entries_stay() {
        let (space, _) = written_out("{prefill: {tp: [4, 8]}, decode: {tp: 8}}, {tp: 4, ep: []}");
        assert_eq!(
            space,
            json!([
                {"prefill": {"tp": 4}, "decode": {"tp": 8}},
                {"prefill": {"tp": 8}, "decode": {"tp": 8}},
                {"tp": 4, "ep": []},
            ])
        );
    }

    #[test]
    fn a_product_beyond_reason_is_an_error() {
        let list = vec!["1"; 64].join(", ");
        let (_, notes) = written_out(&format!("{{tp: [{list}], ep: [{list}]}}"));
        assert!(notes.contains("more than 1024 topologies"), "{notes}");
    }
}
