//! What came of a session's points: said, and kept in the cache.

use std::collections::BTreeMap;

use super::attempt_result;
use super::compute::process;
use super::event::Event;
use super::launch::{Place, ReadyImage};
use super::measured::Measured;
use super::run::{Attempt, Began, Run};
use super::session::{Done, Ending, Job, Step};
use crate::cache::{Digest, Output, Source, StoreError, Verdict};

/// The points of one session on one place.
pub(super) struct Ledger<'a> {
    pub run: &'a Run,
    pub job: &'a Job,
    pub image: &'a ReadyImage,
    pub place: &'a Place,
    pub done: Done,
}

impl Ledger<'_> {
    /// Whether another point of the same inputs has been measured a moment ago; then this one has its result too.
    pub(super) fn is_kept(&mut self, step: &Step) -> bool {
        let known = step.take_kept
            && self
                .run
                .store()
                .lookup(&step.inputs.key())
                .is_ok_and(|hit| hit.is_some());
        if known {
            self.run.say(Event::BenchPassed {
                target: step.bench_id.clone(),
                session: self.job.index,
                elapsed_ms: 0,
            });
            self.done.endings.insert(step.bench_id.clone(), Ending::Kept);
        }
        known
    }

    /// Keeps a measurement and its row. `facts` are what is known beside the place; `attempt` counts the starts of what
    /// was measured.
    pub(super) fn pass(
        &mut self,
        step: &Step,
        measured: &Measured,
        began: Began,
        folder: &Attempt,
        attempt: u32,
        facts: impl IntoIterator<Item = (String, String)>,
    ) {
        let mut record = self
            .run
            .record(step.bench_id.clone(), step.inputs.clone(), Verdict::Passed, began);
        record.provenance.simulated = measured.is_simulated();
        record.provenance.attempt = attempt;
        record.outputs = vec![Output {
            name: measured.output.to_owned(),
            digest: measured.digest,
            size: measured.bytes.len() as u64,
        }];
        record.facts = self.place_facts(folder);
        record.facts.extend(facts);
        let elapsed_ms = record.provenance.elapsed_ms;
        let kept = self
            .run
            .written(attempt_result::write(&folder.path, &record))
            .map_err(StoreError::from);
        if let Err(error) = kept.and_then(|()| self.run.publish(&record, &[Source::Bytes(&measured.bytes)])) {
            return self.fail(step, &format!("the result could not be kept: {error}"), "", began);
        }
        // The cache has it now; what cannot be removed goes with the run's folder.
        let _ = attempt_result::forget_output(&folder.path, measured.output);
        self.run.say(Event::BenchPassed {
            target: step.bench_id.clone(),
            session: self.job.index,
            elapsed_ms,
        });
        self.done.endings.insert(step.bench_id.clone(), Ending::Passed);
        match process(self.run, &step.process_id, &step.point, measured) {
            Ok(_) => self.run.say(Event::ProcessPassed {
                target: step.process_id.clone(),
            }),
            // The end of the build tries once more and says what is wrong.
            Err(error) => self.run.say(Event::ProcessFailed {
                target: step.process_id.clone(),
                reason: error.to_string(),
            }),
        }
    }

    fn place_facts(&self, folder: &Attempt) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::from([
            ("pool".to_owned(), self.place.pool.clone()),
            ("nodes".to_owned(), format!("{:?}", self.place.nodes)),
            ("gpus".to_owned(), format!("{:?}", self.place.gpus)),
            ("attempt".to_owned(), folder.folder.clone()),
        ]);
        match self.image {
            ReadyImage::Builtin => {}
            ReadyImage::Venv { python, .. } => drop(facts.insert("python".to_owned(), python.clone())),
            ReadyImage::Container { host, .. } => {
                let engine = host.engine();
                let engine = format!("{} {}", engine.make.name(), engine.version);
                facts.insert("engine".to_owned(), engine);
            }
        }
        facts
    }

    pub(super) fn skip(&mut self, step: &Step, reason: &str) {
        self.run.say(Event::BenchSkipped {
            target: step.bench_id.clone(),
            reason: reason.to_owned(),
        });
        self.done
            .endings
            .insert(step.bench_id.clone(), Ending::Skipped(reason.to_owned()));
    }

    /// The machinery keeps the point from being measured: nothing is known of it.
    pub(super) fn disrupt(&mut self, step: &Step, reason: String) {
        self.skip(step, &reason);
        self.done.machinery = Some(reason);
    }

    /// Records a failure with its reason and the end of the log, `words`; it is told, never reused.
    pub(super) fn fail(&mut self, step: &Step, reason: &str, words: &str, began: Began) {
        let (reason, words) = (self.run.without_secrets(reason), self.run.without_secrets(words));
        let log = (!words.is_empty()).then(|| Digest::of(words.as_bytes()));
        let verdict = Verdict::Failed {
            reason: reason.clone(),
            log,
        };
        let record = self
            .run
            .record(step.bench_id.clone(), step.inputs.clone(), verdict, began);
        let blobs: Vec<Source<'_>> = log.iter().map(|_| Source::Bytes(words.as_bytes())).collect();
        let reason = match self.run.publish(&record, &blobs) {
            Ok(()) => reason,
            Err(error) => format!("{reason} (and this could not be recorded: {error})"),
        };
        self.run.say(Event::BenchFailed {
            target: step.bench_id.clone(),
            session: self.job.index,
            reason: reason.clone(),
        });
        self.done
            .endings
            .insert(step.bench_id.clone(), Ending::Failed(reason));
    }
}
