//! Attention as one CPU operation, for passes in which nobody looks at more of it than the pattern.
//!
//! Queries, keys and values stay in the layout in which the projections write them, `[batch, positions, heads * head
//! width]`; nothing is transposed. The pattern is kept only for who looks at it, and while training for the backward pass.
//! In single steps ([`scores`], [`gather`]) it gives the same numbers to the bit.
//!
//! [`scores`]: super::attention_steps::scores
//! [`gather`]: super::attention_steps::gather

use candle_core::{CpuStorage, CustomOp3, Layout, Result as CandleResult, Shape, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

use super::kernels::{Matrix, multiply, slice, softmax_row, softmax_row_gradient, with_slice};
use crate::error::Result;

pub(super) struct FusedAttention {
    heads: usize,
    scale: Option<f64>,   // 1 / √head width where it isn't said
    mask: Option<Tensor>, // [batch or 1, 1, queries, keys] or [batch, heads, queries, keys]
    keep_pattern: bool,
    pattern: Mutex<Vec<f32>>, // [batch, heads, queries, keys] once computed, if kept
}

/// The lengths of one call's axes.
#[derive(Clone, Copy)]
pub(super) struct Lengths {
    pub batch: usize,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub head_width: usize,
    pub scale: f32, // of the scores
}

impl Lengths {
    /// Of queries `[batch, queries, width]` and keys `[batch, keys, width]`; the scores are multiplied with `scale`, by itself
    /// 1 / √head width.
    pub fn new(q: &Shape, k: &Shape, heads: usize, scale: Option<f64>) -> CandleResult<Self> {
        let (batch, queries, width) = q.dims3()?;
        let (of_keys, keys, key_width) = k.dims3()?;
        if (of_keys, key_width) != (batch, width) {
            candle_core::bail!("queries {q:?} can't look at keys {k:?}");
        }
        let head_width = width / heads;
        let scale = scale.map_or_else(|| 1.0 / (head_width as f32).sqrt(), |scale| scale as f32);
        Ok(Self { batch, heads, queries, keys, head_width, scale })
    }

    pub fn width(self) -> usize {
        self.heads * self.head_width
    }

    /// Numbers of the pattern of one head of one batch entry.
    pub fn size(self) -> usize {
        self.queries * self.keys
    }

    /// The scores of one head of one batch entry, into `scores` `[queries, keys]`.
    pub fn form_scores(self, unit: usize, q: &[f32], k: &[f32], mask: &[f32], scores: &mut [f32]) {
        let queries = self.head(q, unit, self.queries);
        let keys = self.head(k, unit, self.keys);
        multiply(scores, 0.0, self.scale, queries, keys.t(), Parallelism::None);
        if !mask.is_empty() {
            let size = self.size();
            // One mask for all, one for each batch entry, or one for each of its heads.
            let start = unit * (mask.len() / size) / (self.batch * self.heads) * size;
            for (score, mask) in scores.iter_mut().zip(&mask[start..start + size]) {
                *score += mask;
            }
        }
    }

    /// What the pattern of one head of one batch entry gathers of `v`, into `z` `[queries, head width]`.
    pub fn gather(self, unit: usize, pattern: &[f32], v: &[f32], z: &mut [f32]) {
        let pattern = Matrix::dense(pattern, self.queries, self.keys);
        multiply(z, 0.0, 1.0, pattern, self.head(v, unit, self.keys), Parallelism::None);
    }

    /// The matrix of one head of one batch entry inside `[batch, positions, heads * head width]`.
    pub fn head(self, data: &[f32], unit: usize, positions: usize) -> Matrix<'_> {
        let (batch, head) = (unit / self.heads, unit % self.heads);
        let start = batch * positions * self.width() + head * self.head_width;
        Matrix::strided(&data[start..], positions, self.head_width, self.width())
    }

    /// Brings `[batch, heads, positions, head width]` into `[batch, positions, heads * head width]`.
    pub fn merge(self, split: &[f32], positions: usize) -> Vec<f32> {
        let mut merged = vec![0f32; split.len()];
        for (unit, rows) in split.chunks_exact(positions * self.head_width).enumerate() {
            let (batch, head) = (unit / self.heads, unit % self.heads);
            for (position, row) in rows.chunks_exact(self.head_width).enumerate() {
                let start = (batch * positions + position) * self.width() + head * self.head_width;
                merged[start..start + self.head_width].copy_from_slice(row);
            }
        }
        merged
    }
}

