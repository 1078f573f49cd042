//! The raw benchmark file: the keys of InferenceX's serving benchmark, in its order.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::bench::trace::Trace;
use crate::bench::verdict::{Limits, client_bound};
use crate::bench::workload::{Api, Load};

use super::metrics::{Metrics, time_scale};
use super::object::Object;
use super::statistics::Distribution;

/// The raw benchmark JSON of a trace: seconds, tokens and milliseconds as the keys say.
///
/// After InferenceX's own keys stand what the client says of itself, `client_bound` and `client_lag_p99_ms` (wall time,
/// also of a simulated run), and `simulated`, true, when a simulator answered.
pub fn raw_json(trace: &Trace, metrics: &Metrics) -> Object {
    let (header, workload) = (&trace.header, &trace.header.workload);
    let start_s = header.start_unix_us as f64 / 1e6;
    let mut raw = Object::default();
    raw.set("date", date(header.start_unix_us));
    raw.set("backend", backend(workload.api));
    raw.set("model_id", workload.model.as_str());
    // Prompts are drawn as token ids or words, and tokens are counted by the server.
    raw.set("tokenizer_id", Value::Null);
    raw.set("best_of", 1);
    raw.set("num_prompts", workload.prompts);
    match workload.load {
        Load::Closed { concurrency } => {
            raw.set("request_rate", "inf");
            raw.set("burstiness", 1.0);
            raw.set("max_concurrency", concurrency);
        }
        Load::Open {
            rate_per_s,
            burstiness,
            max_concurrency,
        } => {
            // The client keeps its rate in wall time; the file's times are the server's own.
            raw.set("request_rate", rate_per_s / time_scale(header));
            raw.set("burstiness", burstiness);
            raw.set("max_concurrency", max_concurrency);
        }
    }
    raw.set("duration", metrics.duration_s);
    raw.set("benchmark_start_time_unix", start_s);
    // By the duration, so that both agree in a simulated run too.
    raw.set("benchmark_end_time_unix", start_s + metrics.duration_s);
    raw.set("completed", metrics.completed);
    raw.set("total_input_tokens", metrics.total_input_tokens);
    raw.set("total_output_tokens", metrics.total_output_tokens);
    raw.set("request_throughput", metrics.request_throughput());
    // The colon is InferenceX's.
    raw.set("request_goodput:", Value::Null);
    raw.set("output_throughput", metrics.output_throughput());
    raw.set("total_token_throughput", metrics.total_token_throughput());
    raw.set("input_lens", metrics.input_lens.as_slice());
    raw.set("output_lens", metrics.output_lens.as_slice());
    set_distribution(&mut raw, "ttft", &metrics.ttft_ms);
    set_distribution(&mut raw, "tpot", &metrics.tpot_ms);
    set_distribution(&mut raw, "itl", &metrics.itl_ms);
    set_distribution(&mut raw, "e2el", &metrics.e2el_ms);
    raw.set("client_bound", client_bound(&header.load, &Limits::default()));
    raw.set("client_lag_p99_ms", header.load.lag_p99_us as f64 / 1e3);
    if header.simulated {
        raw.set("simulated", true);
    }
    raw
}

fn set_distribution(raw: &mut Object, metric: &str, distribution: &Distribution) {
    let Distribution {
        mean,
        median,
        std,
        p90,
        p99,
        p99_9,
    } = *distribution;
    for (statistic, value) in [
        ("mean", mean),
        ("median", median),
        ("std", std),
        ("p90", p90),
        ("p99", p99),
        ("p99.9", p99_9),
    ] {
        raw.set(format!("{statistic}_{metric}_ms"), value);
    }
}

/// `YYYYmmdd-HHMMSS`, in UTC.
fn date(unix_us: u64) -> String {
    let at = i64::try_from(unix_us)
        .ok()
        .and_then(|us| Timestamp::from_microsecond(us).ok());
    let at = at.unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC);
    at.strftime("%Y%m%d-%H%M%S").to_string()
}

