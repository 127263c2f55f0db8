//! The vision transformer of CLIP and SigLIP (Dosovitskiy et al. 2020), up to and including its last layer norm, and the
//! states on the way there, which LLaVA looks at.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::nn::{Activation, BlockShape, Embedding, EncoderBlock, LayerNorm, PatchEmbedding, Scope};
use crate::taps::{Point, Site, Taps, Tower};

/// `vision_config` of a `CLIPModel` or `SiglipModel`; the defaults are CLIP's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionTowerConfig {
    /// Length of the vectors.
    pub hidden_size: usize,
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

impl Default for VisionTowerConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl VisionTowerConfig {
    /// Rows and columns of patches.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        let side = self.image_size / self.patch_size;
        (side, side)
    }

    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// On the first such value.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.check_sizes(&[
            ("vision hidden_size", self.hidden_size, 1 << 14),
            ("vision intermediate_size", self.intermediate_size, 1 << 16),
            ("vision num_hidden_layers", self.num_hidden_layers, 256),
            ("num_channels", self.num_channels, 3),
            ("image_size", self.image_size, 4096),
            ("patch_size", self.patch_size, self.image_size),
        ])?;
        if self.num_channels != 3 {
            return Err(checkpoint.config_error("the vision tower doesn't take three colour channels"));
        }
        checkpoint.check_block(self.hidden_size, self.num_attention_heads, self.layer_norm_eps)
    }
}

/// The number of pictures in `pixels` `[batch, 3, image_size, image_size]`.
///
/// # Errors
/// If they have another size.
pub(super) fn check_pixels(pixels: &Tensor, image_size: usize) -> Result<usize> {
    let (batch, _, height, width) = pixels.dims4()?;
    if (height, width) != (image_size, image_size) {
        return Err(Error::unusable(
            format!("the model takes pictures of {image_size} x {image_size} pixels, not {width} x {height}"),
            "correct the sizes in preprocessor_config.json",
        ));
    }
    Ok(batch)
}

/// What differs between the towers of CLIP and SigLIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// CLIP: a learned class token in front, a layer norm before the blocks, patches embedded without bias.
    ClassToken,
    /// SigLIP: patches alone; pooling happens behind the tower.
    Patches,
}

impl Tail {
    /// How many class tokens stand before the patches.
    #[must_use]
    pub fn class_tokens(self) -> usize {
        usize::from(self == Self::ClassToken)
    }
}

/// Patches, positions and blocks.
#[derive(Clone, Debug)]
pub struct VisionTower {
    patch_embedding: PatchEmbedding,
    position_embedding: Embedding,
    class: Option<(Tensor, LayerNorm)>, // [width] and the norm before the blocks
    blocks: Vec<EncoderBlock>,
    post_layernorm: LayerNorm,
    image_size: usize,
}