impl FusedAttention {
    /// Attention of `q` `[batch, queries, width]` over `k` and `v` `[batch, keys, width]`; the scores are multiplied with
    /// `scale`, by itself 1 / √head width.
    pub fn apply(
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        heads: usize,
        mask: Option<&Tensor>,
        scale: Option<f64>,
    ) -> Result<Tensor> {
        let op = Self { keep_pattern: q.track_op() || k.track_op() || v.track_op(), ..Self::new(heads, mask, scale)? };
        Ok(q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)?)
    }

    fn new(heads: usize, mask: Option<&Tensor>, scale: Option<f64>) -> Result<Self> {
        let mask = mask.map(|mask| mask.detach().contiguous()).transpose()?;
        Ok(Self { heads, scale, mask, keep_pattern: false, pattern: Mutex::new(Vec::new()) })
    }

    /// The same where nothing is learned, with the pattern, `[batch, heads, queries, keys]`.
    pub fn with_pattern(
        [q, k, v]: [&Tensor; 3],
        heads: usize,
        mask: Option<&Tensor>,
        scale: Option<f64>,
    ) -> Result<(Tensor, Tensor)> {
        let op = Self { keep_pattern: true, ..Self::new(heads, mask, scale)? };
        let lengths = op.lengths(q.shape(), k.shape())?;
        let run = |q: &[f32], k: &[f32], v: &[f32]| op.run(lengths, (q, k, v));
        let z = with_slice(q, |q| with_slice(k, |k| with_slice(v, |v| run(q, k, v))))?;
        let pattern = op.pattern.into_inner().unwrap_or_else(PoisonError::into_inner);
        let shape = (lengths.batch, heads, lengths.queries, lengths.keys);
        Ok((Tensor::from_vec(z, q.shape(), q.device())?, Tensor::from_vec(pattern, shape, q.device())?))
    }

    fn lengths(&self, q: &Shape, k: &Shape) -> CandleResult<Lengths> {
        Lengths::new(q, k, self.heads, self.scale)
    }

    /// The pattern of one head of one batch entry, into `pattern` `[queries, keys]`.
    fn form_pattern(lengths: Lengths, unit: usize, q: &[f32], k: &[f32], mask: &[f32], pattern: &mut [f32]) {
        lengths.form_scores(unit, q, k, mask, pattern);
        pattern.chunks_exact_mut(lengths.keys).for_each(softmax_row);
    }

    /// All of it; the pattern stays here if it is kept.
    fn run(&self, lengths: Lengths, (q, k, v): (&[f32], &[f32], &[f32])) -> CandleResult<Vec<f32>> {
        let size = lengths.size();
        let mut z = vec![0f32; q.len()]; // [batch, heads, queries, head width]
        with_mask(self.mask.as_ref(), |mask| {
            let step = |unit: usize, z: &mut [f32], pattern: &mut [f32]| {
                Self::form_pattern(lengths, unit, q, k, mask, pattern);
                lengths.gather(unit, pattern, v, z);
            };
            let z = z.par_chunks_mut(lengths.queries * lengths.head_width).enumerate();
            if self.keep_pattern {
                let mut kept = vec![0f32; lengths.batch * lengths.heads * size];
                z.zip(kept.par_chunks_mut(size)).for_each(|((unit, z), pattern)| step(unit, z, pattern));
                *self.pattern.lock().unwrap_or_else(PoisonError::into_inner) = kept;
            } else {
                z.for_each_init(|| vec![0f32; size], |pattern, (unit, z)| step(unit, z, pattern));
            }
            Ok(())
        })?;
        Ok(lengths.merge(&z, lengths.queries))
    }
}

/// Runs `work` on the numbers of a mask, none where there is no mask.
pub(super) fn with_mask<R>(mask: Option<&Tensor>, work: impl FnOnce(&[f32]) -> CandleResult<R>) -> CandleResult<R> {
    match mask {
        Some(mask) => with_slice(mask, work),
        None => work(&[]),
    }
}

impl CustomOp3 for FusedAttention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let lengths = self.lengths(q_layout.shape(), k_layout.shape())?;
        let z = self.run(lengths, (slice(q, q_layout)?, slice(k, k_layout)?, slice(v, v_layout)?))?;
        Ok((CpuStorage::F32(z), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let lengths = self.lengths(q.shape(), k.shape())?;
        let size = lengths.size();
        let of_queries = lengths.queries * lengths.head_width;
        let of_keys = lengths.keys * lengths.head_width;
        let units = lengths.batch * lengths.heads;
        let kept = self.pattern.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut dq, mut dk, mut dv) =
            (vec![0f32; units * of_queries], vec![0f32; units * of_keys], vec![0f32; units * of_keys]);
        let mut run = |q: &[f32], k: &[f32], v: &[f32], dz: &[f32]| {
            dq.par_chunks_mut(of_queries)
                .zip(dk.par_chunks_mut(of_keys))
                .zip(dv.par_chunks_mut(of_keys))
                .zip(kept.par_chunks(size))
                .enumerate()
                .for_each_init(
                    || vec![0f32; size],
                    |scores, (unit, (((dq, dk), dv), pattern))| {
                        let alone = Parallelism::None;
                        let dz = lengths.head(dz, unit, lengths.queries);
                        let values = lengths.head(v, unit, lengths.keys);
                        let matrix = Matrix::dense(pattern, lengths.queries, lengths.keys);
                        multiply(dv, 0.0, 1.0, matrix.t(), dz, alone);
                        multiply(scores, 0.0, 1.0, dz, values.t(), alone);
                        let rows = scores.chunks_exact_mut(lengths.keys);
                        for (row, pattern) in rows.zip(pattern.chunks_exact(lengths.keys)) {
                            softmax_row_gradient(pattern, row);
                        }
                        let scores = Matrix::dense(scores, lengths.queries, lengths.keys);
                        let keys = lengths.head(k, unit, lengths.keys);
                        multiply(dq, 0.0, lengths.scale, scores, keys, alone);
                        let queries = lengths.head(q, unit, lengths.queries);
                        multiply(dk, 0.0, lengths.scale, scores.t(), queries, alone);
                    },
                );
        };
        with_slice(q, |q| {
            with_slice(k, |k| {
                with_slice(v, |v| {
                    with_slice(gradient, |dz| {
                        run(q, k, v, dz);
                        Ok(())
                    })
                })
            })
        })?;
        let tensor = |split: &[f32], positions: usize, like: &Tensor| {
            Tensor::from_vec(lengths.merge(split, positions), like.shape(), like.device())
        };
        Ok((
            Some(tensor(&dq, lengths.queries, q)?),
            Some(tensor(&dk, lengths.keys, k)?),
            Some(tensor(&dv, lengths.keys, v)?),
        ))
    }
}
