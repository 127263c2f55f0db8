//! The block through which pictures enter Flamingo's language model (Alayrac et al. 2022, arXiv 2204.14198), as in
//! IDEFICS and OpenFlamingo.

use candle_core::Tensor;

use super::{
    Activation, Attention, FeedForward, GatedMlp, KeyValue, LayerNorm, Linear, Mlp, Norm, RmsNorm, Scope, residual,
};
use crate::error::Result;
use crate::taps::{Attn, Point, Site, Taps, Tower};

/// OpenFlamingo leaves its norms at torch's default.
const EPSILON: f64 = 1e-5;

/// `x += tanh(α) attention(norm(x), media); x += tanh(β) mlp(norm(x))`.
#[derive(Clone, Debug)]
pub struct GatedCrossAttention {
    input_layernorm: Norm,
    cross_attn: Attention,
    post_attention_layernorm: Norm,
    mlp: FeedForward,
    alpha_cross_attn: Tensor, // [1] or [1, 1, width]
    alpha_dense: Tensor,      // [1] or [1, 1, width]
}

/// The sizes of a block of IDEFICS.
#[derive(Clone, Copy, Debug)]
pub struct GatedShape {
    /// Length of the text's vectors.
    pub width: usize,
    /// Length of the pictures' vectors.
    pub media_width: usize,
    /// Attention heads; they divide `width`.
    pub heads: usize,
    /// Length of the vectors inside the feed-forward part.
    pub inner: usize,
    /// Activation of the feed-forward part.
    pub activation: Activation,
    /// What the norms add to the mean square.
    pub epsilon: f64,
    /// Whether each head of queries and keys is normalised.
    pub head_norms: bool,
    /// Whether a gate is a number for each place of the vectors, or one for all.
    pub gate_vectors: bool,
}

/// What the tokens of one pass may see of the pictures.
#[derive(Clone, Debug)]
pub struct Media {
    /// Added to the scores, `[batch, 1, positions, media]`.
    pub mask: Tensor,
    /// 1 for a token that sees any picture, 0 for one that sees none and gets nothing, `[batch, positions, 1]`.
    pub sees: Tensor,
}

impl GatedCrossAttention {
    /// Reads a block with the weight names of IDEFICS.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, shape: GatedShape) -> Result<Self> {
        let GatedShape { width, media_width, heads, epsilon, .. } = shape;
        let attention = scope.enter("cross_attn");
        let norm = |scope: &Scope<'_>, width| -> Result<Norm> { Ok(Norm::Rms(RmsNorm::load(scope, width, epsilon)?)) };
        let linear = |name, input| Linear::load_without_bias(&attention.enter(name), input, width);
        let projections = [linear("q_proj", width)?, linear("k_proj", media_width)?, linear("v_proj", media_width)?];
        let mut cross_attn = Attention::new(projections, linear("o_proj", width)?, heads);
        if shape.head_norms {
            let inner = |name| norm(&attention.enter(name), width / heads);
            cross_attn = cross_attn.with_norms(inner("q_layer_norm")?, inner("k_layer_norm")?);
        }
        let outer = |name| norm(&scope.enter(name), width);
        let of_gate: &[usize] = if shape.gate_vectors { &[1, 1, width] } else { &[1] };
        Ok(Self {
            input_layernorm: outer("input_layernorm")?,
            cross_attn,
            post_attention_layernorm: outer("post_attention_layernorm")?,
            mlp: FeedForward::Gated(GatedMlp::load(&scope.enter("mlp"), width, shape.inner, shape.activation)?),
            alpha_cross_attn: scope.get("alpha_cross_attn", of_gate)?,
            alpha_dense: scope.get("alpha_dense", of_gate)?,
        })
    }

    /// Reads a block with the weight names of OpenFlamingo: layer norms, a feed-forward part with GELU, one number a
    /// gate. `width` is the length of the text's vectors, `media_width` that of the pictures'; the heads together need
    /// not be as wide as either.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_open_flamingo(
        scope: &Scope<'_>,
        width: usize,
        media_width: usize,
        (heads, head_width): (usize, usize),
    ) -> Result<Self> {
        let (attention, forward) = (scope.enter("attn"), scope.enter("ff"));
        Ok(Self {
            input_layernorm: Norm::Layer(LayerNorm::load(&attention.enter("norm"), width, EPSILON)?),
            cross_attn: Attention::load_open_flamingo(&attention, width, media_width, (heads, head_width))?,
            post_attention_layernorm: Norm::Layer(LayerNorm::load(&forward.enter(0), width, EPSILON)?),
            mlp: FeedForward::Plain(Mlp::load_open_flamingo(&forward, width)?),
            alpha_cross_attn: scope.get("attn_gate", &[1])?,
            alpha_dense: scope.get("ff_gate", &[1])?,
        })
    }

    /// How far the gates of attention and feed-forward part are open: the mean of tanh(α), between -1 and 1.
    ///
    /// # Errors
    /// If the device can't be read.
    pub fn gates(&self) -> Result<(f32, f32)> {
        let mean = |alpha: &Tensor| alpha.tanh()?.mean_all()?.to_scalar::<f32>();
        Ok((mean(&self.alpha_cross_attn)?, mean(&self.alpha_dense)?))
    }

    /// The keys and values of the pictures' vectors `[batch, media, media width]`, which are the same for every token
    /// that is written.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn keys(&self, media: &Tensor) -> Result<KeyValue> {
        self.cross_attn.keys(media, None)
    }

    /// One step of the residual stream `x` `[batch, positions, width]`, in the `layer`-th of these blocks.
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled, or an observer fails.
    pub fn forward(
        &self,
        x: &Tensor,
        keys: &KeyValue,
        media: &Media,
        layer: usize,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let at = |point| Site::new(Tower::Decoder, layer, point);
        let queries = self.cross_attn.queries(&self.input_layernorm.forward(x)?, None)?;
        let place = (Tower::Decoder, layer, Attn::CrossAttn);
        let attended = self.cross_attn.attend(&queries, keys, Some(&media.mask), place, taps)?;
        // Where everything is masked the pattern is uniform, so what it gathered has to go.
        let attended = attended.broadcast_mul(&media.sees.to_dtype(x.dtype())?)?;
        let added = attended.broadcast_mul(&self.alpha_cross_attn.tanh()?)?;
        let x = residual(x, &taps.tap(at(Point::GateAttn), added)?)?;
        let added = self.mlp.forward(&self.post_attention_layernorm.forward(&x)?)?;
        let added = added.broadcast_mul(&self.alpha_dense.tanh()?)?;
        residual(&x, &taps.tap(at(Point::GateFfn), added)?)
    }
}
