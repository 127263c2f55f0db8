//! MPT (MosaicML 2023), the language model under OpenFlamingo: its `config.json`, and which tokens see what.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::models::causal::FORBIDDEN;
use crate::models::checkpoint::Checkpoint;
use crate::nn::MptShape;

/// `config.json` of an `MptForCausalLM`, or of the `MosaicGPT` that came before. Keys that a file leaves out have the
/// values that transformers gives them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct MptConfig {
    /// Length of the vectors.
    pub d_model: usize,
    /// Heads of each attention.
    pub n_heads: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// How many times as wide the feed-forward parts are inside.
    #[serde(alias = "mlp_ratio")]
    pub expansion_ratio: usize,
    /// Number of known tokens, before those of OpenFlamingo came.
    pub vocab_size: usize,
    /// What layer norm adds to the variance.
    pub layer_norm_epsilon: f64,
    /// Whether nothing has a bias; always so.
    pub no_bias: bool,
    /// What the logits are multiplied with; always nothing.
    pub logit_scale: Value,
    /// About the attention.
    pub attn_config: MptAttentionConfig,
}

/// `attn_config`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct MptAttentionConfig {
    /// The kind of attention; always that of several heads.
    pub attn_type: String,
    /// Whether positions come as a bias of the scores (Press et al. 2021, arXiv 2108.12409); always so.
    pub alibi: bool,
    /// The power of one half that is the last head's bias of one position.
    pub alibi_bias_max: f32,
    /// Whether queries and keys are normalised, all heads together.
    pub qk_ln: bool,
    /// The largest number that queries, keys and values may have; always none.
    pub clip_qkv: Value,
    /// What the scores are multiplied with; always 1 / √head width.
    pub softmax_scale: Value,
    /// Whether a first part of the text sees itself as a whole; never so.
    pub prefix_lm: bool,
}

impl Default for MptConfig {
    fn default() -> Self {
        Self {
            d_model: 2048,
            n_heads: 16,
            n_layers: 24,
            expansion_ratio: 4,
            vocab_size: 50368,
            layer_norm_epsilon: 1e-5,
            no_bias: true,
            logit_scale: Value::Null,
            attn_config: MptAttentionConfig::default(),
        }
    }
}

impl Default for MptAttentionConfig {
    fn default() -> Self {
        Self {
            attn_type: "multihead_attention".into(),
            alibi: true,
            alibi_bias_max: 8.0,
            qk_ln: false,
            clip_qkv: Value::Null,
            softmax_scale: Value::Null,
            prefix_lm: false,
        }
    }
}

/// Where `MosaicGPT` kept what is now in `attn_config`.
const MOVED: [(&str, &str); 6] = [
    ("attn_qk_ln", "qk_ln"),
    ("attn_clip_qkv", "clip_qkv"),
    ("softmax_scale", "softmax_scale"),
    ("alibi", "alibi"),
    ("alibi_bias_max", "alibi_bias_max"),
    ("prefix_lm", "prefix_lm"),
];

impl MptConfig {
    /// Reads and checks the config of a checkpoint.
    ///
    /// # Errors
    /// If a value has the wrong type, makes no sense, or asks for what no language model of OpenFlamingo has.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let mut config = checkpoint.config.clone();
        if let (Some(config), true) = (config.as_object_mut(), checkpoint.config["attn_config"].is_null()) {
            // MosaicGPT has no such positions unless it says so.
            let mut attention = Map::new();
            if config.get("model_type").is_some_and(|kind| kind == "mosaic_gpt") {
                attention.insert("alibi".into(), false.into());
            }
            for (older, newer) in MOVED {
                if let Some(value) = config.remove(older) {
                    attention.insert(newer.into(), value);
                }
            }
            config.insert("attn_config".into(), attention.into());
        }
        let config: Self = checkpoint.parse(&config)?;
        let attention = &config.attn_config;
        let odd = [
            ("attn_type", attention.attn_type != "multihead_attention"),
            ("alibi", !attention.alibi),
            ("clip_qkv", !attention.clip_qkv.is_null()),
            ("softmax_scale", !attention.softmax_scale.is_null()),
            ("prefix_lm", attention.prefix_lm),
            ("logit_scale", !config.logit_scale.is_null()),
            ("no_bias", !config.no_bias),
        ];
        if let Some((key, _)) = odd.iter().find(|(_, odd)| *odd) {
            return Err(checkpoint.config_error(format!("'{key}' asks for an MPT that OpenFlamingo doesn't use")));
        }
        checkpoint.check_sizes(&[
            ("d_model", config.d_model, 1 << 14),
            ("n_layers", config.n_layers, 256),
            ("expansion_ratio", config.expansion_ratio, 16),
            ("vocab_size", config.vocab_size, 1 << 20),
        ])?;
        checkpoint.check_block(config.d_model, config.n_heads, config.layer_norm_epsilon)?;
        if !(0.0..=1024.0).contains(&attention.alibi_bias_max) {
            let most = attention.alibi_bias_max;
            let said = format!("the config says alibi_bias_max = {most}, outside of 0 to 1024");
            return Err(checkpoint.config_error(said));
        }
        Ok(config)
    }

    /// The sizes of a block.
    #[must_use]
    pub fn block(&self) -> MptShape {
        MptShape {
            width: self.d_model,
            heads: self.n_heads,
            inner: self.expansion_ratio * self.d_model,
            epsilon: self.layer_norm_epsilon,
            attention_norms: self.attn_config.qk_ln,
        }
    }

    /// What is added to the scores of self-attention, `[batch, heads, queries, tokens]`, in a pass over the last tokens
    /// of texts. `attention` is the mask of the whole texts, one row for each entry of the batch (1 for a token, 0 for
    /// padding); the first `past` tokens were seen in earlier passes. A key loses its head's slope for each position
    /// that it stands before the last one.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub(super) fn mask(&self, attention: &[Vec<u32>], past: usize, device: &Device) -> Result<Tensor> {
        let tokens = attention.first().map_or(0, Vec::len);
        let slopes = slopes(self.n_heads, self.attn_config.alibi_bias_max);
        let shape = (attention.len(), slopes.len(), tokens - past, tokens);
        let mut mask = Vec::with_capacity(shape.0 * shape.1 * shape.2 * shape.3);
        for row in attention {
            for slope in &slopes {
                for query in past..tokens {
                    // Padding in front of a text sees nothing, and so all evenly, as in the reference.
                    mask.extend(row.iter().enumerate().map(|(key, seen)| {
                        let allowed = key <= query && *seen != 0;
                        if allowed { -slope * (tokens - 1 - key) as f32 } else { FORBIDDEN }
                    }));
                }
            }
        }
        Ok(Tensor::from_vec(mask, shape, device)?)
    }
}

/// How much each head takes from a key for one position. With a number of heads that isn't a power of two, those of the
/// next power: the odd places first.
fn slopes(heads: usize, most: f32) -> Vec<f32> {
    let power = heads.next_power_of_two();
    let slope = |place: usize| 1.0 / 2f32.powf((place + 1) as f32 * (most / power as f32));
    if power == heads {
        return (0..heads).map(slope).collect();
    }
    (1..power).step_by(2).chain((0..power).step_by(2)).take(heads).map(slope).collect()
}
