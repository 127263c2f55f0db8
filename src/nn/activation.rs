//! The activation functions that published checkpoints name.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::fusable;
use super::kernels::{gate, gate_gradient, gelu, gelu_gradient, scale_by, slice, with_slice};
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
        if let (true, Some(curve)) = (fusable(&[x]), self.curve()) {
            return Ok(x.contiguous()?.apply_op1(CurveOp(curve))?);
        }
        Ok(match self {
            Self::Gelu => x.gelu_erf()?,
            Self::GeluTanh => x.gelu()?,
            Self::QuickGelu => (x * sigmoid(&(x * f64::from(QUICK))?)?)?,
            Self::Relu => x.relu()?,
            Self::Silu => x.silu()?,
        })
    }

    /// Applies the function to each number of `gate`, and multiplies with the number at the same place of `x`.
    ///
    /// # Errors
    /// If the shapes differ, or the tensors aren't of a float type.
    pub fn gated(self, gate: &Tensor, x: &Tensor) -> Result<Tensor> {
        if let (true, Some(curve)) = (fusable(&[gate, x]), self.curve()) {
            return Ok(gate.contiguous()?.apply_op2(&x.contiguous()?, GatedOp(curve))?);
        }
        Ok((self.forward(gate)? * x)?)
    }

    /// How it is computed on the processor, if it is one of those in which much of a pass is spent.
    fn curve(self) -> Option<Curve> {
        match self {
            Self::Gelu => Some(Curve::Gelu),
            Self::QuickGelu => Some(Curve::Gate(QUICK)),
            Self::Silu => Some(Curve::Gate(1.0)),
            Self::GeluTanh | Self::Relu => None,
        }
    }
}

/// The slope of the sigmoid that stands for Φ.
const QUICK: f32 = 1.702;

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

/// A function of single numbers as a fused operation.
#[derive(Clone, Copy)]
enum Curve {
    /// x Φ(x).
    Gelu,
    /// x σ(slope x).
    Gate(f32),
}

impl Curve {
    fn values(self, x: &[f32], out: &mut [f32]) {
        match self {
            Self::Gelu => gelu(x, out),
            Self::Gate(slope) => gate(slope, x, out),
        }
    }

    fn gradients(self, x: &[f32], gradient: &[f32], out: &mut [f32]) {
        match self {
            Self::Gelu => gelu_gradient(x, gradient, out),
            Self::Gate(slope) => gate_gradient(slope, x, gradient, out),
        }
    }
}

struct CurveOp(Curve);

/// Numbers that one task computes.
pub(super) const VALUES_PER_TASK: usize = 1 << 15;

impl CustomOp1 for CurveOp {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut out = vec![0f32; x.len()];
        let parts = out.par_chunks_mut(VALUES_PER_TASK).zip(x.par_chunks(VALUES_PER_TASK));
        parts.for_each(|(out, x)| self.0.values(x, out));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> CandleResult<Option<Tensor>> {
        let mut out = vec![0f32; x.elem_count()];
        with_slice(x, |x| {
            with_slice(gradient, |gradient| {
                out.par_chunks_mut(VALUES_PER_TASK)
                    .zip(x.par_chunks(VALUES_PER_TASK))
                    .zip(gradient.par_chunks(VALUES_PER_TASK))
                    .for_each(|((out, x), gradient)| self.0.gradients(x, gradient, out));
                Ok(())
            })
        })?;
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

struct GatedOp(Curve);

impl CustomOp2 for GatedOp {
    fn name(&self) -> &'static str {
        "gated activation"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        if gate_layout.shape() != layout.shape() {
            candle_core::bail!("a gate {:?} doesn't fit {:?}", gate_layout.shape(), layout.shape());
        }
        let (gate, x) = (slice(gate, gate_layout)?, slice(x, layout)?);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(VALUES_PER_TASK)
            .zip(gate.par_chunks(VALUES_PER_TASK).zip(x.par_chunks(VALUES_PER_TASK)))
            .for_each(|(out, (gate, x))| {
                self.0.values(gate, out);
                scale_by(out, x);
            });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        x: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let (mut of_gate, mut of_x) = (vec![0f32; x.elem_count()], vec![0f32; x.elem_count()]);
        let mut run = |gate: &[f32], x: &[f32], gradient: &[f32]| {
            let parts = of_gate.par_chunks_mut(VALUES_PER_TASK).zip(of_x.par_chunks_mut(VALUES_PER_TASK));
            let known = gate.par_chunks(VALUES_PER_TASK).zip(x.par_chunks(VALUES_PER_TASK));
            parts.zip(known.zip(gradient.par_chunks(VALUES_PER_TASK))).for_each(
                |((of_gate, of_x), ((gate, x), gradient))| {
                    of_x.copy_from_slice(gradient);
                    scale_by(of_x, x);
                    self.0.gradients(gate, of_x, of_gate);
                    self.0.values(gate, of_x);
                    scale_by(of_x, gradient);
                },
            );
        };
        with_slice(gate, |gate| {
            with_slice(x, |x| {
                with_slice(gradient, |gradient| {
                    run(gate, x, gradient);
                    Ok(())
                })
            })
        })?;
        let tensor = |numbers| Tensor::from_vec(numbers, x.shape(), x.device());
        Ok((Some(tensor(of_gate)?), Some(tensor(of_x)?)))
    }
}
