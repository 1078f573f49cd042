//! Asking a kept plan after an edit: which configs are as they were?

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{Plan, Policy, Reason, State};
use super::ask::{Change, changes, digest_of_names};
use super::format::{Compiled, Watch};
use super::parts::{FileParts, Part, Parts, digest_of};
use super::{CACHE, Question};
use crate::cache::{Digest, Store, fs};
use crate::config::entries::{only, split};
use crate::config::lists::MOST_IN_FILE;
use crate::config::looked::Found;
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
    /// What became of each edited file.
    files: HashMap<PathBuf, EditedFile>,
    root: PathBuf,
    /// What the kept plan rests on beside blobs.
    watched: HashMap<PathBuf, Watch>,
}

/// An edited file.
#[derive(Debug)]
enum EditedFile {
    /// What is in it only reading it tells.
    Unknown,
    /// Its keys in their order now, and whether the entry is as it was.
    Entries(Vec<(String, bool)>),
}

/// What was kept for a question, if all that it rests on but the text of configs is as it was. Whatever is wrong with it,
/// `None`.
pub fn ask_edited(question: &Question) -> Option<Edited> {
    let bytes = fs::read(&question.path()).ok()??;
    let compiled = Compiled::read(&bytes, &question.digest)?;
    let kept: Parts = serde_json::from_slice(compiled.answer).ok()?;
    let by_path: HashMap<&[u8], &FileParts> = kept
        .files
        .iter()
        .map(|file| (file.path.as_os_str().as_bytes(), file))
        .collect();
    let mut masters = BTreeMap::new();
    let mut files = HashMap::new();
    let is_usual = changes(&compiled, question, |path| {
        let file = by_path.get(path.to_bytes());
        match file.and_then(|file| edit(&question.root, file)) {
            Some((source, edited)) => {
                masters.extend(source.map(|source| (source.path.clone(), source)));
                files.insert(
                    Path::new(OsStr::from_bytes(path.to_bytes())).to_path_buf(),
                    edited,
                );
                Change::Usual
            }
            None => Change::Unusual,
        }
    });
    is_usual.ok().filter(|usual| *usual)?;
    let watched = compiled.watched().map(|one| {
        let path = Path::new(OsStr::from_bytes(one.path.to_bytes()));
        (path.to_path_buf(), one.watch)
    });
    Some(Edited {
        watched: watched.collect(),
        root: question.root.clone(),
        masters,
        files,
        kept,
    })
}

/// The text of what changed in a file, none where nothing did, and what became of it. `None` where the edit may have
/// changed more than its entries tell.
fn edit(root: &Path, file: &FileParts) -> Option<(Option<Arc<Source>>, EditedFile)> {
    let source = Source::read(root, &file.path).ok()?;
    let before: Option<HashMap<&str, Digest>> = file
        .configs
        .iter()
        .map(|part| Some((part.key.as_str(), part.text?)))
        .collect();
    let (Some(before), Some(entries)) = (before, split(&source.text)) else {
        return Some((Some(source), EditedFile::Unknown));
    };
    let now: Vec<(String, bool)> = entries
        .iter()
        .map(|entry| {
            let is_as_it_was = before.get(entry.key) == Some(&digest_of(&source.text, entry));
            (entry.key.to_owned(), is_as_it_was)
        })
        .collect();
    let unchanged: HashSet<&str> = now
        .iter()
        .filter(|(_, is_as_it_was)| *is_as_it_was)
        .map(|(key, _)| key.as_str())
        .collect();
    // A file without configs is wrong, and of two entries the first may be the one that is checked.
    let keys_before = file.configs.iter().map(|part| part.key.as_str());
    let keys_now = now.iter().map(|(key, _)| key.as_str());
    let is_in_order = keys_before
        .filter(|key| unchanged.contains(key))
        .eq(keys_now.filter(|key| unchanged.contains(key)));
    if entries.is_empty() || !is_in_order {
        return None;
    }
    let changed = (unchanged.len() < now.len()).then(|| {
        Arc::new(Source {
            path: source.path.clone(),
            text: only(&source.text, &entries, |entry| !unchanged.contains(entry.key)),
        })
    });
    Some((changed, EditedFile::Entries(now)))
}

impl Edited {
    /// Whether nothing changed at all.
    pub fn is_as_it_was(&self) -> bool {
        self.files.is_empty()
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
        let is_told = matches!(collect, Some(State::Stale(Reason::Needs { .. })));
        (is_told && self.was_not_changed_meanwhile(project, graph)).then_some((plan, parts))
    }

