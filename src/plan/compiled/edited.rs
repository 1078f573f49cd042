//! Asking a kept plan after an edit: which configs are as they were?

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{Plan, Policy, Reason, State};
use super::Question;
use super::ask::{Change, changes};
use super::format::Compiled;
use super::parts::{FileParts, Part, Parts, texts};
use crate::cache::{Digest, Store, fs};
use crate::config::entries::{only, split};
use crate::config::project::{MOST_POINTS, Project};
use crate::config::source::Source;
use crate::config::sweepfile::Profile;
use crate::graph::{Graph, Selection};

/// A project of which nothing changed but configs, since all of it was found fresh.
#[derive(Debug)]
pub struct Edited {
    /// As they were then.
    kept: Parts,
    /// The texts of the edited files, of each only the entries that changed or came: what has to be read and planned.
    pub masters: BTreeMap<PathBuf, Arc<Source>>,
    /// The keys of each edited file in their order now, and whether the entry is as it was.
    keys: HashMap<PathBuf, Vec<(String, bool)>>,
}

/// What was kept for a question, if all that it rests on but the text of configs is as it was. Whatever is wrong with it,
/// `None`.
pub fn ask_edited(question: &Question) -> Option<Edited> {
    let bytes = fs::read(&question.path()).ok()??;
    let compiled = Compiled::read(&bytes, &question.digest)?;
    let kept: Parts = serde_json::from_slice(compiled.answer).ok()?;
    let files: HashMap<&[u8], &FileParts> = kept
        .files
        .iter()
        .map(|file| (file.path.as_os_str().as_bytes(), file))
        .collect();
    let mut masters = BTreeMap::new();
    let mut keys = HashMap::new();
    let is_usual = changes(&compiled, question, |path| {
        let Some(file) = files.get(path.to_bytes()) else {
            return Change::Unusual;
        };
        match edit(&question.root, file) {
            Some((source, order)) => {
                masters.extend(source.map(|source| (file.path.clone(), source)));
                keys.insert(file.path.clone(), order);
                Change::Usual
            }
            None => Change::Unusual,
        }
    });
    is_usual.ok().filter(|usual| *usual)?;
    Some(Edited { kept, masters, keys })
}

/// The text of what changed in a file, none where nothing did, and its keys in their order.
type Edit = (Option<Arc<Source>>, Vec<(String, bool)>);

fn edit(root: &Path, file: &FileParts) -> Option<Edit> {
    let source = Source::read(root, &file.path).ok()?;
    let before: Option<HashMap<&str, Digest>> = file
        .configs
        .iter()
        .map(|part| Some((part.key.as_str(), part.text?)))
        .collect();
    let (Some(before), Some(now), Some(entries)) = (before, texts(&source.text), split(&source.text)) else {
        // What is in it only reading it tells.
        return Some((Some(source), Vec::new()));
    };
    let order: Vec<(String, bool)> = now
        .into_iter()
        .map(|(key, text)| {
            let is_as_it_was = before.get(key.as_str()) == Some(&text);
            (key, is_as_it_was)
        })
        .collect();
    let edited: HashSet<&str> = order
        .iter()
        .filter(|(_, is_as_it_was)| !is_as_it_was)
        .map(|(key, _)| key.as_str())
        .collect();
    let changed = (!edited.is_empty()).then(|| {
        Arc::new(Source {
            path: source.path.clone(),
            text: only(&source.text, &entries, |entry| edited.contains(entry.key)),
        })
    });
    Some((changed, order))
}

impl Edited {
    /// Whether nothing changed at all.
    pub fn is_as_it_was(&self) -> bool {
        self.keys.is_empty()
    }

    /// What was kept, as it stands where nothing changed.
    pub fn kept(&self) -> &Parts {
        &self.kept
    }

    /// The plan of what was edited, of which `project` holds only [`masters`](Self::masters), and the parts of the whole.
    /// `None` where the edit may have changed more than that, or where anything is wrong or worth a warning: reading
    /// everything tells.
    pub fn plan(
        &self,
        project: &Project,
        profile: &Profile,
        graph: &mut Graph,
        selection: &Selection,
        store: &Store,
    ) -> Option<(Plan, Parts)> {
        if !project.warnings.0.is_empty() || !selection.broken.is_empty() {
            return None;
        }
        let parts = self.join(&Parts::of(project, graph, selection))?;
        let plan = Plan::new(project, profile, graph, selection, store, Policy::default()).ok()?;
        // A stale row makes collection and summary stale, whatever the other rows are. Where none is, these depend on all.
        let collect = plan.states.get(&plan.sweep.as_ref()?.collect);
        matches!(collect, Some(State::Stale(Reason::Needs { .. }))).then_some((plan, parts))
    }

    /// All configs as they are now: the edited ones as `planned` tells, the others as they were. `None` where the edited
    /// ones have anything in common with the others, whose plan the edit may have changed then.
    fn join(&self, planned: &Parts) -> Option<Parts> {
        let planned_files: HashMap<&Path, &FileParts> = planned
            .files
            .iter()
            .map(|file| (file.path.as_path(), file))
            .collect();
        let mut files = Vec::with_capacity(self.kept.files.len());
        for file in &self.kept.files {
            let Some(order) = self.keys.get(&file.path) else {
                files.push(file.clone());
                continue;
            };
            let new = planned_files.get(file.path.as_path());
            let new = new.map_or(&[][..], |file| file.configs.as_slice());
            if order.is_empty() {
                files.push(FileParts {
                    path: file.path.clone(),
                    configs: new.to_vec(),
                });
                continue;
            }
            let by_key = |parts: &'_ [Part]| -> HashMap<String, Part> {
                parts
                    .iter()
                    .map(|part| (part.key.clone(), part.clone()))
                    .collect()
            };
            let (before, now) = (by_key(&file.configs), by_key(new));
            let configs: Option<Vec<Part>> = order
                .iter()
                .map(|(key, is_as_it_was)| if *is_as_it_was { &before } else { &now }.get(key).cloned())
                .collect();
            files.push(FileParts {
                path: file.path.clone(),
                configs: configs?,
            });
        }
        let joined = Parts {
            files,
            ..self.kept.clone()
        };
        let edited = planned.configs().map(|part| part.key.as_str()).collect();
        let points: usize = joined.configs().map(|part| part.points).sum();
        let is_sound = joined.stand_apart(&edited) && points <= MOST_POINTS;
        (is_sound && planned.sweep == joined.sweep && planned.profile == joined.profile).then_some(joined)
    }
}
