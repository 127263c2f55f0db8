//! Multi-head attention: the only softmax over keys in the program, and the only place that asks whether a pattern is
//! wanted.

use candle_core::{DType, Device, Tensor};

use super::fused_attention::FusedAttention;
use super::{KeyValue, Linear, Norm, Rotary, Scope, attention_steps, fusable, softmax};
use crate::error::{Error, Result};
use crate::taps::{Attn, MASKED, Point, Site, Taps, Tower};

/// Multi-head attention with its four projections.
#[derive(Clone, Debug)]
pub struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
    key_heads: usize,
    norms: Option<(Norm, Norm)>,
    scale: Option<f64>, // 1 / √head width where it isn't said
}

impl Attention {
    /// Reads `q_proj`, `k_proj`, `v_proj` and `out_proj` of an attention over vectors of length `width`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, width: usize, heads: usize) -> Result<Self> {
        let linear = |name| Linear::load(&scope.enter(name), width, width);
        Ok(Self::new([linear("q_proj")?, linear("k_proj")?, linear("v_proj")?], linear("out_proj")?, heads))
    }

    /// Reads `qkv`, in which the projections of queries, keys and values are stacked, with or without a `bias`, and
    /// `projection`, that of the result, as in the vision towers of the BLIP family.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_stacked(scope: &Scope<'_>, width: usize, heads: usize, bias: bool) -> Result<Self> {
        let weight = scope.matrix("qkv.weight", (3 * width, width))?;
        let bias = bias.then(|| scope.get("qkv.bias", &[3 * width])).transpose()?;
        let part = |at: usize| -> Result<Linear> {
            let weight = weight.narrow(at * width, width)?;
            match &bias {
                Some(bias) => Linear::new(weight, bias.narrow(0, at * width, width)?).turned(),
                None => Linear::from_weight(weight)?.turned(),
            }
        };
        let out_proj = Linear::load(&scope.enter("projection"), width, width)?;
        Ok(Self::new([part(0)?, part(1)?, part(2)?], out_proj, heads))
    }

    /// Reads `query`, `key` and `value` under `inner` ("self" in BERT, "attention" in a Q-Former), and `output.dense`, of
    /// an attention over vectors of length `width` that looks at vectors of length `key_width`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_bert(scope: &Scope<'_>, inner: &str, width: usize, key_width: usize, heads: usize) -> Result<Self> {
        let projections = scope.enter(inner);
        let linear = |name: &str, input| Linear::load(&projections.enter(name), input, width);
        let projections = [linear("query", width)?, linear("key", key_width)?, linear("value", key_width)?];
        Ok(Self::new(projections, Linear::load(&scope.enter("output.dense"), width, width)?, heads))
    }

    /// Reads `to_q`, `to_kv`, in which the projections of keys and values are stacked, and `to_out`, the names of
    /// OpenFlamingo, of an attention over vectors of length `width` that looks at vectors of length `key_width`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_open_flamingo(
        scope: &Scope<'_>,
        width: usize,
        key_width: usize,
        (heads, head_width): (usize, usize),
    ) -> Result<Self> {
        let inner = heads * head_width;
        let stacked = scope.matrix("to_kv.weight", (2 * inner, key_width))?;
        let q_proj = Linear::load_without_bias(&scope.enter("to_q"), width, inner)?;
        let k_proj = Linear::from_weight(stacked.narrow(0, inner)?)?.turned()?;
        let v_proj = Linear::from_weight(stacked.narrow(inner, inner)?)?.turned()?;
        let out_proj = Linear::load_without_bias(&scope.enter("to_out"), inner, width)?;
        Ok(Self::new([q_proj, k_proj, v_proj], out_proj, heads))
    }

    /// From the projections of queries, keys and values, and that of the result.
    #[must_use]
    pub fn new([q_proj, k_proj, v_proj]: [Linear; 3], out_proj: Linear, heads: usize) -> Self {
        Self { q_proj, k_proj, v_proj, out_proj, heads, key_heads: heads, norms: None, scale: None }
    }

    /// Lets neighbouring query heads share one of `key_heads` heads of keys and values (Ainslie et al. 2023, arXiv
    /// 2305.13245); it divides the number of heads.
    #[must_use]
    pub fn with_key_heads(mut self, key_heads: usize) -> Self {
        self.key_heads = key_heads;
        self
    }

    /// Normalises the queries, and the keys, before they meet: each head by itself, or all heads together, by the width
    /// of the norms.
    #[must_use]
    pub fn with_norms(mut self, queries: Norm, keys: Norm) -> Self {
        self.norms = Some((queries, keys));
        self
    }

    /// Multiplies the scores with `scale` instead of 1 / √head width; T5 has learned that factor and leaves it out.
    #[must_use]
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.scale = Some(scale);
        self
    }

    /// Lets `queries` `[batch, queries, width]` look at `keys` `[batch, keys, key width]`. `mask` is added to the
    /// scores (`[batch or 1, 1, queries, keys]`, or `[batch, heads, queries, keys]`); `place` names the sites.
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled, or an observer fails.
    pub fn forward(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        mask: Option<&Tensor>,
        place: (Tower, usize, Attn),
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let q = self.queries(queries, None)?;
        let keys = self.keys(keys, None)?;
        self.attend(&q, &keys, mask, place, taps)
    }

    /// What `x` `[batch, positions, width]` gathers from itself if values look at values, in the place of queries at keys: the
    /// v-v attention of CLIP Surgery (Li et al. 2023, arXiv 2304.05653). Nobody watches it.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn values_to_values(&self, x: &Tensor) -> Result<Tensor> {
        let values = self.shared(&self.v_proj.forward(x)?)?; // [batch, positions, heads * head width]
        let gathered = FusedAttention::apply(&values, &values, &values, self.heads, None, self.scale)?;
        self.out_proj.forward(&gathered)
    }

    /// The queries of `x` `[batch, queries, width]`, `[batch, queries, heads * head width]`, turned by their positions
    /// and normalised where this attention does so.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn queries(&self, x: &Tensor, rotary: Option<&Rotary>) -> Result<Tensor> {
        let norm = self.norms.as_ref().map(|(queries, _)| queries);
        prepared(self.q_proj.forward(x)?, self.heads, rotary, norm)
    }

    /// The keys and values of `x` `[batch, keys, width]`, ready to be looked at or kept.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn keys(&self, x: &Tensor, rotary: Option<&Rotary>) -> Result<KeyValue> {
        let norm = self.norms.as_ref().map(|(_, keys)| keys);
        let keys = prepared(self.k_proj.forward(x)?, self.key_heads, rotary, norm)?;
        Ok(KeyValue { keys, values: self.v_proj.forward(x)? })
    }

    /// What [`Self::forward`] does once queries and keys are there.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn attend(
        &self,
        q: &Tensor,
        keys: &KeyValue,
        mask: Option<&Tensor>,
        (tower, layer, attn): (Tower, usize, Attn),
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let (k, v) = (self.shared(&keys.keys)?, self.shared(&keys.values)?); // [batch, keys, heads * head width]
        let (batch, queries, width) = q.dims3()?;
        // Scores, and what they gather.
        super::operations::count(2 * batch, queries, width, k.dim(1)?);
        let points = [Point::V(attn), Point::Scores(attn), Point::Pattern(attn), Point::Z(attn)];
        let sites = points.map(|point| Site::new(tower, layer, point));
        let observed = sites.iter().any(|site| taps.wants(*site));
        // The fused operation knows no gradient of its mask, which is learned where it tells positions (T5).
        let learned = mask.is_some_and(Tensor::track_op);
        let z = if !observed && !learned && fusable(&[q, &k, &v]) {
            FusedAttention::apply(q, &k, &v, self.heads, mask, self.scale)?
        } else {
            self.observed(q, &k, &v, mask, sites, taps)?
        };
        self.out_proj.forward(&z)
    }

    /// Repeats each head of keys or values `[batch, keys, key heads * head width]` for the query heads that share it.
    fn shared(&self, x: &Tensor) -> Result<Tensor> {
        if self.key_heads == self.heads {
            return Ok(x.clone());
        }
        let (batch, keys, width) = x.dims3()?;
        let (sharing, head_width) = (self.heads / self.key_heads, width / self.key_heads);
        let x = x.reshape((batch, keys, self.key_heads, 1, head_width))?;
        let x = x.broadcast_as((batch, keys, self.key_heads, sharing, head_width))?;
        Ok(x.contiguous()?.reshape((batch, keys, self.heads * head_width))?)
    }

    /// The same in single steps, each offered to the taps.
    fn observed(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        mask: Option<&Tensor>,
        [values_site, scores_site, pattern_site, z_site]: [Site; 4],
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let (batch, _, width) = q.dims3()?;
        let split = |x: &Tensor| -> Result<Tensor> {
            let positions = x.dim(1)?;
            let x = x.reshape((batch, positions, self.heads, width / self.heads))?;
            Ok(x.transpose(1, 2)?.contiguous()?) // [batch, heads, positions, head width]
        };
        // The operations know no gradient of the mask.
        let fused = fusable(&[q, k, v]) && !mask.is_some_and(Tensor::track_op);
        let frozen = fused && ![q, k, v].into_iter().any(Tensor::track_op);
        if frozen && [values_site, scores_site, z_site].iter().all(|site| !taps.wants(*site)) {
            let (z, pattern) = FusedAttention::with_pattern([q, k, v], self.heads, mask, self.scale)?;
            let seen = taps.tap(pattern_site, pattern.clone())?;
            return if seen.id() == pattern.id() { Ok(z) } else { attention_steps::gather(&seen, v) };
        }
        let mut values = None;
        if taps.wants(values_site) {
            let given = split(v)?;
            let seen = taps.tap(values_site, given.clone())?; // [batch, heads, keys, head width]
            values = (seen.id() != given.id()).then_some(seen);
        }
        let scores = if fused {
            attention_steps::scores(q, k, self.heads, mask, self.scale)?
        } else {
            let scale = self.scale.unwrap_or_else(|| 1.0 / ((width / self.heads) as f64).sqrt());
            let scores = (split(q)? * scale)?.matmul(&split(k)?.t()?)?; // [batch, heads, queries, keys]
            match mask {
                Some(mask) => scores.broadcast_add(&mask.to_dtype(scores.dtype())?)?,
                None => scores,
            }
        };
        let scores = taps.tap(scores_site, scores)?;
        let pattern = taps.tap(pattern_site, softmax(&scores)?)?;
        let z = match values {
            Some(values) => pattern.matmul(&values)?, // [batch, heads, queries, head width]
            None if fusable(&[&pattern, v]) => {
                let z = attention_steps::gather(&pattern, v)?;
                if !taps.wants(z_site) {
                    return Ok(z);
                }
                split(&z)?
            }
            None => pattern.matmul(&split(v)?)?,
        };
        merged(&taps.tap(z_site, z)?)
    }
}

