//! What maps a picture's vectors to where the words' vectors are.

use candle_core::Tensor;

use crate::error::Result;
use crate::nn::{Activation, Linear, Scope};

/// Linear layers with an activation between them: two in most models; one in LLaVA-1.0 (Liu et al. 2023, arXiv
/// 2304.08485); without any the vectors stay what they are.
#[derive(Clone, Debug)]
pub struct Projector {
    layers: Vec<Linear>,
    activation: Activation,
}

impl Projector {
    /// Reads `linear_1` and `linear_2`, from vectors of length `from` to those of length `to`, with or without a `bias`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, (from, to): (usize, usize), bias: bool, activation: Activation) -> Result<Self> {
        let linear = |name, input| Linear::load_with(&scope.enter(name), input, to, bias);
        Ok(Self { layers: vec![linear("linear_1", from)?, linear("linear_2", to)?], activation })
    }

    /// Reads `depth` layers by the names of LLaVA's own files (`llava/model/multimodal_projector/builder.py` in
    /// github.com/haotian-liu/LLaVA): each has the number of its place, activations counted too; one that stands alone has
    /// none.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load_original(scope: &Scope<'_>, (from, to): (usize, usize), depth: OriginalDepth) -> Result<Self> {
        let numbered = |layer: usize| {
            let input = if layer == 0 { from } else { to };
            Linear::load(&scope.enter(2 * layer), input, to)
        };
        let layers = match depth {
            OriginalDepth::Alone => vec![Linear::load(scope, from, to)?],
            OriginalDepth::Layers(count) => (0..count).map(numbered).collect::<Result<_>>()?,
        };
        Ok(Self { layers, activation: Activation::Gelu })
    }

    /// Maps `[..., from]` to `[..., to]`.
    ///
    /// # Errors
    /// If the last axis isn't as long as the vectors of pictures.
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let mut x = features.clone();
        for (at, layer) in self.layers.iter().enumerate() {
            if at > 0 {
                x = self.activation.forward(&x)?;
            }
            x = layer.forward(&x)?;
        }
        Ok(x)
    }
}

/// `mm_projector_type` of LLaVA's own config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginalDepth {
    /// `linear`: one layer.
    Alone,
    /// `mlp2x_gelu` has two, `mlp3x_gelu` three, `identity` none.
    Layers(usize),
}

impl OriginalDepth {
    /// The most layers that are believed.
    const MOST: usize = 16;

    /// Reads `mm_projector_type`; `None` for a kind that Alignscope doesn't know.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "linear" => Some(Self::Alone),
            "identity" => Some(Self::Layers(0)),
            _ => {
                let count = name.strip_prefix("mlp")?.strip_suffix("x_gelu")?.parse().ok()?;
                (1..=Self::MOST).contains(&count).then_some(Self::Layers(count))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projectors_have_names() {
        let known = [
            ("linear", OriginalDepth::Alone),
            ("identity", OriginalDepth::Layers(0)),
            ("mlp1x_gelu", OriginalDepth::Layers(1)),
            ("mlp2x_gelu", OriginalDepth::Layers(2)),
        ];
        for (name, expected) in known {
            assert_eq!(OriginalDepth::named(name), Some(expected), "{name}");
        }
        for name in ["", "mlp", "mlp0x_gelu", "mlp17x_gelu", "mlp-1x_gelu", "mlpx_gelu", "mlp2x_relu", "resampler"] {
            assert_eq!(OriginalDepth::named(name), None, "{name}");
        }
    }
}
