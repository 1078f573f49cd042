//! A build with nothing to do: the question it is to the compiled plan, and what it says, whether a plan answered it or
//! the project was read.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::build::BuildArgs;
use super::failure::{FRESH, print_all, rendered, wants_color};
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
    watch: Watch,
}

impl NullBuild {
    /// To be made before anything of the project is read.
    pub(super) fn begin(workspace: &WorkspaceArgs, args: &BuildArgs) -> Self {
        // What git tells is not known without asking it, and the other two never end here.
        let is_asked = args.changed.changed.is_empty() && !args.rerun && !args.dry_run;
        let options = [
            format!(
                "{:?} {:?} {}",
                args.format,
                look(),
                wants_color(&std::io::stderr())
            ),
            format!("profile {:?}", workspace.profile),
            format!("trim-conc {}", args.changed.trim_conc),
        ];
        let parts = options.iter().chain(&args.patterns).map(String::as_bytes);
        let root = is_asked.then(|| root(workspace).ok()).flatten();
        Self {
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
        let _ = self.watch.keep(question, &answer, found);
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
    say_finished(hit.answer.fresh, format);
    print(&hit.answer, format);
    ExitCode::from(FRESH)
}

/// There is no run to speak of, yet a reader of events hears the outcome.
pub(super) fn say_finished(fresh: usize, format: Format) {
    if format == Format::Json {
        say(Event::RunFinished {
            passed: 0,
            fresh,
            failed: 0,
            skipped: 0,
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
    append_step_summary(&answer.summary);
    if format == Format::Human {
        out(&answer.table);
        eprint!("{}", answer.closing);
    }
}

/// GitHub shows this file on the job's page.
fn append_step_summary(summary: &Path) {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return;
    };
    if summary.as_os_str().is_empty() {
        return;
    }
    let appended = std::fs::read_to_string(summary).and_then(|text| {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(&path)?;
        writeln!(file, "{text}")
    });
    if let Err(error) = appended {
        print_all(&[Diagnostic::warning(format!(
            "write the job's step summary: {error}"
        ))]);
    }
}
