//! `sweep bench`: one load against one server, without a graph.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Args, ValueEnum};
use hyper::Uri;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::bench::client;
use crate::bench::trace::{ClientLoad, Request, TokenSource};
use crate::bench::{
    Api, BenchError, Cancel, Endpoint, Limits, Load, Progress, PromptForm, Trace, Verdict, Workload, judge,
};
use crate::results::statistics::Distribution;
use crate::results::{Metrics, raw_json};

const EXAMPLES: &str = "\
Examples:
  # 64 streams, ten prompts each, 1024 tokens in and 128 out
  sweep bench --port 8000 --model m --input-len 1024 --output-len 128 --max-concurrency 64 --num-prompts 640

  # a Poisson load of 20 requests a second, the raw trace kept
  sweep bench --url http://10.0.0.7:8000 --model m --request-rate 20 --num-prompts 1000 --trace-out t.zst

  # the file that `sweep inferencex process-result` reads
  sweep bench --port 8000 --model m --max-concurrency 8 --num-prompts 80 --result-out result.json

  # llama.cpp without its prompt cache, as JSON
  sweep bench --port 8080 --model m --extra-body '{\"cache_prompt\": false}' --format json";

/// Measure a running server with a random load
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// The server's address, http://HOST:PORT, in place of --host and --port
    #[arg(long, value_parser = endpoint_of, conflicts_with_all = ["host", "port"])]
    pub url: Option<Endpoint>,
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// The model named in each request
    #[arg(long)]
    pub model: String,
    #[arg(long, value_enum, default_value_t = ApiArg::Completions)]
    pub api: ApiArg,
    /// What prompts are made of [default: token-ids; words for chat]
    #[arg(long, value_enum)]
    pub prompt_form: Option<PromptFormArg>,
    /// Draw token ids from LO up to and without HI
    #[arg(long, value_name = "LO:HI", value_parser = vocab_of, default_value = "1000:30000")]
    pub vocab: (u32, u32),
    /// Longest prompt, in tokens
    #[arg(long, default_value_t = 1024)]
    pub input_len: u32,
    /// Longest answer, in tokens
    #[arg(long, default_value_t = 128)]
    pub output_len: u32,
    /// Lengths are uniform in [R * length, length]
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    pub range_ratio: f64,
    /// Measured requests
    #[arg(long, default_value_t = 100)]
    pub num_prompts: u32,
    /// Requests sent before the measured ones
    #[arg(long, default_value_t = 0)]
    pub warmup: u32,
    /// Requests in flight at most [default: all prompts]
    #[arg(long)]
    pub max_concurrency: Option<u32>,
    /// Requests arriving per second; inf sends as fast as --max-concurrency lets it
    #[arg(long, default_value_t = f64::INFINITY)]
    pub request_rate: f64,
    /// Shape of the gaps between arrivals: 1 is Poisson, less is burstier
    #[arg(long, default_value_t = 1.0)]
    pub burstiness: f64,
    /// Decides lengths, prompts and arrivals
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f64,
    /// Ask for answers of the full length, as without this
    #[arg(long, overrides_with = "no_ignore_eos", action = ArgAction::SetTrue)]
    pub ignore_eos: bool,
    /// Let answers end where the model ends them
    #[arg(long, action = ArgAction::SetTrue)]
    pub no_ignore_eos: bool,
    /// Do not ask for a usage report; tokens are then counted by events and marked so
    #[arg(long, action = ArgAction::SetTrue)]
    pub no_stream_usage: bool,
    /// Give a request up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 6 * 3600)]
    pub request_timeout: u32,
    /// Further fields of every request body
    #[arg(long, value_name = "JSON", value_parser = object_of)]
    pub extra_body: Option<Map<String, Value>>,
    /// Keep the raw trace in this file
    #[arg(long, value_name = "FILE")]
    pub trace_out: Option<PathBuf>,
    /// Write the result in this file as InferenceX's serving benchmark does; what a combined script leaves
    #[arg(long, value_name = "FILE")]
    pub result_out: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ApiArg {
    Completions,
    Chat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PromptFormArg {
    TokenIds,
    Words,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// Why the command gave no measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchCommandError {
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error("failed to write {}: {source}", path.display())]
    Out { path: PathBuf, source: std::io::Error },
    #[error("failed to start the client's runtime: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("failed to print the result: {0}")]
    Print(#[source] std::io::Error),
}

/// Measures, prints, and exits 0 if the trace is a result, 1 if its verdict says that it is not, 130 on Ctrl-C.
pub fn run(args: &BenchArgs) -> Result<ExitCode, BenchCommandError> {
    let workload = args.workload();
    let endpoint = args.endpoint();
    let trace = match measure(&workload, &endpoint) {
        Err(BenchCommandError::Bench(BenchError::Cancelled)) => return Ok(ExitCode::from(130)),
        measured => measured?,
    };
    if let Some(path) = &args.trace_out {
        keep(path, &trace.encode())?;
    }
    if let Some(path) = &args.result_out {
        let raw = raw_json(&trace, &Metrics::from_trace(&trace));
        let text = serde_json::to_string(&raw).expect("raw results have text keys and finite numbers");
        keep(path, text.as_bytes())?;
    }
    let summary = Summary::of(&trace);
    let text = match args.format {
        Format::Table => summary.table(),
        Format::Json => format!("{:#}\n", serde_json::json!(summary)),
    };
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).map_err(BenchCommandError::Print)?;
    match summary.verdict {
        Verdict::Pass => Ok(ExitCode::SUCCESS),
        Verdict::Fail(reasons) => {
            for reason in reasons {
                eprintln!("error: {reason}");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

fn keep(path: &Path, bytes: &[u8]) -> Result<(), BenchCommandError> {
    std::fs::write(path, bytes).map_err(|source| BenchCommandError::Out {
        path: path.to_owned(),
        source,
    })
}

fn measure(workload: &Workload, endpoint: &Endpoint) -> Result<Trace, BenchCommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchCommandError::Runtime)?;
    let bar = ProgressBar::new(workload.prompts.into()).with_style(
        ProgressStyle::with_template("{msg:12} {wide_bar} {pos}/{len} {elapsed} (ends in {eta})")
            .expect("the template is a constant that parses"),
    );
    let cancel = Cancel::new();
    let trace = runtime.block_on(async {
        let interrupted = cancel.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupted.cancel();
            }
        });
        client::run(workload, endpoint, |progress| show(&bar, &progress), &cancel).await
    });
    bar.finish_and_clear();
    Ok(trace?)
}

