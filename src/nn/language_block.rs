//! The transformer block of the language models: LLaMA (Touvron et al. 2023, arXiv 2302.13971) with its relatives Mistral
//! and Qwen2, under IDEFICS and LLaVA too; MPT (MosaicML 2023) and GPT-NeoX (Black et al. 2022, arXiv 2204.06745), under
//! OpenFlamingo; OPT (Zhang et al. 2022, arXiv 2205.01068) and T5 (Raffel et al. 2019, arXiv 1910.10683), under BLIP-2. They
//! differ in the kinds of their parts and in the names of their weights.

use candle_core::Tensor;

use super::{
    Activation, Attention, BlockCache, FeedForward, Fusion, GatedMlp, LayerNorm, Linear, Mlp, Norm, RmsNorm, Rotary,
    Scope, residual,
};
use crate::error::Result;
use crate::taps::{Attn, Point, Site, Taps, Tower};

/// `x += attention(norm(x)); x += cross(norm(x), other); x += mlp(norm(x))`, or with the norms behind the sums. Most have
/// no cross-attention.
#[derive(Clone, Debug)]
pub struct LanguageBlock {
    self_attn: Attention,
    self_norm: Norm,
    cross: Option<(Attention, Norm)>,
    mlp: FeedForward,
    mlp_norm: Norm,
    norms_behind: bool,
}

/// What the positions of one pass see, and where they stand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight<'a> {
    /// Added to the scores of self-attention, `[batch or 1, 1, positions, keys]` or `[batch, heads, positions, keys]`.
    pub mask: Option<&'a Tensor>,
    /// The turns of the positions, where positions are told so.
    pub rotary: Option<&'a Rotary>,
    /// What cross-attention looks at.
    pub fusion: Option<Fusion<'a>>,
}

/// The sizes of a block of LLaMA.
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
    /// Whether all four maps of the attention have biases.
    pub attention_bias: bool,
    /// Whether those of queries, keys and values have, as in Qwen2 (Yang et al. 2024, arXiv 2407.10671).
    pub qkv_bias: bool,
    /// Whether the maps of the feed-forward part have biases.
    pub mlp_bias: bool,
}

/// The sizes of a block of MPT.
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

/// The sizes of a block of GPT-NeoX.
#[derive(Clone, Copy, Debug)]
pub struct GptNeoXShape {
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

impl LanguageBlock {
    /// From attention and feed-forward part, each with its norm, which stands before it.
    #[must_use]
    pub fn new((self_attn, self_norm): (Attention, Norm), (mlp, mlp_norm): (FeedForward, Norm)) -> Self {
        Self { self_attn, self_norm, cross: None, mlp, mlp_norm, norms_behind: false }
    }

    /// Puts cross-attention between the two parts.
    #[must_use]
    pub fn with_cross_attention(mut self, attention: Attention, norm: Norm) -> Self {
        self.cross = Some((attention, norm));
        self
    }

    /// Lets each norm act on the sum behind its part instead.
    #[must_use]
    pub fn with_norms_behind(mut self) -> Self {
        self.norms_behind = true;
        self
    }

    /// Reads a block with the weight names of LLaMA: root-mean-square norms, turned queries and keys, a gated
    /// feed-forward part.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_llama(scope: &Scope<'_>, shape: LlamaShape) -> Result<Self> {
        let LlamaShape { width, heads, key_heads, head_width, inner, .. } = shape;
        let (attention, mlp) = (scope.enter("self_attn"), scope.enter("mlp"));
        let norm = |name| -> Result<Norm> { Ok(Norm::Rms(RmsNorm::load(&scope.enter(name), width, shape.epsilon)?)) };
        let (all, inner_bias) = (shape.attention_bias, shape.attention_bias || shape.qkv_bias);
        let projection = |name, output| Linear::load_with(&attention.enter(name), width, output, inner_bias);
        let projections = [
            projection("q_proj", heads * head_width)?,
            projection("k_proj", key_heads * head_width)?,
            projection("v_proj", key_heads * head_width)?,
        ];
        let out = Linear::load_with(&attention.enter("o_proj"), heads * head_width, width, all)?;
        let linear = |name, input, output| Linear::load_with(&mlp.enter(name), input, output, shape.mlp_bias);
        let into = [linear("gate_proj", width, inner)?, linear("up_proj", width, inner)?];
        let mlp = GatedMlp::new(into, linear("down_proj", inner, width)?, shape.activation);
        Ok(Self::new(
            (Attention::new(projections, out, heads).with_key_heads(key_heads), norm("input_layernorm")?),
            (FeedForward::Gated(mlp), norm("post_attention_layernorm")?),
        ))
    }

    /// Reads a block with the weight names of MPT, or those that MPT-1B had before: layer norms, no bias anywhere.
    /// Positions come with the mask (ALiBi).
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_mpt(scope: &Scope<'_>, shape: MptShape) -> Result<Self> {
        let MptShape { width, heads, inner, epsilon, .. } = shape;
        let [norm_1, norm_2, up, down] = if scope.contains("ln_1.weight") {
            ["ln_1", "ln_2", "mlp.mlp_up", "mlp.mlp_down"]
        } else {
            ["norm_1", "norm_2", "ffn.up_proj", "ffn.down_proj"]
        };
        let norm = |name| -> Result<Norm> {
            Ok(Norm::Layer(LayerNorm::load_without_bias(&scope.enter(name), width, epsilon)?))
        };
        let stacked = scope.matrix("attn.Wqkv.weight", (3 * width, width))?;
        let part = |at: usize| Linear::from_weight(stacked.narrow(at * width, width)?)?.turned();
        let out_proj = Linear::load_without_bias(&scope.enter("attn.out_proj"), width, width)?;
        let mut attn = Attention::new([part(0)?, part(1)?, part(2)?], out_proj, heads);
        if shape.attention_norms {
            attn = attn.with_norms(norm("attn.q_ln")?, norm("attn.k_ln")?);
        }
        let mlp = Mlp::new(
            Linear::load_without_bias(&scope.enter(up), width, inner)?,
            Linear::load_without_bias(&scope.enter(down), inner, width)?,
            Activation::Gelu,
        );
        Ok(Self::new((attn, norm(norm_1)?), (FeedForward::Plain(mlp), norm(norm_2)?)))
    }