impl VisionTower {
    /// Builds the tower from the weights under `vision_model`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: &VisionTowerConfig, tail: Tail, scope: &Scope<'_>) -> Result<Self> {
        let embeddings = scope.enter("embeddings");
        let width = config.hidden_size;
        let (rows, columns) = config.grid();
        let with_class = tail == Tail::ClassToken;
        let positions = rows * columns + usize::from(with_class);
        let class = if with_class {
            // The misspelling is transformers', and thus that of every published file.
            let norm = LayerNorm::load(&scope.enter("pre_layrnorm"), width, config.layer_norm_eps)?;
            Some((embeddings.get("class_embedding", &[width])?, norm))
        } else {
            None
        };
        let shape = BlockShape {
            width,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        };
        let layers = scope.enter("encoder.layers");
        Ok(Self {
            patch_embedding: PatchEmbedding::load(
                &embeddings.enter("patch_embedding"),
                config.patch_size,
                width,
                !with_class,
            )?,
            position_embedding: Embedding::load(&embeddings.enter("position_embedding"), positions, width)?,
            class,
            blocks: (0..config.num_hidden_layers)
                .map(|layer| EncoderBlock::load(&layers.enter(layer), shape))
                .collect::<Result<_>>()?,
            post_layernorm: LayerNorm::load(&scope.enter("post_layernorm"), width, config.layer_norm_eps)?,
            image_size: config.image_size,
        })
    }

    /// Number of blocks.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// The states after the last block, `[batch, positions, width]`, before [`Self::post_layernorm`].
    ///
    /// # Errors
    /// If the pixels have another size than the config says, the pass is cancelled, or an observer fails.
    pub fn forward(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        self.through(pixels, taps, |_, _| ())
    }

    /// The states behind several blocks, each `[batch, positions, width]`, in the order of `wanted`: 0 is what enters the
    /// first block, n what leaves the n-th, before [`Self::post_layernorm`]; they are what transformers calls
    /// `hidden_states`. All blocks are passed through, also those behind the last that is wanted.
    ///
    /// # Errors
    /// As [`Self::forward`], and if there are fewer blocks.
    pub fn states(&self, pixels: &Tensor, wanted: &[usize], taps: &mut Taps<'_>) -> Result<Vec<Tensor>> {
        let mut kept: Vec<Option<Tensor>> = vec![None; wanted.len()];
        self.through(pixels, taps, |behind, states| {
            for (place, _) in kept.iter_mut().zip(wanted).filter(|(_, wanted)| **wanted == behind) {
                *place = Some(states.clone());
            }
        })?;
        let missing = |behind: usize| {
            Error::unusable(
                format!("the vision tower has {} blocks, and states behind block {behind} are wanted", self.depth()),
                "correct vision_feature_layer in config.json",
            )
        };
        kept.into_iter().zip(wanted).map(|(states, behind)| states.ok_or_else(|| missing(*behind))).collect()
    }

    /// All blocks; `keep` gets the states behind so many of them.
    fn through(&self, pixels: &Tensor, taps: &mut Taps<'_>, mut keep: impl FnMut(usize, &Tensor)) -> Result<Tensor> {
        let batch = check_pixels(pixels, self.image_size)?;
        let mut x = self.patch_embedding.forward(pixels)?; // [batch, patches, width]
        if let Some((class, _)) = &self.class {
            let class = class.reshape((1, 1, ()))?;
            let class = class.broadcast_as((batch, 1, class.dim(2)?))?;
            x = Tensor::cat(&[&class.contiguous()?, &x], 1)?; // [batch, 1 + patches, width]
        }
        x = x.broadcast_add(&self.position_embedding.first(x.dim(1)?)?)?;
        if let Some((_, norm)) = &self.class {
            x = norm.forward(&x)?;
        }
        x = taps.tap(Site::new(Tower::Vision, 0, Point::Embed), x)?;
        keep(0, &x);
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, None, Tower::Vision, layer, taps)?;
            keep(layer + 1, &x);
        }
        Ok(x)
    }

    /// The states of the second way that CLIP Surgery lays beside the blocks of the upper half (Li et al. 2023, arXiv
    /// 2304.05653), `[batch, positions, width]`, before [`Self::post_layernorm`]: they begin as those behind the lower half, and
    /// each block adds what values gather from like values, without its feed-forward part.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn surgical_states(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let from = self.depth() - self.depth().div_ceil(2);
        let mut before = Vec::new();
        self.through(pixels, taps, |behind, states| before.extend((behind >= from).then(|| states.clone())))?;
        let mut states = before[0].clone();
        for (block, before) in self.blocks[from..].iter().zip(&before) {
            states = (states + block.values_to_values(before)?)?;
        }
        Ok(states)
    }

    /// The layer norm behind the last block.
    ///
    /// # Errors
    /// If the shape doesn't fit.
    pub fn post_layernorm(&self, states: &Tensor) -> Result<Tensor> {
        self.post_layernorm.forward(states)
    }
}
