//! The vision transformer of the BLIP family: a class token, no norm before the blocks, queries, keys and values stacked
//! in one weight. Names and order of operations follow transformers' `BlipVisionModel`.

use candle_core::Tensor;

use super::vision_tower::{VisionTowerConfig, check_pixels};
use crate::error::Result;
use crate::nn::{Attention, BlockShape, EncoderBlock, LayerNorm, PatchEmbedding, Scope};
use crate::taps::{Point, Site, Taps, Tower};

/// Patches, positions and blocks.
#[derive(Clone, Debug)]
pub struct BlipVision {
    patch_embedding: PatchEmbedding,
    class_embedding: Tensor,    // [1, 1, width]
    position_embedding: Tensor, // [1, 1 + patches, width]
    blocks: Vec<EncoderBlock>,
    post_layernorm: LayerNorm,
    image_size: usize,
}

impl BlipVision {
    /// Builds the tower from the weights under `vision_model`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: &VisionTowerConfig, scope: &Scope<'_>) -> Result<Self> {
        Self::load_with(config, true, scope)
    }

    /// The same where the projections of queries, keys and values may have no bias, as `qkv_bias` of BLIP-2 says.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_with(config: &VisionTowerConfig, qkv_bias: bool, scope: &Scope<'_>) -> Result<Self> {
        let embeddings = scope.enter("embeddings");
        let width = config.hidden_size;
        let (rows, columns) = config.grid();
        let shape = BlockShape {
            width,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        };
        let block = |layer: usize| {
            let scope = scope.enter("encoder.layers").enter(layer);
            let attention = Attention::load_stacked(&scope.enter("self_attn"), width, shape.heads, qkv_bias)?;
            EncoderBlock::load_around(attention, &scope, shape)
        };
        Ok(Self {
            patch_embedding: PatchEmbedding::load(
                &embeddings.enter("patch_embedding"),
                config.patch_size,
                width,
                true,
            )?,
            class_embedding: embeddings.get("class_embedding", &[1, 1, width])?,
            position_embedding: embeddings.get("position_embedding", &[1, 1 + rows * columns, width])?,
            blocks: (0..config.num_hidden_layers).map(block).collect::<Result<_>>()?,
            post_layernorm: LayerNorm::load(&scope.enter("post_layernorm"), width, config.layer_norm_eps)?,
            image_size: config.image_size,
        })
    }

    /// Number of blocks.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// The states behind the last layer norm, `[batch, 1 + patches, width]`, the class token first, of `pixels` `[batch,
    /// 3, height, width]`.
    ///
    /// # Errors
    /// If the pixels have another size than the config says, the pass is cancelled, or an observer fails.
    pub fn forward(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let batch = check_pixels(pixels, self.image_size)?;
        let patches = self.patch_embedding.forward(pixels)?; // [batch, patches, width]
        let width = patches.dim(2)?;
        let class = self.class_embedding.broadcast_as((batch, 1, width))?.contiguous()?;
        let x = Tensor::cat(&[&class, &patches], 1)?.broadcast_add(&self.position_embedding)?;
        let mut x = taps.tap(Site::new(Tower::Vision, 0, Point::Embed), x)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, None, Tower::Vision, layer, taps)?;
        }
        self.post_layernorm.forward(&x)
    }
}
