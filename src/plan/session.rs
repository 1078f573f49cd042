//! Sessions: a server with its stale points, the unit that is placed on a pool.

use std::collections::BTreeMap;
use std::time::Duration;

use petgraph::graph::NodeIndex;

use super::estimate::Estimates;
use super::state::State;
use crate::config::project::Project;
use crate::config::sweepfile::{Executor, Pool, Profile, Share};
use crate::graph::spec::{Client, Form, Image, NO_AGENTIC_CLIENT, Server};
use crate::graph::{Graph, Selection};
use crate::matrix::Point;

/// One server and the stale benches that run on it, one after another.
#[derive(Debug, Clone)]
pub struct Session {
    pub server: NodeIndex,
    pub image: NodeIndex,
    /// Points by index, in the graph's order.
    pub points: Vec<usize>,
    pub priority: i32,
    pub estimate: Estimate,
    /// The pools that can run it, by name.
    pub pools: Vec<String>,
    /// It measures on this very machine and shares it with nothing: no other session may run beside it.
    pub quiet: bool,
    /// Why no pool of the profile can run it; said before anything starts.
    pub blocked: Option<String>,
}

/// How long a session takes, from earlier records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Estimate {
    /// From start to ready; nothing where a script does both.
    pub start: Option<Duration>,
    /// Each bench, in the order of the points.
    pub benches: Vec<Option<Duration>>,
}

impl Estimate {
    /// The whole, when every part is known.
    pub fn known(&self) -> Option<Duration> {
        let benches: Option<Duration> = self.benches.iter().copied().sum();
        Some(self.start? + benches?)
    }

    /// The whole, with a nominal minute for each part that is not known: only an order rests on it.
    pub fn nominal(&self) -> Duration {
        const UNKNOWN: Duration = Duration::from_secs(60);
        let benches: Duration = self.benches.iter().map(|b| b.unwrap_or(UNKNOWN)).sum();
        self.start.unwrap_or(UNKNOWN) + benches
    }
}

