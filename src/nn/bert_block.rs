//! The transformer block of BERT (Devlin et al. 2018), with cross-attention between its two parts as in BLIP.

use candle_core::Tensor;

use super::{Activation, Attention, BlockCache, BlockShape, KeyValue, LayerNorm, Linear, Scope, residual};
use crate::error::Result;
use crate::taps::{Attn, Point, Site, Taps, Tower};

/// `x = norm(x + attention(x)); x = norm(x + cross(x, other)); x = norm(x + mlp(x))`: the norms stand behind.
#[derive(Clone, Debug)]
pub struct BertBlock {
    self_attn: BertAttention,
    cross: Option<BertAttention>,
    feed_forward: BertFeedForward,
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
        let cross = |key_width| BertAttention::load(scope, ["crossattention", "self"], shape, key_width);
        Ok(Self {
            self_attn: BertAttention::load(scope, ["attention", "self"], shape, shape.width)?,
            cross: key_width.map(cross).transpose()?,
            feed_forward: BertFeedForward::load(scope, "", shape)?,
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
        let mut seen = self.self_attn.keys(&x)?;
        if let Some(cache) = cache.as_deref_mut() {
            seen = cache.self_attn.extend(&seen)?;
        }
        let mut x = self.self_attn.forward(&x, &seen, mask, (tower, layer, Attn::SelfAttn), taps)?;
        if let (Some(cross), Some(fusion)) = (&self.cross, fusion) {
            let kept = cache.as_deref().and_then(|cache| cache.cross_attn.clone());
            let seen = kept.map_or_else(|| cross.keys(fusion.states), Ok)?;
            x = cross.forward(&x, &seen, fusion.mask, (tower, layer, Attn::CrossAttn), taps)?;
            if let Some(cache) = cache {
                cache.cross_attn = Some(seen);
            }
        }
        let added = taps.tap(at(Point::MlpOut), self.feed_forward.added(&x)?)?;
        taps.tap(at(Point::ResidPost), self.feed_forward.normed(&x, &added)?)
    }
}

/// `norm(x + attention(x, keys))`, which BERT and the Q-Former share.
#[derive(Clone, Debug)]
pub(super) struct BertAttention {
    attention: Attention,
    norm: LayerNorm,
}

impl BertAttention {
    /// Reads what stands under `name`, with the projections of queries, keys and values under `inner` there. It looks at
    /// vectors of length `key_width`.
    pub fn load(scope: &Scope<'_>, [name, inner]: [&str; 2], shape: BlockShape, key_width: usize) -> Result<Self> {
        let scope = scope.enter(name);
        Ok(Self {
            attention: Attention::load_bert(&scope, inner, shape.width, key_width, shape.heads)?,
            norm: LayerNorm::load(&scope.enter("output.LayerNorm"), shape.width, shape.epsilon)?,
        })
    }

    /// The keys and values of `x` `[batch, keys, key width]`.
    pub fn keys(&self, x: &Tensor) -> Result<KeyValue> {
        self.attention.keys(x, None)
    }

    /// Lets `x` `[batch, queries, width]` look at what was `seen`; `mask` as in [`Attention::forward`].
    pub fn forward(
        &self,
        x: &Tensor,
        seen: &KeyValue,
        mask: Option<&Tensor>,
        place: (Tower, usize, Attn),
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let queries = self.attention.queries(x, None)?;
        let attended = self.attention.attend(&queries, seen, mask, place, taps)?;
        self.norm.forward(&residual(x, &attended)?)
    }
}

/// `norm(x + mlp(x))` in its two halves, so that what is added can be seen between them.
#[derive(Clone, Debug)]
pub(super) struct BertFeedForward {
    intermediate: Linear, // width -> inner
    output: Linear,       // inner -> width
    norm: LayerNorm,
    activation: Activation,
}

impl BertFeedForward {
    /// Reads `intermediate` and `output`, each with `suffix` behind its name.
    pub fn load(scope: &Scope<'_>, suffix: &str, shape: BlockShape) -> Result<Self> {
        let BlockShape { width, inner, epsilon, activation, .. } = shape;
        let output = scope.enter(format!("output{suffix}"));
        Ok(Self {
            intermediate: Linear::load(&scope.enter(format!("intermediate{suffix}.dense")), width, inner)?,
            output: Linear::load(&output.enter("dense"), inner, width)?,
            norm: LayerNorm::load(&output.enter("LayerNorm"), width, epsilon)?,
            activation,
        })
    }

    /// What is added to `x` `[batch, positions, width]`, of the same shape.
    pub fn added(&self, x: &Tensor) -> Result<Tensor> {
        let inner = self.activation.forward(&self.intermediate.forward(x)?)?;
        self.output.forward(&inner)
    }

    /// The norm of both together.
    pub fn normed(&self, x: &Tensor, added: &Tensor) -> Result<Tensor> {
        self.norm.forward(&residual(x, added)?)
    }
}
