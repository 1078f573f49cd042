//! What a simulated server is told, and what follows from it: timing model and limits, or why it cannot be.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::engine::Limits;
use super::gpu::{self, Precision};
use super::kv::BLOCK_TOKENS;
use super::model::{self, ModelSizes, UnknownModel};
use super::step::{Parallelism, SpecDecoding, StepModel};

/// Version of the simulation's numbers: raised whenever equal input may give other times. It belongs in keys.
pub const SIM_VERSION: u32 = 1;

/// A failure that the server acts out, for tests and teaching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// `/health` answers 503 for ever.
    NeverReady,
    /// The server ends without a word to its clients when one more generation than this is asked for.
    DieAfter(u64),
    /// Generations end at once, with success and without a token.
    NoTokens,
    /// Resets of the prefix cache are answered with an error.
    RefuseReset,
}

/// The text names no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown fault `{0}`; there are never-ready, die-after=N, no-tokens and refuse-reset")]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownFault(text.to_owned());
        match text.split_once('=') {
            None if text == "never-ready" => Ok(Self::NeverReady),
            None if text == "no-tokens" => Ok(Self::NoTokens),
            None if text == "refuse-reset" => Ok(Self::RefuseReset),
            Some(("die-after", count)) => {
                let count = count.strip_suffix("-requests").unwrap_or(count);
                count.parse().map(Self::DieAfter).map_err(|_| unknown())
            }
            _ => Err(unknown()),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeverReady => f.write_str("never-ready"),
            Self::DieAfter(requests) => write!(f, "die-after={requests}"),
            Self::NoTokens => f.write_str("no-tokens"),
            Self::RefuseReset => f.write_str("refuse-reset"),
        }
    }
}

/// Everything that a simulated server is told, except its port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimConfig {
    /// GPU by its name in the catalogue.
    pub gpu: String,
    /// Tensor parallel size.
    pub tp: u32,
    /// Pipeline stages.
    pub pp: u32,
    /// Expert parallel size, within the TP group.
    pub ep: u32,
    /// Data-parallel attention over the TP group.
    pub dp_attention: bool,
    /// Model id or path.
    pub model: String,
    /// Name that clients use; the model id when absent.
    pub served_model_name: Option<String>,
    /// Format of the weights.
    pub precision: Precision,
    /// Speculative decoding.
    pub spec_decoding: SpecDecoding,
    /// All weights, in place of the catalogue's.
    pub params_total: Option<f64>,
    /// Weights that a token meets, in place of the catalogue's.
    pub params_active: Option<f64>,
    /// Bytes of KV cache per token over all layers, in place of what follows from the model.
    pub kv_bytes_per_token: Option<f64>,
    /// Seed of step times, speculation and natural ends.
    pub seed: u64,
    /// Virtual seconds that pass in a second of wall time.
    pub time_scale: f64,
    /// Tokens per server-sent event; the first token always travels alone.
    pub stream_interval: u64,
    /// Sequences that run at once.
    pub max_num_seqs: usize,
    /// Tokens computed in a step.
    pub max_num_batched_tokens: u64,
    /// Longest prompt and output together, tokens.
    pub max_model_len: u64,
    /// Virtual seconds from start until `/health` answers 200.
    pub load_time: f64,
    /// Whether prompts share computed prefixes.
    pub prefix_cache: bool,
    /// A failure to act out.
    pub fault: Option<Fault>,
    /// Address to listen on.
    pub host: IpAddr,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            gpu: "h200".to_owned(),
            tp: 8,
            pp: 1,
            ep: 1,
            dp_attention: false,
            model: "deepseek-ai/DeepSeek-R1-0528".to_owned(),
            served_model_name: None,
            precision: Precision::Fp8,
            spec_decoding: SpecDecoding::None,
            params_total: None,
            params_active: None,
            kv_bytes_per_token: None,
            seed: 0,
            time_scale: 1.0,
            stream_interval: 1,
            max_num_seqs: 512,
            max_num_batched_tokens: 8192,
            max_model_len: 131_072,
            load_time: 0.0,
            prefix_cache: true,
            fault: None,
            host: IpAddr::from([127, 0, 0, 1]),
        }
    }
}