/// Brings `z` `[batch, heads, queries, head width]` together, `[batch, queries, heads * head width]`.
fn merged(z: &Tensor) -> Result<Tensor> {
    let (batch, heads, queries, head_width) = z.dims4()?;
    Ok(z.transpose(1, 2)?.reshape((batch, queries, heads * head_width))?)
}

/// Turns each head of `x` `[batch, positions, heads * head width]`, and normalises each part as long as the norm.
fn prepared(x: Tensor, heads: usize, rotary: Option<&Rotary>, norm: Option<&Norm>) -> Result<Tensor> {
    let x = match rotary {
        Some(rotary) => rotary.apply(&x, heads)?,
        None => x,
    };
    let Some(norm) = norm else { return Ok(x) };
    let (batch, positions, width) = x.dims3()?;
    let split = x.reshape((batch, positions, width / norm.width(), norm.width()))?;
    Ok(norm.forward(&split)?.reshape((batch, positions, width))?)
}

/// A mask `[1, 1, positions, positions]` under which each position sees only itself and those before it.
///
/// # Errors
/// If the device is out of memory.
pub fn causal_mask(positions: usize, device: &Device) -> Result<Tensor> {
    let mask: Vec<f32> =
        (0..positions * positions).map(|at| if at % positions > at / positions { MASKED } else { 0.0 }).collect();
    Ok(Tensor::from_vec(mask, (1, 1, positions, positions), device)?)
}

