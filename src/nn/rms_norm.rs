//! Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467).

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use super::kernels::{rms_norm_row, rms_norm_row_gradient, slice, with_slice};
use super::layer_norm::ROWS_PER_TASK;
use super::{LayerNorm, Scope, fusable};
use crate::error::Result;

/// Each vector of the last axis divided by the root of its mean square, then scaled.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor, // [width]
    epsilon: f64,
}

impl RmsNorm {
    /// Reads `weight`.
    ///
    /// # Errors
    /// If the weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, width: usize, epsilon: f64) -> Result<Self> {
        Ok(Self { weight: scope.get("weight", &[width])?, epsilon })
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
        if fusable(&[x, &self.weight]) {
            let op = RmsNormOp {
                #[expect(clippy::cast_possible_truncation, reason = "a tiny constant; f32 is enough")]
                epsilon: self.epsilon as f32,
            };
            return Ok(x.contiguous()?.apply_op2(&self.weight, op)?);
        }
        // Not candle's own operation, which cuts the gradient.
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
        let unit = x.broadcast_div(&(mean + self.epsilon)?.sqrt()?)?;
        Ok(unit.broadcast_mul(&self.weight)?)
    }
}

struct RmsNormOp {
    epsilon: f32,
}

impl CustomOp2 for RmsNormOp {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let width = weight_layout.shape().elem_count();
        if width == 0 {
            candle_core::bail!("a root-mean-square norm has no width");
        }
        if x_layout.dims().last() != Some(&width) {
            candle_core::bail!("a root-mean-square norm of width {width} got {:?}", x_layout.dims());
        }
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(width)
            .with_min_len(ROWS_PER_TASK)
            .zip(x.par_chunks(width))
            .for_each(|(y, x)| rms_norm_row(x, weight, self.epsilon, y));
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let task = width * ROWS_PER_TASK;
        let mut out = vec![0f32; x.elem_count()];
        let mut run = |x: &[f32], weight: &[f32], gradient: &[f32]| -> Vec<Vec<f32>> {
            out.par_chunks_mut(task)
                .zip(x.par_chunks(task))
                .zip(gradient.par_chunks(task))
                .map(|((out, x), gradient)| {
                    let mut part = vec![0f32; width];
                    let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
                    for (out, (x, gradient)) in out.chunks_exact_mut(width).zip(rows) {
                        rms_norm_row_gradient(x, weight, self.epsilon, gradient, out, &mut part);
                    }
                    part
                })
                .collect()
        };
        let parts = with_slice(x, |x| {
            with_slice(weight, |weight| with_slice(gradient, |gradient| Ok(run(x, weight, gradient))))
        })?;
        // The tasks' parts are added in their order, so that the sums don't depend on the number of threads.
        let mut weight_gradient = vec![0f32; width];
        for part in &parts {
            weight_gradient.iter_mut().zip(part).for_each(|(all, part)| *all += part);
        }
        let of_weight = || Tensor::from_vec(weight_gradient, weight.shape(), x.device());
        Ok((Some(Tensor::from_vec(out, x.shape(), x.device())?), weight.track_op().then(of_weight).transpose()?))
    }
}

/// One of the two normalisations.
#[derive(Clone, Debug)]
pub enum Norm {
    /// Layer normalisation.
    Layer(LayerNorm),
    /// Root-mean-square normalisation.
    Rms(RmsNorm),
}

impl Norm {
    /// Length of the vectors.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Layer(norm) => norm.width(),
            Self::Rms(norm) => norm.width(),
        }
    }

    /// Normalises `x` `[..., width]`.
    ///
    /// # Errors
    /// If the last axis of `x` isn't `width` long.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Layer(norm) => norm.forward(x),
            Self::Rms(norm) => norm.forward(x),
        }
    }
}