/// Why there can be no such server.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Not in the catalogue.
    #[error("unknown GPU `{name}`; the simulator knows {known}")]
    UnknownGpu {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// No sizes.
    #[error(transparent)]
    UnknownModel(#[from] UnknownModel),
    /// A size or rate that must be positive is not.
    #[error("`{flag}` must be positive, not {value}")]
    NotPositive {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: f64,
    },
    /// Experts cannot be spread like that.
    #[error("`--ep {ep}` does not divide `--tp {tp}`")]
    Ep {
        /// Expert parallel size.
        ep: u32,
        /// Tensor parallel size.
        tp: u32,
    },
    /// Weights exceed memory.
    #[error(
        "{model} in {precision} needs {needed_gb:.0} GB of weights on each GPU, and {gpu} leaves room for {usable_gb:.0} GB; \
         raise `--tp` or `--pp`, or choose a narrower `--precision`"
    )]
    DoesNotFit {
        /// The model.
        model: String,
        /// Its precision.
        precision: Precision,
        /// The GPU.
        gpu: String,
        /// Weights a GPU, GB.
        needed_gb: f64,
        /// Room a GPU, GB.
        usable_gb: f64,
    },
    /// Decoding alone would exceed the token budget.
    #[error(
        "`--max-num-batched-tokens {budget}` is less than the {needed} tokens that `--max-num-seqs` sequences decode in a step"
    )]
    Budget {
        /// Tokens a step.
        budget: u64,
        /// Tokens needed.
        needed: u64,
    },
}

/// A checked configuration with what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    /// Times steps.
    pub timing: StepModel,
    /// Bounds them.
    pub limits: Limits,
    /// Longest prompt and output together, tokens; fits the KV cache.
    pub max_model_len: u64,
}

