//! Whether each selected target is fresh, judged by its key against the records.

use std::collections::BTreeMap;
use std::time::Duration;

use petgraph::graph::NodeIndex;
use serde::Serialize;

use super::dialect::{collect_inputs, process_inputs, summarize_inputs};
use super::reason::Reason;
use crate::cache::{Change, Digest, FsError, Inputs, Key, RecordRef, Store};
use crate::graph::{Chain, Graph, Selection, Spec};

/// What a target needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Its outputs are in the cache under its key.
    Fresh(Evidence),
    Stale(Reason),
    /// A service that nothing stale needs.
    Idle,
    /// A service that stale targets need.
    Demanded,
}

impl State {
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Stale(_))
    }

    /// The digest of the first output of a fresh target.
    pub fn output(&self) -> Option<Digest> {
        match self {
            Self::Fresh(evidence) => evidence.outputs.first().copied(),
            _ => None,
        }
    }
}

/// What makes a target fresh.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    pub key: Key,
    /// In the record's order.
    pub outputs: Vec<Digest>,
    /// By the clock of the host that measured, in ms since 1970.
    pub started_unix_ms: u64,
}

/// What the user asked for beyond the key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy {
    /// Measure again although there is a result.
    pub rerun: bool,
    /// Results older than this are stale.
    pub max_age: Option<Duration>,
    /// Now, in ms since 1970: ages are counted from here.
    pub now_unix_ms: u64,
}

impl Policy {
    /// The age in ms of a measurement that started at this time, where it is above the most that is allowed. A clock
    /// that went back makes nothing old.
    pub fn too_old(&self, started_unix_ms: u64) -> Option<(u64, Duration)> {
        let age_ms = self.now_unix_ms.saturating_sub(started_unix_ms);
        let max_age = self.max_age?;
        (u128::from(age_ms) > max_age.as_millis()).then_some((age_ms, max_age))
    }
}

/// Judges targets one after another; what they depend on first.
pub struct Judge<'a> {
    pub graph: &'a Graph,
    pub store: &'a Store,
    pub policy: Policy,
}

