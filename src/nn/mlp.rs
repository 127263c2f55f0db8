//! The feed-forward part of a transformer block.

use candle_core::Tensor;

use super::{Activation, Linear, Scope};
use crate::error::Result;

/// `fc2(act(fc1(x)))`.
#[derive(Clone, Debug)]
pub struct Mlp {
    fc1: Linear, // width -> inner
    fc2: Linear, // inner -> width
    activation: Activation,
}

impl Mlp {
    /// From its two maps.
    #[must_use]
    pub fn new(fc1: Linear, fc2: Linear, activation: Activation) -> Self {
        Self { fc1, fc2, activation }
    }

    /// Reads `1` and `3`, the names of OpenFlamingo, of a part without biases that is four times as wide inside, with
    /// GELU.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_open_flamingo(scope: &Scope<'_>, width: usize) -> Result<Self> {
        let fc1 = Linear::load_without_bias(&scope.enter(1), width, 4 * width)?;
        let fc2 = Linear::load_without_bias(&scope.enter(3), 4 * width, width)?;
        Ok(Self::new(fc1, fc2, Activation::Gelu))
    }

    /// Reads `fc1` and `fc2`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, width: usize, inner: usize, activation: Activation) -> Result<Self> {
        Ok(Self {
            fc1: Linear::load(&scope.enter("fc1"), width, inner)?,
            fc2: Linear::load(&scope.enter("fc2"), inner, width)?,
            activation,
        })
    }

    /// Maps `[..., width]` to `[..., width]`.
    ///
    /// # Errors
    /// If the shape doesn't fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = self.activation.forward(&self.fc1.forward(x)?)?;
        self.fc2.forward(&inner)
    }
}
