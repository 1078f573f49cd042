//! Whether each selected target is fresh, judged by its key against the records.

use std::collections::BTreeMap;
use std::time::Duration;

use petgraph::graph::NodeIndex;
use serde::Serialize;

use super::dialect::{collect_inputs, process_inputs, summarize_inputs};
use super::reason::Reason;
use crate::cache::{Digest, FsError, Inputs, Key, RecordRef, Store};
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
        let inputs = self.bench_inputs(chain);
        let Some(record) = self.store.lookup(&inputs.key())? else {
            return Ok(State::Stale(self.why(chain.bench, &inputs)));
        };
        if self.policy.rerun {
            return Ok(State::Stale(Reason::Forced));
        }
        let age_ms = self
            .policy
            .now_unix_ms
            .saturating_sub(record.head().started_unix_ms);
        match self.policy.max_age {
            Some(max_age) if u128::from(age_ms) > max_age.as_millis() => Ok(State::Stale(Reason::TooOld {
                age_s: age_ms / 1000,
                max_age_s: max_age.as_secs(),
            })),
            _ => Ok(State::Fresh(evidence(record))),
        }
    }

    fn process(&self, chain: &Chain, trace: Digest) -> Result<State, FsError> {
        let Spec::Process { point } = self.graph.dag[chain.process].spec else {
            unreachable!("a chain's process node is one")
        };
        self.computed(chain.process, &process_inputs(&self.graph.points[point], trace))
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
        // What counts is what changed since it was last measured, not since it last failed.
        let before = records.latest_passed(&id).unwrap_or(latest);
        match before.decode() {
            Ok(record) => Reason::InputsChanged {
                changes: Inputs::diff(&record.inputs, inputs),
            },
            Err(_) => Reason::NeverBuilt,
        }
    }
}

fn evidence(record: RecordRef<'_>) -> Evidence {
    let head = record.head();
    Evidence {
        key: head.key,
        outputs: head.outputs().map(|(digest, _)| digest).collect(),
        started_unix_ms: head.started_unix_ms,
    }
}
