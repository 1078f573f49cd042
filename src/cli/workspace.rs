//! What most commands begin with: the project, its graph under a profile, and the cache.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;

use super::changed::ChangedArgs;
use super::failure::{Failure, print_all};
use crate::cache::stat::StatCache;
use crate::cache::{FsError, Store};
use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::nearest::nearest_few;
use crate::config::project::Project;
use crate::config::sweepfile::Profile;
use crate::exec::WORDS;
use crate::graph::{Graph, Kind, Selection, TargetId, check_patterns, select};
use crate::matrix::Point;
use crate::plan::{Plan, Policy};

/// Where the project is and on which pools it runs.
#[derive(Debug, Clone, Default, Args)]
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
    let here = args.directory.as_deref().unwrap_or(Path::new("."));
    let here = here
        .canonicalize()
        .or_else(|_| std::path::absolute(here))
        .map_err(|e| Failure::machinery(format!("find the folder `{}`: {e}", here.display())))?;
    Ok(Project::find_root(&here)?)
}

impl Workspace {
    /// Reads the project. Warnings are printed.
    pub(super) fn open(args: &WorkspaceArgs) -> Result<Self, Failure> {
        let workspace = Self::open_quietly(args)?;
        print_all(&workspace.project.warnings.0);
        Ok(workspace)
    }

    /// The same once more, its warnings having been printed before.
    pub(super) fn open_quietly(args: &WorkspaceArgs) -> Result<Self, Failure> {
        Self::of(Project::load(&root(args)?)?, args)
    }

    /// A project that was read.
    pub(super) fn of(project: Project, args: &WorkspaceArgs) -> Result<Self, Failure> {
        check_patterns(&project)?;
        let profile = project.profile(args.profile.as_deref())?.0.to_owned();
        let cache = project.root.join(&project.sweepfile.cache.dir);
        Ok(Self {
            project,
            cache,
            profile,
        })
    }

    /// Goes over to another profile.
    pub(super) fn on_profile(&mut self, name: &str) -> Result<(), Failure> {
        self.profile = self.project.profile(Some(name))?.0.to_owned();
        Ok(())
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

    /// What of the selection is stale.
    pub(super) fn plan(
        &self,
        graph: &mut Graph,
        selection: &Selection,
        store: &Store,
        policy: Policy,
    ) -> Result<Plan, FsError> {
        Plan::new(&self.project, self.profile().1, graph, selection, store, policy)
    }

    /// What the words select, with the checks of accuracy that go with it.
    pub(super) fn select(&self, graph: &Graph, words: &[String]) -> Result<Selection, Failure> {
        ChangedArgs::default().select(self, graph, words)
    }

    /// What the words select, no checks of accuracy among it.
    pub(super) fn select_unchecked(&self, graph: &Graph, words: &[String]) -> Result<Selection, Failure> {
        Ok(select(&self.project, graph, words)?)
    }

    /// What selects the sweep behind `collect:SWEEP` or `summarize:SWEEP`: its own name, or what was typed when it was
    /// collected last. Nothing for any other word.
    pub(super) fn sweep_words(store: &Store, word: &str) -> Option<(Kind, Vec<String>)> {
        let (kind, sweep) = word.split_once(':')?;
        let kind = Kind::named(kind).filter(|kind| matches!(kind, Kind::Collect | Kind::Summarize))?;
        let record = store
            .records()
            .latest(&TargetId::new(Kind::Collect, sweep).to_string());
        let words = record
            .and_then(|r| r.decode().ok())
            .and_then(|r| r.facts.get(WORDS).cloned())
            .and_then(|words| serde_json::from_str(&words).ok());
        Some((kind, words.unwrap_or_else(|| vec![sweep.to_owned()])))
    }

    /// A single target, named by its id or by a point's id.
    pub(super) fn target(&self, graph: &Graph, word: &str) -> Result<TargetId, Failure> {
        let (kind, name) = match word.split_once(':') {
            Some((kind, name)) if Kind::named(kind).is_some() => (Kind::named(kind), name),
            _ => (None, word),
        };
        if let Some(kind) = kind {
            let id = TargetId::new(kind, name);
            if graph.find(&id).is_some() {
                return Ok(id);
            }
        }
        let Some(point) = graph.point_named(name) else {
            return Err(self.unknown_target(graph, word, name));
        };
        match &graph.chains[point] {
            Err(diagnostic) => Err((**diagnostic).clone().into()),
            Ok(chain) => {
                let node = match kind {
                    // A server is named after the first point that it serves; any of them will do.
                    Some(Kind::Server) => chain.server,
                    Some(Kind::Process) => chain.process,
                    Some(Kind::Image) => chain.image,
                    Some(Kind::Eval) => match chain.eval {
                        Some(eval) => eval,
                        None => return Err(self.unknown_target(graph, word, name)),
                    },
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

    fn unknown_target(&self, graph: &Graph, word: &str, name: &str) -> Failure {
        let message = Diagnostic::error(format!("there is no target `{word}`"));
        if self.project.sweepfile.sweeps.contains_key(name) {
            return Failure::Unmatched(message.help(format!("the sweep is `collect:{name}`")));
        }
        let of_image = word.starts_with("image:");
        let ids: Vec<String> = match of_image {
            true => graph.ids_of(Kind::Image).map(ToString::to_string).collect(),
            false => graph.points.iter().map(Point::id).collect(),
        };
        let name = if of_image { word } else { name };
        // A config key names all its points; its first one is a way in.
        let near = match ids.iter().find(|id| id.split('/').next() == Some(name)) {
            Some(id) => vec![id.as_str()],
            None => nearest_few(name, ids.iter().map(String::as_str), 3),
        };
        let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
        Failure::Unmatched(match near.is_empty() {
            true => message.help("`sweep ls` lists the points there are"),
            false => message.help(format!("did you mean {}?", near.join(", "))),
        })
    }
}

/// What is selected and cannot be planned is wrong, before anything starts; each mistake is told once.
pub(super) fn refuse_broken(graph: &Graph, selection: &Selection) -> Result<(), Failure> {
    let mut wrong = Diagnostics::default();
    let mut told = BTreeSet::new();
    for point in &selection.broken {
        if let Err(diagnostic) = &graph.chains[*point] {
            let places: Vec<_> = diagnostic
                .places
                .iter()
                .map(|p| (&p.source.path, p.span.range().start))
                .collect();
            if told.insert((&diagnostic.message, places)) {
                wrong.push((**diagnostic).clone());
            }
        }
    }
    Ok(wrong.check(()).map(drop)?)
}
