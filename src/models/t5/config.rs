//! `config.json` of a `T5ForConditionalGeneration`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::models::checkpoint::Checkpoint;
use crate::models::generate::Ends;
use crate::models::language_model::said;
use crate::nn::Activation;

/// The whole config. Keys that a file leaves out have the values that transformers gives them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct T5Config {
    /// Number of known tokens.
    pub vocab_size: usize,
    /// Length of the vectors.
    pub d_model: usize,
    /// Length of a head's vectors; the heads together need not be as wide as the vectors.
    pub d_kv: usize,
    /// Length of the vectors inside the feed-forward parts.
    pub d_ff: usize,
    /// Number of blocks of the encoder.
    pub num_layers: usize,
    /// Number of blocks of the decoder; `num_layers` unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_decoder_layers: Option<usize>,
    /// Heads of each attention.
    pub num_heads: usize,
    /// Number of kinds of distances between positions.
    pub relative_attention_num_buckets: usize,
    /// The distance from which on all are of one kind.
    pub relative_attention_max_distance: usize,
    /// What the norms add to the mean square.
    pub layer_norm_epsilon: f64,
    /// The feed-forward parts: the name of an activation, with `gated-` in front where there is a gate.
    pub feed_forward_proj: String,
    /// The activation of the feed-forward parts, whatever `feed_forward_proj` says: BLIP-2 has its T5 use another GELU than
    /// the one it was trained with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dense_act_fn: Option<Activation>,
    /// Whether the feed-forward parts have a gate, whatever `feed_forward_proj` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_gated_act: Option<bool>,
    /// Whether the output layer is the table of the input tokens.
    pub tie_word_embeddings: bool,
    /// The longest text that the model was trained with, in tokens; transformers lets it read longer ones.
    pub n_positions: usize,
    /// The token that begins a text; T5 itself has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_token_id: Option<Ends>,
    /// The padding token.
    pub pad_token_id: u32,
    /// The token before the first one that is written; the padding token unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_start_token_id: Option<u32>,
}

impl Default for T5Config {
    fn default() -> Self {
        Self {
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "relu".into(),
            dense_act_fn: None,
            is_gated_act: None,
            tie_word_embeddings: true,
            n_positions: 512,
            bos_token_id: None,
            eos_token_id: Some(Ends::One(1)),
            pad_token_id: 0,
            decoder_start_token_id: None,
        }
    }
}

impl T5Config {
    /// Reads and checks `config`, which is the config of `checkpoint` or part of it.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn read(config: &Value, checkpoint: &Checkpoint) -> Result<Self> {
        let config: Self = checkpoint.parse(&said(config))?;
        checkpoint.check_sizes(&[
            ("vocab_size", config.vocab_size, 1 << 20),
            ("d_model", config.d_model, 1 << 14),
            ("d_kv", config.d_kv, 1 << 12),
            ("d_ff", config.d_ff, 1 << 17),
            ("num_layers", config.num_layers, 256),
            ("num_decoder_layers", config.decoder_depth(), 256),
            ("num_heads", config.num_heads, 1 << 10),
            ("relative_attention_num_buckets", config.relative_attention_num_buckets, 1 << 12),
            ("relative_attention_max_distance", config.relative_attention_max_distance, 1 << 20),
            ("n_positions", config.n_positions, 1 << 17),
        ])?;
        checkpoint.check_block(config.num_heads * config.d_kv, config.num_heads, config.layer_norm_epsilon)?;
        let (buckets, furthest) = (config.relative_attention_num_buckets, config.relative_attention_max_distance);
        if buckets < 4 || furthest <= buckets / 2 {
            return Err(checkpoint.config_error(format!(
                "the config asks for {buckets} kinds of distances up to {furthest}, which can't be told apart"
            )));
        }
        let start = config.start();
        if start as usize >= config.vocab_size {
            let tokens = config.vocab_size;
            return Err(checkpoint.config_error(format!(
                "the config says decoder_start_token_id = {start}, but there are {tokens} tokens"
            )));
        }
        config.feed_forward().map_err(|error| error.at(&checkpoint.folder.join("config.json")))?;
        Ok(config)
    }

    /// Number of blocks of the decoder.
    #[must_use]
    pub fn decoder_depth(&self) -> usize {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    /// The token before the first one that is written.
    #[must_use]
    pub fn start(&self) -> u32 {
        self.decoder_start_token_id.unwrap_or(self.pad_token_id)
    }

    /// Whether the feed-forward parts have a gate, and their activation.
    ///
    /// # Errors
    /// If the activation is unknown.
    pub fn feed_forward(&self) -> Result<(bool, Activation)> {
        let (gated, name) = match self.feed_forward_proj.strip_prefix("gated-") {
            // As T5 was trained with, whatever its name says.
            Some("gelu") => (true, "gelu_new"),
            Some(name) => (true, name),
            None => (false, self.feed_forward_proj.as_str()),
        };
        let gated = self.is_gated_act.unwrap_or(gated);
        if let Some(activation) = self.dense_act_fn {
            return Ok((gated, activation));
        }
        let activation = serde_json::from_value(Value::from(name)).map_err(|_| {
            let found = &self.feed_forward_proj;
            Error::unusable(
                format!("the config says feed_forward_proj = '{found}', which Alignscope doesn't know"),
                "use the config.json that belongs to the weights",
            )
        })?;
        Ok((gated, activation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feed_forward_parts_have_names() {
        let of = |name: &str| T5Config { feed_forward_proj: name.into(), ..T5Config::default() }.feed_forward().ok();
        assert_eq!(of("relu"), Some((false, Activation::Relu)));
        assert_eq!(of("gelu"), Some((false, Activation::Gelu)));
        assert_eq!(of("gated-gelu"), Some((true, Activation::GeluTanh)));
        assert_eq!(of("gated-silu"), Some((true, Activation::Silu)));
        assert_eq!(of("gated-"), None);
        assert_eq!(of("plain-relu"), None);
        let of_blip = T5Config {
            feed_forward_proj: "gated-gelu".into(),
            dense_act_fn: Some(Activation::Gelu),
            ..T5Config::default()
        };
        assert_eq!(of_blip.feed_forward().ok(), Some((true, Activation::Gelu)));
    }
}
