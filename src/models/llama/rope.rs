//! Positions of texts that are longer than those that a model was trained on: how the turns of `nn::Rotary` slow down.
//!
//! The formulas are those of `modeling_rope_utils.py` in transformers 4.57.6.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::f32::consts::TAU;

use crate::error::Result;
use crate::models::checkpoint::Checkpoint;
use crate::nn::Rotary;

/// `rope_scaling` of a config.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// All positions are squeezed evenly (Chen et al. 2023, arXiv 2306.15595).
    Linear {
        /// How many times longer texts become.
        factor: f32,
    },
    /// The base grows with the text once that is longer than those of training (bloc97 and emozilla 2023, as transformers
    /// has it). What an earlier pass left in a cache stays turned as it was.
    Dynamic {
        /// How many times longer texts become.
        factor: f32,
    },
    /// Only slow turns become slower, as in LLaMA 3.1 (Grattafiori et al. 2024, arXiv 2407.21783).
    Llama3 {
        /// How many times slower the slowest become.
        factor: f32,
        /// Pairs that turn fewer times than this in a text of training become slower by the whole factor.
        low_freq_factor: f32,
        /// Pairs that turn more often than this stay as they are.
        high_freq_factor: f32,
        /// The longest text of training, in tokens.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// What stands in a config under `rope_scaling`, with the key `rope_type` also where it has its older name; null where
    /// positions are as usual. Refuses kinds that Alignscope doesn't know.
    ///
    /// # Errors
    /// If it is of such a kind.
    pub(super) fn named(scaling: &Value, checkpoint: &Checkpoint) -> Result<Value> {
        if scaling.is_null() {
            return Ok(Value::Null);
        }
        let kind = [&scaling["rope_type"], &scaling["type"]].into_iter().find_map(Value::as_str);
        match (kind, scaling) {
            (Some("default"), _) => Ok(Value::Null),
            (Some(kind @ ("linear" | "dynamic" | "llama3")), Value::Object(values)) => {
                let mut values = values.clone();
                values.insert("rope_type".into(), kind.into());
                Ok(Value::Object(values))
            }
            _ => Err(checkpoint.config_error("'rope_scaling' asks for positions that Alignscope doesn't know")),
        }
    }

    /// Refuses values that make no sense, for heads of `head_width` numbers.
    ///
    /// # Errors
    /// On the first such value.
    pub(super) fn check(&self, head_width: usize, checkpoint: &Checkpoint) -> Result<()> {
        let factor = self.factor();
        if !(1.0..=1e4).contains(&factor) {
            return Err(checkpoint
                .config_error(format!("the config says rope_scaling factor = {factor}, outside of 1 to 10000")));
        }
        match *self {
            Self::Linear { .. } => Ok(()),
            Self::Dynamic { .. } if head_width > 2 => Ok(()),
            Self::Dynamic { .. } => {
                Err(checkpoint
                    .config_error("the config turns heads of two numbers by a base that grows, which can't be"))
            }
            Self::Llama3 { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings, .. } => {
                let trained = original_max_position_embeddings;
                checkpoint.check_sizes(&[("original_max_position_embeddings", trained, 1 << 20)])?;
                let sensible = low > 0.0 && low < high && high.is_finite();
                if !sensible {
                    return Err(checkpoint.config_error(format!(
                        "the config says low_freq_factor = {low} and high_freq_factor = {high}, which must grow from above 0"
                    )));
                }
                Ok(())
            }
        }
    }

    fn factor(&self) -> f32 {
        match *self {
            Self::Linear { factor } | Self::Dynamic { factor } | Self::Llama3 { factor, .. } => factor,
        }
    }

    /// The longest text, in tokens, of a model that was trained on texts of `trained`. LLaMA 3.1 says the longer one itself.
    #[must_use]
    pub fn context(&self, trained: usize) -> usize {
        match *self {
            Self::Linear { factor } | Self::Dynamic { factor } => (trained as f64 * f64::from(factor)) as usize,
            Self::Llama3 { .. } => trained,
        }
    }

    /// The angles from one position to the next, in radians, for heads of `head_width` numbers, a text of `tokens` (the
    /// largest position and one), and a model that was trained on texts of `trained`.
    #[must_use]
    pub fn speeds(&self, head_width: usize, base: f32, tokens: usize, trained: usize) -> Vec<f32> {
        match *self {
            Self::Linear { factor } => {
                Rotary::speeds(head_width, base).into_iter().map(|speed| speed / factor).collect()
            }
            Self::Dynamic { factor } => {
                let (tokens, trained) = (tokens.max(trained) as f32, trained as f32);
                let power = head_width as f32 / (head_width as f32 - 2.0);
                Rotary::speeds(head_width, base * ((factor * tokens / trained) - (factor - 1.0)).powf(power))
            }
            Self::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings } => {
                let trained = original_max_position_embeddings as f32;
                let slowed = |speed: f32| {
                    let length = TAU / speed; // positions in a whole turn
                    if length < trained / high {
                        speed
                    } else if length > trained / low {
                        speed / factor
                    } else {
                        let kept = (trained / length - low) / (high - low);
                        (1.0 - kept) * speed / factor + kept * speed
                    }
                };
                Rotary::speeds(head_width, base).into_iter().map(slowed).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_of_a_growing_base_are_as_usual() {
        let scaling = RopeScaling::Dynamic { factor: 4.0 };
        assert_eq!(scaling.speeds(8, 1e4, 30, 64), Rotary::speeds(8, 1e4));
        assert!(scaling.speeds(8, 1e4, 65, 64)[3] < Rotary::speeds(8, 1e4)[3]);
        assert_eq!(scaling.context(64), 256);
    }

    #[test]
    fn only_slow_turns_become_slower() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let (ours, usual) = (scaling.speeds(128, 500_000.0, 10, 131_072), Rotary::speeds(128, 500_000.0));
        assert_eq!(ours[..20], usual[..20]);
        assert!(ours[63] * 8.0 - usual[63] < 1e-9);
        assert!(ours.iter().zip(&usual).all(|(ours, usual)| ours <= usual));
    }
}
