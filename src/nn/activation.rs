//! The activation functions that published checkpoints name.

use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::fusable;
use super::kernels::{quick_gelu, quick_gelu_gradient, slice, with_slice};
use crate::error::Result;

/// `hidden_act` of a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// x Φ(x), with the error function (Hendrycks & Gimpel 2016).
    #[serde(rename = "gelu")]
    Gelu,
    /// The approximation of GELU by a hyperbolic tangent.
    #[serde(rename = "gelu_pytorch_tanh", alias = "gelu_new", alias = "gelu_fast")]
    GeluTanh,
    /// x σ(1.702 x), as in OpenAI's CLIP.
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    /// max(x, 0).
    #[serde(rename = "relu")]
    Relu,
    /// x σ(x).
    #[serde(rename = "silu", alias = "swish")]
    Silu,
}

impl Activation {
    /// Applies the function to each number.
    ///
    /// # Errors
    /// If the tensor isn't of a float type.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Gelu => x.gelu_erf()?,
            Self::GeluTanh => x.gelu()?,
            Self::QuickGelu if fusable(&[x]) => x.contiguous()?.apply_op1(QuickGeluOp)?,
            Self::QuickGelu => (x * sigmoid(&(x * 1.702)?)?)?,
            Self::Relu => x.relu()?,
            Self::Silu => x.silu()?,
        })
    }
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

struct QuickGeluOp;

const VALUES_PER_TASK: usize = 1 << 15;

impl CustomOp1 for QuickGeluOp {
    fn name(&self) -> &'static str {
        "quick_gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(VALUES_PER_TASK).zip(x.par_chunks(VALUES_PER_TASK)).for_each(|(out, x)| quick_gelu(x, out));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> CandleResult<Option<Tensor>> {
        let mut out = vec![0f32; x.elem_count()];
        with_slice(x, |x| {
            with_slice(gradient, |gradient| {
                out.par_chunks_mut(VALUES_PER_TASK)
                    .zip(x.par_chunks(VALUES_PER_TASK))
                    .zip(gradient.par_chunks(VALUES_PER_TASK))
                    .for_each(|((out, x), gradient)| quick_gelu_gradient(x, gradient, out));
                Ok(())
            })
        })?;
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}