impl Judge<'_> {
    /// The states of all selected targets.
    pub fn states(&self, selection: &Selection) -> Result<BTreeMap<NodeIndex, State>, FsError> {
        let mut states = BTreeMap::new();
        for point in &selection.points {
            if let Ok(chain) = &self.graph.chains[*point] {
                self.judge_chain(chain, selection, &mut states)?;
            }
        }
        for node in &selection.targets {
            match self.graph.dag[*node].spec {
                Spec::Image(_) | Spec::Server { .. } => {
                    let demanded = self.is_demanded(*node, &states);
                    states.insert(*node, if demanded { State::Demanded } else { State::Idle });
                }
                Spec::Bench { .. }
                | Spec::Eval { .. }
                | Spec::Process { .. }
                | Spec::Collect
                | Spec::Summarize => {}
            }
        }
        Ok(states)
    }

    fn judge_chain(
        &self,
        chain: &Chain,
        selection: &Selection,
        states: &mut BTreeMap<NodeIndex, State>,
    ) -> Result<(), FsError> {
        let bench = self.bench(chain)?;
        if selection.targets.contains(&chain.process) {
            let process = match bench.output() {
                Some(trace) => self.process(chain, trace)?,
                None => State::Stale(Reason::Needs {
                    target: self.graph.dag[chain.bench].id.to_string(),
                }),
            };
            states.insert(chain.process, process);
        }
        states.insert(chain.bench, bench);
        Ok(())
    }

    /// A service is demanded where a stale bench needs it; an image, where a demanded server does.
    fn is_demanded(&self, service: NodeIndex, states: &BTreeMap<NodeIndex, State>) -> bool {
        self.graph
            .dependants(service)
            .into_iter()
            .any(|dependant| match self.graph.dag[dependant].spec {
                Spec::Server { .. } => self.is_demanded(dependant, states),
                _ => states.get(&dependant).is_some_and(State::is_stale),
            })
    }

    /// The inputs of a bench target.
    pub fn bench_inputs(&self, chain: &Chain) -> Inputs {
        self.graph
            .bench(chain.bench)
            .inputs(self.graph.server(chain.server))
    }

    fn bench(&self, chain: &Chain) -> Result<State, FsError> {
        // With nothing kept there is nothing to look up.
        if self.store.records().is_empty() {
            return Ok(State::Stale(Reason::NeverBuilt));
        }
        let inputs = self.bench_inputs(chain);
        let Some(record) = self.store.lookup(&inputs.key())? else {
            return Ok(State::Stale(self.why(chain.bench, &inputs)));
        };
        if self.policy.rerun {
            return Ok(State::Stale(Reason::Forced));
        }
        Ok(match self.policy.too_old(record.head().started_unix_ms) {
            Some((age_ms, max_age)) => State::Stale(Reason::TooOld {
                age_s: age_ms / 1000,
                max_age_s: max_age.as_secs(),
            }),
            None => State::Fresh(evidence(record)),
        })
    }

    fn process(&self, chain: &Chain, trace: Digest) -> Result<State, FsError> {
        let Spec::Process { point } = self.graph.dag[chain.process].spec else {
            unreachable!("a chain's process node is one")
        };
        let output = self.graph.bench(chain.bench).client.output();
        let inputs = process_inputs(&self.graph.points[point], output, trace);
        self.computed(chain.process, &inputs)
    }

    /// The state of a target that is computed from contents: fresh exactly when its key is known.
    fn computed(&self, node: NodeIndex, inputs: &Inputs) -> Result<State, FsError> {
        Ok(match self.store.lookup(&inputs.key())? {
            Some(record) => State::Fresh(evidence(record)),
            None => State::Stale(self.why(node, inputs)),
        })
    }

    /// Judges a sweep's collection and summary over its process targets.
    pub fn sweep(
        &self,
        name: &str,
        collect: NodeIndex,
        summarize: NodeIndex,
        processes: &[NodeIndex],
        states: &mut BTreeMap<NodeIndex, State>,
    ) -> Result<(), FsError> {
        let id = |node: NodeIndex| self.graph.dag[node].id.to_string();
        let stale = processes
            .iter()
            .find(|node| states.get(*node).is_none_or(State::is_stale));
        let (collect_state, summarize_state) = match stale {
            Some(stale) => (
                State::Stale(Reason::Needs { target: id(*stale) }),
                State::Stale(Reason::Needs { target: id(collect) }),
            ),
            None => {
                let rows = processes
                    .iter()
                    .filter_map(|node| Some((id(*node), states[node].output()?)));
                let rows: Vec<_> = rows.collect();
                let inputs = collect_inputs(rows.iter().map(|(id, row)| (id.as_str(), *row)));
                let state = self.computed(collect, &inputs)?;
                let summary = match state.output() {
                    Some(collection) => self.computed(summarize, &summarize_inputs(name, collection))?,
                    None => State::Stale(Reason::Needs { target: id(collect) }),
                };
                (state, summary)
            }
        };
        states.insert(collect, collect_state);
        states.insert(summarize, summarize_state);
        Ok(())
    }

    /// Why there is no usable record for these inputs, against the last record of the target's name.
    fn why(&self, node: NodeIndex, inputs: &Inputs) -> Reason {
        let id = self.graph.dag[node].id.to_string();
        let records = self.store.records();
        let Some(latest) = records.latest(&id) else {
            return Reason::NeverBuilt;
        };
        if latest.head().key == inputs.key() {
            return match latest.decode().map(|record| record.verdict) {
                Ok(crate::cache::Verdict::Failed { reason, .. }) => Reason::LastFailed { why: reason },
                _ => match latest.head().outputs().next() {
                    Some((digest, _)) => Reason::OutputLost { digest },
                    None => Reason::NeverBuilt,
                },
            };
        }
        // What counts is what changed since it was measured, not since it failed.
        match least_changes(records.passed_of(&id), inputs).or_else(|| least_changes([latest], inputs)) {
            Some(changes) => Reason::InputsChanged { changes },
            None => Reason::NeverBuilt,
        }
    }
}

/// Records that inputs are compared with, the latest of a target.
const COMPARED: usize = 16;

/// What differs from the nearest of some records: the one with the fewest changes, among equals the first. After an edit
/// was taken back, the next one is not told together with it.
pub(super) fn least_changes<'a>(
    records: impl IntoIterator<Item = RecordRef<'a>>,
    inputs: &Inputs,
) -> Option<Vec<Change>> {
    let decoded = records
        .into_iter()
        .take(COMPARED)
        .filter_map(|record| record.decode().ok());
    decoded
        .map(|record| Inputs::diff(&record.inputs, inputs))
        .min_by_key(Vec::len)
}

