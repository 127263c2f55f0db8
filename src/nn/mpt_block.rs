//! The transformer block of MPT (MosaicML 2023), the language model of OpenFlamingo.

use candle_core::Tensor;

use super::{Activation, Attention, Cache, LayerNorm, Linear, Mlp, Norm, Scope};
use crate::error::Result;
use crate::taps::{Attn, Point, Site, Taps, Tower};

/// `x += attention(norm(x)); x += mlp(norm(x))`, without any bias. Positions come with the mask (ALiBi).
#[derive(Clone, Debug)]
pub struct MptBlock {
    norm_1: LayerNorm,
    attn: Attention,
    norm_2: LayerNorm,
    ffn: Mlp,
}

/// The sizes of a block.
#[derive(Clone, Copy, Debug)]
pub struct MptShape {
    /// Length of the vectors.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Length of the vectors inside the feed-forward part.
    pub inner: usize,
    /// What layer norm adds to the variance.
    pub epsilon: f64,
    /// Whether queries and keys are normalised, all heads together.
    pub attention_norms: bool,
}

impl MptBlock {
    /// Reads a block with the weight names of MPT, or those that MPT-1B had before.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, shape: MptShape) -> Result<Self> {
        let MptShape { width, heads, inner, epsilon, .. } = shape;
        let [norm_1, norm_2, up, down] = if scope.contains("ln_1.weight") {
            ["ln_1", "ln_2", "mlp.mlp_up", "mlp.mlp_down"]
        } else {
            ["norm_1", "norm_2", "ffn.up_proj", "ffn.down_proj"]
        };
        let norm = |name| LayerNorm::load_without_bias(&scope.enter(name), width, epsilon);
        let stacked = scope.get("attn.Wqkv.weight", &[3 * width, width])?;
        let part = |at: usize| Linear::from_weight(stacked.narrow(0, at * width, width)?);
        let out_proj = Linear::load_without_bias(&scope.enter("attn.out_proj"), width, width)?;
        let mut attn = Attention::new([part(0)?, part(1)?, part(2)?], out_proj, heads);
        if shape.attention_norms {
            attn = attn.with_norms(Norm::Layer(norm("attn.q_ln")?), Norm::Layer(norm("attn.k_ln")?));
        }
        Ok(Self {
            norm_1: norm(norm_1)?,
            attn,
            norm_2: norm(norm_2)?,
            ffn: Mlp::new(
                Linear::load_without_bias(&scope.enter(up), width, inner)?,
                Linear::load_without_bias(&scope.enter(down), inner, width)?,
                Activation::Gelu,
            ),
        })
    }

    /// One step of the residual stream `x` `[batch, positions, width]` in the decoder. `mask` is added to the attention
    /// scores (`[batch, heads, positions, keys]`); the keys are those in `cache`, if there is one, and behind them
    /// those of `x`, which the cache then holds too.
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled, or an observer fails.
    pub fn forward(
        &self,
        x: Tensor,
        mask: &Tensor,
        cache: Option<&mut Cache>,
        layer: usize,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let at = |point| Site::new(Tower::Decoder, layer, point);
        let x = taps.tap(at(Point::ResidPre), x)?;
        let normed = self.norm_1.forward(&x)?;
        let queries = self.attn.queries(&normed, None)?;
        let mut keys = self.attn.keys(&normed, None)?;
        if let Some(cache) = cache {
            keys = cache.extend(keys)?;
        }
        let place = (Tower::Decoder, layer, Attn::SelfAttn);
        let x = (x + self.attn.attend(&queries, &keys, Some(mask), place, taps)?)?;
        let added = self.ffn.forward(&self.norm_2.forward(&x)?)?;
        let added = taps.tap(at(Point::MlpOut), added)?;
        taps.tap(at(Point::ResidPost), (x + added)?)
    }
}
