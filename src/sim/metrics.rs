//! `/metrics` in Prometheus' text format.

use std::fmt::Write as _;

use super::driver::Totals;
use super::engine::Load;
use super::pacing::Lateness;

/// Everything counted, as one page.
pub fn page(model: &str, load: &Load, totals: &Totals, lateness: &Lateness) -> String {
    let mut out = String::new();
    let model = serde_json::Value::from(model);
    let mut metric = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP sweep_sim:{name} {help}");
        let _ = writeln!(out, "# TYPE sweep_sim:{name} {kind}");
        let _ = writeln!(out, "sweep_sim:{name}{{model_name={model}}} {value}");
    };
    metric(
        "num_requests_running",
        "gauge",
        "Sequences in the batch.",
        load.running as f64,
    );
    metric(
        "num_requests_waiting",
        "gauge",
        "Requests not admitted yet.",
        load.waiting as f64,
    );
    metric(
        "kv_cache_usage_perc",
        "gauge",
        "KV blocks in use, 1 is all.",
        load.kv_usage,
    );
    metric(
        "num_preemptions_total",
        "counter",
        "Sequences pushed out for memory.",
        load.preemptions as f64,
    );
    metric(
        "prefix_cache_hits_total",
        "counter",
        "Prompt tokens not computed again.",
        load.prefix_hit_tokens as f64,
    );
    metric("steps_total", "counter", "Engine steps.", load.steps as f64);
    metric(
        "requests_total",
        "counter",
        "Requests taken.",
        totals.requests as f64,
    );
    metric(
        "request_success_total",
        "counter",
        "Requests finished.",
        totals.finished as f64,
    );
    metric(
        "prompt_tokens_total",
        "counter",
        "Tokens of prompts.",
        totals.prompt_tokens as f64,
    );
    metric(
        "generation_tokens_total",
        "counter",
        "Tokens produced.",
        totals.generated_tokens as f64,
    );
    let help = "Wall seconds that steps were handed out behind the scaled clock: the worst.";
    metric(
        "pacing_late_seconds_max",
        "gauge",
        help,
        lateness.max.as_secs_f64(),
    );
    let help = "Wall seconds that steps were handed out behind the scaled clock: the sum.";
    metric(
        "pacing_late_seconds_total",
        "counter",
        help,
        lateness.total.as_secs_f64(),
    );
    out
}
