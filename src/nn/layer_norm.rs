//! Layer normalisation (Ba et al. 2016).

use candle_core::{CpuStorage, CustomOp3, D, DType, Device, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use super::kernels::{layer_norm_row, layer_norm_row_gradient, slice, with_slice};
use super::{Scope, fusable};
use crate::error::Result;

/// Each vector of the last axis brought to mean 0 and variance 1, then scaled and shifted.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor, // [width]
    bias: Tensor,   // [width]; zeros where the checkpoint has none
    epsilon: f64,
}

impl LayerNorm {
    /// Reads `weight` and `bias`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, width: usize, epsilon: f64) -> Result<Self> {
        Ok(Self { weight: scope.get("weight", &[width])?, bias: scope.get("bias", &[width])?, epsilon })
    }

    /// Reads `weight` of a norm without bias.
    ///
    /// # Errors
    /// If the weight is missing or has another shape.
    pub fn load_without_bias(scope: &Scope<'_>, width: usize, epsilon: f64) -> Result<Self> {
        let weight = scope.get("weight", &[width])?;
        let bias = weight.zeros_like()?;
        Ok(Self { weight, bias, epsilon })
    }

    /// A norm that learned nothing: it neither scales nor shifts.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn without_weights(width: usize, epsilon: f64, device: &Device) -> Result<Self> {
        let (weight, bias) = (Tensor::ones(width, DType::F32, device)?, Tensor::zeros(width, DType::F32, device)?);
        Ok(Self { weight, bias, epsilon })
    }

    /// Length of the vectors.
    #[must_use]
    pub fn width(&self) -> usize {
        self.weight.elem_count()
    }

    /// Normalises `x` `[..., width]`.
    ///
    /// # Errors
    /// If the last axis of `x` isn't `width` long.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if fusable(&[x, &self.weight, &self.bias]) {
            let op = LayerNormOp {
                #[expect(clippy::cast_possible_truncation, reason = "a tiny constant; f32 is enough")]
                epsilon: self.epsilon as f32,
            };
            return Ok(x.contiguous()?.apply_op3(&self.weight, &self.bias, op)?);
        }
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let unit = centred.broadcast_div(&(variance + self.epsilon)?.sqrt()?)?;
        Ok(unit.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}

struct LayerNormOp {
    epsilon: f32,
}

/// Rows that one task handles: enough work to outweigh handing it to another thread.
pub(super) const ROWS_PER_TASK: usize = 256;

impl CustomOp3 for LayerNormOp {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let width = weight_layout.shape().elem_count();
        if x_layout.dims().last() != Some(&width) {
            candle_core::bail!("a layer norm of width {width} got {:?}", x_layout.dims());
        }
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let bias = slice(bias, bias_layout)?;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(width * ROWS_PER_TASK).zip(x.par_chunks(width * ROWS_PER_TASK)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                layer_norm_row(x, weight, bias, self.epsilon, y);
            }
        });
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let task = width * ROWS_PER_TASK;
        let mut out = vec![0f32; x.elem_count()];
        // The tasks' parts are added in their order, so that the sums don't depend on the number of threads.
        let parts: Vec<(Vec<f32>, Vec<f32>)> = with_slice(x, |x| {
            with_slice(weight, |weight| {
                with_slice(gradient, |gradient| {
                    Ok(out
                        .par_chunks_mut(task)
                        .zip(x.par_chunks(task))
                        .zip(gradient.par_chunks(task))
                        .map(|((out, x), gradient)| {
                            let mut weight_gradient = vec![0f32; width];
                            let mut bias_gradient = vec![0f32; width];
                            let rows = out
                                .chunks_exact_mut(width)
                                .zip(x.chunks_exact(width))
                                .zip(gradient.chunks_exact(width));
                            for ((out, x), gradient) in rows {
                                layer_norm_row_gradient(
                                    x,
                                    weight,
                                    self.epsilon,
                                    gradient,
                                    out,
                                    &mut weight_gradient,
                                    &mut bias_gradient,
                                );
                            }
                            (weight_gradient, bias_gradient)
                        })
                        .collect())
                })
            })
        })?;
        let mut weight_gradient = vec![0f32; width];
        let mut bias_gradient = vec![0f32; width];
        for (weight_part, bias_part) in &parts {
            for i in 0..width {
                weight_gradient[i] += weight_part[i];
                bias_gradient[i] += bias_part[i];
            }
        }
        let learned = |like: &Tensor, gradient: Vec<f32>| {
            like.track_op().then(|| Tensor::from_vec(gradient, like.shape(), x.device())).transpose()
        };
        Ok((
            Some(Tensor::from_vec(out, x.shape(), x.device())?),
            learned(weight, weight_gradient)?,
            learned(bias, bias_gradient)?,
        ))
    }
}
