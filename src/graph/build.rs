//! From points and recipes to the DAG of targets.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use petgraph::graph::{DiGraph, NodeIndex};

use super::compile::{Compiled, Compiler};
use super::spec::{Bench, Eval, Server};
use super::target::{Kind, TargetId};
use crate::cache::digest::{Digest, Key};
use crate::config::diagnostic::Diagnostic;
use crate::config::project::Project;
use crate::config::sweepfile::Profile;
use crate::matrix::{Matrix, Point, can_be_checked, expand};

/// A target and what it is made of.
#[derive(Debug, Clone)]
pub struct Target {
    pub id: TargetId,
    pub spec: Spec,
}

#[derive(Debug, Clone)]
pub enum Spec {
    /// The server is any of those that need the image: it knows the reference.
    Image(Arc<Server>),
    Server {
        server: Arc<Server>,
        key: Key,
    },
    Bench {
        point: usize,
        server: Arc<Server>,
        bench: Arc<Bench>,
    },
    /// Planned; nothing runs it yet.
    Eval {
        point: usize,
        server: Arc<Server>,
        eval: Eval,
    },
    Process {
        point: usize,
    },
    /// A named sweep's collection and its tables; their rows are the process targets before them.
    Collect,
    Summarize,
}

/// The whole project's targets under one profile.
///
/// Edges go from what is needed to what needs it: image -> server -> bench -> process -> collect -> summarize,
/// and server -> eval.
#[derive(Debug)]
pub struct Graph {
    pub dag: DiGraph<Target, ()>,
    pub points: Vec<Point>,
    /// For each point that the configs write a second time, which one it is.
    pub duplicates: Vec<usize>,
    pub profile: String,
    /// For each point its bench and process targets, or why there are none.
    pub chains: Vec<Result<Chain, Box<Diagnostic>>>,
    /// The files whose bytes are in keys, relative to the project: their digests, or why there are none.
    pub files: HashMap<PathBuf, Result<Digest, String>>,
    ids: HashMap<TargetId, NodeIndex>,
}

/// One point's own targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    pub image: NodeIndex,
    pub server: NodeIndex,
    pub bench: NodeIndex,
    pub process: NodeIndex,
    /// The check of its accuracy, of points that can be checked.
    pub eval: Option<NodeIndex>,
}

impl Graph {
    /// Builds the graph of every point of the project. A point that has no recipe, no pool or a template that fails
    /// keeps its place in `points` with the reason: it matters only to who selects it.
    pub fn build(
        project: &Project,
        profile: (&str, &Profile),
        digest: &mut dyn FnMut(&Path) -> std::io::Result<Digest>,
    ) -> Self {
        let Matrix { points, duplicates } = expand(&project.configs, &project.runners);
        let mut compiler = Compiler::new(project, profile, digest);
        let mut graph = Self {
            dag: DiGraph::new(),
            points: Vec::new(),
            duplicates,
            profile: profile.0.to_owned(),
            chains: Vec::with_capacity(points.len()),
            files: HashMap::new(),
            ids: HashMap::new(),
        };
        let mut servers = HashMap::<Key, Vec<NodeIndex>>::new();
        for (i, point) in points.iter().enumerate() {
            let chain = match compiler.compile(point) {
                Ok(compiled) => Ok(graph.add_chain(i, point, compiled, &mut servers)),
                Err(diagnostic) => Err(Box::new(diagnostic)),
            };
            graph.chains.push(chain);
        }
        graph.files = compiler.digests;
        graph.points = points;
        graph
    }

