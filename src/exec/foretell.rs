//! Sessions as the scheduler and the events see them, and how long a plan would take.

use std::time::Duration;

use super::event::PlannedSession;
use crate::config::sweepfile::{Profile, Share};
use crate::graph::Graph;
use crate::plan::Session;
use crate::schedule::{self, Demand, PoolSpec, Schedule};

/// How sessions would follow one another on idle pools, by earlier records; `None` where one is missing or a session
/// cannot run.
pub fn foretell(graph: &Graph, sessions: &[Session], profile: &Profile) -> Option<Schedule> {
    let session = |session: &Session| {
        let runnable = session.blocked.is_none();
        Some(wanted(
            graph,
            session,
            session.estimate.known().filter(|_| runnable)?,
        ))
    };
    let sessions: Vec<_> = sessions.iter().map(session).collect::<Option<_>>()?;
    schedule::simulate(&sessions, &pool_specs(profile)).ok()
}

/// What a session asks of the scheduler.
pub(super) fn wanted(graph: &Graph, session: &Session, estimate: Duration) -> schedule::Session {
    let server = graph.server(session.server);
    let demand = Demand {
        nodes: server.nodes,
        gpus: server.gpus,
        pools: session.pools.clone(),
    };
    schedule::Session {
        demand,
        priority: session.priority,
        estimate,
    }
}

/// The profile's pools as the scheduler sees them.
pub(super) fn pool_specs(profile: &Profile) -> Vec<PoolSpec> {
    let specs = profile.pools.iter().map(|(name, pool)| PoolSpec {
        name: name.clone(),
        nodes: pool.nodes,
        gpus: pool.gpus,
        share: match pool.share {
            Share::Exclusive => schedule::Share::Exclusive,
            Share::Gpu => schedule::Share::Gpu,
        },
    });
    specs.collect()
}

/// A session as events tell it.
pub fn planned(graph: &Graph, session: &Session) -> PlannedSession {
    let server = graph.server(session.server);
    let bench_id = |point: &usize| {
        let chain = graph.chains[*point].as_ref();
        chain
            .map(|c| graph.dag[c.bench].id.to_string())
            .unwrap_or_default()
    };
    PlannedSession {
        server: graph.dag[session.server].id.to_string(),
        benches: session.points.iter().map(bench_id).collect(),
        pools: session.pools.clone(),
        gpus: server.gpus * server.nodes,
        estimate_ms: session.estimate.known().map(|d| d.as_millis() as u64),
    }
}
