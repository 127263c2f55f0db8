//! Softmax over the last axis.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use super::fusable;
use super::kernels::{log_softmax_row, log_softmax_row_gradient, slice, softmax_row, softmax_row_gradient, with_slice};
use crate::error::Result;

/// Softmax over the last axis.
///
/// # Errors
/// If the tensor has no axes.
pub fn softmax(scores: &Tensor) -> Result<Tensor> {
    if fusable(&[scores]) {
        return Ok(scores.contiguous()?.apply_op1(SoftmaxOp)?);
    }
    let shifted = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?;
    let exponentials = shifted.exp()?;
    Ok(exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)?)
}

/// Logarithm of the softmax over the last axis.
///
/// # Errors
/// If the tensor has no axes.
pub fn log_softmax(scores: &Tensor) -> Result<Tensor> {
    if fusable(&[scores]) {
        return Ok(scores.contiguous()?.apply_op1(LogSoftmaxOp)?);
    }
    // The shift changes nothing in the result, so it needs no gradient.
    let shifted = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?;
    let logarithm = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    Ok(shifted.broadcast_sub(&logarithm)?)
}

struct SoftmaxOp;

impl CustomOp1 for SoftmaxOp {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let mut out = slice(scores, layout)?.to_vec();
        let width = layout.dims().last().copied().unwrap_or(1).max(1);
        out.par_chunks_mut(width).with_min_len(64).for_each(softmax_row);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _scores: &Tensor, result: &Tensor, gradient: &Tensor) -> CandleResult<Option<Tensor>> {
        let width = result.dims().last().copied().unwrap_or(1).max(1);
        let mut out = with_slice(gradient, |gradient| Ok(gradient.to_vec()))?;
        with_slice(result, |result| {
            out.par_chunks_mut(width)
                .with_min_len(64)
                .zip(result.par_chunks(width))
                .for_each(|(gradient, result)| softmax_row_gradient(result, gradient));
            Ok(())
        })?;
        Ok(Some(Tensor::from_vec(out, result.shape(), result.device())?))
    }
}

struct LogSoftmaxOp;

impl CustomOp1 for LogSoftmaxOp {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let scores = slice(scores, layout)?;
        let width = layout.dims().last().copied().unwrap_or(1).max(1);
        let mut out = vec![0f32; scores.len()];
        out.par_chunks_mut(width)
            .with_min_len(64)
            .zip(scores.par_chunks(width))
            .for_each(|(out, row)| log_softmax_row(row, out));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _scores: &Tensor, result: &Tensor, gradient: &Tensor) -> CandleResult<Option<Tensor>> {
        let width = result.dims().last().copied().unwrap_or(1).max(1);
        let mut out = vec![0f32; result.elem_count()];
        with_slice(result, |result| {
            with_slice(gradient, |gradient| {
                out.par_chunks_mut(width)
                    .with_min_len(64)
                    .zip(result.par_chunks(width).zip(gradient.par_chunks(width)))
                    .for_each(|(out, (result, gradient))| log_softmax_row_gradient(result, gradient, out));
                Ok(())
            })
        })?;
        Ok(Some(Tensor::from_vec(out, result.shape(), result.device())?))
    }
}
