//! The transformer block of BERT (Devlin et al. 2018), with cross-attention between its two parts as in BLIP.

use candle_core::Tensor;

use super::{Activation, Attention, BlockCache, BlockShape, LayerNorm, Linear, Scope};
use crate::error::Result;
use crate::taps::{Attn, Point, Site, Taps, Tower};

/// `x = norm(x + attention(x)); x = norm(x + cross(x, other)); x = norm(x + mlp(x))`: the norms stand behind.
#[derive(Clone, Debug)]
pub struct BertBlock {
    self_attn: Attention,
    self_norm: LayerNorm,
    cross: Option<(Attention, LayerNorm)>,
    intermediate: Linear, // width -> inner
    output: Linear,       // inner -> width
    output_norm: LayerNorm,
    activation: Activation,
}

/// The other sequence, which cross-attention looks at.
#[derive(Clone, Copy, Debug)]
pub struct Fusion<'a> {
    /// `[batch, keys, key width]`.
    pub states: &'a Tensor,
    /// Added to the scores, `[batch or 1, 1, queries, keys]`.
    pub mask: Option<&'a Tensor>,
}

impl BertBlock {
    /// Reads a block with the weight names of BERT. `key_width` is the length of the vectors that cross-attention looks
    /// at; `None` where the block has none.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, shape: BlockShape, key_width: Option<usize>) -> Result<Self> {
        let BlockShape { width, heads, inner, epsilon, activation } = shape;
        let attention = |name: &str, key_width| -> Result<(Attention, LayerNorm)> {
            let scope = scope.enter(name);
            let norm = LayerNorm::load(&scope.enter("output.LayerNorm"), width, epsilon)?;
            Ok((Attention::load_bert(&scope, width, key_width, heads)?, norm))
        };
        let (self_attn, self_norm) = attention("attention", width)?;
        Ok(Self {
            self_attn,
            self_norm,
            cross: key_width.map(|key_width| attention("crossattention", key_width)).transpose()?,
            intermediate: Linear::load(&scope.enter("intermediate.dense"), width, inner)?,
            output: Linear::load(&scope.enter("output.dense"), inner, width)?,
            output_norm: LayerNorm::load(&scope.enter("output.LayerNorm"), width, epsilon)?,
            activation,
        })
    }

    /// One step of `x` `[batch, positions, width]`; `mask` is added to the scores of self-attention (`[batch or 1, 1,
    /// positions, all positions]`). Without `fusion` there is no cross-attention. With a `cache`, `x` holds only the
    /// positions that come after those in the cache, which grows by them; `fusion` must then be the same in each pass.
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled, or an observer fails.
    pub fn forward(
        &self,
        x: Tensor,
        mask: Option<&Tensor>,
        fusion: Option<Fusion<'_>>,
        mut cache: Option<&mut BlockCache>,
        (tower, layer): (Tower, usize),
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let at = |point| Site::new(tower, layer, point);
        let x = taps.tap(at(Point::ResidPre), x)?;
        let mut seen = self.self_attn.keys(&x, None)?;
        if let Some(cache) = cache.as_deref_mut() {
            seen = cache.self_attn.extend(seen)?;
        }
        let queries = self.self_attn.queries(&x, None)?;
        let attended = self.self_attn.attend(&queries, &seen, mask, (tower, layer, Attn::SelfAttn), taps)?;
        let mut x = self.self_norm.forward(&(x + attended)?)?;
        if let (Some((attention, norm)), Some(fusion)) = (&self.cross, fusion) {
            let kept = cache.as_deref().and_then(|cache| cache.cross_attn.clone());
            let seen = kept.map_or_else(|| attention.keys(fusion.states, None), Ok)?;
            let queries = attention.queries(&x, None)?;
            let attended = attention.attend(&queries, &seen, fusion.mask, (tower, layer, Attn::CrossAttn), taps)?;
            x = norm.forward(&(x + attended)?)?;
            if let Some(cache) = cache {
                cache.cross_attn = Some(seen);
            }
        }
        let inner = self.activation.forward(&self.intermediate.forward(&x)?)?;
        let added = taps.tap(at(Point::MlpOut), self.output.forward(&inner)?)?;
        taps.tap(at(Point::ResidPost), self.output_norm.forward(&(x + added)?)?)
    }
}
