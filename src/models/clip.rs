//! CLIP (Radford et al. 2021, arXiv 2103.00020): two encoders, trained so that matching pairs are close.
//!
//! Names and order of operations follow transformers' `CLIPModel`.

use candle_core::{D, DType, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checkpoint::Checkpoint;
use super::dual_encoder::{DualEncoder, ImageFeatures, TextFeatures};
use super::text_tower::{TextShape, TextTower};
use super::vision_tower::{Tail, VisionTower, VisionTowerConfig};
use crate::error::Result;
use crate::nn::{Activation, BlockShape, LayerNorm, Linear, Scope, causal_mask, normalise, padding_mask};
use crate::taps::Taps;

/// `config.json` of a `CLIPModel`. Keys that a file leaves out have the values that transformers gives them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// The text encoder.
    pub text_config: ClipTextConfig,
    /// The vision encoder.
    pub vision_config: VisionTowerConfig,
    /// Length of vectors in the shared space.
    pub projection_dim: usize,
    /// Where the logarithm of the inverse temperature starts in training.
    pub logit_scale_init_value: f64,
}

/// `text_config` of a `CLIPModel`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Number of known tokens.
    pub vocab_size: usize,
    /// Length of the vectors.
    pub hidden_size: usize,
    /// Length of the vectors inside the feed-forward parts.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward parts.
    pub hidden_act: Activation,
    /// What layer norm adds to the variance.
    pub layer_norm_eps: f64,
    /// The end-of-text token, whose position is the text's vector. 2 is an old convention: then it is the position of
    /// the highest id.
    pub eos_token_id: u32,
    /// The padding token.
    pub pad_token_id: u32,
    /// The start-of-text token.
    pub bos_token_id: u32,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            text_config: ClipTextConfig::default(),
            vision_config: VisionTowerConfig::default(),
            projection_dim: 512,
            logit_scale_init_value: 2.6592,
        }
    }
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
            pad_token_id: 1,
            bos_token_id: 49406,
        }
    }
}

impl ClipConfig {
    /// Reads and checks the config of a checkpoint.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let mut config = checkpoint.config.clone();
        // Early published files repeat parts under `*_config_dict`, which transformers lets win.
        for (part, older) in [("text_config", "text_config_dict"), ("vision_config", "vision_config_dict")] {
            if let Value::Object(values) = config[older].clone() {
                for (key, value) in values {
                    config[part][key] = value;
                }
            }
            if config[part].is_null() {
                config[part] = Value::Object(serde_json::Map::default());
            }
        }
        let config: Self = checkpoint.parse(&config)?;
        let text = &config.text_config;
        checkpoint.check_sizes(&[
            ("vocab_size", text.vocab_size, 1 << 20),
            ("text hidden_size", text.hidden_size, 1 << 14),
            ("text intermediate_size", text.intermediate_size, 1 << 16),
            ("text num_hidden_layers", text.num_hidden_layers, 256),
            ("max_position_embeddings", text.max_position_embeddings, 1 << 14),
            ("projection_dim", config.projection_dim, 1 << 14),
        ])?;
        checkpoint.check_block(text.hidden_size, text.num_attention_heads, text.layer_norm_eps)?;
        config.vision_config.check(checkpoint)?;
        Ok(config)
    }
}

/// The vision tower in a folder of its own: that of a `CLIPModel`, or a `CLIPVisionModel`.
pub(super) fn vision_config(checkpoint: &Checkpoint) -> Result<VisionTowerConfig> {
    if checkpoint.config["vision_config"].is_object() {
        return Ok(ClipConfig::read(checkpoint)?.vision_config);
    }
    let config: VisionTowerConfig = checkpoint.parse(&checkpoint.config)?;
    config.check(checkpoint)?;
    Ok(config)
}

/// The model.
pub struct Clip {
    config: ClipConfig,
    vision: VisionTower,
    visual_projection: Linear,
    text: TextTower,
    final_layer_norm: LayerNorm,
    text_projection: Linear,
    logit_scale: Tensor, // []
}