fn show(bar: &ProgressBar, progress: &Progress) {
    match *progress {
        Progress::Connected { .. } => bar.set_message("connected"),
        Progress::WarmedUp { done, of } => {
            bar.set_message("warming up");
            bar.set_length(of.into());
            bar.set_position(done.into());
        }
        Progress::Started { requests } => {
            bar.set_message("measuring");
            bar.set_length(requests.into());
            bar.set_position(0);
            bar.reset_eta();
        }
        Progress::Answered { done, .. } => bar.set_position(done.into()),
    }
}

impl BenchArgs {
    fn endpoint(&self) -> Endpoint {
        self.url.clone().unwrap_or_else(|| Endpoint {
            host: self.host.clone(),
            port: self.port,
        })
    }

    fn workload(&self) -> Workload {
        let api = match self.api {
            ApiArg::Completions => Api::Completions,
            ApiArg::Chat => Api::Chat,
        };
        let prompt_form = match (self.prompt_form, api) {
            (Some(PromptFormArg::TokenIds), _) | (None, Api::Completions) => PromptForm::TokenIds,
            (Some(PromptFormArg::Words), _) | (None, Api::Chat) => PromptForm::Words,
        };
        let load = if self.request_rate == f64::INFINITY {
            Load::Closed {
                concurrency: self.max_concurrency.unwrap_or(self.num_prompts),
            }
        } else {
            Load::Open {
                rate_per_s: self.request_rate,
                burstiness: self.burstiness,
                max_concurrency: self.max_concurrency,
            }
        };
        Workload {
            api,
            model: self.model.clone(),
            prompt_form,
            vocab: self.vocab,
            input_len: self.input_len,
            output_len: self.output_len,
            range_ratio: self.range_ratio,
            prompts: self.num_prompts,
            warmup: self.warmup,
            load,
            seed: self.seed,
            ignore_eos: !self.no_ignore_eos,
            stream_usage: !self.no_stream_usage,
            temperature: self.temperature,
            request_timeout_s: self.request_timeout,
            extra_body: self.extra_body.clone().unwrap_or_default(),
        }
    }
}

