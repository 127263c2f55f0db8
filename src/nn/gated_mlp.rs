//! The feed-forward part of LLaMA (Shazeer 2020, arXiv 2002.05202), and of those language models that have the one or
//! the other.

use candle_core::Tensor;

use super::{Activation, Linear, Mlp, Scope};
use crate::error::Result;

/// `down(act(gate(x)) * up(x))`.
#[derive(Clone, Debug)]
pub struct GatedMlp {
    gate_proj: Linear, // width -> inner
    up_proj: Linear,   // width -> inner
    down_proj: Linear, // inner -> width
    activation: Activation,
}

impl GatedMlp {
    /// From its maps into the part and out of it.
    #[must_use]
    pub fn new([gate_proj, up_proj]: [Linear; 2], down_proj: Linear, activation: Activation) -> Self {
        Self { gate_proj, up_proj, down_proj, activation }
    }

    /// Reads `gate_proj`, `up_proj` and `down_proj`, without biases.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, width: usize, inner: usize, activation: Activation) -> Result<Self> {
        let linear = |name, input, output| Linear::load_without_bias(&scope.enter(name), input, output);
        let into = [linear("gate_proj", width, inner)?, linear("up_proj", width, inner)?];
        Ok(Self::new(into, linear("down_proj", inner, width)?, activation))
    }

    /// Maps `[..., width]` to `[..., width]`.
    ///
    /// # Errors
    /// If the shape doesn't fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = self.activation.gated(&self.gate_proj.forward(x)?, &self.up_proj.forward(x)?)?; // [..., inner]
        self.down_proj.forward(&inner)
    }
}

/// One of the two feed-forward parts.
#[derive(Clone, Debug)]
pub enum FeedForward {
    /// With a gate, as in LLaMA.
    Gated(GatedMlp),
    /// Without one.
    Plain(Mlp),
}

impl FeedForward {
    /// Maps `[..., width]` to `[..., width]`.
    ///
    /// # Errors
    /// If the shape doesn't fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gated(mlp) => mlp.forward(x),
            Self::Plain(mlp) => mlp.forward(x),
        }
    }
}
