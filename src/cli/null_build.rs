//! A build with nothing to do: the question it is to the compiled plan, and what it says, whether a plan answered it or
//! the project was read.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::build::BuildArgs;
use super::failure::{FRESH, print_all, rendered, wants_color};
use super::lock::unpinned;
use super::plan::edited;
use super::print::out;
use super::report::Format;
use super::results::look;
use super::workspace::{WorkspaceArgs, root};
use crate::config::diagnostic::Diagnostic;
use crate::exec::event::{EVENT_VERSION, Event, Stamped};
use crate::exec::run::unix_ms;
use crate::plan::compiled::{Answer, Found, Hit, Question, Watch, ask};
use crate::plan::{Policy, State};

/// A build that may turn out to have nothing to do.
pub(super) struct NullBuild {
    question: Option<Question>,
    /// What is asked after an edit.
    of_parts: Option<Question>,
    watch: Watch,
}

impl NullBuild {
    /// To be made before anything of the project is read.
    pub(super) fn begin(workspace: &WorkspaceArgs, args: &BuildArgs) -> Self {
        // What git and another job tell is not known without asking them, and the other two never end here.
        let is_asked =
            args.changed.changed.is_empty() && args.shard.is_none() && !args.rerun && !args.dry_run;
        // The whole command line, so that an option that comes to it is never forgotten here.
        let options = [
            format!("{workspace:?} {args:?}"),
            format!("{:?} {}", look(), wants_color(&std::io::stderr())),
        ];
        let parts = options.iter().map(String::as_bytes);
        let root = is_asked.then(|| root(workspace).ok()).flatten();
        Self {
            of_parts: root
                .as_deref()
                .and_then(|root| edited::question(root, workspace, &args.patterns, &args.changed)),
            question: root.and_then(|root| Question::new(&root, parts)),
            watch: Watch::begin(),
        }
    }

    /// The answer of a plan that was kept, if it still holds.
    pub(super) fn ask(&self, policy: &Policy) -> Option<Hit> {
        ask(self.question.as_ref()?, policy)
    }

    /// Keeps an answer for the next build.
    pub(super) fn keep(&self, warnings: &[Diagnostic], answer: Answer, found: &Found<'_>) {
        let Some(question) = &self.question else { return };
        let starts = found.plan.states.values().filter_map(|state| match state {
            State::Fresh(evidence) => Some(evidence.started_unix_ms),
            _ => None,
        });
        let answer = Answer {
            oldest_unix_ms: starts.min().unwrap_or_default(),
            warnings: rendered(warnings),
            ..answer
        };
        // It only saves work, and a cache that cannot be written to is no reason to fail.
        let of_parts = self.of_parts.as_ref();
        let of_parts = of_parts.filter(|_| unpinned(found.graph, found.selection).is_empty());
        let _ = self.watch.keep(question, &answer, of_parts, found);
    }
}

/// Says the answer of a plan: what was warned of when it was kept, and that it was one.
pub(super) fn say_hit(hit: &Hit, format: Format) -> ExitCode {
    if format == Format::Json {
        say(Event::PlanReused {
            inputs: hit.inputs,
            outputs: hit.outputs,
        });
    }
    eprint!("{}", hit.answer.warnings);
    say_finished(hit.answer.fresh, 0, format);
    print(&hit.answer, format);
    ExitCode::from(FRESH)
}

/// There is no run to speak of, yet a reader of events hears the outcome.
pub(super) fn say_finished(fresh: usize, skipped: usize, format: Format) {
    if format == Format::Json {
        say(Event::RunFinished {
            passed: 0,
            fresh,
            failed: 0,
            skipped,
            servers_started: 0,
            elapsed_ms: 0,
        });
    }
}

fn say(event: Event) {
    let stamped = Stamped {
        v: EVENT_VERSION,
        unix_ms: unix_ms(),
        event,
    };
    let line = serde_json::to_string(&stamped).expect("events have text keys");
    out(&format!("{line}\n"));
}

/// Prints what came of a build, and adds its summary to the job's.
pub(super) fn print(answer: &Answer, format: Format) {
    if step_summary().is_some() && !answer.summary.as_os_str().is_empty() {
        match std::fs::read_to_string(&answer.summary) {
            Ok(text) => append_step_summary(&text),
            Err(error) => warn_of_step_summary(&error),
        }
    }
    if format == Format::Human {
        out(&answer.table);
        eprint!("{}", answer.closing);
    }
}

/// GitHub shows this file on the job's page.
fn step_summary() -> Option<PathBuf> {
    let path = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

/// Adds a text to what GitHub shows on the job's page, where this is a job.
pub(super) fn append_step_summary(text: &str) {
    let Some(path) = step_summary() else { return };
    let appended = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{text}"));
    if let Err(error) = appended {
        warn_of_step_summary(&error);
    }
}

fn warn_of_step_summary(error: &std::io::Error) {
    print_all(&[Diagnostic::warning(format!(
        "write the job's step summary: {error}"
    ))]);
}
