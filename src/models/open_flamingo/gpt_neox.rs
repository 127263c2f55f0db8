//! GPT-NeoX (Black et al. 2022, arXiv 2204.06745), the language model under OpenFlamingo-4B, there as RedPajama-INCITE: its
//! `config.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::models::checkpoint::Checkpoint;
use crate::models::language_model::said;
use crate::nn::{Activation, GptNeoXShape};

/// `config.json` of a `GPTNeoXForCausalLM`. Keys that a file leaves out have the values that transformers gives them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GptNeoXConfig {
    /// Length of the vectors.
    pub hidden_size: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Length of the vectors inside the feed-forward parts.
    pub intermediate_size: usize,
    /// Number of known tokens, before those of OpenFlamingo came.
    pub vocab_size: usize,
    /// Activation of the feed-forward parts.
    pub hidden_act: Activation,
    /// What layer norm adds to the variance.
    pub layer_norm_eps: f64,
    /// Base of the turned positions.
    pub rotary_emb_base: f32,
    /// Which part of each head is turned; always all of it.
    pub rotary_pct: f32,
    /// Whether both parts of a block look at what enters it; never so.
    pub use_parallel_residual: bool,
    /// Whether the maps of the attention have biases; always so.
    pub attention_bias: bool,
    /// Whether the output layer is the table of the input tokens; never so.
    pub tie_word_embeddings: bool,
    /// How the positions of longer texts are told; always as usual.
    pub rope_scaling: Value,
}

impl Default for GptNeoXConfig {
    fn default() -> Self {
        Self {
            hidden_size: 6144,
            num_attention_heads: 64,
            num_hidden_layers: 44,
            intermediate_size: 24576,
            vocab_size: 50432,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-5,
            rotary_emb_base: 10_000.0,
            rotary_pct: 0.25,
            use_parallel_residual: true,
            attention_bias: true,
            tie_word_embeddings: false,
            rope_scaling: Value::Null,
        }
    }
}

impl GptNeoXConfig {
    /// Reads and checks the config of a checkpoint.
    ///
    /// # Errors
    /// If a value has the wrong type, makes no sense, or asks for what no language model of OpenFlamingo has.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let config: Self = checkpoint.parse(&said(&checkpoint.config))?;
        let odd = [
            ("rotary_pct", config.rotary_pct.to_bits() != 1f32.to_bits()),
            ("use_parallel_residual", config.use_parallel_residual),
            ("attention_bias", !config.attention_bias),
            ("tie_word_embeddings", config.tie_word_embeddings),
            ("rope_scaling", !config.rope_scaling.is_null()),
        ];
        if let Some((key, _)) = odd.iter().find(|(_, odd)| *odd) {
            return Err(checkpoint.config_error(format!("'{key}' asks for a GPT-NeoX that OpenFlamingo doesn't use")));
        }
        checkpoint.check_sizes(&[
            ("hidden_size", config.hidden_size, 1 << 14),
            ("num_hidden_layers", config.num_hidden_layers, 256),
            ("intermediate_size", config.intermediate_size, 1 << 16),
            ("vocab_size", config.vocab_size, 1 << 20),
        ])?;
        checkpoint.check_block(config.hidden_size, config.num_attention_heads, config.layer_norm_eps)?;
        if !config.head_width().is_multiple_of(2) {
            let width = config.head_width();
            return Err(checkpoint.config_error(format!("the config turns heads of {width} numbers, which isn't even")));
        }
        if !(1.0..=1e9).contains(&config.rotary_emb_base) {
            let base = config.rotary_emb_base;
            return Err(
                checkpoint.config_error(format!("the config says rotary_emb_base = {base}, outside of 1 to 1e9"))
            );
        }
        Ok(config)
    }

    /// Length of a head's vectors.
    #[must_use]
    pub fn head_width(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The sizes of a block.
    #[must_use]
    pub fn block(&self) -> GptNeoXShape {
        GptNeoXShape {
            width: self.hidden_size,
            heads: self.num_attention_heads,
            inner: self.intermediate_size,
            activation: self.hidden_act,
            epsilon: self.layer_norm_eps,
        }
    }
}