impl SimConfig {
    /// Checks the configuration and derives timing and limits.
    ///
    /// # Errors
    /// [`ConfigError`], with the flag to change.
    pub fn resolve(&self) -> Result<Simulation, ConfigError> {
        let gpu = gpu::lookup(&self.gpu).ok_or_else(|| ConfigError::UnknownGpu {
            name: self.gpu.clone(),
            known: gpu::GPUS
                .iter()
                .map(|gpu| gpu.name)
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        self.check_positive()?;
        if !self.tp.is_multiple_of(self.ep) {
            return Err(ConfigError::Ep {
                ep: self.ep,
                tp: self.tp,
            });
        }
        let given = ModelSizes {
            total_params: self.params_total,
            active_params: self.params_active,
            kv_bytes_per_token: self.kv_bytes_per_token,
        };
        let timing = StepModel {
            gpu: *gpu,
            model: model::resolve(&self.model, &given)?,
            precision: self.precision,
            parallelism: self.parallelism(),
            spec_decoding: self.spec_decoding,
        };
        let kv_tokens = timing.kv_capacity_tokens() / BLOCK_TOKENS * BLOCK_TOKENS;
        if kv_tokens == 0 {
            return Err(ConfigError::DoesNotFit {
                model: self.model.clone(),
                precision: self.precision,
                gpu: self.gpu.clone(),
                needed_gb: timing.weight_bytes_per_gpu() / 1e9,
                usable_gb: timing.usable_bytes_per_gpu() / 1e9,
            });
        }
        let needed = self.max_num_seqs as u64 * u64::from(1 + self.spec_decoding.draft_tokens());
        if needed > self.max_num_batched_tokens {
            return Err(ConfigError::Budget {
                budget: self.max_num_batched_tokens,
                needed,
            });
        }
        let limits = Limits {
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.max_num_batched_tokens,
            kv_tokens,
            prefix_cache: self.prefix_cache,
        };
        Ok(Simulation {
            timing,
            limits,
            max_model_len: self.max_model_len.min(kv_tokens),
        })
    }

    /// How the model is spread.
    pub fn parallelism(&self) -> Parallelism {
        Parallelism {
            tp: self.tp,
            pp: self.pp,
            ep: self.ep,
            dp_attention: self.dp_attention,
        }
    }

    /// Name that clients use.
    pub fn served_name(&self) -> &str {
        self.served_model_name.as_deref().unwrap_or(&self.model)
    }

    /// What the server says it is, `sweep-sim-<version>-<hash of the configuration>`; the host does not enter.
    pub fn fingerprint(&self) -> String {
        let unplaced = Self {
            host: Self::default().host,
            ..self.clone()
        };
        let hash = blake3::hash(format!("{unplaced:?}").as_bytes()).to_hex();
        format!("sweep-sim-{SIM_VERSION}-{}", &hash[..12])
    }

    /// One line for people: `simulated h200 x8, DeepSeek-R1 fp8, tp8 …`.
    pub fn summary(&self) -> String {
        let Self {
            gpu,
            model,
            precision,
            tp,
            pp,
            ep,
            time_scale,
            ..
        } = self;
        let gpus = self.parallelism().gpus();
        let mut line = format!("simulated {gpu} x{gpus}, {model} {precision}, tp{tp}");
        if *pp > 1 {
            line += &format!(" pp{pp}");
        }
        if *ep > 1 {
            line += &format!(" ep{ep}");
        }
        if self.dp_attention {
            line += " dp-attention";
        }
        if self.spec_decoding != SpecDecoding::None {
            line += &format!(" {}", self.spec_decoding.as_str());
        }
        line += &format!(", time scale {time_scale}");
        if let Some(fault) = self.fault {
            line += &format!(", fault {fault}");
        }
        line
    }

    /// The arguments of `sweep` that start this server on `port` (0 lets the system choose).
    pub fn to_args(&self, port: u16) -> Vec<String> {
        let mut args = vec!["sim".to_owned()];
        let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
        flag("--gpu", self.gpu.clone());
        flag("--tp", self.tp.to_string());
        flag("--pp", self.pp.to_string());
        flag("--ep", self.ep.to_string());
        flag("--model", self.model.clone());
        flag("--precision", self.precision.to_string());
        flag("--spec-decoding", self.spec_decoding.as_str().to_owned());
        flag("--seed", self.seed.to_string());
        flag("--time-scale", self.time_scale.to_string());
        flag("--stream-interval", self.stream_interval.to_string());
        flag("--max-num-seqs", self.max_num_seqs.to_string());
        flag(
            "--max-num-batched-tokens",
            self.max_num_batched_tokens.to_string(),
        );
        flag("--max-model-len", self.max_model_len.to_string());
        flag("--load-time", self.load_time.to_string());
        flag("--host", self.host.to_string());
        flag("--port", port.to_string());
        let optional = [
            ("--served-model-name", self.served_model_name.clone()),
            ("--params-total", self.params_total.map(|value| value.to_string())),
            (
                "--params-active",
                self.params_active.map(|value| value.to_string()),
            ),
            (
                "--kv-bytes-per-token",
                self.kv_bytes_per_token.map(|value| value.to_string()),
            ),
            ("--fault", self.fault.map(|fault| fault.to_string())),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                flag(name, value);
            }
        }
        if self.dp_attention {
            args.push("--dp-attention".to_owned());
        }
        if !self.prefix_cache {
            args.push("--no-prefix-cache".to_owned());
        }
        args
    }

    fn check_positive(&self) -> Result<(), ConfigError> {
        let numbers = [
            ("--tp", f64::from(self.tp)),
            ("--pp", f64::from(self.pp)),
            ("--ep", f64::from(self.ep)),
            ("--time-scale", self.time_scale),
            ("--stream-interval", self.stream_interval as f64),
            ("--max-num-seqs", self.max_num_seqs as f64),
            ("--max-num-batched-tokens", self.max_num_batched_tokens as f64),
            ("--max-model-len", self.max_model_len as f64),
            ("--params-total", self.params_total.unwrap_or(1.0)),
            ("--params-active", self.params_active.unwrap_or(1.0)),
            ("--kv-bytes-per-token", self.kv_bytes_per_token.unwrap_or(1.0)),
            // Zero is fine here, and only here.
            (
                "--load-time",
                if self.load_time == 0.0 {
                    1.0
                } else {
                    self.load_time
                },
            ),
        ];
        match numbers
            .into_iter()
            .find(|(_, value)| !(value.is_finite() && *value > 0.0))
        {
            Some((flag, value)) => Err(ConfigError::NotPositive { flag, value }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn the_default_is_a_server() {
        let simulation = SimConfig::default().resolve().unwrap();
        assert_eq!(simulation.max_model_len, 131_072);
    }

    #[test]
    fn impossible_servers_say_which_flag_to_change() {
        let cases = [
            (
                SimConfig {
                    gpu: "h2000".into(),
                    ..SimConfig::default()
                },
                "h100, h200",
            ),
            (
                SimConfig {
                    model: "acme".into(),
                    ..SimConfig::default()
                },
                "--params-total",
            ),
            (
                SimConfig {
                    gpu: "h100".into(),
                    ..SimConfig::default()
                },
                "raise `--tp`",
            ),
            (
                SimConfig {
                    ep: 3,
                    ..SimConfig::default()
                },
                "--ep 3",
            ),
            (
                SimConfig {
                    tp: 0,
                    ..SimConfig::default()
                },
                "`--tp` must be positive",
            ),
            (
                SimConfig {
                    time_scale: f64::NAN,
                    ..SimConfig::default()
                },
                "--time-scale",
            ),
            (
                SimConfig {
                    max_num_seqs: 9000,
                    ..SimConfig::default()
                },
                "--max-num-batched-tokens 8192",
            ),
        ];
        for (config, expected) in cases {
            let message = config.resolve().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn common_deployments_fit() {
        let fits = |gpu: &str, tp, model: &str, precision| {
            let config = SimConfig {
                gpu: gpu.into(),
                tp,
                model: model.into(),
                precision,
                ..SimConfig::default()
            };
            config.resolve().map(|simulation| simulation.limits.kv_tokens)
        };
        assert!(fits("b200", 4, "nvidia/DeepSeek-R1-0528-FP4-V2", Precision::Fp4).unwrap() > 500_000);
        assert!(fits("h100", 1, "openai/gpt-oss-120b", Precision::Fp4).unwrap() > 100_000);
        assert!(fits("mi355x", 8, "deepseek-ai/DeepSeek-R1-0528", Precision::Fp8).unwrap() > 1_000_000);
        assert!(fits("h200", 2, "meta-llama/Llama-3.3-70B-Instruct", Precision::Fp8).unwrap() > 500_000);
    }

    #[test]
    fn faults_read_back_as_written() {
        for fault in [
            Fault::NeverReady,
            Fault::DieAfter(3),
            Fault::NoTokens,
            Fault::RefuseReset,
        ] {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        assert_eq!("die-after=3-requests".parse(), Ok(Fault::DieAfter(3)));
        assert!("die-after=soon".parse::<Fault>().is_err());
    }

    #[test]
    fn the_fingerprint_names_the_configuration_and_not_the_place() {
        let config = SimConfig::default();
        assert!(config.fingerprint().starts_with("sweep-sim-1-"));
        let elsewhere = SimConfig {
            host: IpAddr::from([0, 0, 0, 0]),
            ..config.clone()
        };
        assert_eq!(elsewhere.fingerprint(), config.fingerprint());
        assert_ne!(
            SimConfig {
                tp: 16,
                ..config.clone()
            }
            .fingerprint(),
            config.fingerprint()
        );
    }
}
