//! Why a target is stale, or why it was built last: root causes apart from cascades.

use std::collections::HashMap;

use petgraph::graph::NodeIndex;
use serde::Serialize;

use super::compute::Plan;
use super::reason::Reason;
use super::state::{Evidence, State, least_changes};
use crate::cache::{Change, Key, Provenance, RecordRef, Store};
use crate::graph::{Graph, Spec};

/// The answer to `why`.
#[derive(Debug, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Answer {
    /// It will run, for these reasons.
    Stale {
        target: String,
        roots: Vec<Root>,
        cascades: Vec<String>,
    },
    /// It is fresh: what made it, and what had changed when it was made.
    Fresh { target: String, made: Made },
    /// A service that nothing stale needs.
    Idle { target: String },
}

/// A cause, and the targets that it makes stale by themselves.
#[derive(Debug, Serialize)]
pub struct Root {
    pub reason: Reason,
    pub targets: Vec<String>,
}

/// Where a fresh result comes from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Made {
    pub key: Key,
    pub run: String,
    pub host: String,
    pub started_unix_ms: u64,
    /// Inputs that differ from those of the nearest record of the target before it; `None` where it was the first.
    pub changes: Option<Vec<Change>>,
    /// The very inputs have been built before under another state of the project, as after a revert.
    pub reused: bool,
}

/// Explains one target of a plan.
pub fn explain(graph: &Graph, plan: &Plan, store: &Store, node: NodeIndex) -> Answer {
    let target = graph.dag[node].id.to_string();
    match plan.states.get(&node) {
        Some(State::Stale(reason)) if reason.is_root() => Answer::Stale {
            roots: vec![Root {
                reason: reason.clone(),
                targets: vec![target.clone()],
            }],
            target,
            cascades: Vec::new(),
        },
        Some(State::Stale(_) | State::Demanded) => {
            let (roots, cascades) = causes(graph, plan, related(graph, plan, node));
            Answer::Stale {
                target,
                roots,
                cascades,
            }
        }
        Some(State::Fresh(evidence)) => match made(store, &target, evidence) {
            Some(made) => Answer::Fresh { target, made },
            None => Answer::Idle { target },
        },
        Some(State::Idle) | None => Answer::Idle { target },
    }
}

