//! How long things took before.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use crate::cache::Records;
use crate::graph::Kind;

/// The name of the fact under which a bench's record keeps how long its server took to become ready, in ms.
pub const SERVER_START_MS: &str = "server_start_ms";

/// Looks up earlier durations by point; nothing is guessed.
#[derive(Debug)]
pub(super) struct Estimates<'a> {
    records: &'a Records,
    starts: RefCell<HashMap<String, Option<Duration>>>,
}

impl<'a> Estimates<'a> {
    pub(super) fn new(records: &'a Records) -> Self {
        Self {
            records,
            starts: RefCell::default(),
        }
    }

    /// How long the point's last good bench took, on the simulated engine or on a real one: neither tells of the other.
    pub(super) fn bench(&self, point_id: &str, simulated: bool) -> Option<Duration> {
        let record = self
            .records
            .latest_passed(&format!("{}:{point_id}", Kind::Bench))?;
        (record.head().simulated == simulated).then(|| Duration::from_millis(record.head().elapsed_ms))
    }

    /// How long the server of the point's last good bench took to become ready.
    pub(super) fn server_start(&self, point_id: &str, simulated: bool) -> Option<Duration> {
        let mut starts = self.starts.borrow_mut();
        *starts.entry(point_id.to_owned()).or_insert_with(|| {
            let record = self
                .records
                .latest_passed(&format!("{}:{point_id}", Kind::Bench))?;
            let record = record
                .decode()
                .ok()
                .filter(|record| record.provenance.simulated == simulated)?;
            let ms = record.facts.get(SERVER_START_MS)?.parse().ok()?;
            Some(Duration::from_millis(ms))
        })
    }
}
