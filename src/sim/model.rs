//! The models that the simulated engine knows: sizes and shapes from their published configurations.

/// How a model keeps and reads its context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attention {
    /// Grouped-query attention: keys and values of `kv_heads` heads; TP splits them among the GPUs.
    Gqa {
        /// Query heads.
        heads: u32,
        /// Key and value heads.
        kv_heads: u32,
        /// Elements of one head.
        head_dim: u32,
    },
    /// Multi-head latent attention (DeepSeek): one latent vector per token, which every TP rank keeps whole.
    Mla {
        /// Query heads.
        heads: u32,
        /// Elements of the latent (`kv_lora_rank`).
        latent: u32,
        /// Elements of the shared rotary key (`qk_rope_head_dim`).
        rope: u32,
        /// Elements of a head's key before rotation, and of its value.
        head_dim: u32,
    },
    /// One key-value vector shared by all heads, kept for groups of tokens only (DeepSeek-V4).
    Compressed {
        /// Query heads.
        heads: u32,
        /// Elements of the vector.
        head_dim: u32,
        /// Vectors kept per token, on average over the layers; below one.
        entries: f64,
        /// Weights of one layer's projections.
        params: f64,
    },
}

impl Attention {
    /// KV cache elements of one token in one layer.
    pub fn kv_elements(self) -> f64 {
        match self {
            Self::Gqa {
                kv_heads, head_dim, ..
            } => 2.0 * f64::from(kv_heads) * f64::from(head_dim),
            Self::Mla { latent, rope, .. } => f64::from(latent) + f64::from(rope),
            Self::Compressed {
                head_dim, entries, ..
            } => f64::from(head_dim) * entries,
        }
    }

    /// FLOPs of one decoded token against one token of context in one layer (scores and values, 2 per multiply-add).
    ///
    /// MLA decodes in the latent space ("absorbed" weights): more FLOPs, far fewer bytes.
    pub fn decode_flops(self) -> f64 {
        match self {
            Self::Gqa { heads, head_dim, .. } => 4.0 * f64::from(heads) * f64::from(head_dim),
            Self::Mla {
                heads, latent, rope, ..
            } => 2.0 * f64::from(heads) * (2.0 * f64::from(latent) + f64::from(rope)),
            Self::Compressed {
                heads,
                head_dim,
                entries,
                ..
            } => 4.0 * f64::from(heads) * f64::from(head_dim) * entries,
        }
    }

    /// FLOPs of one prompt token against one token of context in one layer.
    pub fn prefill_flops(self) -> f64 {
        match self {
            Self::Gqa { .. } | Self::Compressed { .. } => self.decode_flops(),
            Self::Mla {
                heads,
                rope,
                head_dim,
                ..
            } => 2.0 * f64::from(heads) * (2.0 * f64::from(head_dim) + f64::from(rope)),
        }
    }

    /// Parts in which tensor parallelism can split the cache: latents and shared vectors cannot be split.
    pub fn kv_shards(self, tp: u32) -> u32 {
        match self {
            Self::Gqa { kv_heads, .. } => tp.min(kv_heads),
            Self::Mla { .. } | Self::Compressed { .. } => 1,
        }
    }

    /// Weights of one layer's projections, which DP attention keeps on every GPU.
    pub fn params(self, hidden: f64) -> f64 {
        match self {
            Self::Gqa {
                heads,
                kv_heads,
                head_dim,
            } => 2.0 * hidden * f64::from(head_dim) * (f64::from(heads) + f64::from(kv_heads)),
            Self::Compressed { params, .. } => params,
            // Output, key/value up- and down-projections; the low-rank query pair is of the output's order / 2.
            Self::Mla {
                heads,
                latent,
                rope,
                head_dim,
            } => {
                let (heads, head_dim) = (f64::from(heads), f64::from(head_dim));
                1.5 * hidden * heads * head_dim
                    + f64::from(latent) * heads * 2.0 * head_dim
                    + hidden * (f64::from(latent) + f64::from(rope))
            }
        }
    }
}

/// The routed experts of a mixture-of-experts model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    /// Routed experts of a layer.
    pub count: u32,
    /// Routed experts that a token visits in a layer.
    pub per_token: u32,
    /// Weights of all routed experts of all layers.
    pub params: f64,
}

