//! What came of a session's points: said, and kept in the cache.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::attempt_result;
use super::committer::{Bundle, Committer, KeepError};
use super::compute::{ComputeError, row};
use super::event::Event;
use super::launch::{Place, ReadyImage};
use super::measured::Measured;
use super::run::{Attempt, Began, Run};
use super::session::{Done, Ending, Job, Step};
use super::vacancy::Vacancy;
use crate::cache::{Digest, FsError, Output, Verdict};

/// The points of one session on one place.
pub(super) struct Ledger<'a> {
    pub run: &'a Run,
    pub job: &'a Job,
    pub image: &'a ReadyImage,
    pub place: &'a Place,
    pub committer: &'a Committer,
    pub vacancy: &'a Vacancy,
    /// Nothing will run on its place any more: others may have it while results are kept.
    pub may_leave: bool,
    pub done: Done,
}

/// A measurement and its row, as they will be kept.
pub(super) struct Prepared {
    bench: Bundle,
    row: Result<Bundle, ComputeError>,
}

impl Ledger<'_> {
    /// Whether another point of the same inputs has been measured a moment ago; then this one has its result too.
    pub(super) async fn is_kept(&mut self, step: &Step) -> bool {
        let known = step.take_kept && self.committer.has(&step.inputs.key()).await;
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

    /// Computes what is to be kept of a measurement, and leaves the attempt's result where the next build adopts it,
    /// should this one be killed. `facts` are what is known beside the place; `attempt` counts the starts of what was
    /// measured.
    pub(super) fn prepare(
        &self,
        step: &Step,
        measured: Measured,
        began: Began,
        folder: &Attempt,
        attempt: u32,
        facts: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Prepared, FsError> {
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
        self.run.written(attempt_result::write(&folder.path, &record))?;
        let row = row(self.run, &step.process_id, &step.point, &measured);
        let bench = Bundle {
            record,
            blobs: vec![measured.bytes],
        };
        Ok(Prepared { bench, row })
    }

    /// Keeps a measurement and its row, and says so once they are on the disk.
    pub(super) async fn pass(
        &mut self,
        step: &Step,
        prepared: Result<Prepared, FsError>,
        began: Began,
        folder: &Attempt,
    ) {
        let lost = |error: &dyn Display| format!("the result could not be kept: {error}");
        let Prepared { bench, row } = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return self.fail(step, &lost(&error), "", began).await,
        };
        let elapsed_ms = bench.record.provenance.elapsed_ms;
        let (row, row_failed) = match row {
            Ok(row) => (Some(row), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mut kept = self
            .keep([bench].into_iter().chain(row).collect())
            .await
            .into_iter();
        if let Some(Err(error)) = kept.next() {
            return self.fail(step, &lost(&error), "", began).await;
        }
        // The cache has it now; what cannot be removed goes with the run's folder.
        let _ = attempt_result::forget_output(&folder.path, step.bench.client.output());
        self.run.say(Event::BenchPassed {
            target: step.bench_id.clone(),
            session: self.job.index,
            elapsed_ms,
        });
        self.done.endings.insert(step.bench_id.clone(), Ending::Passed);
        let row_failed = row_failed.or_else(|| Some(kept.next()?.err()?.to_string()));
        let target = step.process_id.clone();
        self.run.say(match row_failed {
            None => Event::ProcessPassed { target },
            // The end of the build tries once more and says what is wrong.
            Some(reason) => Event::ProcessFailed { target, reason },
        });
    }

    async fn keep(&self, results: Vec<Bundle>) -> Vec<Result<(), KeepError>> {
        let slot = self.committer.slot().await;
        if self.may_leave {
            self.vacancy.leave();
        }
        slot.keep(results).await
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
    pub(super) async fn fail(&mut self, step: &Step, reason: &str, words: &str, began: Began) {
        let (reason, words) = (self.run.without_secrets(reason), self.run.without_secrets(words));
        let log = (!words.is_empty()).then(|| Digest::of(words.as_bytes()));
        let blobs = log.iter().map(|_| words.clone().into_bytes()).collect();
        let verdict = Verdict::Failed {
            reason: reason.clone(),
            log,
        };
        let record = self
            .run
            .record(step.bench_id.clone(), step.inputs.clone(), verdict, began);
        let kept = self.keep(vec![Bundle { record, blobs }]).await;
        let reason = match kept.into_iter().next() {
            Some(Err(error)) => format!("{reason} (and this could not be recorded: {error})"),
            Some(Ok(())) | None => reason,
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