/// Groups the stale benches of a selection by their servers. Without a way to reset a server between points, each
/// point has a session of its own.
pub(super) fn sessions(
    project: &Project,
    profile: &Profile,
    graph: &Graph,
    selection: &Selection,
    states: &BTreeMap<NodeIndex, State>,
    estimates: &Estimates<'_>,
    priority: impl Fn(&Point) -> i32,
) -> Vec<Session> {
    let mut by_server = Vec::<(NodeIndex, Vec<usize>)>::new();
    // Benches of agent traces cannot run; those beside them on the same server can.
    let mut position = BTreeMap::<(NodeIndex, bool), usize>::new();
    for point in &selection.points {
        let Ok(chain) = &graph.chains[*point] else {
            continue;
        };
        if !states.get(&chain.bench).is_some_and(State::is_stale) {
            continue;
        }
        let alone = graph.server(chain.server).handling.reset.is_none();
        let group = (chain.server, replays_traces(graph, chain.bench));
        match position.get(&group) {
            Some(at) if !alone => by_server[*at].1.push(*point),
            _ => {
                position.insert(group, by_server.len());
                by_server.push((chain.server, vec![*point]));
            }
        }
    }
    let session = |(node, points): (NodeIndex, Vec<usize>)| {
        let server = graph.server(node);
        let ids: Vec<String> = points.iter().map(|p| graph.points[*p].id()).collect();
        let chain = graph.chains[points[0]]
            .as_ref()
            .expect("only compiled points are grouped");
        let simulated = server.simulated.is_some();
        let (pools, blocked) = match runnable(project, profile, server) {
            _ if replays_traces(graph, chain.bench) => (Vec::new(), Some(NO_AGENTIC_CLIENT.to_owned())),
            Ok(pools) => (pools, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        Session {
            server: node,
            image: chain.image,
            priority: points
                .iter()
                .map(|p| priority(&graph.points[*p]))
                .max()
                .unwrap_or_default(),
            estimate: Estimate {
                start: match server.form {
                    // Within the script, and so within its bench.
                    Form::Combined if !simulated => Some(Duration::ZERO),
                    _ => ids.iter().find_map(|id| estimates.server_start(id, simulated)),
                },
                benches: ids.iter().map(|id| estimates.bench(id, simulated)).collect(),
            },
            quiet: !simulated
                && server.hardware.share == Share::Exclusive
                && pools.iter().any(|pool| profile.pools[pool].executor.is_local()),
            pools,
            blocked,
            points,
        }
    };
    by_server.into_iter().map(session).collect()
}

fn replays_traces(graph: &Graph, bench: NodeIndex) -> bool {
    matches!(graph.bench(bench).client, Client::AgentTraces { .. })
}

/// The server's pools that can run it, or why none can.
fn runnable(project: &Project, profile: &Profile, server: &Server) -> Result<Vec<String>, String> {
    let (mut pools, mut reasons) = (Vec::new(), Vec::new());
    for name in &server.pools {
        match obstacle(name, &profile.pools[name], server) {
            None => pools.push(name.clone()),
            Some(reason) => reasons.push(reason),
        }
    }
    match reasons.into_iter().next() {
        Some(reason) if pools.is_empty() => {
            let known: Vec<&str> = project.sweepfile.profiles.keys().map(String::as_str).collect();
            Err(format!("{reason} (profiles: {})", known.join(", ")))
        }
        _ => Ok(pools),
    }
}

/// What keeps a pool from running a server.
fn obstacle(name: &str, pool: &Pool, server: &Server) -> Option<String> {
    if server.nodes > pool.nodes || server.gpus > pool.gpus {
        return Some(format!(
            "pool `{name}` has {} nodes of {} GPUs, and this server needs {} of {}",
            pool.nodes, pool.gpus, server.nodes, server.gpus
        ));
    }
    let executor = pool.executor.name();
    match (pool.executor, &server.image) {
        (Executor::Slurm, _) => Some(format!(
            "pool `{name}` has the {executor} executor, which this version of sweep plans for but cannot run"
        )),
        _ if server.nodes > 1 || is_multi_node(server) => Some(format!(
            "pool `{name}` has the {executor} executor, which runs servers of one node, and this one spans workers"
        )),
        // Simulated nodes are as many as one likes.
        _ if pool.simulate.is_some() => None,
        (Executor::Docker, _) if pool.nodes > 1 => Some(format!(
            "pool `{name}` has the docker executor, which runs containers on this machine, and `nodes: {}`",
            pool.nodes
        )),
        (Executor::Docker, Image::Container { .. }) => None,
        (Executor::Docker, image @ (Image::Pypi { .. } | Image::Builtin)) => Some(format!(
            "pool `{name}` has the docker executor, which runs container images, and `{image}` is none"
        )),
        (Executor::Process, Image::Container { reference, .. }) => Some(format!(
            "pool `{name}` has the process executor, which cannot run the container image `{reference}`"
        )),
        (Executor::Process, Image::Pypi { .. } | Image::Builtin) => None,
    }
}

/// A deployment of several workers has no simulated stand-in, even where it fits one node.
fn is_multi_node(server: &Server) -> bool {
    server.hardware.simulate.is_some() && server.simulated.is_none()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{BENCH_MS, Cache, START_MS};
    use super::super::{Plan, Policy};
    use super::*;
    use crate::graph::fixture::Fixture;

    /// The points of each session, by their places in the graph.
    fn grouped(plan: &Plan) -> Vec<Vec<usize>> {
        plan.sessions
            .iter()
            .map(|session| session.points.clone())
            .collect()
    }

    #[test]
    fn points_share_a_server_where_it_is_reset_between_them() {
        let fixture = Fixture::new();
        let mut cache = Cache::new();
        let mut graph = fixture.graph();
        let plan = cache.plan(&fixture, &mut graph, &["*"], Policy::default());
        // `b` has a server for each concurrency; `c` has one, but no way to reset it.
        assert_eq!(
            grouped(&plan),
            [vec![0, 1, 2], vec![3], vec![4], vec![5], vec![6]]
        );
        let server = |i: usize| plan.sessions[i].server;
        assert_ne!(server(1), server(2));
        assert_eq!(server(3), server(4));
        // Only what is stale is in a session.
        cache.build(&graph, 1);
        cache.build(&graph, 5);
        let plan = cache.plan(&fixture, &mut fixture.graph(), &["*"], Policy::default());
        assert_eq!(grouped(&plan), [vec![0, 2], vec![3], vec![4], vec![6]]);
        let plan = cache.plan(&fixture, &mut fixture.graph(), &["a-*/**/c2"], Policy::default());
        assert!(plan.sessions.is_empty());
    }

    #[test]
    fn a_session_goes_first_by_the_highest_number_of_its_points() {
        let fixture = Fixture::new();
        let plan = Cache::new().plan(&fixture, &mut fixture.graph(), &["*"], Policy::default());
        let priorities: Vec<i32> = plan.sessions.iter().map(|session| session.priority).collect();
        // `**/c4` matches one of `a`; `b-*` is above `bench:**/c2`, which alone matches the last of `c`.
        assert_eq!(priorities, [7, 5, 5, 0, 3]);
    }

    #[test]
    fn estimates_come_from_earlier_records_alone() {
        let fixture = Fixture::new();
        let mut cache = Cache::new();
        let graph = fixture.graph();
        cache.build(&graph, 0);
        cache.build(&graph, 1);
        let changed = Fixture::edited(&[("master.yaml", "acme/engine:1", "acme/engine:2")]);
        let estimate = |cache: &Cache, words: &[&str]| {
            let plan = cache.plan(&changed, &mut changed.graph(), words, Policy::default());
            plan.sessions[0].estimate.clone()
        };
        let bench = Duration::from_millis(BENCH_MS);
        let start = Duration::from_millis(START_MS);
        let all = estimate(&cache, &["a-*"]);
        assert_eq!(
            (all.start, &all.benches[..]),
            (Some(start), [Some(bench), Some(bench), None].as_slice())
        );
        assert_eq!(all.known(), None);
        assert_eq!(all.nominal(), start + 2 * bench + Duration::from_secs(60));
        let known = estimate(&cache, &["a-*", "!**/c4"]);
        assert_eq!(known.known(), Some(start + 2 * bench));
        let unknown = estimate(&cache, &["c-*/**/c1"]);
        assert_eq!(
            (unknown.known(), unknown.nominal()),
            (None, Duration::from_secs(120))
        );
    }

    #[test]
    fn what_no_pool_can_run_says_so() {
        let simulated = "simulate: { time-scale: 10 }";
        let fixture = Fixture::edited(&[("Sweepfile", simulated, "facts: {}")]);
        let plan = Cache::new().plan(&fixture, &mut fixture.graph(), &["a-*", "b-*"], Policy::default());
        let blocked = plan.sessions[0].blocked.as_deref().unwrap_or_default();
        assert_eq!(
            blocked,
            "pool `first` has the process executor, which cannot run the container image `acme/engine:1` (profiles: default)"
        );
        assert_eq!(plan.sessions[1].blocked, None);
    }
}