    /// Reads a block with the weight names of GPT-NeoX: layer norms, biases everywhere, turned queries and keys.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_gpt_neox(scope: &Scope<'_>, shape: GptNeoXShape) -> Result<Self> {
        let GptNeoXShape { width, heads, inner, epsilon, .. } = shape;
        let (attention, mlp) = (scope.enter("attention"), scope.enter("mlp"));
        let norm = |name| -> Result<Norm> { Ok(Norm::Layer(LayerNorm::load(&scope.enter(name), width, epsilon)?)) };
        let stacked = attention.matrix("query_key_value.weight", (3 * width, width))?;
        let biases = attention.get("query_key_value.bias", &[3 * width])?.contiguous()?;
        // Query, key and value of a head stand one behind the other, and then those of the next head.
        let head_width = width / heads;
        let part = |at: usize| -> Result<Linear> {
            let rows = (0..heads).flat_map(|head| (0..head_width).map(move |row| (3 * head + at) * head_width + row));
            let rows: Vec<u32> = rows.map(|row| row as u32).collect();
            let bias = biases.index_select(&Tensor::new(rows.as_slice(), biases.device())?, 0)?;
            Linear::new(stacked.rows(&rows)?, bias).turned()
        };
        let dense = Linear::load(&attention.enter("dense"), width, width)?;
        let attention = Attention::new([part(0)?, part(1)?, part(2)?], dense, heads);
        let mlp = Mlp::new(
            Linear::load(&mlp.enter("dense_h_to_4h"), width, inner)?,
            Linear::load(&mlp.enter("dense_4h_to_h"), inner, width)?,
            shape.activation,
        );
        Ok(Self::new(
            (attention, norm("input_layernorm")?),
            (FeedForward::Plain(mlp), norm("post_attention_layernorm")?),
        ))
    }

    /// One step of the residual stream `x` `[batch, positions, width]` in block `layer` of `tower`. The keys are those in
    /// `cache`, if there is one, and behind them those of `x`, which the cache then holds too; what cross-attention looks
    /// at must then be the same in each pass.
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled, or an observer fails.
    pub fn forward(
        &self,
        x: Tensor,
        sight: Sight<'_>,
        mut cache: Option<&mut BlockCache>,
        (tower, layer): (Tower, usize),
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let at = |point| Site::new(tower, layer, point);
        let x = taps.tap(at(Point::ResidPre), x)?;
        let normed = self.before(&self.self_norm, &x)?;
        let queries = self.self_attn.queries(&normed, sight.rotary)?;
        let mut seen = self.self_attn.keys(&normed, sight.rotary)?;
        if let Some(cache) = cache.as_deref_mut() {
            seen = cache.self_attn.extend(&seen)?;
        }
        let attended = self.self_attn.attend(&queries, &seen, sight.mask, (tower, layer, Attn::SelfAttn), taps)?;
        let mut x = self.behind(&self.self_norm, residual(&x, &attended)?)?;
        if let (Some((attention, norm)), Some(fusion)) = (&self.cross, sight.fusion) {
            let queries = attention.queries(&self.before(norm, &x)?, None)?;
            let kept = cache.as_deref().and_then(|cache| cache.cross_attn.clone());
            let seen = kept.map_or_else(|| attention.keys(fusion.states, None), Ok)?;
            let attended = attention.attend(&queries, &seen, fusion.mask, (tower, layer, Attn::CrossAttn), taps)?;
            x = self.behind(norm, residual(&x, &attended)?)?;
            if let Some(cache) = cache {
                cache.cross_attn = Some(seen);
            }
        }
        let added = self.mlp.forward(&self.before(&self.mlp_norm, &x)?)?;
        let added = taps.tap(at(Point::MlpOut), added)?;
        taps.tap(at(Point::ResidPost), self.behind(&self.mlp_norm, residual(&x, &added)?)?)
    }

    /// All blocks of a tower, from what enters the first one, `[batch, positions, width]`, to what leaves the last one.
    /// `caches` holds what earlier passes left, one for each block.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn through(
        blocks: &[Self],
        x: Tensor,
        sight: Sight<'_>,
        mut caches: Option<&mut [BlockCache]>,
        tower: Tower,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let mut x = taps.tap(Site::new(tower, 0, Point::Embed), x)?;
        for (layer, block) in blocks.iter().enumerate() {
            let cache = caches.as_deref_mut().and_then(|caches| caches.get_mut(layer));
            x = block.forward(x, sight, cache, (tower, layer), taps)?;
        }
        Ok(x)
    }

    /// What a part gets of `x`.
    fn before(&self, norm: &Norm, x: &Tensor) -> Result<Tensor> {
        if self.norms_behind { Ok(x.clone()) } else { norm.forward(x) }
    }

    /// What becomes of the sum behind a part.
    fn behind(&self, norm: &Norm, sum: Tensor) -> Result<Tensor> {
        if self.norms_behind { norm.forward(&sum) } else { Ok(sum) }
    }
}
