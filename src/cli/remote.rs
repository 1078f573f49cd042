//! The cache that several machines share, as the Sweepfile and the environment name it.

use std::collections::BTreeSet;
use std::env::{VarError, var};

use super::failure::{Failure, print_all};
use super::report::sent;
use super::workspace::Workspace;
use crate::cache::remote::unsent::Unsent;
use crate::cache::remote::{Client, Fetched, RemoteError, Sender, Sent, Settings, fetch, runtime};
use crate::cache::{Key, Record, SigningKey, Store};
use crate::config::diagnostic::Diagnostic;
use crate::config::remote::{Remote, check_url};
use crate::config::sweepfile::Cache;
use crate::exec::event::Event;
use crate::exec::run::Run;
use crate::graph::Graph;
use crate::plan::{Judge, Plan, Policy};

/// Takes the place of the URL in the Sweepfile; empty, there is no remote.
const URL: &str = "SWEEP_CACHE_REMOTE";

/// `1`: nothing is sent, `0`: something is, whatever the Sweepfile says.
const READ_ONLY: &str = "SWEEP_CACHE_REMOTE_READ_ONLY";

/// The remote, ready to be asked; none where none is configured, or where its key is not at hand, which is said.
pub(super) fn open(cache: &Cache) -> Result<Option<Client>, Failure> {
    let Some(remote) = configured(cache)? else {
        return Ok(None);
    };
    let key = match key(cache) {
        Ok(key) => key,
        // As in a pull request from a fork, which gets no secrets: nothing can be verified, and all can be measured.
        Err(KeyError::Unset(name)) => {
            let message =
                format!("the remote cache is not used: `{name}`, which `cache.sign-with` names, is not set");
            print_all(&[Diagnostic::warning(message)]);
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let settings = Settings {
        url: remote.url,
        read_only: remote.read_only,
        timeout: remote.timeout.0,
        concurrency: remote.concurrency as usize,
        key,
        max_bytes: cache.max_size.0,
    };
    Client::open(settings).map(Some).map_err(Failure::wrong)
}

/// The remote of a build.
pub(super) struct Shared {
    client: Client,
    fetched: Fetched,
}

impl Shared {
    pub(super) fn open(workspace: &Workspace) -> Result<Option<Self>, Failure> {
        let client = open(&workspace.project.sweepfile.cache)?;
        Ok(client.map(|client| Self {
            client,
            fetched: Fetched::default(),
        }))
    }

    /// Takes what others have measured of the benches that are about to run; how many results came.
    pub(super) fn fetch(&mut self, store: &mut Store, graph: &Graph, plan: &Plan) -> Result<usize, Failure> {
        self.fetched = fetch(&self.client, store, &missing(graph, store, plan))?;
        Ok(self.fetched.results)
    }

    /// Notes that a result which a killed run left is to be sent.
    pub(super) fn note(&self, store: &Store, record: &Record) -> Result<(), Failure> {
        if !self.client.settings().read_only {
            Unsent::of(store.dir()).note(&record.key)?;
        }
        Ok(())
    }

    /// Says what has come, and sends what the run measures from now on, unless the remote is only read.
    pub(super) fn start(self, run: &Run) -> Result<(), Failure> {
        let Fetched {
            results,
            bytes,
            trouble,
            in_vain,
            ..
        } = self.fetched;
        for reason in trouble {
            run.say(Event::RemoteFailed { reason });
        }
        if results > 0 {
            run.say(Event::RemoteFetched { results, bytes });
        }
        let settings = self.client.settings();
        if !settings.read_only {
            let patience = settings.timeout.saturating_sub(in_vain);
            let say = run.speaker();
            let failed = move |error: &RemoteError| {
                let reason = error.to_string();
                say(Event::RemoteFailed { reason });
            };
            let sender = Sender::start(self.client, &run.store(), patience, failed)?;
            run.send_through(sender);
        }
        Ok(())
    }
}

/// Sends what earlier builds could not, where there is such: a build with nothing to do asks nothing of a remote
/// otherwise. Whether there is nothing left for the next one.
pub(super) fn send_left(workspace: &Workspace, store: &Store) -> Result<bool, Failure> {
    let unsent = Unsent::of(store.dir());
    if unsent.is_empty()? {
        return Ok(true);
    }
    let Some(client) =
        open(&workspace.project.sweepfile.cache)?.filter(|client| !client.settings().read_only)
    else {
        return Ok(true);
    };
    let patience = client.settings().timeout;
    let outcome = runtime().and_then(|runtime| {
        let sender = Sender::start(client, store, patience, |_| {})?;
        Ok(runtime.block_on(sender.finish()))
    });
    let line = match outcome {
        Ok(Sent {
            trouble: Some(reason),
            ..
        }) => reason,
        Ok(done) => sent(done.results, done.bytes, done.unsent),
        // As in a cache folder that may not be written.
        Err(error) => error.to_string(),
    };
    eprintln!("remote cache: {line}");
    Ok(unsent.is_empty()?)
}

/// The keys of the benches that are about to run although somebody else may have measured them.
pub(super) fn missing(graph: &Graph, store: &Store, plan: &Plan) -> Vec<Key> {
    let judge = Judge {
        graph,
        store,
        policy: Policy::default(),
    };
    let points = plan.sessions.iter().flat_map(|session| &session.points);
    let chains = points.filter_map(|point| graph.chains[*point].as_ref().ok());
    let keys: BTreeSet<Key> = chains.map(|chain| judge.bench_inputs(chain).key()).collect();
    keys.into_iter().collect()
}

/// What the Sweepfile says, but for what the environment says otherwise.
pub(super) fn configured(cache: &Cache) -> Result<Option<Remote>, Failure> {
    let mut remote = cache.remote.clone();
    match var(URL) {
        Ok(url) if url.is_empty() => return Ok(None),
        Ok(url) => {
            check_url(&url)
                .map_err(|wrong| Failure::wrong(format!("`{URL}` is no remote cache: {wrong}")))?;
            remote = Some(match remote {
                Some(options) => Remote { url, ..options },
                None => Remote::at(url),
            });
        }
        Err(VarError::NotPresent) => {}
        Err(VarError::NotUnicode(_)) => return Err(Failure::wrong(format!("`{URL}` is not UTF-8"))),
    }
    if let (Some(remote), Ok(value)) = (&mut remote, var(READ_ONLY)) {
        remote.read_only = match value.as_str() {
            "1" | "true" => true,
            "0" | "false" => false,
            "" => remote.read_only,
            other => {
                let message = format!("`{READ_ONLY}` is `{other}`: expected `1` or `0`");
                return Err(Failure::wrong(message));
            }
        };
    }
    Ok(remote)
}

/// Why the key for signing is not at hand.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error("`{0}`, which `cache.sign-with` names, is not set: it holds the key that signs results")]
    Unset(String),
    #[error("the value of `{name}`, which `cache.sign-with` names, is of no use: {reason}")]
    Useless { name: String, reason: String },
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::wrong(error)
    }
}

/// The key that signs results, where the Sweepfile asks for signatures.
pub(super) fn key(cache: &Cache) -> Result<Option<SigningKey>, KeyError> {
    let Some(name) = &cache.sign_with else {
        return Ok(None);
    };
    let useless = |reason: String| KeyError::Useless {
        name: name.clone(),
        reason,
    };
    match var(name) {
        Ok(secret) if !secret.is_empty() => SigningKey::new(&secret)
            .map(Some)
            .map_err(|e| useless(e.to_string())),
        Ok(_) | Err(VarError::NotPresent) => Err(KeyError::Unset(name.clone())),
        Err(VarError::NotUnicode(_)) => Err(useless("it is not UTF-8".to_owned())),
    }
}
