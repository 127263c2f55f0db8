//! Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467).

use candle_core::{D, Tensor};

use super::{LayerNorm, Scope};
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
        // Not candle's own operation, which cuts the gradient.
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
        let unit = x.broadcast_div(&(mean + self.epsilon)?.sqrt()?)?;
        Ok(unit.broadcast_mul(&self.weight)?)
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