fn endpoint_of(url: &str) -> Result<Endpoint, String> {
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("{error}; expected http://HOST:PORT"))?;
    if uri.scheme_str() != Some("http") || !matches!(uri.path(), "" | "/") {
        return Err("expected http://HOST:PORT and nothing after it".to_owned());
    }
    let host = uri
        .host()
        .filter(|host| !host.is_empty())
        .ok_or("it names no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Endpoint {
        host,
        port: uri.port_u16().unwrap_or(80),
    })
}

fn vocab_of(range: &str) -> Result<(u32, u32), String> {
    let parsed = range
        .split_once(':')
        .and_then(|(lo, hi)| Some((lo.parse().ok()?, hi.parse().ok()?)));
    parsed.ok_or_else(|| "expected two token ids, LO:HI".to_owned())
}

fn object_of(json: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(json).map_err(|error| format!("{error}; expected a JSON object"))
}

/// What a run amounts to, by the definitions of [`Metrics`]. Rates and latencies are in the server's own time: wall
/// time, or simulated time.
#[derive(Debug, Serialize)]
struct Summary {
    simulated: bool,
    time_scale: f64,
    completed: u64,
    failed: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// Requests whose tokens were counted by events, for want of a report.
    counted_by_events: usize,
    duration_s: f64,
    requests_per_s: f64,
    output_tokens_per_s: f64,
    total_tokens_per_s: f64,
    ttft_ms: Distribution,
    tpot_ms: Distribution,
    itl_ms: Distribution,
    e2el_ms: Distribution,
    client: ClientLoad,
    verdict: Verdict,
}

impl Summary {
    fn of(trace: &Trace) -> Self {
        let header = &trace.header;
        let metrics = Metrics::from_trace(trace);
        let counted = |request: &&Request| request.token_source == TokenSource::Chunks;
        Self {
            simulated: header.simulated,
            time_scale: header.time_scale,
            completed: metrics.completed,
            failed: trace.requests.len() as u64 - metrics.completed,
            input_tokens: metrics.total_input_tokens,
            output_tokens: metrics.total_output_tokens,
            counted_by_events: trace.completed().filter(counted).count(),
            duration_s: metrics.duration_s,
            requests_per_s: metrics.request_throughput(),
            output_tokens_per_s: metrics.output_throughput(),
            total_tokens_per_s: metrics.total_token_throughput(),
            ttft_ms: metrics.ttft_ms,
            tpot_ms: metrics.tpot_ms,
            itl_ms: metrics.itl_ms,
            e2el_ms: metrics.e2el_ms,
            client: header.load,
            verdict: judge(trace, &Limits::default()),
        }
    }

    fn table(&self) -> String {
        let load = &self.client;
        let ms = |us: u64| us as f64 / 1000.0;
        let mut rows = vec![
            ("completed", self.completed.to_string()),
            ("failed", self.failed.to_string()),
            ("duration (s)", format!("{:.2}", self.duration_s)),
            ("input tokens", self.input_tokens.to_string()),
            ("output tokens", self.output_tokens.to_string()),
            ("requests/s", format!("{:.2}", self.requests_per_s)),
            ("output tokens/s", format!("{:.2}", self.output_tokens_per_s)),
            ("total tokens/s", format!("{:.2}", self.total_tokens_per_s)),
            ("TTFT mean / median / p99 (ms)", three(&self.ttft_ms)),
            ("TPOT mean / median / p99 (ms)", three(&self.tpot_ms)),
            ("ITL mean / median / p99 (ms)", three(&self.itl_ms)),
            ("E2EL mean / median / p99 (ms)", three(&self.e2el_ms)),
            ("client events/s", format!("{:.0}", load.events_per_s)),
            (
                "client CPU (% of a core)",
                format!("{:.1}", load.cpu_share * 100.0),
            ),
            (
                "client lag p50 / p99 / max (ms)",
                format!(
                    "{:.2} / {:.2} / {:.2}",
                    ms(load.lag_p50_us),
                    ms(load.lag_p99_us),
                    ms(load.lag_max_us)
                ),
            ),
        ];
        if self.simulated {
            rows.insert(
                0,
                (
                    "server",
                    format!("simulated, at {} times wall time", self.time_scale),
                ),
            );
        }
        if self.counted_by_events > 0 {
            rows.push((
                "requests without a usage report",
                self.counted_by_events.to_string(),
            ));
        }
        rows.iter()
            .map(|(name, value)| format!("{name:<32} {value}\n"))
            .collect()
    }
}

