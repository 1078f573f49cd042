//! What a run said.

use std::collections::BTreeMap;
use std::path::Path;

use sweep::exec::event::Event;
use sweep::exec::journal;

/// The events of a run, in order.
#[derive(Debug, Clone)]
pub(crate) struct Story(pub(crate) Vec<Event>);

impl Story {
    /// What the run of a project has said so far.
    pub(crate) fn read(root: &Path, run: &str) -> Self {
        let events = journal::read(&root.join(".cache/runs").join(run)).unwrap();
        Self(events.into_iter().map(|stamped| stamped.event).collect())
    }

    fn targets<'a>(&'a self, pick: impl Fn(&'a Event) -> Option<&'a String>) -> Vec<&'a str> {
        self.0.iter().filter_map(pick).map(String::as_str).collect()
    }

    /// Server targets, once for each start.
    pub(crate) fn servers(&self) -> Vec<&str> {
        self.targets(|event| match event {
            Event::ServerStarting { target, .. } => Some(target),
            _ => None,
        })
    }

    pub(crate) fn benches_started(&self) -> Vec<&str> {
        self.targets(|event| match event {
            Event::BenchStarted { target, .. } => Some(target),
            _ => None,
        })
    }

    pub(crate) fn benches_passed(&self) -> Vec<&str> {
        self.targets(|event| match event {
            Event::BenchPassed { target, .. } => Some(target),
            _ => None,
        })
    }

    pub(crate) fn processed(&self) -> Vec<&str> {
        self.targets(|event| match event {
            Event::ProcessPassed { target } => Some(target),
            _ => None,
        })
    }

    /// What was healed, in words.
    pub(crate) fn healed(&self) -> Vec<&str> {
        self.targets(|event| match event {
            Event::Healed { what } => Some(what),
            _ => None,
        })
    }

    /// Why images could not be made.
    pub(crate) fn image_failures(&self) -> Vec<&str> {
        self.targets(|event| match event {
            Event::ImageFailed { reason, .. } => Some(reason),
            _ => None,
        })
    }

    /// Failed benches and why.
    pub(crate) fn failures(&self) -> BTreeMap<&str, &str> {
        let failed = self.0.iter().filter_map(|event| match event {
            Event::BenchFailed { target, reason, .. } => Some((target.as_str(), reason.as_str())),
            _ => None,
        });
        failed.collect()
    }

    /// Why servers failed, and whether each was to be started again.
    pub(crate) fn server_failures(&self) -> Vec<(&str, bool)> {
        let failed = self.0.iter().filter_map(|event| match event {
            Event::ServerFailed {
                reason, will_retry, ..
            } => Some((reason.as_str(), *will_retry)),
            _ => None,
        });
        failed.collect()
    }

    /// Fresh and cached rows of the collection, if one was made.
    pub(crate) fn collected(&self) -> Option<(usize, usize)> {
        self.0.iter().find_map(|event| match event {
            Event::Collected { fresh, cached, .. } => Some((*fresh, *cached)),
            _ => None,
        })
    }

    /// Signals that were heard.
    pub(crate) fn interruptions(&self) -> usize {
        let heard = |event: &&Event| matches!(event, Event::Interrupted { .. });
        self.0.iter().filter(heard).count()
    }

    pub(crate) fn finished(&self) -> bool {
        self.0
            .iter()
            .any(|event| matches!(event, Event::RunFinished { .. }))
    }
}
