//! Keeping what a build rested on, for the next one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::statfs;

use super::super::{Plan, State};
use super::ask::{UNSETTLED, digest_of_names};
use super::format::{self, RestsOn, Watched, to_bytes};
use super::parts::Parts;
use super::{Answer, CACHE, Question};
use crate::cache::fs::{self, FsError};
use crate::cache::host::cpu_model;
use crate::cache::{Digest, Seen, Store};
use crate::config::looked;
use crate::config::project::Project;
use crate::config::sweepfile::Profile;
use crate::graph::hardware::is_this_cpu;
use crate::graph::{Graph, Selection};

/// How many plans a cache keeps: two for each way in which a project is usually built.
const MOST: usize = 32;

/// File systems whose times are this machine's own, by what `statfs` calls them.
const LOCAL: [u64; 8] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683E, // Btrfs
    0x0102_1994, // tmpfs
    0x794C_7630, // overlayfs
    0x2FC1_2FC1, // ZFS
    0xF2F5_2010, // F2FS
    0xCA45_1A4E, // bcachefs
];

/// When a build began, before it had read anything.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    began: SystemTime,
    at: Instant,
    clock: fn() -> SystemTime,
}

/// What a build found, all of it fresh.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    pub project: &'a Project,
    pub profile: &'a Profile,
    pub graph: &'a Graph,
    pub selection: &'a Selection,
    pub store: &'a Store,
    pub plan: &'a Plan,
    /// Files of the results that are in line with the collection.
    pub written: &'a [PathBuf],
    /// Those that must not be there.
    pub absent: &'a [PathBuf],
}

impl Watch {
    /// Now.
    pub fn begin() -> Self {
        Self::begin_by(SystemTime::now)
    }

    /// The same by another clock on the wall.
    pub(super) fn begin_by(clock: fn() -> SystemTime) -> Self {
        Self {
            began: clock(),
            at: Instant::now(),
            clock,
        }
    }

    /// Keeps the answer to a question with all that it rests on, and where a question is given for them, the parts that
    /// are asked for after an edit; `false` where something about it was unusual, or had not settled when the build
    /// began.
    pub fn keep(
        &self,
        question: &Question,
        answer: &Answer,
        of_parts: Option<&Question>,
        found: &Found<'_>,
    ) -> Result<bool, FsError> {
        let Some(rests_on) = self.rests_on(question, found)? else {
            return Ok(false);
        };
        let folder = question.folder();
        fs::create_dir_durable(&folder)?;
        let bytes = to_bytes(&question.digest, &answer.to_bytes(), &rests_on);
        fs::write_atomic(&question.path(), &bytes)?;
        // What is said of the project as a whole its parts do not tell, a log is read around damage with care only, and a
        // file that is more than a master config is read for more than its entries.
        let is_master_only = |path: &Path| {
            let looked = found.project.looked.iter().filter(|one| one.path == path);
            looked.count() == 1 && !found.graph.files.contains_key(path)
        };
        let mut masters = found.project.masters.iter().map(|master| &master.source.path);
        let is_plain = found.project.warnings.0.is_empty()
            && found.store.damage().is_empty()
            && masters.all(|path| is_master_only(path));
        if let Some(question) = of_parts.filter(|_| is_plain) {
            let parts = Parts::of(found.project, found.graph, found.selection);
            let parts = serde_json::to_vec(&parts).expect("parts have text keys");
            fs::write_atomic(&question.path(), &to_bytes(&question.digest, &parts, &rests_on))?;
        }
        drop_oldest(&folder)?;
        Ok(true)
    }

