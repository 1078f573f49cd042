//! What a bench leaves: bytes to be kept, and the raw benchmark file that follows from them.

use super::compute::ComputeError;
use crate::bench::Trace;
use crate::cache::Digest;
use crate::graph::spec::Client;
use crate::results::{Metrics, Object, raw_json};

/// A measurement that may be kept, as it will be.
#[derive(Debug)]
pub(super) struct Measured {
    /// Its [name](Client::output).
    pub output: &'static str,
    pub bytes: Vec<u8>,
    pub digest: Digest,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Trace(Box<Trace>),
    /// A script's client has computed already what is computed from a trace.
    ClientFile(Object),
}

impl Measured {
    /// What `client` left.
    pub(super) fn of_trace(client: &Client, trace: Trace) -> Self {
        let bytes = trace.encode();
        Self::new(client, bytes, Contents::Trace(Box::new(trace)))
    }

    /// What a script's `client` left, and the same as an object.
    pub(super) fn of_client_file(client: &Client, bytes: Vec<u8>, file: Object) -> Self {
        Self::new(client, bytes, Contents::ClientFile(file))
    }

    /// What `client` left, out of the cache.
    pub(super) fn decode(client: &Client, bytes: Vec<u8>) -> Result<Self, ComputeError> {
        let contents = match client {
            Client::Builtin { .. } | Client::AgentTraces { .. } => {
                Contents::Trace(Box::new(Trace::decode(&bytes)?))
            }
            Client::Script { .. } => Contents::ClientFile(serde_json::from_slice(&bytes)?),
        };
        Ok(Self::new(client, bytes, contents))
    }

    fn new(client: &Client, bytes: Vec<u8>, contents: Contents) -> Self {
        Self {
            output: client.output(),
            digest: Digest::of(&bytes),
            bytes,
            contents,
        }
    }

    /// Whether a simulator answered, by what the client says.
    pub(super) fn is_simulated(&self) -> bool {
        match &self.contents {
            Contents::Trace(trace) => trace.header.simulated,
            Contents::ClientFile(file) => file.get("simulated").is_some_and(|value| value == true),
        }
    }

    /// The raw benchmark file.
    pub(super) fn raw(&self) -> Object {
        match &self.contents {
            Contents::Trace(trace) => raw_json(trace, &Metrics::from_trace(trace)),
            Contents::ClientFile(file) => file.clone(),
        }
    }
}