impl Clip {
    /// Builds the model from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: ClipConfig, scope: &Scope<'_>) -> Result<Self> {
        let text = &config.text_config;
        let text_scope = scope.enter("text_model");
        let width = text.hidden_size;
        let block = BlockShape {
            width,
            heads: text.num_attention_heads,
            inner: text.intermediate_size,
            activation: text.hidden_act,
            epsilon: text.layer_norm_eps,
        };
        let text_shape = TextShape {
            tokens: text.vocab_size,
            context: text.max_position_embeddings,
            depth: text.num_hidden_layers,
            block,
        };
        let vision_width = config.vision_config.hidden_size;
        Ok(Self {
            vision: VisionTower::load(&config.vision_config, Tail::ClassToken, &scope.enter("vision_model"))?,
            visual_projection: Linear::load_without_bias(
                &scope.enter("visual_projection"),
                vision_width,
                config.projection_dim,
            )?,
            text: TextTower::load(text_shape, &text_scope)?,
            final_layer_norm: LayerNorm::load(&text_scope.enter("final_layer_norm"), width, text.layer_norm_eps)?,
            text_projection: Linear::load_without_bias(&scope.enter("text_projection"), width, config.projection_dim)?,
            logit_scale: scope.get("logit_scale", &[])?,
            config,
        })
    }

    /// The sizes of the model.
    #[must_use]
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// `logit_scale`, the logarithm of the inverse temperature, as a tensor without axes (for training).
    #[must_use]
    pub fn logit_scale(&self) -> &Tensor {
        &self.logit_scale
    }

    /// The position whose state is the text's vector, for each row of `ids`.
    fn end_positions(&self, ids: &Tensor) -> Result<Tensor> {
        let end = self.config.text_config.eos_token_id;
        let rows = ids.to_dtype(DType::U32)?.to_vec2::<u32>()?;
        let ends: Vec<u32> = rows
            .iter()
            .map(|row| {
                let position = if end == 2 {
                    // The first of the highest ids, as torch's argmax gives it.
                    let highest = row.iter().max();
                    row.iter().position(|id| Some(id) == highest)
                } else {
                    row.iter().position(|id| *id == end)
                };
                u32::try_from(position.unwrap_or(0)).unwrap_or(0)
            })
            .collect();
        let count = ends.len();
        Ok(Tensor::from_vec(ends, (count,), ids.device())?)
    }
}

impl DualEncoder for Clip {
    fn grid(&self) -> (usize, usize) {
        self.config.vision_config.grid()
    }

    fn class_tokens(&self) -> usize {
        1
    }

    fn depths(&self) -> (usize, usize) {
        (self.vision.depth(), self.text.depth())
    }

    fn context(&self) -> usize {
        self.config.text_config.max_position_embeddings
    }

    fn pads_to_context(&self) -> bool {
        false
    }

    fn projection_size(&self) -> usize {
        self.config.projection_dim
    }

    fn encode_image(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<ImageFeatures> {
        let states = self.vision.forward(pixels, taps)?; // [batch, 1 + patches, width]
        let states = self.vision.post_layernorm(&states)?;
        let pooled = states.narrow(1, 0, 1)?.squeeze(1)?; // [batch, width]
        let patches = states.narrow(1, 1, states.dim(1)? - 1)?; // [batch, patches, width]
        let embed = self.visual_projection.forward(&pooled)?;
        let patches = self.visual_projection.forward(&patches)?;
        Ok(ImageFeatures { pooled, embed: normalise(&embed)?, patches: normalise(&patches)? })
    }

    fn surgical_patches(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let states = self.vision.post_layernorm(&self.vision.surgical_states(pixels, taps)?)?;
        let patches = states.narrow(1, 1, states.dim(1)? - 1)?; // [batch, patches, width]
        normalise(&self.visual_projection.forward(&patches)?)
    }

    fn encode_text(&self, ids: &Tensor, attention_mask: Option<&Tensor>, taps: &mut Taps<'_>) -> Result<TextFeatures> {
        let batch = ids.dim(0)?;
        let mut mask = causal_mask(self.text.check_length(ids)?, ids.device())?;
        if let Some(attention_mask) = attention_mask {
            mask = mask.broadcast_add(&padding_mask(attention_mask)?)?;
        }
        let x = self.text.forward(ids, Some(&mask), taps)?; // [batch, tokens, width]
        // The norm acts on each position alone, so only the end positions need it.
        let width = x.dim(D::Minus1)?;
        let at = self.end_positions(ids)?.reshape((batch, 1, 1))?;
        let at = at.broadcast_as((batch, 1, width))?.contiguous()?;
        let ends = x.contiguous()?.gather(&at, 1)?.squeeze(1)?; // [batch, width]
        let pooled = self.final_layer_norm.forward(&ends)?;
        let embed = normalise(&self.text_projection.forward(&pooled)?)?;
        Ok(TextFeatures { pooled, embed })
    }

    fn logits(&self, image_embed: &Tensor, text_embed: &Tensor) -> Result<Tensor> {
        let cosine = image_embed.matmul(&text_embed.t()?)?; // [pictures, texts]
        Ok(cosine.broadcast_mul(&self.logit_scale.exp()?)?)
    }

    fn logit_factor(&self) -> Result<f32> {
        Ok(self.logit_scale.exp()?.to_scalar::<f32>()?)
    }

    fn logit_bias(&self) -> Result<Option<f32>> {
        Ok(None)
    }
}