    fn rests_on(&self, question: &Question, found: &Found<'_>) -> Result<Option<RestsOn>, FsError> {
        if found.project.sweepfile.cache.dir != Path::new(CACHE) {
            return Ok(None);
        }
        let mut looking = Looking {
            began: self.began,
            root: &question.root,
            devices: Vec::new(),
            watched: BTreeMap::new(),
        };
        for folder in [question.root.clone(), question.cache()] {
            match looking.local_device(&folder)? {
                Some(device) => looking.devices.push(device),
                None => return Ok(None),
            }
        }
        let is_usual = looking.project(found.project)?
            && looking.recipe_files(found.graph)?
            && looking.log(&question.cache().join("log"))?
            && looking.unsent(&question.cache().join("unsent"))?
            && looking.results(found)?;
        let blobs = if is_usual { looking.blobs(found)? } else { None };
        let Some(blobs) = blobs.filter(|_| self.clock_was_even()) else {
            return Ok(None);
        };
        let watched = looking.watched.into_iter();
        let of_this_cpu = found.profile.pools.values().any(is_this_cpu);
        Ok(Some(RestsOn {
            processor: if of_this_cpu { cpu_model() } else { String::new() },
            watched: watched.map(|(path, watch)| Watched { path, watch }).collect(),
            blobs,
        }))
    }

    /// Whether the clock on the wall went as far as the one that only goes forward.
    fn clock_was_even(&self) -> bool {
        const SLACK: Duration = Duration::from_secs(1);
        let by_the_wall = (self.clock)().duration_since(self.began);
        by_the_wall.is_ok_and(|elapsed| elapsed.abs_diff(self.at.elapsed()) < SLACK)
    }
}

/// What an answer rests on, as far as it is collected. Each method tells whether all of it is usual.
struct Looking<'a> {
    began: SystemTime,
    root: &'a Path,
    devices: Vec<u64>,
    watched: BTreeMap<PathBuf, format::Watch>,
}