/// A mask `[batch, 1, positions, positions]` under which nobody sees padding; `attention_mask` is `[batch, positions]`,
/// 1 for a token and 0 for padding.
///
/// # Errors
/// If the mask isn't a matrix.
pub fn padding_mask(attention_mask: &Tensor) -> Result<Tensor> {
    padding_mask_for(attention_mask, attention_mask.dims2()?.1)
}

/// A mask `[batch, 1, queries, keys]` under which none of the queries sees the padding among the keys; `attention_mask`
/// is `[batch, keys]`, 1 for a token and 0 for padding.
///
/// # Errors
/// If the mask isn't a matrix.
pub fn padding_mask_for(attention_mask: &Tensor, queries: usize) -> Result<Tensor> {
    let (batch, keys) = attention_mask.dims2()?;
    let mask = attention_mask.to_dtype(DType::F32)?;
    let mask = ((1.0 - mask)? * f64::from(MASKED))?.reshape((batch, 1, 1, keys))?;
    Ok(mask.broadcast_as((batch, 1, queries, keys))?.contiguous()?)
}

/// Refuses a head count that doesn't divide the width.
///
/// # Errors
/// If it doesn't.
pub fn check_heads(width: usize, heads: usize) -> Result<()> {
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(Error::unusable(
            format!("the config asks for {heads} attention heads over a width of {width}, which doesn't divide"),
            "correct config.json",
        ));
    }
    Ok(())
}
