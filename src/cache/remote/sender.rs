//! Writing behind: what a build measures is sent by a thread of its own, which waits while a bench must not be
//! disturbed and never holds anything up.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::super::cas::Cas;
use super::super::fs::FsError;
use super::super::{Key, Record, Store, Written};
use super::client::{Client, RemoteError, runtime};
use super::parcel::Parcel;
use super::unsent::Unsent;

/// How long is waited after a failure; twice as long after the next.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What the thread may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// A bench shares this machine with its engine.
    Held,
    /// The build ends: each result is tried once more, and the first failure is the last.
    Closing,
}

/// What was sent in a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many.
    pub results: usize,
    /// With their blobs, in bytes.
    pub bytes: u64,
    /// What is left for the next build.
    pub unsent: usize,
    /// The last failure.
    pub trouble: Option<String>,
}

/// The thread, seen from the build.
#[derive(Debug)]
pub struct Sender {
    parcels: mpsc::UnboundedSender<Parcel>,
    gate: watch::Sender<Gate>,
    done: oneshot::Receiver<Sent>,
    unsent: Unsent,
    patience: Duration,
}

impl Sender {
    /// Starts the thread, with what earlier builds left. At its end the build waits for it no longer than `patience`. A
    /// failure is told to `say`, and the next one once something was sent in between.
    pub fn start(
        client: Client,
        store: &Store,
        patience: Duration,
        say: impl Fn(&RemoteError) + Send + 'static,
    ) -> Result<Sender, RemoteError> {
        let unsent = Unsent::of(store.dir());
        let (parcels, to_send) = mpsc::unbounded_channel();
        for parcel in backlog(store, &unsent)? {
            // The receiver is right here.
            let _ = parcels.send(parcel);
        }
        let (gate, at_gate) = watch::channel(Gate::Open);
        let (is_done, done) = oneshot::channel();
        let work = Work {
            client,
            cas: Cas::read_only(store.dir().join("cas")),
            unsent: unsent.clone(),
            gate: at_gate.clone(),
            say,
        };
        let runtime = runtime()?;
        let spawned = std::thread::Builder::new()
            .name("remote cache".to_owned())
            .spawn(move || {
                // What is measured comes first, where a core is short. On Linux this is the thread's alone.
                let _ = rustix::process::nice(10);
                runtime.block_on(async move {
                    tokio::select! {
                        sent = work.run(to_send) => drop(is_done.send(sent)),
                        () = is_gone(at_gate) => {}
                    }
                });
            });
        spawned.map_err(RemoteError::Thread)?;
        Ok(Sender {
            parcels,
            gate,
            done,
            unsent,
            patience,
        })
    }

    /// Notes that the result of this key is about to be kept.
    pub fn announce(&self, key: &Key) -> Result<(), FsError> {
        self.unsent.note(key)
    }

    /// Sends a result that has been kept, some time.
    pub fn offer(&self, record: &Record, written: Written) {
        // A thread that is gone has said why; the note stays.
        let _ = self.parcels.send(Parcel::of(record, written));
    }

    /// Sends nothing, until it is released.
    pub fn hold(&self) {
        self.gate.send_replace(Gate::Held);
    }

    /// Goes on.
    pub fn release(&self) {
        self.gate.send_replace(Gate::Open);
    }

    /// Waits until all is sent, or no longer than it may.
    pub async fn finish(self) -> Sent {
        let limit = self.patience;
        drop(self.parcels);
        self.gate.send_replace(Gate::Closing);
        let mut sent = match timeout(limit, self.done).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(_)) | Err(_) => Sent {
                trouble: Some(format!("it did not take everything within {limit:?}")),
                ..Sent::default()
            },
        };
        sent.unsent = self.unsent.keys().map_or(0, |keys| keys.len());
        sent
    }
}

/// Waits until the build waits no longer: whatever is under way then is given up.
async fn is_gone(mut gate: watch::Receiver<Gate>) {
    while gate.changed().await.is_ok() {}
}

/// What the notes are about. Where there is nothing any more, the note goes.
fn backlog(store: &Store, unsent: &Unsent) -> Result<Vec<Parcel>, FsError> {
    let keys = unsent.keys()?;
    for key in &keys {
        if store.records().passed(key).next().is_none() {
            unsent.settle(key)?;
        }
    }
    Ok(Parcel::of_keys(store, keys))
}

/// The thread at work.
pub(super) struct Work<S> {
    pub(super) client: Client,
    pub(super) cas: Cas,
    pub(super) unsent: Unsent,
    pub(super) gate: watch::Receiver<Gate>,
    pub(super) say: S,
}

impl<S: Fn(&RemoteError)> Work<S> {
    pub(super) async fn run(mut self, mut parcels: mpsc::UnboundedReceiver<Parcel>) -> Sent {
        let mut sent = Sent::default();
        while let Some(parcel) = parcels.recv().await {
            let mut pause = FIRST_PAUSE;
            while let Err(error) = self.send(&parcel, &mut sent).await {
                if sent.trouble.is_none() {
                    (self.say)(&error);
                }
                sent.trouble = Some(error.to_string());
                if *self.gate.borrow() == Gate::Closing {
                    return sent;
                }
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = self.gate.wait_for(|gate| *gate == Gate::Closing) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        sent
    }

    /// Sends one, as soon as the gate is open. One that is under way when the gate closes is sent again from its start.
    async fn send(&mut self, parcel: &Parcel, sent: &mut Sent) -> Result<(), RemoteError> {
        let mut held = self.gate.clone();
        let bytes = loop {
            // A build that is gone leaves the gate as it was.
            let _ = self.gate.wait_for(|gate| *gate != Gate::Held).await;
            tokio::select! {
                bytes = parcel.send(&self.client, &self.cas) => break bytes?,
                Ok(_) = held.wait_for(|gate| *gate == Gate::Held) => {}
            }
        };
        // Damaged or gone in the meantime: there is nothing to send.
        if let Some(bytes) = bytes {
            sent.results += 1;
            sent.bytes += bytes;
            sent.trouble = None;
        }
        Ok(self.unsent.settle(&parcel.key)?)
    }
}