impl Looking<'_> {
    /// The device of a folder on a file system of this machine.
    fn local_device(&self, folder: &Path) -> Result<Option<u64>, FsError> {
        let is_local = statfs(folder).is_ok_and(|found| LOCAL.contains(&(found.f_type as u64)));
        Ok(fs::seen(folder)?.filter(|_| is_local).map(|seen| seen.dev))
    }

    /// What a path looks like now, if it looked so when the build began.
    fn settled(&self, path: &Path) -> Result<Option<Seen>, FsError> {
        let seen = fs::seen(&self.root.join(path))?;
        Ok(seen.filter(|seen| self.is_local(seen) && seen.is_settled(self.began)))
    }

    fn is_local(&self, seen: &Seen) -> bool {
        self.devices.contains(&seen.dev)
    }

    /// What a path that was read looks like; what it looks like is not to be trusted where it has not settled.
    fn seen_or_unsettled(&self, path: &Path) -> Result<Seen, FsError> {
        Ok(self.settled(path)?.unwrap_or(UNSETTLED))
    }

    fn project(&mut self, project: &Project) -> Result<bool, FsError> {
        for one in &project.looked {
            let watch = match &one.found {
                looked::Found::Text(source) => {
                    let seen = self.seen_or_unsettled(&one.path)?;
                    format::Watch::Text(seen, Digest::of(source.text.as_bytes()))
                }
                looked::Found::Names(names) => {
                    let seen = self.seen_or_unsettled(&one.path)?;
                    format::Watch::Names(seen, digest_of_names(names.iter().map(String::as_str)))
                }
                looked::Found::File => format::Watch::File,
                looked::Found::Nothing => format::Watch::Nothing,
                looked::Found::Odd => return Ok(false),
            };
            if !self.watch(&one.path, watch) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds a watch. One that reads a file says more than one that finds it there; two that contradict each other tell
    /// that the project changed while it was read.
    fn watch(&mut self, path: &Path, watch: format::Watch) -> bool {
        use format::Watch::{File, Text};
        let before = self.watched.insert(path.to_path_buf(), watch);
        match (before, watch) {
            (None, _) | (Some(File), Text(..)) => true,
            (Some(Text(seen, digest)), File) => {
                self.watched.insert(path.to_path_buf(), Text(seen, digest));
                true
            }
            (Some(Text(_, before)), Text(_, now)) => before == now,
            (Some(before), now) => before == now,
        }
    }

    fn recipe_files(&mut self, graph: &Graph) -> Result<bool, FsError> {
        for (path, digest) in &graph.files {
            let Ok(digest) = digest else { return Ok(false) };
            let seen = self.seen_or_unsettled(path)?;
            if !self.watch(path, format::Watch::Text(seen, *digest)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds what has to look as it does now; `false` where it has not settled.
    fn looks(&mut self, path: &Path) -> Result<bool, FsError> {
        let settled = self.settled(path)?;
        Ok(settled.is_some_and(|seen| self.watch(path, format::Watch::Looks(seen))))
    }

    /// The log's folder and all that is in it: a segment that comes or goes changes the folder.
    fn log(&mut self, folder: &Path) -> Result<bool, FsError> {
        let mut is_usual = self.looks(folder)?;
        for (name, _) in fs::list(folder)? {
            is_usual = is_usual && self.looks(&folder.join(name))?;
        }
        Ok(is_usual)
    }

    /// The notes of what a remote cache is to get: a build sends that although it has nothing to run.
    fn unsent(&mut self, folder: &Path) -> Result<bool, FsError> {
        if fs::metadata(folder)?.is_none() {
            return Ok(self.watch(folder, format::Watch::Nothing));
        }
        let seen = self.seen_or_unsettled(folder)?;
        let is_empty = fs::list(folder)?.is_empty();
        Ok(is_empty
            && self.watch(
                folder,
                format::Watch::Names(seen, digest_of_names([].into_iter())),
            ))
    }

    fn results(&mut self, found: &Found<'_>) -> Result<bool, FsError> {
        for path in found.written {
            if !self.looks(path)? {
                return Ok(false);
            }
        }
        let mut absent = found.absent.iter();
        Ok(absent.all(|path| self.watch(path, format::Watch::Nothing)))
    }

    /// The blobs of every target of the plan, in the order of their digests.
    fn blobs(&self, found: &Found<'_>) -> Result<Option<Vec<(Digest, Seen)>>, FsError> {
        let Some(mut looking) = found.store.cas().looking(0)? else {
            return Ok(None);
        };
        let mut blobs = Vec::new();
        for state in found.plan.states.values() {
            let evidence = match state {
                State::Fresh(evidence) => evidence,
                State::Idle => continue,
                State::Stale(_) | State::Demanded => return Ok(None),
            };
            // One that is not the latest was taken because the latest has lost its outputs; they may come back.
            let latest = found.store.records().passed(&evidence.key).next();
            let outputs = || latest.into_iter().flat_map(|record| record.head().outputs());
            if !outputs()
                .map(|(digest, _)| digest)
                .eq(evidence.outputs.iter().copied())
            {
                return Ok(None);
            }
            for (digest, size) in outputs() {
                match looking.seen(&digest)? {
                    Some(seen)
                        if seen.size == size && self.is_local(&seen) && seen.is_settled(self.began) =>
                    {
                        blobs.push((digest, seen));
                    }
                    _ => return Ok(None),
                }
            }
        }
        blobs.sort_unstable_by_key(|(digest, _)| *digest);
        blobs.dedup_by_key(|(digest, _)| *digest);
        Ok(Some(blobs))
    }
}

/// Removes the plans that were written first, so that only so many are left.
fn drop_oldest(folder: &Path) -> Result<(), FsError> {
    let mut plans = Vec::new();
    for (name, _) in fs::list(folder)? {
        let path = folder.join(name);
        let written = fs::seen(&path)?.map(|seen| seen.mtime_ns);
        plans.extend(written.map(|written| (written, path)));
    }
    plans.sort_unstable();
    let excess = plans.len().saturating_sub(MOST);
    plans[..excess].iter().try_for_each(|(_, path)| fs::remove(path))
}
