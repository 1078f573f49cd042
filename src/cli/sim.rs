//! `sweep sim`: the simulated engine in the foreground, or its curve without a server.

use std::io::{self, Write};
use std::net::IpAddr;

use clap::Args;

use crate::sim::closed_loop::{self, Workload};
use crate::sim::engine::Engine;
use crate::sim::server::bind;
use crate::sim::{Fault, Precision, ServeError, SimConfig, SpecDecoding};

const EXAMPLES: &str = "\
Examples:
  sweep sim --gpu h200 --tp 8 --model deepseek-ai/DeepSeek-R1-0528 --precision fp8 --port 8000
  sweep sim --gpu h100 --tp 1 --model openai/gpt-oss-120b --precision fp4 --time-scale 25 --stream-interval 10
  sweep sim --gpu b200 --gpus 8 --ep 8 --dp-attention --curve 1,16,256 --isl 8192 --osl 1024
  sweep sim --fault die-after=20

Every answer says that it is simulated: header `x-sweep-simulated: 1`, `system_fingerprint: \"sweep-sim-…\"`. Times come
from data sheets and rules of thumb, not from measurements.";

/// Serve a simulated engine over HTTP, OpenAI-compatible: continuous batching over a roofline of the named GPU.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SimArgs {
    /// GPU: h100, h200, b200, b300, gb200, gb300, mi300x, mi325x, mi355x, rtx6000pro.
    #[arg(long, default_value = "h200")]
    gpu: String,
    /// GPUs in all; without --tp they all go to tensor parallelism, with it they must be tp x pp.
    #[arg(long)]
    gpus: Option<u32>,
    /// Tensor parallel size [default: gpus / pp, else 8].
    #[arg(long)]
    tp: Option<u32>,
    /// Pipeline stages.
    #[arg(long, default_value_t = 1)]
    pp: u32,
    /// Expert parallel size within the TP group.
    #[arg(long, default_value_t = 1)]
    ep: u32,
    /// Data-parallel attention over the TP group.
    #[arg(long)]
    dp_attention: bool,
    /// Model id; unknown ones need a size in the name (`-70B`, `-235B-A22B`) or --params-total.
    #[arg(long, default_value = "deepseek-ai/DeepSeek-R1-0528")]
    model: String,
    /// Name that clients use [default: the model id].
    #[arg(long)]
    served_model_name: Option<String>,
    /// Format of the weights.
    #[arg(long, value_enum, default_value = "fp8")]
    precision: Precision,
    /// Speculative decoding.
    #[arg(long, value_enum, default_value = "none")]
    spec_decoding: SpecDecoding,
    /// All weights of the model, in place of the catalogue's.
    #[arg(long, value_name = "COUNT")]
    params_total: Option<f64>,
    /// Weights that one token meets, in place of the catalogue's.
    #[arg(long, value_name = "COUNT")]
    params_active: Option<f64>,
    /// Bytes of KV cache per token over all layers, in place of what follows from the model.
    #[arg(long, value_name = "BYTES")]
    kv_bytes_per_token: Option<f64>,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Seed of step times, speculation and natural ends.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Virtual seconds in a second of wall time.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Tokens per server-sent event; the first token always travels alone.
    #[arg(long, value_name = "TOKENS", default_value_t = 1)]
    stream_interval: u64,
    /// Sequences that run at once.
    #[arg(long, default_value_t = 512)]
    max_num_seqs: usize,
    /// Tokens computed in a step, decoding first.
    #[arg(long, default_value_t = 8192)]
    max_num_batched_tokens: u64,
    /// Longest prompt and output together, tokens; what fits the KV cache at most.
    #[arg(long, default_value_t = 131_072)]
    max_model_len: u64,
    /// Virtual seconds until /health answers 200.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    load_time: f64,
    /// Compute every prompt in full.
    #[arg(long)]
    no_prefix_cache: bool,
    /// Act out a failure: never-ready, die-after=N (requests), no-tokens, refuse-reset.
    #[arg(long)]
    fault: Option<Fault>,
    /// Serve nothing: print what a closed loop at these concurrencies would see on the virtual clock.
    #[arg(long, value_name = "CONCURRENCY", value_delimiter = ',')]
    curve: Vec<usize>,
    /// Prompt tokens of a request of the curve.
    #[arg(long, requires = "curve", default_value_t = 8192)]
    isl: u64,
    /// Output tokens of a request of the curve.
    #[arg(long, requires = "curve", default_value_t = 1024)]
    osl: u64,
}