    /// Whether what was read for the edited configs is what the others were planned with.
    fn was_not_changed_meanwhile(&self, project: &Project, graph: &Graph) -> bool {
        let kept = |path: &Path| self.watched.get(path).copied();
        let was_read = project.looked.iter().all(|one| match &one.found {
            Found::Text(_) if self.masters.contains_key(&one.path) => true,
            Found::Text(source) => {
                let digest = Digest::of(source.text.as_bytes());
                matches!(kept(&one.path), Some(Watch::Text(_, before)) if before == digest)
            }
            Found::Names(names) => {
                let digest = digest_of_names(names.iter().map(String::as_str));
                matches!(kept(&one.path), Some(Watch::Names(_, before)) if before == digest)
            }
            Found::File => matches!(kept(&one.path), Some(Watch::File | Watch::Text(..))),
            Found::Nothing => matches!(kept(&one.path), Some(Watch::Nothing)),
            Found::Odd => false,
        });
        // A recipe that no other config has brings files that were not watched.
        let of_recipes = graph.files.iter().all(|(path, digest)| match kept(path) {
            Some(Watch::Text(_, before)) => *digest == Ok(before),
            Some(_) => false,
            None => true,
        });
        let log = Path::new(CACHE).join("log");
        let mut of_log = self.watched.iter().filter(|(path, _)| {
            let path = path.strip_prefix(&self.root).unwrap_or(path);
            path.starts_with(&log)
        });
        was_read
            && of_recipes
            && of_log.all(|(path, watch)| {
                let now = fs::seen(&self.root.join(path)).ok().flatten();
                matches!(watch, Watch::Looks(before) if now == Some(*before))
            })
    }

    /// All configs as they are now: the edited ones as `planned` tells, the others as they were. `None` where what was
    /// edited has, or had, anything in common with the others, whose plan the edit may have changed then.
    fn join(&self, planned: &Parts) -> Option<Parts> {
        let planned_files = planned.files.iter().map(|file| (file.path.as_path(), file));
        let planned_files: HashMap<&Path, &FileParts> = planned_files.collect();
        let mut files = Vec::with_capacity(self.kept.files.len());
        let (mut edited, mut others) = (HashSet::<u64>::new(), HashSet::<u64>::new());
        for file in &self.kept.files {
            let new = planned_files.get(file.path.as_path());
            let new = new.map_or(&[][..], |file| file.configs.as_slice());
            let configs = match self.files.get(&file.path) {
                None => {
                    others.extend(file.configs.iter().flat_map(|part| &part.ties));
                    file.configs.clone()
                }
                Some(EditedFile::Unknown) => {
                    edited.extend(file.configs.iter().chain(new).flat_map(|part| &part.ties));
                    new.to_vec()
                }
                Some(EditedFile::Entries(keys)) => {
                    let unchanged = keys.iter().filter(|(_, is_as_it_was)| *is_as_it_was);
                    let unchanged: HashSet<&str> = unchanged.map(|(key, _)| key.as_str()).collect();
                    let (same, gone): (Vec<&Part>, Vec<&Part>) = file
                        .configs
                        .iter()
                        .partition(|part| unchanged.contains(part.key.as_str()));
                    others.extend(same.iter().flat_map(|part| &part.ties));
                    edited.extend(gone.into_iter().chain(new).flat_map(|part| &part.ties));
                    interleaved(keys, &same, new)?
                }
            };
            // The limit on what lists of one file stand for: a topology has a point at least.
            if configs.iter().map(|part| part.points).sum::<usize>() > MOST_IN_FILE {
                return None;
            }
            let path = file.path.clone();
            files.push(FileParts { path, configs });
        }
        let joined = Parts {
            files,
            ..self.kept.clone()
        };
        let mut keys = HashSet::new();
        let is_sound = edited.is_disjoint(&others)
            && joined.configs().all(|part| keys.insert(part.key.as_str()))
            && joined.configs().map(|part| part.points).sum::<usize>() <= MOST_POINTS
            && planned.sweep == joined.sweep
            && planned.profile == joined.profile;
        is_sound.then_some(joined)
    }
}

/// The configs of a file in the order of its keys; `None` where reading the edited ones gave others than their lines told.
fn interleaved(keys: &[(String, bool)], same: &[&Part], new: &[Part]) -> Option<Vec<Part>> {
    let (mut same, mut new) = (same.iter().copied(), new.iter());
    let configs: Option<Vec<Part>> = keys
        .iter()
        .map(|(key, is_as_it_was)| {
            let next = if *is_as_it_was { same.next() } else { new.next() };
            next.filter(|part| part.key == *key).cloned()
        })
        .collect();
    configs.filter(|_| new.next().is_none() && same.next().is_none())
}
