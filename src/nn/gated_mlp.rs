//! The feed-forward part of LLaMA (Shazeer 2020, arXiv 2002.05202).

use candle_core::Tensor;

use super::{Activation, Linear, Scope};
use crate::error::Result;

/// `down(act(gate(x)) * up(x))`, without biases.
#[derive(Clone, Debug)]
pub struct GatedMlp {
    gate_proj: Linear, // width -> inner
    up_proj: Linear,   // width -> inner
    down_proj: Linear, // inner -> width
    activation: Activation,
}

impl GatedMlp {
    /// Reads `gate_proj`, `up_proj` and `down_proj`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, width: usize, inner: usize, activation: Activation) -> Result<Self> {
        Ok(Self {
            gate_proj: Linear::load_without_bias(&scope.enter("gate_proj"), width, inner)?,
            up_proj: Linear::load_without_bias(&scope.enter("up_proj"), width, inner)?,
            down_proj: Linear::load_without_bias(&scope.enter("down_proj"), inner, width)?,
            activation,
        })
    }

    /// Maps `[..., width]` to `[..., width]`.
    ///
    /// # Errors
    /// If the shape doesn't fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gate = self.activation.forward(&self.gate_proj.forward(x)?)?;
        self.down_proj.forward(&(gate * self.up_proj.forward(x)?)?)
    }
}
