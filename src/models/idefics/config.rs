//! `config.json` of an `IdeficsForVisionText2Text`. Keys that a file leaves out have the values that transformers gives
//! them.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::models::checkpoint::Checkpoint;
use crate::models::generate::Ends;
use crate::models::vision_tower::VisionTowerConfig;
use crate::nn::Activation;

/// The whole config.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct IdeficsConfig {
    /// Number of tokens that the language model knew before pictures came to it.
    pub vocab_size: usize,
    /// Number of tokens that came with the pictures; their ids follow.
    pub additional_vocab_size: usize,
    /// Length of the text's vectors.
    pub hidden_size: usize,
    /// Length of the vectors inside the feed-forward parts.
    pub intermediate_size: usize,
    /// Number of blocks of the language model.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// Activation of the feed-forward parts.
    pub hidden_act: Activation,
    /// What the norms add to the mean square.
    pub rms_norm_eps: f64,
    /// The token that ends a text.
    pub eos_token_id: Option<Ends>,
    /// Whether the output layer is the table of the input tokens.
    pub tie_word_embeddings: bool,
    /// Whether a gate is one number ("float") or one for each place of the vectors ("vector").
    pub alpha_type: AlphaType,
    /// A gated cross-attention stands before every so many blocks.
    pub cross_layer_interval: usize,
    /// Whether the cross-attention normalises each head of queries and keys.
    pub qk_layer_norms: bool,
    /// Whether pictures go through a Perceiver resampler.
    pub use_resampler: bool,
    /// The vision encoder.
    pub vision_config: IdeficsVisionConfig,
    /// The resampler, if there is one.
    pub perceiver_config: IdeficsPerceiverConfig,
}

/// The two kinds of gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlphaType {
    /// One number.
    Float,
    /// One number for each place of the vectors.
    Vector,
}

/// `vision_config`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct IdeficsVisionConfig {
    /// Length of the vectors.
    pub embed_dim: usize,
    /// Another name for `embed_dim`, which wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_size: Option<usize>,
    /// Length of the vectors inside the feed-forward parts.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// Colour channels; always 3.
    pub num_channels: usize,
    /// Height and width of the picture, in pixels.
    pub image_size: usize,
    /// Height and width of a patch, in pixels.
    pub patch_size: usize,
    /// Activation of the feed-forward parts.
    pub hidden_act: Activation,
    /// What layer norm adds to the variance.
    pub layer_norm_eps: f64,
}

/// `perceiver_config`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct IdeficsPerceiverConfig {
    /// Number of latents, and so of vectors that a picture becomes.
    pub resampler_n_latents: usize,
    /// Number of blocks.
    pub resampler_depth: usize,
    /// Heads of each attention.
    pub resampler_n_heads: usize,
    /// Length of a head's vectors.
    pub resampler_head_dim: usize,
    /// Whether each head of queries and keys is normalised.
    pub qk_layer_norms_perceiver: bool,
}

impl Default for IdeficsConfig {
    fn default() -> Self {
        Self {
            vocab_size: 32000,
            additional_vocab_size: 0,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            hidden_act: Activation::Silu,
            rms_norm_eps: 1e-6,
            eos_token_id: Some(Ends::One(2)),
            tie_word_embeddings: false,
            alpha_type: AlphaType::Float,
            cross_layer_interval: 1,
            qk_layer_norms: false,
            use_resampler: false,
            vision_config: IdeficsVisionConfig::default(),
            perceiver_config: IdeficsPerceiverConfig::default(),
        }
    }
}

impl Default for IdeficsVisionConfig {
    fn default() -> Self {
        Self {
            embed_dim: 768,
            hidden_size: None,
            intermediate_size: 5120,
            num_hidden_layers: 32,
            num_attention_heads: 16,
            num_channels: 3,
            image_size: 224,
            patch_size: 14,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl Default for IdeficsPerceiverConfig {
    fn default() -> Self {
        Self {
            resampler_n_latents: 64,
            resampler_depth: 6,
            resampler_n_heads: 16,
            resampler_head_dim: 96,
            qk_layer_norms_perceiver: false,
        }
    }
}

impl IdeficsVisionConfig {
    /// The same in the words of CLIP's vision tower, which this is.
    #[must_use]
    pub fn tower(&self) -> VisionTowerConfig {
        VisionTowerConfig {
            hidden_size: self.hidden_size.unwrap_or(self.embed_dim),
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_channels: self.num_channels,
            image_size: self.image_size,
            patch_size: self.patch_size,
            hidden_act: self.hidden_act,
            layer_norm_eps: self.layer_norm_eps,
        }
    }
}

impl IdeficsConfig {
    /// Reads and checks the config of a checkpoint.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let mut config = checkpoint.config.clone();
        // transformers writes a part that was left at its defaults as null.
        if let Some(config) = config.as_object_mut() {
            config.retain(|key, value| !value.is_null() || key == "eos_token_id");
        }
        let config: Self = checkpoint.parse(&config)?;
        checkpoint.check_sizes(&[
            ("vocab_size", config.vocab_size, 1 << 20),
            ("additional_vocab_size + 1", config.additional_vocab_size.saturating_add(1), 1 << 20),
            ("hidden_size", config.hidden_size, 1 << 14),
            ("intermediate_size", config.intermediate_size, 1 << 16),
            ("num_hidden_layers", config.num_hidden_layers, 256),
            ("cross_layer_interval", config.cross_layer_interval, config.num_hidden_layers),
        ])?;
        checkpoint.check_block(config.hidden_size, config.num_attention_heads, config.rms_norm_eps)?;
        if !(config.hidden_size / config.num_attention_heads).is_multiple_of(2) {
            return Err(checkpoint.config_error(format!(
                "the config asks for {} heads over a width of {}, whose odd heads can't be turned by position",
                config.num_attention_heads, config.hidden_size
            )));
        }
        if !config.num_hidden_layers.is_multiple_of(config.cross_layer_interval) {
            return Err(checkpoint.config_error(format!(
                "the config asks for cross-attention before every {} of {} blocks, which doesn't divide",
                config.cross_layer_interval, config.num_hidden_layers
            )));
        }
        config.vision_config.tower().check(checkpoint)?;
        if config.use_resampler {
            let perceiver = &config.perceiver_config;
            checkpoint.check_sizes(&[
                ("resampler_n_latents", perceiver.resampler_n_latents, 1 << 12),
                ("resampler_depth", perceiver.resampler_depth, 256),
                ("resampler_n_heads", perceiver.resampler_n_heads, 256),
                ("resampler_head_dim", perceiver.resampler_head_dim, 1 << 12),
            ])?;
        }
        Ok(config)
    }

    /// Length of a head's vectors in the language model.
    #[must_use]
    pub fn head_width(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// How many vectors a picture becomes.
    #[must_use]
    pub fn media_tokens(&self) -> usize {
        if self.use_resampler {
            return self.perceiver_config.resampler_n_latents;
        }
        let (rows, columns) = self.vision_config.tower().grid();
        1 + rows * columns
    }

    /// The tokens that end a text.
    #[must_use]
    pub fn ends(&self) -> Vec<u32> {
        self.eos_token_id.as_ref().map(Ends::ids).unwrap_or_default()
    }
}
