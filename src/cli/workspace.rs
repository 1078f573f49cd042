//! What most commands begin with: the project, its graph under a profile, and the cache.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::{Failure, print_all};
use crate::cache::Store;
use crate::cache::stat::StatCache;
use crate::config::diagnostic::Diagnostic;
use crate::config::project::Project;
use crate::config::sweepfile::Profile;
use crate::graph::{Graph, Selection, TargetId, select};

/// Where the project is and on which pools it runs.
#[derive(Debug, Clone, Args)]
pub(super) struct WorkspaceArgs {
    /// Work in this folder instead of the current one.
    #[arg(short = 'C', long = "directory", value_name = "FOLDER", global = true)]
    pub directory: Option<PathBuf>,
    /// The profile of the Sweepfile to run on; its default one without this.
    #[arg(long, value_name = "NAME", global = true)]
    pub profile: Option<String>,
}

/// A project with the cache folder that belongs to it.
#[derive(Debug)]
pub(super) struct Workspace {
    pub project: Project,
    pub cache: PathBuf,
    profile: String,
}

/// The project's folder.
pub(super) fn root(args: &WorkspaceArgs) -> Result<PathBuf, Failure> {
    let here = match &args.directory {
        Some(directory) => directory.clone(),
        None => std::env::current_dir()
            .map_err(|e| Failure::machinery(format!("find the current folder: {e}")))?,
    };
    Ok(Project::find_root(&here)?)
}

impl Workspace {
    /// Reads the project. Warnings are printed.
    pub(super) fn open(args: &WorkspaceArgs) -> Result<Self, Failure> {
        let root = root(args)?;
        let project = Project::load(&root)?;
        print_all(&project.warnings.0);
        let profile = project.profile(args.profile.as_deref())?.0.to_owned();
        let cache = root.join(&project.sweepfile.cache.dir);
        Ok(Self {
            project,
            cache,
            profile,
        })
    }

    pub(super) fn profile(&self) -> (&str, &Profile) {
        let (name, profile) = self
            .project
            .sweepfile
            .profiles
            .get_key_value(&self.profile)
            .expect("the profile was looked up when the workspace was opened");
        (name, profile)
    }

    /// The cache, to read only.
    pub(super) fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open_read(&self.cache)?)
    }

    /// The graph of the whole project, its inputs' digests taken now.
    pub(super) fn graph(&self) -> Graph {
        let mut digests = StatCache::load(&self.cache.join("stat"));
        self.graph_with(&mut |path| digests.digest(path))
    }

    /// The same, with digests from the given source.
    pub(super) fn graph_with(
        &self,
        digest: &mut dyn FnMut(&Path) -> std::io::Result<crate::cache::Digest>,
    ) -> Graph {
        Graph::build(&self.project, self.profile(), digest)
    }

    /// What the words select.
    pub(super) fn select(&self, graph: &Graph, words: &[String]) -> Result<Selection, Failure> {
        Ok(select(&self.project, graph, words)?)
    }

    /// A single target, named by its id or by a point's id.
    pub(super) fn target(&self, graph: &Graph, word: &str) -> Result<TargetId, Failure> {
        let (kind, name) = match word.split_once(':') {
            Some((kind, name)) if crate::graph::Kind::named(kind).is_some() => {
                (crate::graph::Kind::named(kind), name)
            }
            _ => (None, word),
        };
        if let Some(kind) = kind {
            let id = TargetId::new(kind, name);
            if graph.find(&id).is_some() {
                return Ok(id);
            }
        }
        let Some(point) = graph.point_named(name) else {
            return Err(unknown_target(graph, word, name));
        };
        match &graph.chains[point] {
            Err(diagnostic) => Err((**diagnostic).clone().into()),
            Ok(chain) => {
                let node = match kind {
                    // A server is named after the first point that it serves; any of them will do.
                    Some(crate::graph::Kind::Server) => chain.server,
                    Some(crate::graph::Kind::Process) => chain.process,
                    Some(crate::graph::Kind::Image) => chain.image,
                    _ => chain.bench,
                };
                Ok(graph.dag[node].id.clone())
            }
        }
    }

    /// The folder of a sweep's results.
    pub(super) fn results(&self, sweep: &str) -> PathBuf {
        self.project
            .root
            .join(&self.project.sweepfile.results)
            .join(sweep)
    }
}

fn unknown_target(graph: &Graph, word: &str, name: &str) -> Failure {
    let ids: Vec<String> = graph.points.iter().map(crate::matrix::Point::id).collect();
    let near = crate::config::nearest::nearest_few(name, ids.iter().map(String::as_str), 3);
    let message = Diagnostic::error(format!("there is no target `{word}`"));
    Failure::Unmatched(if near.is_empty() {
        message.help("`sweep ls` lists the points there are")
    } else {
        let near = near
            .iter()
            .map(|n| format!("`{n}`"))
            .collect::<Vec<_>>()
            .join(", ");
        message.help(format!("did you mean {near}?"))
    })
}
