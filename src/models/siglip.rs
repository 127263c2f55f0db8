//! SigLIP (Zhai et al. 2023, arXiv 2303.15343): CLIP's two encoders, trained with a sigmoid for each pair.
//!
//! It differs from CLIP in three places: no class token but a head that pools the patches by attention, texts that see
//! both ways and are pooled at their last position, and a bias beside the temperature. Names and order of operations
//! follow transformers' `SiglipModel`.

use candle_core::Tensor;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checkpoint::Checkpoint;
use super::dual_encoder::{DualEncoder, ImageFeatures, TextFeatures};
use super::text_tower::{TextShape, TextTower};
use super::vision_tower::{Tail, VisionTower, VisionTowerConfig};
use crate::error::Result;
use crate::nn::{Activation, Attention, BlockShape, LayerNorm, Linear, Mlp, Scope, normalise, padding_mask, residual};
use crate::taps::{Attn, Taps, Tower};

/// `config.json` of a `SiglipModel`.
#[derive(Clone, Debug, Deserialize)]
pub struct SiglipConfig {
    /// The text encoder.
    pub text_config: SiglipTextConfig,
    /// The vision encoder.
    pub vision_config: VisionTowerConfig,
}

/// `text_config` of a `SiglipModel`.
#[derive(Clone, Debug, Deserialize)]
pub struct SiglipTextConfig {
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
    /// Length to which every text is padded.
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward parts.
    pub hidden_act: Activation,
    /// What layer norm adds to the variance.
    pub layer_norm_eps: f64,
    /// Length of the text's vector; the hidden size unless given.
    pub projection_size: Option<usize>,
}

impl SiglipConfig {
    /// Reads and checks the config of a checkpoint; keys that it leaves out get transformers' values.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let text = json!({"vocab_size": 32000, "max_position_embeddings": 64});
        let config: Self = checkpoint.parse(&json!({
            "text_config": filled(&checkpoint.config["text_config"], &[&block(), &text]),
            "vision_config": vision_config(&checkpoint.config["vision_config"]),
        }))?;
        let text = &config.text_config;
        checkpoint.check_sizes(&[
            ("vocab_size", text.vocab_size, 1 << 20),
            ("text hidden_size", text.hidden_size, 1 << 14),
            ("text intermediate_size", text.intermediate_size, 1 << 16),
            ("text num_hidden_layers", text.num_hidden_layers, 256),
            ("max_position_embeddings", text.max_position_embeddings, 1 << 14),
            ("projection_size", config.projection_size(), 1 << 14),
        ])?;
        checkpoint.check_block(text.hidden_size, text.num_attention_heads, text.layer_norm_eps)?;
        config.vision_config.check(checkpoint)?;
        Ok(config)
    }

    fn projection_size(&self) -> usize {
        let text = &self.text_config;
        text.projection_size.unwrap_or(text.hidden_size)
    }
}

/// What the blocks of both towers are like where a file doesn't say it.
fn block() -> Value {
    json!({
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
    })
}

/// The `vision_config` of a SigLIP, with transformers' values for the keys that it leaves out.
pub(super) fn vision_config(given: &Value) -> Value {
    filled(given, &[&block(), &json!({"num_channels": 3, "image_size": 224, "patch_size": 16})])
}

/// `given` with the values of `defaults` where it has none.
fn filled(given: &Value, defaults: &[&Value]) -> Value {
    let mut all = serde_json::Map::new();
    for object in defaults.iter().copied().chain([given]) {
        for (key, value) in object.as_object().into_iter().flatten() {
            all.insert(key.clone(), value.clone());
        }
    }
    Value::Object(all)
}

/// The model.
pub struct Siglip {
    config: SiglipConfig,
    vision: VisionTower,
    head: PoolingHead,
    text: TextTower,
    final_layer_norm: LayerNorm,
    text_head: Linear,
    logit_scale: Tensor, // [1]
    logit_bias: Tensor,  // [1]
}

/// One learned query that gathers the patches by attention.
struct PoolingHead {
    probe: Tensor, // [1, 1, width]
    attention: Attention,
    layernorm: LayerNorm,
    mlp: Mlp,
}

impl PoolingHead {
    fn load(config: &VisionTowerConfig, scope: &Scope<'_>) -> Result<Self> {
        let width = config.hidden_size;
        let attention = scope.enter("attention");
        // torch's MultiheadAttention keeps the three projections in one matrix.
        let weight = attention.matrix("in_proj_weight", (3 * width, width))?;
        let bias = attention.get("in_proj_bias", &[3 * width])?;
        let part = |index: usize| -> Result<Linear> {
            Linear::new(weight.narrow(index * width, width)?, bias.narrow(0, index * width, width)?).turned()
        };
        Ok(Self {
            probe: scope.get("probe", &[1, 1, width])?,
            attention: Attention::new(
                [part(0)?, part(1)?, part(2)?],
                Linear::load(&attention.enter("out_proj"), width, width)?,
                config.num_attention_heads,
            ),
            layernorm: LayerNorm::load(&scope.enter("layernorm"), width, config.layer_norm_eps)?,
            mlp: Mlp::load(&scope.enter("mlp"), width, config.intermediate_size, config.hidden_act)?,
        })
    }