/// What of a model decides how fast it can be served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// All weights.
    pub total_params: f64,
    /// Weights that one token meets.
    pub active_params: f64,
    /// Transformer layers.
    pub layers: u32,
    /// Layers that attend to the whole context; windowed and linear ones keep a constant that is left out.
    pub full_attention_layers: u32,
    /// Elements of a token's hidden state.
    pub hidden: u32,
    /// How context is kept.
    pub attention: Attention,
    /// `None` for a dense model.
    pub experts: Option<Experts>,
    /// Bytes of KV cache per token in place of what `attention` and the precision give.
    pub kv_bytes_per_token: Option<f64>,
}

/// Sizes given by hand; they win over the catalogue and the name.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ModelSizes {
    /// All weights.
    pub total_params: Option<f64>,
    /// Weights that one token meets.
    pub active_params: Option<f64>,
    /// Bytes of KV cache per token over all layers.
    pub kv_bytes_per_token: Option<f64>,
}

/// Nothing tells how large the model is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown model `{name}` and no size such as `-70B` in its name; give `--params-total` (and `--params-active`)"
)]
pub struct UnknownModel {
    /// The name that was looked up.
    pub name: String,
}

const BILLION: f64 = 1e9;

const fn dense(params: f64, layers: u32, hidden: u32, heads: u32, kv_heads: u32, head_dim: u32) -> Model {
    Model {
        total_params: params,
        active_params: params,
        layers,
        full_attention_layers: layers,
        hidden,
        attention: Attention::Gqa {
            heads,
            kv_heads,
            head_dim,
        },
        experts: None,
        kv_bytes_per_token: None,
    }
}

const fn moe(
    total: f64,
    active: f64,
    layers: u32,
    hidden: u32,
    attention: Attention,
    experts: Experts,
) -> Model {
    Model {
        total_params: total,
        active_params: active,
        layers,
        full_attention_layers: layers,
        hidden,
        attention,
        experts: Some(experts),
        kv_bytes_per_token: None,
    }
}

const fn experts(count: u32, per_token: u32, params: f64) -> Experts {
    Experts {
        count,
        per_token,
        params,
    }
}

const fn gqa(heads: u32, kv_heads: u32, head_dim: u32) -> Attention {
    Attention::Gqa {
        heads,
        kv_heads,
        head_dim,
    }
}

const fn mla(heads: u32, head_dim: u32) -> Attention {
    Attention::Mla {
        heads,
        latent: 512,
        rope: 64,
        head_dim,
    }
}

