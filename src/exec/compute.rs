//! Targets that are computed from what was measured: a point's row, a sweep's collection and summary.

use std::collections::BTreeMap;

use super::committer::Bundle;
use super::measured::Measured;
use super::run::{Began, Run};
use crate::bench::TraceError;
use crate::cache::{Digest, Fetched, FsError, Inputs, Output, Source, StoreError, Verdict};
use crate::graph::spec::Client;
use crate::matrix::Point;
use crate::plan::{collect_inputs, process_inputs};
use crate::results::{AggregateError, Row, aggregate};

/// Why a row could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    #[error("the measurement {} is gone from the cache; the next build makes it again", .0.short())]
    Lost(Digest),
    #[error("the trace cannot be read: {0}")]
    Trace(#[from] TraceError),
    #[error("the client's result cannot be read: {0}")]
    ClientFile(#[from] serde_json::Error),
    #[error("the measurement gives no row: {0}")]
    Aggregate(#[from] AggregateError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// A point's row, computed, with its blobs: the row itself, and the raw result.
pub(super) fn row(
    run: &Run,
    target: &str,
    point: &Point,
    measured: &Measured,
) -> Result<Bundle, ComputeError> {
    let began = Began::now();
    let raw = measured.raw();
    let row = aggregate(point, &raw)?;
    let row = serde_json::to_vec(&row).expect("rows have text keys and finite numbers");
    let raw = serde_json::to_vec(&raw).expect("raw results have text keys and finite numbers");
    let inputs = process_inputs(point, measured.output, measured.digest);
    let mut record = run.record(target.to_owned(), inputs, Verdict::Passed, began);
    record.provenance.simulated = measured.is_simulated();
    record.outputs = vec![output("row", &row), output("raw", &raw)];
    Ok(Bundle {
        record,
        blobs: vec![row, raw],
    })
}

/// A point's row from what its bench left in the cache.
pub(super) fn process_kept(
    run: &Run,
    target: &str,
    point: &Point,
    client: &Client,
    digest: Digest,
) -> Result<Digest, ComputeError> {
    let fetched = run.store().cas().get(&digest)?;
    let bytes = match fetched {
        Fetched::Found(bytes) => bytes,
        Fetched::Missing | Fetched::Damaged(_) => return Err(ComputeError::Lost(digest)),
    };
    let Bundle { record, blobs } = row(run, target, point, &Measured::decode(client, bytes)?)?;
    let blobs: Vec<Source<'_>> = blobs.iter().map(|blob| Source::Bytes(blob)).collect();
    run.publish(&record, &blobs)?;
    Ok(record.outputs[0].digest)
}

/// The name of the fact under which a collection keeps what was typed to select it, as a JSON list.
pub const WORDS: &str = "words";

/// A sweep's collection: its rows in the order of their targets, without what differs from run to run.
pub(super) fn collect(
    run: &Run,
    target: &str,
    words: &[String],
    rows: &[(String, Digest, Row)],
) -> Result<Digest, ComputeError> {
    let began = Began::now();
    let inputs = collect_inputs(rows.iter().map(|(id, digest, _)| (id.as_str(), *digest)));
    let rows: Vec<&Row> = rows.iter().map(|(_, _, row)| row).collect();
    let bytes = serde_json::to_vec(&rows).expect("rows have text keys and finite numbers");
    let words = serde_json::to_string(words).expect("words are text");
    let facts = BTreeMap::from([(WORDS.to_owned(), words)]);
    keep(run, target, inputs, "rows", &bytes, began, facts)
}

/// A sweep's summary as this run writes it.
pub(super) fn summarize(run: &Run, target: &str, inputs: Inputs, text: &str) -> Result<Digest, ComputeError> {
    keep(
        run,
        target,
        inputs,
        "summary.md",
        text.as_bytes(),
        Began::now(),
        BTreeMap::new(),
    )
}

fn keep(
    run: &Run,
    target: &str,
    inputs: Inputs,
    name: &str,
    bytes: &[u8],
    began: Began,
    facts: BTreeMap<String, String>,
) -> Result<Digest, ComputeError> {
    let mut record = run.record(target.to_owned(), inputs, Verdict::Passed, began);
    record.facts = facts;
    record.outputs = vec![output(name, bytes)];
    run.publish(&record, &[Source::Bytes(bytes)])?;
    Ok(record.outputs[0].digest)
}

fn output(name: &str, bytes: &[u8]) -> Output {
    Output {
        name: name.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}