/// The stale targets whose reasons bear on `node`: what it needs, or for a service what needs it.
fn related(graph: &Graph, plan: &Plan, node: NodeIndex) -> Vec<NodeIndex> {
    let direction = match graph.dag[node].spec {
        Spec::Image(_) | Spec::Server { .. } => petgraph::Direction::Outgoing,
        _ => petgraph::Direction::Incoming,
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut waiting = vec![node];
    while let Some(next) = waiting.pop() {
        for neighbor in graph.dag.neighbors_directed(next, direction) {
            if plan.states.contains_key(&neighbor) && seen.insert(neighbor) {
                waiting.push(neighbor);
            }
        }
    }
    seen.into_iter().collect()
}

/// Groups stale targets by their root causes; cascades are listed apart.
pub fn causes(
    graph: &Graph,
    plan: &Plan,
    nodes: impl IntoIterator<Item = NodeIndex>,
) -> (Vec<Root>, Vec<String>) {
    let mut roots: Vec<Root> = Vec::new();
    // What reads alike is one cause: two servers' whole commands differ where the edit in them is the same.
    let mut known = HashMap::<Vec<String>, usize>::new();
    let mut cascades = Vec::new();
    for node in nodes {
        let Some(reason) = plan.reason(node) else { continue };
        let id = graph.dag[node].id.to_string();
        if !reason.is_root() {
            cascades.push(id);
            continue;
        }
        let at = *known.entry(reason.lines()).or_insert_with(|| {
            roots.push(Root {
                reason: reason.clone(),
                targets: Vec::new(),
            });
            roots.len() - 1
        });
        roots[at].targets.push(id);
    }
    roots.sort_by_key(|root| std::cmp::Reverse(root.targets.len()));
    (roots, cascades)
}

fn made(store: &Store, target: &str, evidence: &Evidence) -> Option<Made> {
    let record = store.records().passed(&evidence.key).next()?.decode().ok()?;
    let is_it = |record: &RecordRef<'_>| record.head().key == evidence.key;
    let mut history = store.records().passed_of(target).peekable();
    let latest_is_it = history.peek().is_some_and(is_it);
    let before = history
        .skip_while(|record| !is_it(record))
        .filter(|record| !is_it(record));
    let changes = least_changes(before, &record.inputs);
    let Provenance {
        run,
        host,
        started_unix_ms,
        ..
    } = record.provenance;
    Some(Made {
        key: evidence.key,
        run,
        host,
        started_unix_ms,
        changes,
        reused: !latest_is_it,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::super::fixture::{Cache, bench_id, chain};
    use super::*;
    use crate::graph::fixture::Fixture;

    const IMAGE: (&str, &str, &str) = ("master.yaml", "acme/engine:1", "acme/engine:2");

    #[test]
    fn roots_are_told_apart_from_what_follows_the_widest_first() {
        let mut cache = Cache::new();
        let before = Fixture::new().graph();
        for point in 0..5 {
            cache.build(&before, point);
        }
        let fixture = Fixture::edited(&[IMAGE, ("recipes/engine-fp4/recipe.yaml", "--conc", "--slots")]);
        let mut graph = fixture.graph();
        let plan = cache.plan(&fixture, &mut graph, &["*"], Policy::default());
        let (roots, cascades) = causes(&graph, &plan, plan.states.keys().copied());
        let told: Vec<(String, usize)> = roots
            .iter()
            .map(|root| (root.reason.to_string(), root.targets.len()))
            .collect();
        let expected = [
            ("image: acme/engine:1 → acme/engine:2", 3),
            ("never built", 2),
            ("server command: + --slots 1; server command: - --conc 1", 1),
            ("server command: + --slots 2; server command: - --conc 2", 1),
        ];
        assert_eq!(told, expected.map(|(reason, count)| (reason.to_owned(), count)));
        // Seven rows, their collection and its summary.
        assert_eq!(cascades.len(), 9);
        assert!(
            !cascades
                .iter()
                .any(|id| id.starts_with("bench:") || id.starts_with("server:"))
        );
    }

    #[test]
    fn a_target_is_explained_by_what_it_needs_and_a_service_by_what_needs_it() {
        let mut cache = Cache::new();
        let before = Fixture::new().graph();
        for point in 0..3 {
            cache.build(&before, point);
        }
        let fixture = Fixture::edited(&[("recipes/engine/recipe.yaml", "--tp", "--tensor-parallel")]);
        let mut graph = fixture.graph();
        let plan = cache.plan(&fixture, &mut graph, &["*"], Policy::default());
        let chain = chain(&graph, 1);
        let stale = |node| match explain(&graph, &plan, &cache.store, node) {
            Answer::Stale { roots, cascades, .. } => {
                let targets = roots.iter().map(|root| root.targets.len()).collect::<Vec<_>>();
                (targets, cascades.len())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(stale(chain.bench), (vec![1], 0));
        assert_eq!(stale(chain.process), (vec![1], 0));
        // Three benches on it; their rows, the collection and the summary follow.
        assert_eq!(stale(chain.server), (vec![3], 5));
        assert_eq!(
            bench_id(&graph, 1).to_string(),
            graph.dag[chain.bench].id.to_string()
        );
    }

    #[test]
    fn a_fresh_target_tells_what_made_it() {
        let mut cache = Cache::new();
        let (old, new) = (Fixture::new(), Fixture::edited(&[IMAGE]));
        let made = |cache: &Cache, fixture: &Fixture| {
            let mut graph = fixture.graph();
            let plan = cache.plan(fixture, &mut graph, &["a-*"], Policy::default());
            match explain(&graph, &plan, &cache.store, chain(&graph, 0).bench) {
                Answer::Fresh { made, .. } => made,
                other => panic!("{other:?}"),
            }
        };
        cache.build(&old.graph(), 0);
        let first = made(&cache, &old);
        assert_eq!((first.changes, first.reused), (None, false));
        cache.build(&new.graph(), 0);
        let second = made(&cache, &new);
        let changed: Vec<String> = second.changes.into_iter().flatten().map(|c| c.name).collect();
        assert_eq!((changed, second.reused), (vec!["image".to_owned()], false));
        let reverted = made(&cache, &old);
        assert!(reverted.reused);
    }
}
