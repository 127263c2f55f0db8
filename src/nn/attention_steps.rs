//! The two products of attention as single CPU operations, for passes in which somebody looks between them or asks for a gradient
//! there. Like [`FusedAttention`](super::fused_attention), whose numbers they give to the bit, they leave queries, keys and values
//! in the layout in which the projections write them.

use candle_core::{CpuStorage, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;

use super::fused_attention::{Lengths, with_mask};
use super::kernels::{Matrix, multiply, slice, with_slice};
use crate::error::Result;

/// The scores of `q` `[batch, queries, width]` for `k` `[batch, keys, width]`, `[batch, heads, queries, keys]`, multiplied with
/// `scale` (by itself 1 / √head width), and `mask` added, which has no gradient.
///
/// # Errors
/// If the shapes don't fit.
pub fn scores(q: &Tensor, k: &Tensor, heads: usize, mask: Option<&Tensor>, scale: Option<f64>) -> Result<Tensor> {
    let mask = mask.map(|mask| mask.detach().contiguous()).transpose()?;
    Ok(q.contiguous()?.apply_op2(&k.contiguous()?, Scores { heads, scale, mask })?)
}

/// What `pattern` `[batch, heads, queries, keys]` gathers of `v` `[batch, keys, width]`, `[batch, queries, width]`.
///
/// # Errors
/// If the shapes don't fit.
pub fn gather(pattern: &Tensor, v: &Tensor) -> Result<Tensor> {
    Ok(pattern.contiguous()?.apply_op2(&v.contiguous()?, Gather)?)
}

struct Scores {
    heads: usize,
    scale: Option<f64>,
    mask: Option<Tensor>, // [batch or 1, 1 or heads, queries, keys]
}

impl CustomOp2 for Scores {
    fn name(&self) -> &'static str {
        "attention scores"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let lengths = Lengths::new(q_layout.shape(), k_layout.shape(), self.heads, self.scale)?;
        let (q, k) = (slice(q, q_layout)?, slice(k, k_layout)?);
        let mut scores = vec![0f32; lengths.batch * lengths.heads * lengths.size()];
        with_mask(self.mask.as_ref(), |mask| {
            let units = scores.par_chunks_mut(lengths.size()).enumerate();
            units.for_each(|(unit, scores)| lengths.form_scores(unit, q, k, mask, scores));
            Ok(())
        })?;
        Ok((CpuStorage::F32(scores), Shape::from((lengths.batch, lengths.heads, lengths.queries, lengths.keys))))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        _scores: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let lengths = Lengths::new(q.shape(), k.shape(), self.heads, self.scale)?;
        let of_queries = q.track_op().then(|| {
            by_head(lengths, (gradient, k), q, |gradient, k, unit, out| {
                multiply(out, 0.0, lengths.scale, gradient, lengths.head(k, unit, lengths.keys), Parallelism::None);
            })
        });
        let of_keys = k.track_op().then(|| {
            by_head(lengths, (gradient, q), k, |gradient, q, unit, out| {
                let queries = lengths.head(q, unit, lengths.queries);
                multiply(out, 0.0, lengths.scale, gradient.t(), queries, Parallelism::None);
            })
        });
        Ok((of_queries.transpose()?, of_keys.transpose()?))
    }
}

struct Gather;

impl Gather {
    fn lengths(pattern: &Shape, v: &Shape) -> CandleResult<Lengths> {
        let (batch, heads, queries, keys) = pattern.dims4()?;
        let (of_values, values, width) = v.dims3()?;
        if (of_values, values) != (batch, keys) || width % heads.max(1) != 0 {
            candle_core::bail!("a pattern {pattern:?} can't gather values {v:?}");
        }
        Ok(Lengths { batch, heads, queries, keys, head_width: width / heads, scale: 1.0 })
    }
}

impl CustomOp2 for Gather {
    fn name(&self) -> &'static str {
        "attention values"
    }

    fn cpu_fwd(
        &self,
        pattern: &CpuStorage,
        pattern_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let lengths = Self::lengths(pattern_layout.shape(), v_layout.shape())?;
        let (pattern, v) = (slice(pattern, pattern_layout)?, slice(v, v_layout)?);
        let mut z = vec![0f32; lengths.batch * lengths.queries * lengths.width()]; // [batch, heads, queries, head width]
        z.par_chunks_mut(lengths.queries * lengths.head_width)
            .zip(pattern.par_chunks(lengths.size()))
            .enumerate()
            .for_each(|(unit, (z, pattern))| lengths.gather(unit, pattern, v, z));
        let z = lengths.merge(&z, lengths.queries);
        Ok((CpuStorage::F32(z), Shape::from((lengths.batch, lengths.queries, lengths.width()))))
    }

    fn bwd(
        &self,
        pattern: &Tensor,
        v: &Tensor,
        _z: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let lengths = Self::lengths(pattern.shape(), v.shape())?;
        let of_pattern = pattern.track_op().then(|| {
            let mut out = vec![0f32; pattern.elem_count()];
            with_slice(v, |v| {
                with_slice(gradient, |gradient| {
                    out.par_chunks_mut(lengths.size()).enumerate().for_each(|(unit, out)| {
                        let gradient = lengths.head(gradient, unit, lengths.queries);
                        let values = lengths.head(v, unit, lengths.keys);
                        multiply(out, 0.0, 1.0, gradient, values.t(), Parallelism::None);
                    });
                    Ok(())
                })
            })?;
            Tensor::from_vec(out, pattern.shape(), pattern.device())
        });
        let of_values = v.track_op().then(|| {
            by_head(lengths, (pattern, gradient), v, |pattern, gradient, unit, out| {
                let gradient = lengths.head(gradient, unit, lengths.queries);
                multiply(out, 0.0, 1.0, pattern.t(), gradient, Parallelism::None);
            })
        });
        Ok((of_pattern.transpose()?, of_values.transpose()?))
    }
}

/// The gradient of `like` `[batch, positions, width]`, head by head: `form` gets a head's matrix `[queries, keys]` of `square`,
/// all of `other`, the number of the head among all, and where its part `[positions, head width]` goes.
fn by_head(
    lengths: Lengths,
    (square, other): (&Tensor, &Tensor),
    like: &Tensor,
    form: impl Fn(Matrix<'_>, &[f32], usize, &mut [f32]) + Sync,
) -> CandleResult<Tensor> {
    let positions = like.dim(1)?;
    let mut split = vec![0f32; like.elem_count()]; // [batch, heads, positions, head width]
    with_slice(square, |square| {
        with_slice(other, |other| {
            split
                .par_chunks_mut(positions * lengths.head_width)
                .zip(square.par_chunks(lengths.size()))
                .enumerate()
                .for_each(|(unit, (out, square))| {
                    form(Matrix::dense(square, lengths.queries, lengths.keys), other, unit, out);
                });
            Ok(())
        })
    })?;
    Tensor::from_vec(lengths.merge(&split, positions), like.shape(), like.device())
}
