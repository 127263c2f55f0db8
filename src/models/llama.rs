//! LLaMA (Touvron et al. 2023, arXiv 2302.13971): the language model under Flamingo, here by itself.
//!
//! Names and order of operations follow transformers' `LlamaForCausalLM`.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::causal::{View, attention_rows};
use crate::error::Result;
use crate::nn::{Activation, Embedding, Linear, LlamaBlock, LlamaShape, RmsNorm, Scope};
use crate::taps::{Point, Site, Taps, Tower};

/// `config.json` of a `LlamaForCausalLM`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// Number of known tokens.
    pub vocab_size: usize,
    /// Length of the vectors.
    pub hidden_size: usize,
    /// Length of the vectors inside the feed-forward parts.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Heads of the queries.
    pub num_attention_heads: usize,
    /// Heads of the keys and values.
    pub num_key_value_heads: usize,
    /// Activation of the feed-forward parts.
    pub hidden_act: Activation,
    /// What the norms add to the mean square.
    pub rms_norm_eps: f64,
    /// Base of the turned positions.
    pub rope_theta: f32,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the output layer is the table of the input tokens.
    pub tie_word_embeddings: bool,
    /// The token that begins a text.
    pub bos_token_id: u32,
    /// The token that ends a text.
    pub eos_token_id: u32,
    /// The padding token.
    pub pad_token_id: u32,
}

/// The model.
pub struct Llama {
    embed_tokens: Embedding,
    layers: Vec<LlamaBlock>,
    norm: RmsNorm,
    lm_head: Linear,
    config: LlamaConfig,
}

impl Llama {
    /// Builds the model from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: LlamaConfig, scope: &Scope<'_>) -> Result<Self> {
        let model = scope.enter("model");
        let (width, tokens) = (config.hidden_size, config.vocab_size);
        let shape = LlamaShape {
            width,
            heads: config.num_attention_heads,
            key_heads: config.num_key_value_heads,
            head_width: width / config.num_attention_heads,
            inner: config.intermediate_size,
            activation: config.hidden_act,
            epsilon: config.rms_norm_eps,
        };
        let embed_tokens = Embedding::load(&model.enter("embed_tokens"), tokens, width)?;
        let head = if config.tie_word_embeddings {
            embed_tokens.weight().clone()
        } else {
            scope.enter("lm_head").get("weight", &[tokens, width])?
        };
        let layers = model.enter("layers");
        Ok(Self {
            embed_tokens,
            layers: (0..config.num_hidden_layers)
                .map(|layer| LlamaBlock::load(&layers.enter(layer), shape))
                .collect::<Result<_>>()?,
            norm: RmsNorm::load(&model.enter("norm"), width, config.rms_norm_eps)?,
            lm_head: Linear::from_weight(head)?,
            config,
        })
    }

    /// The logits of what follows each token of `ids` `[batch, tokens]`, `[batch, tokens, vocabulary]`. Padding may stand
    /// behind the texts, where no token sees it.
    ///
    /// # Errors
    /// If there is no token, an id is unknown, the pass is cancelled, or an observer fails.
    pub fn logits(&self, ids: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let head_width = self.config.hidden_size / self.config.num_attention_heads;
        let view = View::new(&attention_rows(ids, None)?, 0, head_width, self.config.rope_theta, ids.device())?;
        let mut x = taps.tap(Site::new(Tower::Decoder, 0, Point::Embed), self.embed_tokens.forward(ids)?)?;
        for (layer, block) in self.layers.iter().enumerate() {
            x = block.forward(x, Some(&view.mask), &view.rotary, None, layer, taps)?;
        }
        self.lm_head.forward(&self.norm.forward(&x)?)
    }
}