/// The catalogue: a fragment of the lower-case model id, and the facts from the model's config.json and card. Weights
/// of the routed experts are MoE layers x experts x 3 matrices x hidden x expert width. First match wins.
const MODELS: &[(&str, Model)] = &[
    (
        "deepseek-r1",
        moe(671e9, 37e9, 61, 7168, mla(128, 128), experts(256, 8, 653.9e9)),
    ),
    (
        "deepseek-v3",
        moe(671e9, 37e9, 61, 7168, mla(128, 128), experts(256, 8, 653.9e9)),
    ),
    // Layers alternate 4x and 128x compressed context; the choice of 1024 entries among the former is left out.
    (
        "deepseek-v4-pro",
        moe(
            1600e9,
            49e9,
            61,
            7168,
            Attention::Compressed {
                heads: 128,
                head_dim: 512,
                entries: 0.129,
                params: 300e6,
            },
            experts(384, 6, 1547e9),
        ),
    ),
    (
        "kimi-k2",
        moe(1040e9, 32.6e9, 61, 7168, mla(64, 128), experts(384, 8, 1014.7e9)),
    ),
    // Its sparse attention (2048 chosen tokens) is left out: an upper bound beyond short contexts.
    (
        "glm-5",
        moe(744e9, 40e9, 78, 6144, mla(64, 256), experts(256, 8, 724.8e9)),
    ),
    (
        "glm-4.5-air",
        moe(106e9, 12e9, 46, 4096, gqa(96, 8, 128), experts(128, 8, 99.7e9)),
    ),
    (
        "glm-4.5",
        moe(355e9, 32e9, 92, 5120, gqa(96, 8, 128), experts(160, 8, 336e9)),
    ),
    (
        "glm-4.6",
        moe(355e9, 32e9, 92, 5120, gqa(96, 8, 128), experts(160, 8, 336e9)),
    ),
    (
        "glm-4.7",
        moe(355e9, 32e9, 92, 5120, gqa(96, 8, 128), experts(160, 8, 336e9)),
    ),
    (
        "minimax-m2",
        moe(230e9, 10e9, 62, 3072, gqa(48, 8, 128), experts(256, 8, 224.7e9)),
    ),
    // Every other layer sees a window of 128 tokens only.
    (
        "gpt-oss-120b",
        Model {
            full_attention_layers: 18,
            ..moe(116.8e9, 5.1e9, 36, 2880, gqa(64, 8, 64), experts(128, 4, 114.7e9))
        },
    ),
    (
        "gpt-oss-20b",
        Model {
            full_attention_layers: 12,
            ..moe(20.9e9, 3.6e9, 24, 2880, gqa(64, 8, 64), experts(32, 4, 19.1e9))
        },
    ),
    // Three linear-attention layers to one that sees the whole context.
    (
        "qwen3.5-397b-a17b",
        Model {
            full_attention_layers: 15,
            ..moe(397e9, 17e9, 60, 4096, gqa(32, 2, 256), experts(512, 10, 386.5e9))
        },
    ),
    (
        "qwen3-235b-a22b",
        moe(235e9, 22e9, 94, 4096, gqa(64, 4, 128), experts(128, 8, 227.1e9)),
    ),
    (
        "qwen3-30b-a3b",
        moe(30.5e9, 3.3e9, 48, 2048, gqa(32, 4, 128), experts(128, 8, 29e9)),
    ),
    ("llama-3.1-405b", dense(405.9e9, 126, 16384, 128, 8, 128)),
    ("llama-3.1-70b", dense(70.6e9, 80, 8192, 64, 8, 128)),
    ("llama-3.3-70b", dense(70.6e9, 80, 8192, 64, 8, 128)),
    ("llama-3.1-8b", dense(8.03e9, 32, 4096, 32, 8, 128)),
    ("smollm2-135m", dense(0.1345e9, 30, 576, 9, 3, 64)),
    ("smollm2-1.7b", dense(1.71e9, 24, 2048, 32, 32, 64)),
];

/// A size in the name may differ this much from the catalogue's before it names another model, as the 8B distillate
/// `DeepSeek-R1-0528-Qwen3-8B` does.
const SAME_MODEL_FACTOR: f64 = 1.5;

/// The facts of a model by its id or path; `given` sizes win.
///
/// # Errors
/// [`UnknownModel`] when neither the catalogue, nor a size in the name, nor `given` says how large it is.
pub fn resolve(name: &str, given: &ModelSizes) -> Result<Model, UnknownModel> {
    let lower = name.to_ascii_lowercase();
    let named = sizes_in_name(&lower);
    let listed = MODELS
        .iter()
        .find(|(fragment, _)| lower.contains(fragment))
        .map(|(_, model)| *model);
    let listed = listed.filter(|model| {
        named.total_params.is_none_or(|named| {
            (named / model.total_params).max(model.total_params / named) < SAME_MODEL_FACTOR
        })
    });
    let base = match listed {
        Some(model) if given.total_params.is_none() => model,
        _ => {
            let total = given.total_params.or(named.total_params);
            let total = total.ok_or_else(|| UnknownModel {
                name: name.to_owned(),
            })?;
            shaped_like(
                total,
                given
                    .active_params
                    .or(named.active_params)
                    .unwrap_or(total)
                    .min(total),
            )
        }
    };
    Ok(Model {
        active_params: given
            .active_params
            .unwrap_or(base.active_params)
            .min(base.total_params),
        kv_bytes_per_token: given.kv_bytes_per_token,
        ..base
    })
}

