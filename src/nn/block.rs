//! The transformer block that CLIP, SigLIP and the vision towers of the BLIP family share.

use candle_core::Tensor;

use super::{Activation, Attention, LayerNorm, Mlp, Scope, residual};
use crate::error::Result;
use crate::taps::{Attn, Point, Site, Taps, Tower};

/// `x += attention(norm(x)); x += mlp(norm(x))`.
#[derive(Clone, Debug)]
pub struct EncoderBlock {
    layer_norm1: LayerNorm,
    self_attn: Attention,
    layer_norm2: LayerNorm,
    mlp: Mlp,
}

/// The sizes of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockShape {
    /// Length of the vectors.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Length of the vectors inside the feed-forward part.
    pub inner: usize,
    /// Activation of the feed-forward part.
    pub activation: Activation,
    /// What layer norm adds to the variance.
    pub epsilon: f64,
}

impl EncoderBlock {
    /// Reads a block with the weight names of CLIP.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, shape: BlockShape) -> Result<Self> {
        let self_attn = Attention::load(&scope.enter("self_attn"), shape.width, shape.heads)?;
        Self::load_around(self_attn, scope, shape)
    }

    /// Reads the rest of a block with the weight names of CLIP, whose attention has names of its own.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_around(self_attn: Attention, scope: &Scope<'_>, shape: BlockShape) -> Result<Self> {
        let BlockShape { width, epsilon, .. } = shape;
        Ok(Self {
            layer_norm1: LayerNorm::load(&scope.enter("layer_norm1"), width, epsilon)?,
            self_attn,
            layer_norm2: LayerNorm::load(&scope.enter("layer_norm2"), width, epsilon)?,
            mlp: Mlp::load(&scope.enter("mlp"), width, shape.inner, shape.activation)?,
        })
    }

    /// What the attention of the block would add to `x` `[batch, positions, width]` if values looked at values.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn values_to_values(&self, x: &Tensor) -> Result<Tensor> {
        self.self_attn.values_to_values(&self.layer_norm1.forward(x)?)
    }

    /// One step of the residual stream `x` `[batch, positions, width]`; `mask` is added to the attention scores
    /// (`[batch or 1, 1, positions, positions]`).
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled, or an observer fails.
    pub fn forward(
        &self,
        x: Tensor,
        mask: Option<&Tensor>,
        tower: Tower,
        layer: usize,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let at = |point| Site::new(tower, layer, point);
        let x = taps.tap(at(Point::ResidPre), x)?;
        let normed = self.layer_norm1.forward(&x)?;
        let place = (tower, layer, Attn::SelfAttn);
        let attended = self.self_attn.forward(&normed, &normed, mask, place, taps)?;
        let x = residual(&x, &attended)?;
        let added = self.mlp.forward(&self.layer_norm2.forward(&x)?)?;
        let added = taps.tap(at(Point::MlpOut), added)?;
        taps.tap(at(Point::ResidPost), residual(&x, &added)?)
    }
}