    fn add_chain(
        &mut self,
        i: usize,
        point: &Point,
        compiled: Compiled,
        servers: &mut HashMap<Key, Vec<NodeIndex>>,
    ) -> Chain {
        let Compiled { server, bench } = compiled;
        let id = point.id();
        // Most points have the server of the one before, which is seen without taking a key.
        let before = self.chains.last().and_then(|chain| chain.as_ref().ok());
        let server_node = match before {
            Some(before) if **self.server(before.server) == server => before.server,
            _ => self.server_node(&id, server, servers),
        };
        let server = self.server(server_node).clone();
        let image = self.image(&server);
        let bench = Spec::Bench {
            point: i,
            server: server.clone(),
            bench: Arc::new(bench),
        };
        let eval = can_be_checked(point).then(|| {
            let eval = Spec::Eval {
                point: i,
                server,
                eval: Eval {
                    conc: point.conc,
                    max_model_len: point.max_model_len(),
                },
            };
            let eval = self.add(TargetId::new(Kind::Eval, id.clone()), eval);
            self.dag.add_edge(server_node, eval, ());
            eval
        });
        let bench = self.add(TargetId::new(Kind::Bench, id.clone()), bench);
        let process = self.add(TargetId::new(Kind::Process, id), Spec::Process { point: i });
        self.dag.add_edge(server_node, bench, ());
        self.dag.add_edge(bench, process, ());
        Chain {
            eval,
            image,
            server: server_node,
            bench,
            process,
        }
    }

    /// The node of a server; the one of an equal server where there is one.
    fn server_node(
        &mut self,
        id: &str,
        server: Server,
        servers: &mut HashMap<Key, Vec<NodeIndex>>,
    ) -> NodeIndex {
        let key = server.key();
        let equals = servers.entry(key).or_default();
        let shared = equals
            .iter()
            .copied()
            .find(|node| self.server(*node).is_handled_as(&server));
        if let Some(node) = shared {
            return node;
        }
        let server = Arc::new(server);
        let spec = Spec::Server {
            server: server.clone(),
            key,
        };
        let node = self.add(TargetId::new(Kind::Server, id), spec);
        let image = self.image(&server);
        self.dag.add_edge(image, node, ());
        equals.push(node);
        node
    }

    fn image(&mut self, server: &Arc<Server>) -> NodeIndex {
        let id = TargetId::new(Kind::Image, server.image.to_string());
        match self.ids.get(&id) {
            Some(node) => *node,
            None => self.add(id, Spec::Image(server.clone())),
        }
    }

    fn add(&mut self, id: TargetId, spec: Spec) -> NodeIndex {
        let node = self.dag.add_node(Target { id: id.clone(), spec });
        self.ids.insert(id, node);
        node
    }

    /// Adds the collection and the summary of a sweep over the rows of these points.
    pub fn add_sweep(&mut self, name: &str, points: &[usize]) -> (NodeIndex, NodeIndex) {
        let collect = self.add(TargetId::new(Kind::Collect, name), Spec::Collect);
        let summarize = self.add(TargetId::new(Kind::Summarize, name), Spec::Summarize);
        for point in points {
            if let Ok(chain) = &self.chains[*point] {
                self.dag.add_edge(chain.process, collect, ());
            }
        }
        self.dag.add_edge(collect, summarize, ());
        (collect, summarize)
    }

    /// The target of this id.
    pub fn find(&self, id: &TargetId) -> Option<NodeIndex> {
        self.ids.get(id).copied()
    }

    /// A server target's server.
    pub fn server(&self, node: NodeIndex) -> &Arc<Server> {
        match &self.dag[node].spec {
            Spec::Server { server, .. } => server,
            other => unreachable!("a chain's server node holds a server, not {other:?}"),
        }
    }

    /// A bench target's measurement.
    pub fn bench(&self, node: NodeIndex) -> &Arc<Bench> {
        match &self.dag[node].spec {
            Spec::Bench { bench, .. } => bench,
            other => unreachable!("a chain's bench node holds a bench, not {other:?}"),
        }
    }

    /// Points by the id of their chain.
    pub fn point_named(&self, id: &str) -> Option<usize> {
        self.points.iter().position(|point| point.id() == id)
    }

    /// The targets of a kind.
    pub fn ids_of(&self, kind: Kind) -> impl Iterator<Item = &TargetId> {
        let ids = self.dag.node_weights().map(|target| &target.id);
        ids.filter(move |id| id.kind == kind)
    }
}