fn backend(api: Api) -> &'static str {
    match api {
        Api::Completions => "openai",
        Api::Chat => "openai-chat",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::super::aggregate::aggregate;
    use super::super::fixture::{request, single, text, trace};
    use super::*;

    fn measured() -> Trace {
        let answer = |first| request(&[(first, text()), (30_000, text()), (10_000, text())], None);
        trace(vec![answer(20_000), answer(40_000)])
    }

    fn raw(trace: &Trace) -> Object {
        raw_json(trace, &Metrics::from_trace(trace))
    }

    #[test]
    fn the_file_reads_as_the_fields_benchmark_writes_it() {
        let text = serde_json::to_string(&raw(&measured())).unwrap();
        insta::assert_snapshot!(text.replace(",\"", ",\n\""), @r#"
        {"date":"20261120-083000",
        "backend":"openai",
        "model_id":"lab/model",
        "tokenizer_id":null,
        "best_of":1,
        "num_prompts":40,
        "request_rate":"inf",
        "burstiness":1.0,
        "max_concurrency":4,
        "duration":2.0,
        "benchmark_start_time_unix":1795163400.25,
        "benchmark_end_time_unix":1795163402.25,
        "completed":2,
        "total_input_tokens":200,
        "total_output_tokens":6,
        "request_throughput":1.0,
        "request_goodput:":null,
        "output_throughput":3.0,
        "total_token_throughput":103.0,
        "input_lens":[100,100],
        "output_lens":[3,3],
        "mean_ttft_ms":30.0,
        "median_ttft_ms":30.0,
        "std_ttft_ms":10.0,
        "p90_ttft_ms":38.0,
        "p99_ttft_ms":39.8,
        "p99.9_ttft_ms":39.980000000000004,
        "mean_tpot_ms":20.0,
        "median_tpot_ms":20.0,
        "std_tpot_ms":0.0,
        "p90_tpot_ms":20.0,
        "p99_tpot_ms":20.0,
        "p99.9_tpot_ms":20.0,
        "mean_itl_ms":20.0,
        "median_itl_ms":20.0,
        "std_itl_ms":10.0,
        "p90_itl_ms":30.0,
        "p99_itl_ms":30.0,
        "p99.9_itl_ms":30.0,
        "mean_e2el_ms":70.0,
        "median_e2el_ms":70.0,
        "std_e2el_ms":10.0,
        "p90_e2el_ms":78.0,
        "p99_e2el_ms":79.8,
        "p99.9_e2el_ms":79.98,
        "client_bound":false,
        "client_lag_p99_ms":1.5}
        "#);
    }

    #[test]
    fn an_open_load_tells_its_rate() {
        let mut open = measured();
        open.header.workload.load = Load::Open {
            rate_per_s: 2.5,
            burstiness: 0.5,
            max_concurrency: None,
        };
        let raw = raw(&open);
        assert_eq!(raw.get("request_rate").unwrap(), 2.5);
        assert_eq!(raw.get("burstiness").unwrap(), 0.5);
        assert!(raw.get("max_concurrency").unwrap().is_null());
        open.header.simulated = true;
        open.header.time_scale = 5.0;
        assert_eq!(self::raw(&open).get("request_rate").unwrap(), 0.5);
    }

    #[test]
    fn a_simulated_run_says_so_and_tells_simulated_time() {
        let mut simulated = measured();
        simulated.header.simulated = true;
        simulated.header.time_scale = 4.0;
        simulated.header.workload.api = Api::Chat;
        let raw = raw(&simulated);
        assert_eq!(raw.iter().last().unwrap(), ("simulated", &Value::Bool(true)));
        assert_eq!(raw.get("duration").unwrap(), 8.0);
        assert_eq!(raw.get("median_ttft_ms").unwrap(), 120.0);
        assert_eq!(raw.get("client_lag_p99_ms").unwrap(), 1.5);
        assert_eq!(raw.get("backend").unwrap(), "openai-chat");
    }

    #[test]
    fn a_run_of_equal_answers_still_makes_a_row() {
        let point = single(8, 1, 4);
        let row = aggregate(&point, &raw(&measured())).unwrap();
        assert_eq!(row.number("std_tpot"), Some(0.0));
        assert_eq!(
            row.fields().find(|(field, _)| *field == "std_intvty").unwrap().1,
            &Value::Null
        );
        assert_eq!(row.number("median_intvty"), Some(50.0));
        assert_eq!(row.number("output_tput_per_gpu"), Some(3.0 / 8.0));
    }
}