    /// Pools `states` `[batch, positions, width]` to `[batch, width]`.
    fn forward(&self, states: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let (batch, _, width) = states.dims3()?;
        let probe = self.probe.broadcast_as((batch, 1, width))?.contiguous()?;
        let place = (Tower::Pooler, 0, Attn::CrossAttn);
        let gathered = self.attention.forward(&probe, states, None, place, taps)?; // [batch, 1, width]
        let added = self.mlp.forward(&self.layernorm.forward(&gathered)?)?;
        Ok(residual(&gathered, &added)?.squeeze(1)?)
    }

    /// Each of `states` `[batch, patches, width]` in the shared space, unit length: what the head would make of a picture that
    /// has this patch alone.
    fn alone(&self, states: &Tensor) -> Result<Tensor> {
        let (batch, patches, width) = states.dims3()?;
        let alone = self.forward(&states.reshape((batch * patches, 1, width))?, &mut Taps::none())?;
        Ok(normalise(&alone)?.reshape((batch, patches, width))?)
    }
}

impl Siglip {
    /// Builds the model from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: SiglipConfig, scope: &Scope<'_>) -> Result<Self> {
        let text = &config.text_config;
        let (vision_scope, text_scope) = (scope.enter("vision_model"), scope.enter("text_model"));
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
        Ok(Self {
            vision: VisionTower::load(&config.vision_config, Tail::Patches, &vision_scope)?,
            head: PoolingHead::load(&config.vision_config, &vision_scope.enter("head"))?,
            text: TextTower::load(text_shape, &text_scope)?,
            final_layer_norm: LayerNorm::load(&text_scope.enter("final_layer_norm"), width, text.layer_norm_eps)?,
            text_head: Linear::load(&text_scope.enter("head"), width, config.projection_size())?,
            logit_scale: scope.get("logit_scale", &[1])?,
            logit_bias: scope.get("logit_bias", &[1])?,
            config,
        })
    }
}

impl DualEncoder for Siglip {
    fn grid(&self) -> (usize, usize) {
        self.config.vision_config.grid()
    }

    fn class_tokens(&self) -> usize {
        0
    }

    fn depths(&self) -> (usize, usize) {
        (self.vision.depth(), self.text.depth())
    }

    fn context(&self) -> usize {
        self.config.text_config.max_position_embeddings
    }

    fn pads_to_context(&self) -> bool {
        true
    }

    fn projection_size(&self) -> usize {
        self.config.projection_size()
    }

    fn encode_image(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<ImageFeatures> {
        let states = self.vision.forward(pixels, taps)?; // [batch, patches, width]
        let states = self.vision.post_layernorm(&states)?;
        let pooled = self.head.forward(&states, taps)?; // [batch, width]
        Ok(ImageFeatures { embed: normalise(&pooled)?, patches: self.head.alone(&states)?, pooled })
    }

    fn surgical_patches(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let states = self.vision.surgical_states(pixels, taps)?;
        self.head.alone(&self.vision.post_layernorm(&states)?)
    }

    fn encode_text(&self, ids: &Tensor, attention_mask: Option<&Tensor>, taps: &mut Taps<'_>) -> Result<TextFeatures> {
        let tokens = self.text.check_length(ids)?;
        let mask = attention_mask.map(padding_mask).transpose()?;
        let x = self.text.forward(ids, mask.as_ref(), taps)?; // [batch, tokens, width]
        let last = x.narrow(1, tokens - 1, 1)?.squeeze(1)?; // [batch, width]
        let pooled = self.text_head.forward(&self.final_layer_norm.forward(&last)?)?;
        let embed = normalise(&pooled)?;
        Ok(TextFeatures { pooled, embed })
    }

    fn logits(&self, image_embed: &Tensor, text_embed: &Tensor) -> Result<Tensor> {
        let cosine = image_embed.matmul(&text_embed.t()?)?; // [pictures, texts]
        let scaled = cosine.broadcast_mul(&self.logit_scale.exp()?)?;
        Ok(scaled.broadcast_add(&self.logit_bias)?)
    }

    fn logit_factor(&self) -> Result<f32> {
        Ok(self.logit_scale.exp()?.squeeze(0)?.to_scalar::<f32>()?)
    }

    fn logit_bias(&self) -> Result<Option<f32>> {
        Ok(Some(self.logit_bias.squeeze(0)?.to_scalar::<f32>()?))
    }
}
