//! Flamingo's Perceiver resampler (Alayrac et al. 2022, arXiv 2204.14198), as in IDEFICS and OpenFlamingo: a fixed
//! number of learned latents gathers what any number of patches holds.

use candle_core::Tensor;

use super::{Activation, Attention, LayerNorm, Linear, Mlp, Norm, Scope, residual};
use crate::error::Result;
use crate::taps::{Attn, Point, Site, Taps, Tower};

/// Both leave these norms at torch's default.
const EPSILON: f64 = 1e-5;

/// Latents that look at patches and at themselves, block by block.
#[derive(Clone, Debug)]
pub struct PerceiverResampler {
    latents: Tensor, // [latents, width]
    blocks: Vec<PerceiverBlock>,
    layer_norm: LayerNorm,
}

/// The sizes of a resampler.
#[derive(Clone, Copy, Debug)]
pub struct PerceiverShape {
    /// Length of the vectors.
    pub width: usize,
    /// Number of latents.
    pub latents: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Length of a head's vectors.
    pub head_width: usize,
    /// Whether each head of queries and keys is normalised.
    pub head_norms: bool,
}

#[derive(Clone, Debug)]
struct PerceiverBlock {
    context_layer_norm: LayerNorm,
    latents_layer_norm: LayerNorm,
    attention: Attention,
    ln: LayerNorm,
    mlp: Mlp, // 4 width inside
}

impl PerceiverResampler {
    /// Reads a resampler with the weight names of IDEFICS.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, shape: PerceiverShape) -> Result<Self> {
        let blocks = scope.enter("blocks");
        Ok(Self {
            latents: scope.get("latents", &[shape.latents, shape.width])?,
            blocks: (0..shape.depth)
                .map(|block| PerceiverBlock::load(&blocks.enter(block), shape))
                .collect::<Result<_>>()?,
            layer_norm: LayerNorm::load(&scope.enter("layer_norm"), shape.width, EPSILON)?,
        })
    }

    /// Reads a resampler with the weight names of OpenFlamingo, which has no norms of heads.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_open_flamingo(scope: &Scope<'_>, shape: PerceiverShape) -> Result<Self> {
        let layers = scope.enter("layers");
        Ok(Self {
            latents: scope.get("latents", &[shape.latents, shape.width])?,
            blocks: (0..shape.depth)
                .map(|layer| PerceiverBlock::load_open_flamingo(&layers.enter(layer), shape))
                .collect::<Result<_>>()?,
            layer_norm: LayerNorm::load(&scope.enter("norm"), shape.width, EPSILON)?,
        })
    }

    /// Maps the features of pictures `[pictures, positions, width]` to `[pictures, latents, width]`. The keys are the
    /// positions and behind them the latents.
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled, or an observer fails.
    pub fn forward(&self, features: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let (latents, width) = self.latents.dims2()?;
        let shape = (features.dim(0)?, latents, width);
        let mut x = self.latents.reshape((1, latents, width))?.broadcast_as(shape)?.contiguous()?;
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, features, layer, taps)?;
        }
        self.layer_norm.forward(&x)
    }
}

impl PerceiverBlock {
    fn load(scope: &Scope<'_>, shape: PerceiverShape) -> Result<Self> {
        let PerceiverShape { width, heads, head_width, .. } = shape;
        let (look, forward) = (scope.enter(0), scope.enter(1));
        let norm = |name, width| LayerNorm::load(&look.enter(name), width, EPSILON);
        let linear = |name| Linear::load_without_bias(&look.enter(name), width, heads * head_width);
        let out = Linear::load_without_bias(&look.enter("output_proj"), heads * head_width, width)?;
        let mut attention = Attention::new([linear("q_proj")?, linear("k_proj")?, linear("v_proj")?], out, heads);
        if shape.head_norms {
            let (queries, keys) = (norm("q_layer_norm", head_width)?, norm("k_layer_norm", head_width)?);
            attention = attention.with_norms(Norm::Layer(queries), Norm::Layer(keys));
        }
        Ok(Self {
            context_layer_norm: norm("context_layer_norm", width)?,
            latents_layer_norm: norm("latents_layer_norm", width)?,
            attention,
            ln: LayerNorm::load(&forward.enter("ln"), width, EPSILON)?,
            mlp: Mlp::new(
                Linear::load_without_bias(&forward.enter("fc"), width, 4 * width)?,
                Linear::load_without_bias(&forward.enter("c_proj"), 4 * width, width)?,
                Activation::Relu,
            ),
        })
    }

    fn load_open_flamingo(scope: &Scope<'_>, shape: PerceiverShape) -> Result<Self> {
        let PerceiverShape { width, heads, head_width, .. } = shape;
        let (look, forward) = (scope.enter(0), scope.enter(1));
        Ok(Self {
            context_layer_norm: LayerNorm::load(&look.enter("norm_media"), width, EPSILON)?,
            latents_layer_norm: LayerNorm::load(&look.enter("norm_latents"), width, EPSILON)?,
            attention: Attention::load_open_flamingo(&look, width, width, (heads, head_width))?,
            ln: LayerNorm::load(&forward.enter(0), width, EPSILON)?,
            mlp: Mlp::load_open_flamingo(&forward, width)?,
        })
    }

    fn forward(&self, x: &Tensor, features: &Tensor, layer: usize, taps: &mut Taps<'_>) -> Result<Tensor> {
        let latents = self.latents_layer_norm.forward(x)?;
        let keys = Tensor::cat(&[&self.context_layer_norm.forward(features)?, &latents], 1)?;
        let place = (Tower::Resampler, layer, Attn::CrossAttn);
        let x = residual(x, &self.attention.forward(&latents, &keys, None, place, taps)?)?;
        let added = self.mlp.forward(&self.ln.forward(&x)?)?;
        taps.tap(Site::new(Tower::Resampler, layer, Point::ResidPost), residual(&x, &added)?)
    }
}
