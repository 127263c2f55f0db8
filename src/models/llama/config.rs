//! The sizes of a LLaMA, a Mistral or a Qwen2, and what differs between them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rope::RopeScaling;
use crate::error::Result;
use crate::models::checkpoint::Checkpoint;
use crate::models::generate::Ends;
use crate::models::language_model::said;
use crate::nn::{Activation, LlamaShape, Rotary};

/// Which class of transformers a config is for; it decides what is as usual where the config says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlamaKind {
    /// `LlamaForCausalLM`.
    Llama,
    /// `MistralForCausalLM` (Jiang et al. 2023, arXiv 2310.06825): a token sees a window of those before it.
    Mistral,
    /// `Qwen2ForCausalLM` (Yang et al. 2024, arXiv 2407.10671): biases of queries, keys and values.
    Qwen2,
}

impl LlamaKind {
    /// The values of keys that a file leaves out, where they aren't those of a LLaMA.
    fn usual(self) -> Value {
        match self {
            Self::Llama => json!({}),
            Self::Mistral => json!({
                "intermediate_size": 14336, "num_key_value_heads": 8, "max_position_embeddings": 131_072,
                "sliding_window": 4096,
            }),
            Self::Qwen2 => json!({
                "vocab_size": 151_936, "intermediate_size": 22016, "num_key_value_heads": 32,
                "max_position_embeddings": 32768, "sliding_window": 4096, "eos_token_id": null,
            }),
        }
    }
}

/// `config.json` of a `LlamaForCausalLM`, or of one of its relatives. Keys that a file leaves out have the values that
/// transformers gives them.
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
    /// Whether all maps of the attentions have biases.
    pub attention_bias: bool,
    /// Whether those of queries, keys and values have; the class says it, and no file.
    #[serde(skip)]
    pub qkv_bias: bool,
    /// Whether the maps of the feed-forward parts have biases.
    pub mlp_bias: bool,
    /// Base of the turned positions.
    pub rope_theta: f32,
    /// How the positions of longer texts are told, if not as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// How many tokens a token sees, itself the last of them; all before it unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// The longest text, in tokens; with `rope_scaling` that of training, except in LLaMA 3.1.
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
            qkv_bias: false,
            mlp_bias: false,
            rope_theta: 10_000.0,
            rope_scaling: None,
            sliding_window: None,
            max_position_embeddings: 2048,
            tie_word_embeddings: false,
            bos_token_id: Some(1),
            eos_token_id: Some(Ends::One(2)),
            pad_token_id: None,
        }
    }
}

impl LlamaConfig {
    /// Reads and checks `config`, which is the config of `checkpoint` or part of it, as that of a LLaMA.
    ///
    /// # Errors
    /// As [`Self::read_as`].
    pub fn read(config: &Value, checkpoint: &Checkpoint) -> Result<Self> {
        Self::read_as(LlamaKind::Llama, config, checkpoint)
    }

    /// Reads and checks `config`, which is the config of `checkpoint` or part of it.
    ///
    /// # Errors
    /// If a value has the wrong type, makes no sense, or asks for what Alignscope doesn't know.
    pub fn read_as(kind: LlamaKind, config: &Value, checkpoint: &Checkpoint) -> Result<Self> {
        let mut values = said(config);
        if let (Value::Object(values), Value::Object(usual)) = (&mut values, kind.usual()) {
            for (key, value) in usual {
                // Null is a value here: no window, and as many heads of keys as of queries.
                if config.get(&key).is_none() {
                    values.insert(key, value);
                }
            }
            values.insert("rope_scaling".into(), RopeScaling::named(&config["rope_scaling"], checkpoint)?);
        }
        let mut read: Self = checkpoint.parse(&values)?;
        read.sliding_window = match kind {
            LlamaKind::Llama => None,
            LlamaKind::Mistral => read.sliding_window,
            LlamaKind::Qwen2 => read.window_of_qwen(config, checkpoint)?,
        };
        if kind != LlamaKind::Llama {
            // These classes look at no such keys.
            (read.attention_bias, read.mlp_bias) = (false, false);
        }
        if kind == LlamaKind::Qwen2 {
            read.qkv_bias = true;
            read.bos_token_id = read.bos_token_id.filter(|_| !config["bos_token_id"].is_null());
        }
        read.check(checkpoint)?;
        Ok(read)
    }

