//! The transformer block of LLaMA (Touvron et al. 2023, arXiv 2302.13971), which IDEFICS and LLaVA share.

use candle_core::Tensor;

use super::{Activation, Attention, Cache, GatedMlp, Linear, RmsNorm, Rotary, Scope};
use crate::error::Result;
use crate::taps::{Attn, Point, Site, Taps, Tower};

/// `x += attention(norm(x)); x += mlp(norm(x))`, with root-mean-square norms, turned queries and keys, and a gated
/// feed-forward part.
#[derive(Clone, Debug)]
pub struct LlamaBlock {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
}

/// The sizes of a block.
#[derive(Clone, Copy, Debug)]
pub struct LlamaShape {
    /// Length of the vectors.
    pub width: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys and values; divides `heads`.
    pub key_heads: usize,
    /// Length of a head's vectors; even.
    pub head_width: usize,
    /// Length of the vectors inside the feed-forward part.
    pub inner: usize,
    /// Activation of the feed-forward part.
    pub activation: Activation,
    /// What the norms add to the mean square.
    pub epsilon: f64,
}

impl LlamaBlock {
    /// Reads a block with the weight names of LLaMA.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, shape: LlamaShape) -> Result<Self> {
        let LlamaShape { width, heads, key_heads, head_width, epsilon, .. } = shape;
        let attention = scope.enter("self_attn");
        let linear = |name, input, output| Linear::load_without_bias(&attention.enter(name), input, output);
        let projections = [
            linear("q_proj", width, heads * head_width)?,
            linear("k_proj", width, key_heads * head_width)?,
            linear("v_proj", width, key_heads * head_width)?,
        ];
        let out = linear("o_proj", heads * head_width, width)?;
        Ok(Self {
            input_layernorm: RmsNorm::load(&scope.enter("input_layernorm"), width, epsilon)?,
            self_attn: Attention::new(projections, out, heads).with_key_heads(key_heads),
            post_attention_layernorm: RmsNorm::load(&scope.enter("post_attention_layernorm"), width, epsilon)?,
            mlp: GatedMlp::load(&scope.enter("mlp"), width, shape.inner, shape.activation)?,
        })
    }

    /// One step of the residual stream `x` `[batch, positions, width]` in the decoder. `mask` is added to the attention
    /// scores (`[batch or 1, 1, positions, keys]`); the keys are those in `cache`, if there is one, and behind them
    /// those of `x`, which the cache then holds too.
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled, or an observer fails.
    pub fn forward(
        &self,
        x: Tensor,
        mask: Option<&Tensor>,
        rotary: &Rotary,
        cache: Option<&mut Cache>,
        layer: usize,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let at = |point| Site::new(Tower::Decoder, layer, point);
        let x = taps.tap(at(Point::ResidPre), x)?;
        let normed = self.input_layernorm.forward(&x)?;
        let queries = self.self_attn.queries(&normed, Some(rotary))?;
        let mut keys = self.self_attn.keys(&normed, Some(rotary))?;
        if let Some(cache) = cache {
            keys = cache.extend(keys)?;
        }
        let place = (Tower::Decoder, layer, Attn::SelfAttn);
        let x = (x + self.self_attn.attend(&queries, &keys, mask, place, taps)?)?;
        let added = self.mlp.forward(&self.post_attention_layernorm.forward(&x)?)?;
        let added = taps.tap(at(Point::MlpOut), added)?;
        taps.tap(at(Point::ResidPost), (x + added)?)
    }
}
