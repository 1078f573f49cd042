//! What the parts of one run share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedSender;

use super::docker::{Ended, Heirs, Host, HostError, Owner, RemoveError};
use super::event::{EVENT_VERSION, Event, Stamped};
use super::guards::Guards;
use super::process::{GuardBinary, Owned};
use super::signals::{Cause, Interrupts};
use crate::cache::host::host_name;
use crate::cache::record::FORMAT;
use crate::cache::remote::Sender;
use crate::cache::{
    Finished, FsError, Inputs, Provenance, Record, RunDir, Source, Store, StoreError, Verdict,
};
use crate::config::container::Container;
use crate::graph::{Kind, file_name};

/// One `sweep build` at work.
pub struct Run {
    /// The project's folder.
    pub root: PathBuf,
    pub id: String,
    pub guard: GuardBinary,
    /// Of scripts, which follow one another.
    pub guards: Guards,
    /// The folder with this program as `sweep`, once it is made.
    pub programs: OnceLock<PathBuf>,
    pub interrupts: Interrupts,
    /// Names and values passed through to servers.
    pub secrets: BTreeMap<String, String>,
    /// How often a session starts its server again.
    pub retries: u32,
    /// How containers run on the pools that have some, by name.
    pub containers: BTreeMap<String, Container>,
    pub host: String,
    path: PathBuf,
    dir: Mutex<RunDir>,
    store: Mutex<Store>,
    sender: Mutex<Option<Sender>>,
    events: UnboundedSender<Stamped>,
    attempts: AtomicU32,
    docker: OnceCell<Arc<Host>>,
    started: Instant,
}

/// What a run is made of.
pub struct RunParts {
    pub root: PathBuf,
    pub dir: RunDir,
    pub store: Store,
    pub guard: GuardBinary,
    pub interrupts: Interrupts,
    pub secrets: BTreeMap<String, String>,
    pub retries: u32,
    pub containers: BTreeMap<String, Container>,
    pub events: UnboundedSender<Stamped>,
}

/// When something began: by the wall for people, by the monotonic clock for durations.
#[derive(Debug, Clone, Copy)]
pub struct Began {
    unix_ms: u64,
    at: Instant,
}

impl Began {
    pub fn now() -> Self {
        Self {
            unix_ms: unix_ms(),
            at: Instant::now(),
        }
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.at.elapsed().as_millis() as u64
    }
}

/// Milliseconds since 1970 by this host's clock.
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}

/// A folder of its own for one try of one target.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Of what.
    pub target: String,
    /// Counted over the run, from 1.
    pub number: u32,
    pub path: PathBuf,
    /// Relative to the run's folder.
    pub folder: String,
}

impl Run {
    pub fn new(parts: RunParts) -> Self {
        Self {
            root: parts.root,
            id: parts.dir.id().as_str().to_owned(),
            path: parts.dir.path().to_path_buf(),
            guards: Guards::new(parts.guard.clone()),
            guard: parts.guard,
            programs: OnceLock::new(),
            interrupts: parts.interrupts,
            secrets: parts.secrets,
            retries: parts.retries,
            containers: parts.containers,
            host: host_name(),
            dir: Mutex::new(parts.dir),
            store: Mutex::new(parts.store),
            sender: Mutex::new(None),
            events: parts.events,
            attempts: AtomicU32::new(0),
            docker: OnceCell::new(),
            started: Instant::now(),
        }
    }

    /// Says what happens. A dispatcher that has gone hears nothing more.
    pub fn say(&self, event: Event) {
        self.speaker()(event);
    }