    /// The window of a Qwen2, in which each block could have one or none.
    fn window_of_qwen(&self, config: &Value, checkpoint: &Checkpoint) -> Result<Option<usize>> {
        if config["use_sliding_window"].as_bool() != Some(true) {
            return Ok(None);
        }
        let depth = self.num_hidden_layers;
        let with = match config["layer_types"].as_array() {
            Some(kinds) => kinds.iter().filter(|kind| *kind == "sliding_attention").count(),
            None => depth.saturating_sub(config["max_window_layers"].as_u64().map_or(28, |first| first as usize)),
        };
        if with == 0 {
            return Ok(None);
        }
        if with != depth {
            return Err(checkpoint.config_error(format!(
                "the config gives {with} of {depth} blocks of the language model a window, and Alignscope all or none"
            )));
        }
        Ok(self.sliding_window)
    }

    fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.check_sizes(&[
            ("vocab_size", self.vocab_size, 1 << 20),
            ("text hidden_size", self.hidden_size, 1 << 14),
            ("text intermediate_size", self.intermediate_size, 1 << 16),
            ("text num_hidden_layers", self.num_hidden_layers, 256),
            ("text num_attention_heads", self.num_attention_heads, 1 << 10),
            ("num_key_value_heads", self.key_heads(), self.num_attention_heads),
            ("head_dim", self.head_width(), 1 << 12),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 20),
            ("sliding_window", self.sliding_window.unwrap_or(1), 1 << 20),
        ])?;
        // Heads of a length of their own needn't divide the width.
        let heads = self.num_attention_heads;
        let inner = self.head_dim.map_or(self.hidden_size, |head_width| heads * head_width);
        checkpoint.check_block(inner, heads, self.rms_norm_eps)?;
        if !heads.is_multiple_of(self.key_heads()) {
            let shared = self.key_heads();
            return Err(checkpoint.config_error(format!(
                "the config lets {heads} attention heads share {shared} of keys and values, which doesn't divide"
            )));
        }
        if !self.head_width().is_multiple_of(2) {
            return Err(checkpoint.config_error(format!(
                "the config asks for attention heads of {} numbers, which can't be turned by position in pairs",
                self.head_width()
            )));
        }
        if !(1.0..=1e12).contains(&self.rope_theta) {
            let base = self.rope_theta;
            return Err(checkpoint.config_error(format!("the config says rope_theta = {base}, outside of 1 to 1e12")));
        }
        self.rope_scaling.as_ref().map_or(Ok(()), |scaling| scaling.check(self.head_width(), checkpoint))
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

    /// The longest text, in tokens.
    #[must_use]
    pub fn context(&self) -> usize {
        let trained = self.max_position_embeddings;
        self.rope_scaling.map_or(trained, |scaling| scaling.context(trained))
    }

    /// The angles by which the numbers of a head are turned from one position to the next, in radians, `head width / 2` of
    /// them, in a text of `tokens`.
    #[must_use]
    pub fn speeds(&self, tokens: usize) -> Vec<f32> {
        let (head_width, base) = (self.head_width(), self.rope_theta);
        match self.rope_scaling {
            Some(scaling) => scaling.speeds(head_width, base, tokens, self.max_position_embeddings),
            None => Rotary::speeds(head_width, base),
        }
    }

    /// The sizes of a block.
    #[must_use]
    pub fn block(&self) -> LlamaShape {
        LlamaShape {
            width: self.hidden_size,
            heads: self.num_attention_heads,
            key_heads: self.key_heads(),
            head_width: self.head_width(),
            inner: self.intermediate_size,
            activation: self.hidden_act,
            epsilon: self.rms_norm_eps,
            attention_bias: self.attention_bias,
            qkv_bias: self.qkv_bias,
            mlp_bias: self.mlp_bias,
        }
    }
}