fn three(latency: &Distribution) -> String {
    format!("{:.2} / {:.2} / {:.2}", latency.mean, latency.median, latency.p99)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(line: &str) -> Result<BenchArgs, clap::Error> {
        let words = shell_words::split(line).unwrap();
        Line::try_parse_from(std::iter::once("bench".to_owned()).chain(words)).map(|line| line.args)
    }

    #[test]
    fn flags_become_a_workload() {
        let closed = parse("--model m --max-concurrency 4 --extra-body '{\"cache_prompt\": false}'").unwrap();
        let workload = closed.workload();
        assert_eq!(workload.load, Load::Closed { concurrency: 4 });
        assert_eq!(workload.extra_body["cache_prompt"], Value::Bool(false));
        assert!(workload.ignore_eos && workload.stream_usage);
        assert_eq!(workload.check(), Ok(()));

        let open = parse("--model m --request-rate 2.5 --api chat --no-ignore-eos --vocab 5:9")
            .unwrap()
            .workload();
        assert_eq!(
            open.load,
            Load::Open {
                rate_per_s: 2.5,
                burstiness: 1.0,
                max_concurrency: None
            }
        );
        assert_eq!(
            (open.prompt_form, open.ignore_eos, open.vocab),
            (PromptForm::Words, false, (5, 9))
        );
        assert_eq!(open.check(), Ok(()));
    }

    #[test]
    fn addresses_are_parsed_or_refused() {
        let endpoint = parse("--model m --url http://10.0.0.7:81/").unwrap().endpoint();
        assert_eq!(
            endpoint,
            Endpoint {
                host: "10.0.0.7".to_owned(),
                port: 81
            }
        );
        assert_eq!(endpoint_of("http://[::1]:9").unwrap().to_string(), "[::1]:9");
        for bad in ["https://h", "h:1", "http://h/v1", "http://"] {
            assert!(endpoint_of(bad).is_err(), "{bad}");
        }
        assert!(parse("--model m --url http://h --port 1").is_err());
        assert!(parse("--model m --extra-body 7").is_err());
    }

    /// A server of one connection that answers each request with one token; it ends when the client is gone.
    fn one_token_server() -> (u16, std::thread::JoinHandle<()>) {
        use std::io::{BufRead, BufReader, Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let body = "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: [DONE]\n\n";
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let serve = std::thread::spawn(move || {
            let mut socket = BufReader::new(listener.accept().unwrap().0);
            loop {
                let (mut line, mut length) = (String::new(), 0);
                while line != "\r\n" {
                    line.clear();
                    if socket.read_line(&mut line).unwrap() == 0 {
                        return;
                    }
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap();
                    }
                }
                socket.read_exact(&mut vec![0; length]).unwrap();
                socket
                    .get_mut()
                    .write_all(format!("{head}{body}").as_bytes())
                    .unwrap();
            }
        });
        (port, serve)
    }

    #[test]
    fn a_run_is_measured_and_its_trace_kept() {
        let (port, server) = one_token_server();
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("t.zst");
        let line =
            format!("--model m --port {port} --num-prompts 3 --warmup 1 --max-concurrency 1 --format json");
        let mut args = parse(&line).unwrap();
        args.trace_out = Some(kept.clone());
        run(&args).unwrap();
        server.join().unwrap();

        let trace = Trace::decode(&std::fs::read(kept).unwrap()).unwrap();
        let summary = Summary::of(&trace);
        assert_eq!(
            (summary.completed, summary.failed, summary.output_tokens),
            (3, 0, 3)
        );
        assert_eq!(summary.counted_by_events, 3);
        assert!(
            summary.table().contains("requests without a usage report  3\n"),
            "{}",
            summary.table()
        );

        let refused = run(&args).unwrap_err().to_string();
        assert!(refused.contains("is the server up?"), "{refused}");
    }
}