fn evidence(record: RecordRef<'_>) -> Evidence {
    let head = record.head();
    Evidence {
        key: head.key,
        outputs: head.outputs().map(|(digest, _)| digest).collect(),
        started_unix_ms: head.started_unix_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Cache, MADE_MS, bench_id, chain, state};
    use super::super::reason::change_lines;
    use super::*;
    use crate::cache::Verdict;
    use crate::graph::fixture::Fixture;

    const IMAGE: (&str, &str, &str) = ("master.yaml", "acme/engine:1", "acme/engine:2");

    fn failed(reason: &str) -> Verdict {
        Verdict::Failed {
            reason: reason.to_owned(),
            log: None,
        }
    }

    /// Why the first point's bench is stale, in lines; none when it is fresh.
    fn reason(cache: &Cache, fixture: &Fixture, policy: Policy) -> Vec<String> {
        let mut graph = fixture.graph();
        let plan = cache.plan(fixture, &mut graph, &["a-*"], policy);
        match state(&plan, chain(&graph, 0).bench) {
            State::Stale(reason) => reason.lines(),
            State::Fresh(evidence) => {
                assert_eq!(evidence.started_unix_ms, MADE_MS);
                Vec::new()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_was_built() {
        let lines = reason(&Cache::new(), &Fixture::new(), Policy::default());
        assert_eq!(lines, ["never built"]);
    }

    #[test]
    fn what_was_built_is_fresh_until_an_input_changes_and_again_when_it_changes_back() {
        let (mut cache, fixture) = (Cache::new(), Fixture::new());
        cache.build(&fixture.graph(), 0);
        assert!(reason(&cache, &fixture, Policy::default()).is_empty());
        let edited = Fixture::edited(&[
            IMAGE,
            ("recipes/engine/recipe.yaml", "--tp", "--wide --tensor-parallel"),
        ]);
        assert_eq!(
            reason(&cache, &edited, Policy::default()),
            [
                "image: acme/engine:1 → acme/engine:2",
                "server command: + --tensor-parallel 2",
                "server command: + --wide",
                "server command: - --tp 2",
            ]
        );
        cache.build(&edited.graph(), 0);
        assert!(reason(&cache, &edited, Policy::default()).is_empty());
        assert!(reason(&cache, &fixture, Policy::default()).is_empty());
        // A new edit after that is compared with what it is an edit of, not with what was measured last.
        let again = Fixture::edited(&[("recipes/engine/recipe.yaml", "--tp", "--narrow --tp")]);
        assert_eq!(
            reason(&cache, &again, Policy::default()),
            ["server command: + --narrow"]
        );
    }

    #[test]
    fn a_failure_is_tried_again_and_says_why_it_failed() {
        let (mut cache, fixture) = (Cache::new(), Fixture::new());
        let graph = fixture.graph();
        let inputs = graph
            .bench(chain(&graph, 0).bench)
            .inputs(graph.server(chain(&graph, 0).server));
        cache.keep(&bench_id(&graph, 0), inputs.clone(), failed("no tokens"), "");
        assert_eq!(
            reason(&cache, &fixture, Policy::default()),
            ["the last attempt failed: no tokens"]
        );
        // After a change it is compared with what last passed, not with what last failed.
        let edited = Fixture::edited(&[IMAGE]);
        cache.build(&graph, 0);
        let graph = edited.graph();
        let inputs = graph
            .bench(chain(&graph, 0).bench)
            .inputs(graph.server(chain(&graph, 0).server));
        cache.keep(&bench_id(&graph, 0), inputs, failed("died"), "");
        assert_eq!(
            reason(&cache, &edited, Policy::default()),
            ["the last attempt failed: died"]
        );
        let again = Fixture::edited(&[("master.yaml", "acme/engine:1", "acme/engine:3")]);
        assert_eq!(
            reason(&cache, &again, Policy::default()),
            ["image: acme/engine:1 → acme/engine:3"]
        );
    }

    #[test]
    fn a_lost_output_is_told() {
        let (mut cache, fixture) = (Cache::new(), Fixture::new());
        let graph = fixture.graph();
        cache.build(&graph, 0);
        let digest = cache.lose_trace(&graph, 0);
        let expected = format!("its output {} is gone from the cache", digest.short());
        assert_eq!(reason(&cache, &fixture, Policy::default()), [expected]);
    }

    #[test]
    fn age_and_force_are_asked_for() {
        let (mut cache, fixture) = (Cache::new(), Fixture::new());
        cache.build(&fixture.graph(), 0);
        let aged = |max_age, now_unix_ms| Policy {
            rerun: false,
            max_age: Some(Duration::from_secs(max_age)),
            now_unix_ms,
        };
        let reason = |policy| reason(&cache, &fixture, policy);
        assert!(reason(aged(60, MADE_MS + 60_000)).is_empty());
        assert_eq!(
            reason(aged(60, MADE_MS + 61_000)),
            ["its result is 61 s old, above --max-age of 60 s"]
        );
        // A clock that went back makes nothing old.
        assert!(reason(aged(60, MADE_MS - 1)).is_empty());
        let forced = Policy {
            rerun: true,
            ..Policy::default()
        };
        assert_eq!(reason(forced), ["--rerun"]);
    }

    #[test]
    fn what_follows_from_a_stale_bench_cascades_and_services_are_demanded() {
        let (mut cache, fixture) = (Cache::new(), Fixture::new());
        let mut graph = fixture.graph();
        cache.build(&graph, 0);
        cache.build(&graph, 1);
        let plan = cache.plan(
            &fixture,
            &mut graph,
            &["a-*", "c-*", "!c-*/**/c2"],
            Policy::default(),
        );
        let Chain {
            image,
            server,
            bench,
            process,
            ..
        } = chain(&graph, 2);
        let needs = |target: String| State::Stale(Reason::Needs { target });
        assert_eq!(*state(&plan, process), needs(bench_id(&graph, 2).to_string()));
        assert!(matches!(state(&plan, bench), State::Stale(Reason::NeverBuilt)));
        assert_eq!(
            (state(&plan, server), state(&plan, image)),
            (&State::Demanded, &State::Demanded)
        );
        assert!(matches!(state(&plan, chain(&graph, 0).process), State::Fresh(_)));
        let Some(sweep) = &plan.sweep else {
            panic!("there are rows")
        };
        let first_stale = graph.dag[process].id.to_string();
        assert_eq!(*state(&plan, sweep.collect), needs(first_stale));
        assert!(matches!(
            state(&plan, sweep.summarize),
            State::Stale(Reason::Needs { .. })
        ));
        assert!(!plan.is_fresh());
        assert_eq!(plan.sweep_inputs(&graph, crate::graph::Kind::Collect), None);
    }

    #[test]
    fn a_service_that_nothing_stale_needs_is_idle() {
        let (mut cache, fixture) = (Cache::new(), Fixture::new());
        let mut graph = fixture.graph();
        for point in 0..3 {
            cache.build(&graph, point);
        }
        let plan = cache.plan(&fixture, &mut graph, &["a-*"], Policy::default());
        let Chain { image, server, .. } = chain(&graph, 0);
        assert_eq!(
            (state(&plan, server), state(&plan, image)),
            (&State::Idle, &State::Idle)
        );
        assert!(plan.sessions.is_empty());
        // The rows are there, their collection is not.
        let Some(sweep) = &plan.sweep else {
            panic!("there are rows")
        };
        assert_eq!(*state(&plan, sweep.collect), State::Stale(Reason::NeverBuilt));
        // Services that nobody measures on are not started either.
        let plan = cache.plan(
            &fixture,
            &mut fixture.graph(),
            &["server:c-*/**"],
            Policy::default(),
        );
        assert!(plan.is_fresh() && plan.sessions.is_empty() && plan.sweep.is_none());
    }

    #[test]
    fn a_trace_of_equal_bytes_stops_the_change() {
        let (mut cache, fixture) = (Cache::new(), Fixture::new());
        let graph = fixture.graph();
        cache.build(&graph, 0);
        // Measured again with another flag, and by chance byte for byte the same.
        let edited = Fixture::edited(&[("recipes/engine/recipe.yaml", "--tp", "--tensor-parallel")]);
        let mut changed = edited.graph();
        let Chain {
            server,
            bench,
            process,
            ..
        } = chain(&changed, 0);
        let old = graph
            .bench(chain(&graph, 0).bench)
            .inputs(graph.server(chain(&graph, 0).server));
        let inputs = changed.bench(bench).inputs(changed.server(server));
        assert_eq!(change_lines(&Inputs::diff(&old, &inputs)[0]).len(), 2);
        let trace = format!("trace of {}", old.key());
        cache.keep(&bench_id(&changed, 0), inputs, Verdict::Passed, &trace);
        let plan = cache.plan(&edited, &mut changed, &["a-*/**/c1"], Policy::default());
        assert!(matches!(state(&plan, process), State::Fresh(_)));
    }
}
