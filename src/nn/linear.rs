//! The affine map.

use candle_core::{CpuStorage, CustomOp3, Layout, Result as CandleResult, Shape, Tensor};
use gemm::Parallelism;

use super::kernels::{Matrix, add_rows, multiply, slice, with_slice};
use super::{Scope, fusable};
use crate::error::Result;

/// `y = x Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor, // [out, in]
    bias: Tensor,   // [out]; zeros where the checkpoint has none
}

impl Linear {
    /// Reads `weight` and `bias` of a layer that maps `input` to `output` numbers.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, input: usize, output: usize) -> Result<Self> {
        Ok(Self { weight: scope.get("weight", &[output, input])?, bias: scope.get("bias", &[output])? })
    }

    /// Reads `weight` of a layer without bias.
    ///
    /// # Errors
    /// If the weight is missing or has another shape.
    pub fn load_without_bias(scope: &Scope<'_>, input: usize, output: usize) -> Result<Self> {
        Self::from_weight(scope.get("weight", &[output, input])?)
    }

    /// Reads `weight`, and `bias` if the config says that there is one.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_with(scope: &Scope<'_>, input: usize, output: usize, bias: bool) -> Result<Self> {
        if bias { Self::load(scope, input, output) } else { Self::load_without_bias(scope, input, output) }
    }

    /// From a weight `[out, in]` alone.
    ///
    /// # Errors
    /// If the weight isn't a matrix.
    pub fn from_weight(weight: Tensor) -> Result<Self> {
        let bias = Tensor::zeros(weight.dim(0)?, weight.dtype(), weight.device())?;
        Ok(Self { weight, bias })
    }

    /// From a weight `[out, in]` and a bias `[out]`.
    #[must_use]
    pub fn new(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias }
    }

    /// Maps `x` `[..., in]` to `[..., out]`.
    ///
    /// # Errors
    /// If the last axis of `x` isn't `in` long.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (output, input) = self.weight.dims2()?;
        super::operations::count(1, x.elem_count() / input.max(1), input, output);
        if fusable(&[x, &self.weight, &self.bias]) {
            let x = x.contiguous()?;
            let weight = self.weight.contiguous()?;
            return Ok(x.apply_op3(&weight, &self.bias, LinearOp)?);
        }
        let mut shape = x.dims().to_vec();
        let rows = x.elem_count() / input.max(1);
        let y = x.reshape((rows, input))?.matmul(&self.weight.t()?)?; // [rows, out]
        let y = y.broadcast_add(&self.bias)?;
        if let Some(last) = shape.last_mut() {
            *last = output;
        }
        Ok(y.reshape(shape)?)
    }
}

/// The affine map with bias as one operation, which skips the gradients that nobody needs (frozen weights).
struct LinearOp;

impl CustomOp3 for LinearOp {
    fn name(&self) -> &'static str {
        "linear"
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
        let (output, input) = weight_layout.shape().dims2()?;
        let mut dims = x_layout.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == input => *last = output,
            _ => candle_core::bail!("a linear layer of {input} inputs got {:?}", x_layout.dims()),
        }
        let x = slice(x, x_layout)?;
        let bias = slice(bias, bias_layout)?;
        let rows = x.len() / input;
        let mut y = Vec::with_capacity(rows * output);
        for _ in 0..rows {
            y.extend_from_slice(bias);
        }
        let x = Matrix::dense(x, rows, input);
        let weight = Matrix::dense(slice(weight, weight_layout)?, output, input);
        multiply(&mut y, 1.0, 1.0, x, weight.t(), Parallelism::Rayon(0));
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (output, input) = weight.dims2()?;
        let rows = x.elem_count() / input;
        let threads = Parallelism::Rayon(0);
        with_slice(gradient, |gradient| {
            let dy = Matrix::dense(gradient, rows, output);
            let x_gradient = if x.track_op() {
                let mut out = vec![0f32; rows * input];
                with_slice(weight, |weight| {
                    let weight = Matrix::dense(weight, output, input);
                    multiply(&mut out, 0.0, 1.0, dy, weight, threads);
                    Ok(())
                })?;
                Some(Tensor::from_vec(out, x.shape(), x.device())?)
            } else {
                None
            };
            let weight_gradient = if weight.track_op() {
                let mut out = vec![0f32; output * input];
                with_slice(x, |x| {
                    let x = Matrix::dense(x, rows, input);
                    multiply(&mut out, 0.0, 1.0, dy.t(), x, threads);
                    Ok(())
                })?;
                Some(Tensor::from_vec(out, weight.shape(), weight.device())?)
            } else {
                None
            };
            let bias_gradient = if bias.track_op() {
                let mut out = vec![0f32; output];
                add_rows(gradient, &mut out);
                Some(Tensor::from_vec(out, bias.shape(), bias.device())?)
            } else {
                None
            };
            Ok((x_gradient, weight_gradient, bias_gradient))
        })
    }
}