/// A plausible shape for a model of which only the sizes are known.
///
/// Dense transformers hold about 12 x layers x hidden^2 weights, and hidden is near 128 x layers; a mixture of experts
/// has the layers of a dense model of the geometric mean of its two sizes.
fn shaped_like(total: f64, active: f64) -> Model {
    let dense_alike = (total * active).sqrt();
    let layers = (dense_alike / (12.0 * 128.0 * 128.0)).cbrt().round().max(1.0);
    let (layers, hidden) = (layers as u32, (layers * 128.0) as u32);
    let shape = dense(
        total,
        layers,
        hidden,
        (hidden / 128).max(1),
        (hidden / 128).clamp(1, 8),
        128,
    );
    if active >= total {
        return shape;
    }
    // With a share `s` of routed weights visited, active = shared + s x routed and total = shared + routed.
    let (count, per_token) = (128, 8);
    let visited = f64::from(per_token) / f64::from(count);
    let routed = ((total - active) / (1.0 - visited)).min(total);
    Model {
        active_params: active,
        experts: Some(experts(count, per_token, routed)),
        ..shape
    }
}

/// Sizes such as `-70B`, `-135m`, `-1.6T` and `-A22B` (active) in a lower-case name.
fn sizes_in_name(lower: &str) -> ModelSizes {
    let mut sizes = ModelSizes::default();
    for word in lower.split(|c: char| !c.is_ascii_alphanumeric() && c != '.') {
        let (active, digits) = match word.strip_prefix('a') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let Some((number, unit)) = digits.split_at_checked(digits.len().saturating_sub(1)) else {
            continue;
        };
        let unit = match unit {
            "m" => 1e6,
            "b" => BILLION,
            "t" => 1e12,
            _ => continue,
        };
        if !number.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let Ok(number) = number.parse::<f64>() else {
            continue;
        };
        let slot = if active {
            &mut sizes.active_params
        } else {
            &mut sizes.total_params
        };
        slot.get_or_insert(number * unit);
    }
    sizes
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn by_name(name: &str) -> Model {
        resolve(name, &ModelSizes::default()).unwrap()
    }

    #[test]
    fn catalogue_matches_ids_of_all_kinds() {
        assert_eq!(by_name("deepseek-ai/DeepSeek-R1-0528").active_params, 37e9);
        assert_eq!(by_name("nvidia/DeepSeek-R1-0528-NVFP4-v2").layers, 61);
        assert_eq!(by_name("openai/gpt-oss-120b").full_attention_layers, 18);
        assert_eq!(by_name("/models/SmolLM2-135M-Instruct.Q4_1.gguf").hidden, 576);
    }

    #[test]
    fn a_size_in_the_name_tells_a_distillate_from_its_teacher() {
        let distillate = by_name("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B");
        assert_eq!((distillate.total_params, distillate.experts), (8e9, None));
        assert_eq!(
            by_name("deepseek-ai/DeepSeek-R1-Distill-Llama-70B").total_params,
            70e9
        );
    }

    #[test]
    fn sizes_are_read_off_unknown_names() {
        let dense = by_name("acme/Anvil-70B-Instruct");
        assert!((60..100).contains(&dense.layers), "{dense:?}");
        let sparse = by_name("acme/Anvil-200B-A20B");
        assert_eq!((sparse.total_params, sparse.active_params), (200e9, 20e9));
        let routed = sparse.experts.unwrap();
        let met = sparse.total_params - routed.params + routed.params * 8.0 / 128.0;
        assert!((met - 20e9).abs() < 1e6, "weights met by a token add up: {met}");
    }

    #[test]
    fn unknown_names_need_sizes() {
        let error = resolve("acme/anvil", &ModelSizes::default()).unwrap_err();
        assert!(error.to_string().contains("--params-total"));
        let given = ModelSizes {
            total_params: Some(7e9),
            kv_bytes_per_token: Some(1e5),
            ..Default::default()
        };
        let model = resolve("acme/anvil", &given).unwrap();
        assert_eq!((model.active_params, model.kv_bytes_per_token), (7e9, Some(1e5)));
    }

    #[test]
    fn latent_attention_is_small_and_heavy() {
        let (mla, gqa) = (mla(128, 128), gqa(128, 8, 128));
        assert_eq!(mla.kv_elements(), 576.0);
        assert!(mla.kv_elements() < gqa.kv_elements() && mla.decode_flops() > gqa.decode_flops());
    }
}