    /// The same for a thread that outlives the borrow.
    pub fn speaker(&self) -> impl Fn(Event) + Send + use<> {
        let events = self.events.clone();
        move |event| {
            let _ = events.send(Stamped {
                v: EVENT_VERSION,
                unix_ms: unix_ms(),
                event,
            });
        }
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The store. Another thread that panicked while it held it left it whole: every change is one append.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This machine's container engine, connected to when it is first asked for. What killed runs left on it is ended
    /// then, but for what the heirs can go on with.
    pub async fn docker(&self, heirs: &Heirs) -> Result<Arc<Host>, HostError> {
        let open = async || {
            let cache = self.store().dir().to_path_buf();
            let owner = Owner::new(&cache, &self.id).map_err(|source| HostError::Cache { cache, source })?;
            let (host, ended) = Host::open(owner, heirs).await?;
            ended.into_iter().for_each(|ended| self.say_ended(ended));
            Ok(Arc::new(host))
        };
        self.docker.get_or_try_init(open).await.cloned()
    }

    /// Ends the server that a killed run left for a session, unless that has taken it over.
    pub async fn end_left(&self, session: usize) -> Result<(), RemoveError> {
        let left = self.docker.get().map(|host| (host, host.inherit(session)));
        let Some((host, Some(left))) = left else {
            return Ok(());
        };
        host.end(&left).await.map(|ended| self.say_ended(ended))
    }

    fn say_ended(&self, Ended { name, run }: Ended) {
        self.say(Event::Healed {
            what: format!("run {run} was killed; its container `{name}` was ended"),
        });
    }

    pub fn dir(&self) -> MutexGuard<'_, RunDir> {
        self.dir.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new folder for a try of `what`. What is in it is not flushed to the disk: it is for people, and for the build
    /// after one that was killed; what must outlast a loss of power is published.
    pub fn attempt(&self, what: &str) -> Result<Attempt, FsError> {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        // A file name has a limit; the number alone tells attempts apart.
        let short: String = file_name(what).chars().take(120).collect();
        let folder = format!("attempts/{number:04}-{short}");
        let path = self.path.join(&folder);
        crate::cache::fs::create_dir(&path)?;
        Ok(Attempt {
            target: what.to_owned(),
            number,
            path,
            folder,
        })
    }

    /// A text in which the values of secrets are masked: servers may print what they were given.
    pub fn without_secrets(&self, text: &str) -> String {
        // A value of a few characters would mask half the text and is no secret.
        let values = self.secrets.values().filter(|value| value.len() >= 6);
        values.fold(text.to_owned(), |text, value| text.replace(value.as_str(), "***"))
    }

    /// Journals that the run owns `owned`, so that a later run can end it.
    pub fn owns(&self, owned: &Owned) -> Result<(), FsError> {
        self.dir().journal(owned)
    }

    pub fn releases(&self, owned: &Owned) -> Result<(), FsError> {
        self.dir().release(owned)
    }

    /// A record of this run.
    pub fn record(&self, target: String, inputs: Inputs, verdict: Verdict, began: Began) -> Record {
        Record {
            format: FORMAT,
            target,
            key: inputs.key(),
            inputs,
            deps: Vec::new(),
            outputs: Vec::new(),
            verdict,
            provenance: Provenance {
                run: self.id.clone(),
                host: self.host.clone(),
                started_unix_ms: began.unix_ms,
                elapsed_ms: began.elapsed_ms(),
                sweep_version: env!("CARGO_PKG_VERSION").to_owned(),
                simulated: false,
                attempt: 1,
            },
            facts: BTreeMap::new(),
        }
    }

    /// Keeps a record with its blobs; both are on the disk when this returns.
    pub fn publish(&self, record: &Record, blobs: &[Source<'_>]) -> Result<(), StoreError> {
        let outcomes = self.publish_all(&[Finished { record, blobs }]);
        outcomes.into_iter().next().expect("one was published")
    }

    /// The same for several results, which go to the disk together. What comes of one does not depend on the others.
    pub fn publish_all(&self, results: &[Finished<'_>]) -> Vec<Result<(), StoreError>> {
        let is_sent =
            |record: &Record| record.passed() && Kind::named(record.kind()).is_some_and(Kind::is_measured);
        if let Some(sender) = &*self.sender() {
            for Finished { record, .. } in results.iter().filter(|result| is_sent(result.record)) {
                // Without the note only the next build would not know.
                let _ = sender.announce(&record.key);
            }
        }
        let outcomes = self.store().publish_all(results);
        let sender = self.sender();
        let told = results
            .iter()
            .zip(outcomes)
            .map(|(Finished { record, .. }, written)| {
                let written = written.inspect_err(|error| self.mind(error.fs()))?;
                if let Some(sender) = sender.as_ref().filter(|_| is_sent(record)) {
                    sender.offer(record, written);
                }
                Ok(())
            });
        told.collect()
    }

    /// What is measured from now on goes to the remote cache as well.
    pub fn send_through(&self, sender: Sender) {
        *self.sender() = Some(sender);
    }

    /// Nothing is sent to the remote cache from now on: what is measured shares this machine with its engine.
    pub fn hold_sending(&self) {
        self.sender().iter().for_each(Sender::hold);
    }

    pub fn release_sending(&self) {
        self.sender().iter().for_each(Sender::release);
    }

    /// Sends what the remote cache is still to get, as long as it may keep a build waiting, and says what became of it.
    pub async fn finish_sending(&self) {
        let Some(sender) = self.sender().take() else {
            return;
        };
        let sent = sender.finish().await;
        if sent.unsent > 0
            && let Some(reason) = sent.trouble
        {
            self.say(Event::RemoteFailed { reason });
        }
        if sent.results + sent.unsent > 0 {
            self.say(Event::RemoteSent {
                results: sent.results,
                bytes: sent.bytes,
                unsent: sent.unsent,
            });
        }
    }

    fn sender(&self) -> MutexGuard<'_, Option<Sender>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on how something was written. Where nothing more can be written the run ends: what it would measure from
    /// here on could not be kept either.
    pub fn written<T>(&self, written: Result<T, FsError>) -> Result<T, FsError> {
        written.inspect_err(|error| self.mind(Some(error)))
    }

    fn mind(&self, error: Option<&FsError>) {
        if error.is_some_and(FsError::is_lasting) {
            self.interrupts.give_up(Cause::DiskFull);
        }
    }
}
