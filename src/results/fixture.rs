//! Small traces, points and rows for the tests of this module.

use crate::bench::trace::{
    Chunks, ClientLoad, EventKind, FORMAT, Request, RequestError, TokenSource, Trace, TraceHeader,
};
use crate::bench::workload::Workload;
use crate::config::master::{Component, SpecDecoding, Worker};
use crate::matrix::{ConfigKey, Parallel, Point, Scenario, Topology};

use super::collect::{Collected, Provenance, State};
use super::object::Object;
use super::row::Row;

/// A measured trace of 2 s that began at 2026-11-20 08:30 UTC.
pub(super) fn trace(requests: Vec<Request>) -> Trace {
    Trace {
        header: TraceHeader {
            format: FORMAT,
            client: "c".to_owned(),
            client_version: 1,
            workload: Workload::random("lab/model", 8192, 1024, 4),
            start_unix_us: 1_795_163_400_250_000,
            end_unix_us: 1_795_163_402_250_000,
            duration_us: 2_000_000,
            warmup: 0,
            load: ClientLoad {
                lag_p99_us: 1500,
                ..ClientLoad::default()
            },
            simulated: false,
            time_scale: 1.0,
        },
        requests,
    }
}

/// A request of 100 prompt tokens sent at 1 ms, with an event of one token at each gap of microseconds.
pub(super) fn request(events: &[(u64, EventKind)], error: Option<RequestError>) -> Request {
    let mut chunks = Chunks::default();
    for (gap_us, kind) in events {
        chunks.push(*gap_us, u32::from(kind.has(EventKind::TEXT)), *kind);
    }
    Request {
        index: 0,
        prompt_tokens: 100,
        output_tokens: 10,
        scheduled_us: 0,
        sent_us: 1000,
        headers_us: None,
        first_byte_us: None,
        chunks,
        usage: None,
        token_source: TokenSource::Chunks,
        end_us: 9_000_000,
        finish_reason: None,
        error,
    }
}

/// An event of choices with text.
pub(super) fn text() -> EventKind {
    EventKind::CHOICES.with(EventKind::TEXT)
}

pub(super) fn single(tp: u32, ep: u32, conc: u32) -> Point {
    Point {
        config: ConfigKey("m1-fp8-h200-sglang".to_owned()),
        image: "engine:1".to_owned(),
        model: "lab/model".to_owned(),
        model_prefix: "m1".to_owned(),
        precision: "fp8".to_owned(),
        framework: "sglang".to_owned(),
        runner: "h200".to_owned(),
        scenario: Scenario::FixedSeqLen { isl: 8192, osl: 1024 },
        topology: Topology::Single(Parallel {
            tp,
            pp: 1,
            dcp_size: 1,
            pcp_size: 1,
            ep,
            dp_attn: ep > 1,
        }),
        spec_decoding: SpecDecoding::None,
        conc,
        router: None,
        kv_p2p_transfer: None,
        mark: String::new(),
    }
}

pub(super) fn disagg(prefill_workers: u32, decode_workers: u32) -> Point {
    let worker = |num_worker, tp, dp_attn| Worker {
        num_worker,
        tp,
        pp: 1,
        dcp_size: 1,
        pcp_size: 1,
        ep: 1,
        dp_attn,
        hardware: None,
        additional_settings: None,
    };
    Point {
        topology: Topology::Multi {
            disagg: true,
            prefill: worker(prefill_workers, 4, true),
            decode: worker(decode_workers, 8, false),
        },
        router: Some(Component {
            name: "router".to_owned(),
            version: "1.2".to_owned(),
        }),
        kv_p2p_transfer: Some("nixl".to_owned()),
        framework: "dynamo-sglang".to_owned(),
        ..single(8, 1, 64)
    }
}

/// A collected row whose numbers follow from its concurrency.
pub(super) fn collected(point: &Point, state: State, simulated: bool) -> Collected {
    let conc = f64::from(point.conc);
    let mut raw = Object::default();
    raw.set("model_id", point.model.as_str());
    raw.set("max_concurrency", point.conc);
    raw.set("output_throughput", 90.0 * conc);
    raw.set("total_token_throughput", 800.0 * conc);
    raw.set("median_ttft_ms", 40.0 + 3.0 * conc);
    raw.set("median_tpot_ms", 5.0 + conc / 8.0);
    raw.set("median_e2el_ms", 9000.0 + 50.0 * conc);
    if simulated {
        raw.set("simulated", true);
    }
    let row: Row = super::aggregate::aggregate(point, &raw).expect("the raw file has what a row needs");
    Collected {
        row,
        provenance: Provenance {
            state,
            run: "r7".to_owned(),
            date: "2026-11-20T08:30:00Z".parse().expect("a literal time"),
            host: "node-a".to_owned(),
            target: format!("process:{}", point.id()),
        },
    }
}
