//! The project's cache folder, opened to look or to change, and the targets that patterns choose in it.

use std::path::PathBuf;
use std::time::SystemTime;

use super::super::failure::Failure;
use super::super::remote::{KeyError, key, open};
use super::super::workspace::{Workspace, WorkspaceArgs};
use crate::cache::remote::Client;
use crate::cache::{Holder, LockError, RunId, SigningKey, Store, StoreError, Wait, lock};
use crate::config::diagnostic::Diagnostic;
use crate::config::sweepfile::Cache;
use crate::graph::pattern::{Pattern, PatternError};
use crate::graph::{Kind, TargetId};

/// A cache folder, and how large it may grow.
#[derive(Debug)]
pub(in super::super) struct CacheFolder {
    pub dir: PathBuf,
    pub max_bytes: u64,
    /// What the Sweepfile says of it.
    pub settings: Cache,
}

impl CacheFolder {
    /// The folder that the project's Sweepfile names.
    pub(in super::super) fn open(args: &WorkspaceArgs) -> Result<Self, Failure> {
        Ok(Self::of(&Workspace::open(args)?))
    }

    pub(in super::super) fn of(workspace: &Workspace) -> Self {
        Self {
            dir: workspace.cache.clone(),
            max_bytes: workspace.project.sweepfile.cache.max_size.0,
            settings: workspace.project.sweepfile.cache.clone(),
        }
    }

    /// The key that signs results, where one is asked for.
    pub(in super::super) fn key(&self) -> Result<Option<SigningKey>, KeyError> {
        key(&self.settings)
    }

    /// The cache that it shares with other machines, if there is one.
    pub(super) fn remote(&self) -> Result<Client, Failure> {
        open(&self.settings)?.ok_or_else(|| {
            let message = Diagnostic::error("there is no remote cache");
            Failure::Wrong(
                message
                    .help("`cache.remote` in the Sweepfile or `SWEEP_CACHE_REMOTE` names one")
                    .into(),
            )
        })
    }

    /// To look only.
    pub(in super::super) fn read(&self) -> Result<Store, StoreError> {
        Store::open_read(&self.dir)
    }

    /// To change it, as soon as no build uses it, or at once or not at all.
    pub(in super::super) fn change(&self, no_wait: bool) -> Result<Store, Failure> {
        let mut say = |holder: &Holder| eprintln!("waiting for the cache: {holder}");
        let wait = if no_wait { Wait::No } else { Wait::Block(&mut say) };
        Ok(self.change_when(wait)??)
    }

    pub(super) fn change_when(&self, wait: Wait<'_>) -> Result<Result<Store, StoreError>, LockError> {
        let lock = lock::acquire(&self.dir, wait, &Holder::this_process())?;
        Ok(Store::open_write(
            &self.dir,
            RunId::generate(),
            lock,
            SystemTime::now(),
        ))
    }
}

/// Targets chosen by patterns among those on record, whether or not the project still has them.
#[derive(Debug)]
pub(in super::super) struct Chosen(Vec<Pattern>);

impl Chosen {
    pub(in super::super) fn parse(words: &[String]) -> Result<Self, PatternError> {
        let patterns: Result<_, _> = words.iter().map(|word| Pattern::parse(word)).collect();
        Ok(Self(patterns?))
    }

    /// Whether a target's id is matched by any pattern, or there are none, and by none with `!`.
    pub(in super::super) fn matches(&self, target: &str) -> bool {
        let (taken, given): (Vec<&Pattern>, Vec<&Pattern>) =
            self.0.iter().partition(|pattern| pattern.negated);
        let id = target
            .split_once(':')
            .and_then(|(kind, name)| Some(TargetId::new(Kind::named(kind)?, name)));
        let Some(id) = id else {
            // Of a kind that this sweep does not know: only everything includes it.
            return self.0.is_empty();
        };
        (given.is_empty() || given.iter().any(|pattern| pattern.matches(&id)))
            && !taken.iter().any(|pattern| pattern.matches(&id))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn chosen(words: &[&str], target: &str) -> bool {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        Chosen::parse(&words).unwrap().matches(target)
    }

    #[test]
    fn patterns_choose_targets_on_record() {
        let bench = "bench:dsr1-fp8-h200-sglang/8k1k/tp8/c64";
        assert!(chosen(&[], bench));
        assert!(chosen(&["dsr1-*"], bench));
        assert!(chosen(&["bench:**/c64"], bench));
        assert!(!chosen(&["process:**/c64"], bench));
        assert!(!chosen(&["dsr1-*", "!**/c64"], bench));
        assert!(!chosen(&["!dsr1-*"], bench));
        assert!(chosen(&[], "future:x") && !chosen(&["**"], "future:x"));
    }
}
