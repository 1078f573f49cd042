//! Where the attempts of a run's targets are, by its events.

use std::collections::BTreeMap;

use crate::exec::event::Event;
use crate::graph::Kind;

/// The newest attempt of each target that has one.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Lines that making an image present printed.
    images: BTreeMap<String, Vec<String>>,
    servers: BTreeMap<String, usize>,
    benches: BTreeMap<String, Started>,
    /// The folder of each session's newest server.
    sessions: BTreeMap<usize, String>,
    /// What the run was going to do: targets and their sessions.
    planned: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Started {
    folder: String,
    /// Of the server that it ran against.
    server: Option<String>,
}

/// What there is to read of a target. Folders are relative to the run's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt<'a> {
    Image {
        target: String,
        lines: &'a [String],
    },
    Server {
        target: String,
        folder: &'a str,
    },
    Bench {
        target: String,
        folder: &'a str,
        server: Option<&'a str>,
    },
    /// The bench never started; this is the folder of the server that it was to run against.
    ServerOf {
        target: String,
        folder: &'a str,
    },
}

impl Attempts {
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Planned { sessions, .. } => {
                for (index, session) in sessions.iter().enumerate() {
                    for target in session.benches.iter().chain([&session.server]) {
                        self.planned.insert(target.clone(), index);
                    }
                }
            }
            Event::ImageStarted { target } => drop(self.images.insert(target.clone(), Vec::new())),
            Event::ImageProgress { target, line } => {
                self.images.entry(target.clone()).or_default().push(line.clone());
            }
            Event::ServerStarting {
                target,
                session,
                folder,
                ..
            } => {
                self.servers.insert(target.clone(), *session);
                self.sessions.insert(*session, folder.clone());
            }
            Event::BenchStarted {
                target,
                session,
                folder,
                ..
            } => {
                let server = self.sessions.get(session).cloned();
                let folder = folder.clone();
                self.benches.insert(target.clone(), Started { folder, server });
            }
            Event::ScriptStarted { target, folder, .. } => {
                let started = Started {
                    folder: folder.clone(),
                    server: None,
                };
                self.benches.insert(target.clone(), started);
            }
            _ => {}
        }
    }

    /// The attempt that `id` means: a target's, or without a kind that of the bench and else the server of this name.
    pub(super) fn of(&self, id: &str) -> Option<Attempt<'_>> {
        readings(id).into_iter().find_map(|target| self.of_target(target))
    }

    /// Whether the run is or was going to try what `id` means.
    pub(super) fn plans(&self, id: &str) -> bool {
        readings(id)
            .iter()
            .any(|target| self.planned.contains_key(target) || self.session_of_shared(target).is_some())
    }

    /// The targets that the run tried or planned.
    pub(super) fn targets(&self) -> impl Iterator<Item = &String> {
        let tried = self.servers.keys().chain(self.benches.keys());
        self.planned.keys().chain(self.images.keys()).chain(tried)
    }

    fn of_target(&self, target: String) -> Option<Attempt<'_>> {
        if let Some(started) = self.benches.get(&target) {
            let (folder, server) = (&started.folder, started.server.as_deref());
            return Some(Attempt::Bench {
                target,
                folder,
                server,
            });
        }
        if let Some(session) = self.servers.get(&target) {
            let folder = self.sessions.get(session)?;
            return Some(Attempt::Server { target, folder });
        }
        if let Some(lines) = self.images.get(&target) {
            return Some(Attempt::Image { target, lines });
        }
        if let Some(session) = self.session_of_shared(&target) {
            let (name, _) = self.servers.iter().find(|(_, of)| *of == session)?;
            let folder = self.sessions.get(session)?;
            return Some(Attempt::Server {
                target: name.clone(),
                folder,
            });
        }
        let folder = self.sessions.get(self.planned.get(&target)?)?;
        Some(Attempt::ServerOf { target, folder })
    }

    /// The session of a server that is named after another of its points than its first.
    fn session_of_shared(&self, target: &str) -> Option<&usize> {
        let point = target.strip_prefix("server:")?;
        match self.planned.contains_key(target) {
            true => None,
            false => self.planned.get(&format!("bench:{point}")),
        }
    }
}

/// The targets that `id` may mean, the likeliest first. An image's reference may itself hold a colon.
fn readings(id: &str) -> Vec<String> {
    match id.split_once(':').and_then(|(kind, _)| Kind::named(kind)) {
        Some(_) => vec![id.to_owned()],
        None => [Kind::Bench, Kind::Server, Kind::Image]
            .map(|kind| format!("{kind}:{id}"))
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::report::story::story;
    use crate::exec::event::Stamped;

    const POINT: &str = "dsr1-fp8-h200-sglang/8k1k/tp8/c4";

    fn after(events: &[Stamped]) -> Attempts {
        let mut attempts = Attempts::default();
        for stamped in events {
            attempts.apply(&stamped.event);
        }
        attempts
    }

    #[test]
    fn a_point_is_its_bench_and_before_that_its_server() {
        let story = story();
        let server = Attempt::ServerOf {
            target: format!("bench:{POINT}"),
            folder: "attempts/0-1",
        };
        assert_eq!(after(&story[..5]).of(POINT), Some(server));
        let bench = Attempt::Bench {
            target: format!("bench:{POINT}"),
            folder: "attempts/0-1/c4",
            server: Some("attempts/0-1"),
        };
        assert_eq!(after(&story).of(POINT), Some(bench));
    }

    #[test]
    fn the_newest_attempt_counts() {
        let attempts = after(&story());
        let server = "server:smollm2-q4-cpu-llamacpp/128_32/tp1/c1";
        let newest = Attempt::Server {
            target: server.to_owned(),
            folder: "attempts/1-2",
        };
        assert_eq!(attempts.of(server), Some(newest));
    }

    #[test]
    fn a_shared_server_is_found_by_any_of_its_points() {
        let attempts = after(&story());
        let shared = Attempt::Server {
            target: format!("server:{POINT}"),
            folder: "attempts/0-1",
        };
        let other = POINT.replace("/c4", "/c16");
        assert_eq!(attempts.of(&format!("server:{other}")), Some(shared));
        assert!(attempts.plans(&format!("server:{other}")));
        assert_eq!(attempts.of("server:nonsense"), None);
    }

    #[test]
    fn what_was_only_planned_has_none() {
        let story = story();
        let attempts = after(&story[..2]);
        assert_eq!(attempts.of(POINT), None);
        assert!(attempts.plans(POINT) && attempts.plans(&format!("server:{POINT}")));
        assert!(!attempts.plans("nonsense") && !attempts.plans("process:nonsense"));
    }

    #[test]
    fn an_image_is_found_with_its_kind_and_without() {
        let attempts = after(&story());
        for id in ["image:pypi:llamacpp.txt", "pypi:llamacpp.txt"] {
            assert!(
                matches!(attempts.of(id), Some(Attempt::Image { lines: [], .. })),
                "{id}"
            );
        }
    }
}