/// Why `sweep sim` ended badly.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The server.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The sizes contradict each other.
    #[error("`--gpus {gpus}` is not `--tp {tp}` x `--pp {pp}`; give one of `--gpus` and `--tp`")]
    Gpus {
        /// GPUs in all.
        gpus: u32,
        /// Tensor parallel size.
        tp: u32,
        /// Pipeline stages.
        pp: u32,
    },
    /// A request of the curve.
    #[error("cannot run a request of the curve: {0}; shorten `--isl` or `--osl`")]
    Curve(#[from] crate::sim::engine::TooLong),
    /// A curve of nothing.
    #[error("`--curve`, `--isl` and `--osl` must be positive")]
    EmptyCurve,
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl SimArgs {
    fn config(&self) -> Result<SimConfig, SimError> {
        let default_gpus = SimConfig::default().tp;
        let tp = self
            .tp
            .unwrap_or_else(|| self.gpus.map_or(default_gpus, |gpus| gpus / self.pp.max(1)));
        if let Some(gpus) = self.gpus.filter(|gpus| Some(*gpus) != tp.checked_mul(self.pp)) {
            return Err(SimError::Gpus {
                gpus,
                tp,
                pp: self.pp,
            });
        }
        Ok(SimConfig {
            gpu: self.gpu.clone(),
            tp,
            pp: self.pp,
            ep: self.ep,
            dp_attention: self.dp_attention,
            model: self.model.clone(),
            served_model_name: self.served_model_name.clone(),
            precision: self.precision,
            spec_decoding: self.spec_decoding,
            params_total: self.params_total,
            params_active: self.params_active,
            kv_bytes_per_token: self.kv_bytes_per_token,
            seed: self.seed,
            time_scale: self.time_scale,
            stream_interval: self.stream_interval,
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.max_num_batched_tokens,
            max_model_len: self.max_model_len,
            load_time: self.load_time,
            prefix_cache: !self.no_prefix_cache,
            fault: self.fault,
            host: self.host,
        })
    }
}

/// Serves until SIGTERM or SIGINT, or prints a curve.
///
/// # Errors
/// [`SimError`]; a configuration that cannot be is `SimError::Serve(ServeError::Config(_))`.
pub fn run(args: &SimArgs) -> Result<(), SimError> {
    let config = args.config()?;
    if !args.curve.is_empty() {
        return print_curve(args, &config);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(ServeError::System)?.block_on(async {
        // Signals are caught before the line below tells anybody that there is a server to stop.
        let shutdown = shutdown().map_err(ServeError::System)?;
        let summary = config.summary();
        let bound = bind(config, args.port)?;
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "listening on http://{} ({summary})", bound.address())?;
        stdout.flush()?;
        drop(stdout);
        Ok(bound.serve(shutdown).await?)
    })
}

fn shutdown() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn print_curve(args: &SimArgs, config: &SimConfig) -> Result<(), SimError> {
    let simulation = config.resolve().map_err(ServeError::Config)?;
    if args.curve.contains(&0) || args.isl == 0 || args.osl == 0 {
        return Err(SimError::EmptyCurve);
    }
    let gpus = f64::from(config.parallelism().gpus());
    let mut out = io::stdout().lock();
    writeln!(out, "{}, ISL {} OSL {}", config.summary(), args.isl, args.osl)?;
    writeln!(
        out,
        "  conc   TTFT s  TPOT ms  tok/s/user  total tok/s/GPU  output tok/s/GPU"
    )?;
    for &concurrency in &args.curve {
        let mut engine = Engine::new(simulation.timing, simulation.limits, config.seed);
        let load = Workload {
            concurrency,
            requests: 10 * concurrency,
            isl: args.isl,
            osl: args.osl,
        };
        let seen = closed_loop::run(&mut engine, &load)?;
        let total = seen.total_tokens_per_second / gpus;
        writeln!(
            out,
            "{concurrency:>6} {:>8.3} {:>8.2} {:>11.1} {total:>16.1} {:>17.1}",
            seen.mean_ttft,
            seen.mean_tpot * 1e3,
            1.0 / seen.mean_tpot,
            total * args.osl as f64 / (args.isl + args.osl) as f64,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    enum Sweep {
        Sim(SimArgs),
    }

    fn parse(args: &[String]) -> Result<SimConfig, SimError> {
        let Sweep::Sim(args) =
            Sweep::try_parse_from(std::iter::once("sweep").chain(args.iter().map(String::as_str))).unwrap();
        args.config()
    }

    #[test]
    fn a_configuration_survives_the_command_line() {
        let plain = SimConfig::default();
        let all = SimConfig {
            gpu: "mi355x".into(),
            tp: 4,
            pp: 2,
            ep: 4,
            dp_attention: true,
            model: "acme/anvil".into(),
            served_model_name: Some("anvil".into()),
            precision: Precision::Fp4,
            spec_decoding: SpecDecoding::DraftModel,
            params_total: Some(1.5e12),
            params_active: Some(4.0e10),
            kv_bytes_per_token: Some(35_136.0),
            seed: u64::MAX,
            time_scale: 12.5,
            stream_interval: 8,
            max_num_seqs: 64,
            max_num_batched_tokens: 16_384,
            max_model_len: 9416,
            load_time: 0.25,
            prefix_cache: false,
            fault: Some(Fault::DieAfter(7)),
            host: IpAddr::from([0, 0, 0, 0]),
        };
        for config in [plain, all] {
            assert_eq!(parse(&config.to_args(8000)).unwrap(), config);
        }
    }

    #[test]
    fn gpus_become_tensor_parallelism() {
        let parse = |text: &str| parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("sim --gpus 4").unwrap().tp, 4);
        assert_eq!(parse("sim --gpus 8 --pp 2").unwrap().tp, 4);
        assert!(matches!(
            parse("sim --gpus 8 --tp 4"),
            Err(SimError::Gpus {
                gpus: 8,
                tp: 4,
                pp: 1
            })
        ));
    }
}
