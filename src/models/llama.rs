//! LLaMA (Touvron et al. 2023, arXiv 2302.13971): the language model under Flamingo, here by itself, and, as Vicuna,
//! under InstructBLIP.
//!
//! Names and order of operations follow transformers' `LlamaForCausalLM`.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::causal::View;
use super::checkpoint::Checkpoint;
use super::generate::{Ends, Manner};
use super::language_model::{LanguageModel, check_alone, check_one, grown, last, said, write_on};
use crate::error::Result;
use crate::nn::{Activation, BlockCache, Embedding, LanguageBlock, Linear, LlamaShape, RmsNorm, Scope};
use crate::taps::{Taps, Tower};

/// `config.json` of a `LlamaForCausalLM`. Keys that a file leaves out have the values that transformers gives them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
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
    /// Heads of the keys and values; as many as of the queries unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_key_value_heads: Option<usize>,
    /// Length of a head's vectors; together they are as long as the vectors unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Activation of the feed-forward parts.
    pub hidden_act: Activation,
    /// What the norms add to the mean square.
    pub rms_norm_eps: f64,
    /// Whether the maps of the attentions have biases.
    pub attention_bias: bool,
    /// Whether the maps of the feed-forward parts have biases.
    pub mlp_bias: bool,
    /// Base of the turned positions.
    pub rope_theta: f32,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the output layer is the table of the input tokens.
    pub tie_word_embeddings: bool,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_token_id: Option<Ends>,
    /// The padding token, which the model doesn't need; some files say -1 where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<i64>,
}

impl Default for LlamaConfig {
    fn default() -> Self {
        Self {
            vocab_size: 32000,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: Activation::Silu,
            rms_norm_eps: 1e-6,
            attention_bias: false,
            mlp_bias: false,
            rope_theta: 10_000.0,
            max_position_embeddings: 2048,
            tie_word_embeddings: false,
            bos_token_id: Some(1),
            eos_token_id: Some(Ends::One(2)),
            pad_token_id: None,
        }
    }
}

impl LlamaConfig {
    /// Reads and checks `config`, which is the config of `checkpoint` or part of it.
    ///
    /// # Errors
    /// If a value has the wrong type, makes no sense, or asks for what Alignscope doesn't know.
    pub fn read(config: &Value, checkpoint: &Checkpoint) -> Result<Self> {
        let scaling = &config["rope_scaling"];
        let kind = [&scaling["rope_type"], &scaling["type"]].into_iter().find_map(Value::as_str);
        if !scaling.is_null() && kind != Some("default") {
            return Err(checkpoint.config_error("'rope_scaling' asks for positions that Alignscope doesn't know"));
        }
        let config: Self = checkpoint.parse(&said(config))?;
        checkpoint.check_sizes(&[
            ("vocab_size", config.vocab_size, 1 << 20),
            ("text hidden_size", config.hidden_size, 1 << 14),
            ("text intermediate_size", config.intermediate_size, 1 << 16),
            ("text num_hidden_layers", config.num_hidden_layers, 256),
            ("text num_attention_heads", config.num_attention_heads, 1 << 10),
            ("num_key_value_heads", config.key_heads(), config.num_attention_heads),
            ("head_dim", config.head_width(), 1 << 12),
            ("max_position_embeddings", config.max_position_embeddings, 1 << 20),
        ])?;
        // Heads of a length of their own needn't divide the width.
        let heads = config.num_attention_heads;
        let inner = config.head_dim.map_or(config.hidden_size, |head_width| heads * head_width);
        checkpoint.check_block(inner, heads, config.rms_norm_eps)?;
        if !heads.is_multiple_of(config.key_heads()) {
            let shared = config.key_heads();
            return Err(checkpoint.config_error(format!(
                "the config lets {heads} attention heads share {shared} of keys and values, which doesn't divide"
            )));
        }
        if !config.head_width().is_multiple_of(2) {
            return Err(checkpoint.config_error(format!(
                "the config asks for attention heads of {} numbers, which can't be turned by position in pairs",
                config.head_width()
            )));
        }
        if !(1.0..=1e12).contains(&config.rope_theta) {
            let base = config.rope_theta;
            return Err(checkpoint.config_error(format!("the config says rope_theta = {base}, outside of 1 to 1e12")));
        }
        Ok(config)
    }

    /// Heads of the keys and values.
    #[must_use]
    pub fn key_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Length of a head's vectors.
    #[must_use]
    pub fn head_width(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }
}

/// The model.
pub struct Llama {
    embed_tokens: Embedding,
    layers: Vec<LanguageBlock>,
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
            key_heads: config.key_heads(),
            head_width: config.head_width(),
            inner: config.intermediate_size,
            activation: config.hidden_act,
            epsilon: config.rms_norm_eps,
            attention_bias: config.attention_bias,
            mlp_bias: config.mlp_bias,
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
                .map(|layer| LanguageBlock::load_llama(&layers.enter(layer), shape))
                .collect::<Result<_>>()?,
            norm: RmsNorm::load(&model.enter("norm"), width, config.rms_norm_eps)?,
            lm_head: Linear::from_weight(head)?,
            config,
        })
    }

    /// The states after the last block, `[batch, new, width]`, of `embeds` `[batch, new, width]`, the last positions of
    /// texts.
    fn states(
        &self,
        embeds: &Tensor,
        view: &View,
        caches: Option<&mut [BlockCache]>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        LanguageBlock::through(&self.layers, embeds.clone(), view.sight(), caches, Tower::Decoder, taps)
    }

    /// From states `[batch, positions, width]` to scores `[batch, positions, tokens]`.
    fn head(&self, states: &Tensor) -> Result<Tensor> {
        self.lm_head.forward(&self.norm.forward(states)?)
    }
}

impl LanguageModel for Llama {
    fn words(&self) -> &Embedding {
        &self.embed_tokens
    }

    fn width(&self) -> usize {
        self.config.hidden_size
    }

    fn depth(&self) -> usize {
        self.layers.len()
    }

    fn context(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn begin(&self) -> Option<u32> {
        self.config.bos_token_id
    }

    fn ends(&self) -> Vec<u32> {
        self.config.eos_token_id.as_ref().map(Ends::ids).unwrap_or_default()
    }

    fn start(&self) -> Option<u32> {
        None
    }

    fn logits(
        &self,
        embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        written: Option<&Tensor>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let attention = check_alone(self, embeds, attention_mask, written)?;
        // transformers counts padding among the positions here, and doesn't when it writes.
        let view = View::in_order(&attention, self.config.head_width(), self.config.rope_theta, embeds.device())?;
        self.head(&self.states(embeds, &view, None, taps)?)
    }

    fn generate(
        &self,
        embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        how: Manner,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        let attention = check_one(self, embeds, attention_mask)?;
        write_on(self, embeds, how, on_token, |new, past, caches| {
            let attention = grown(attention.clone(), past + new.dim(1)?);
            let (head_width, base) = (self.config.head_width(), self.config.rope_theta);
            let view = View::new(&attention, past, head_width, base, new.device())?;
            self.head(&last(&self.states(new, &view, caches, taps)?)?)
        })
    }
}
