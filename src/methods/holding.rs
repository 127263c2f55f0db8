//! How strongly a method holds to what it is asked about: the one number that its maps explain, for a picture as it is or as
//! it was changed. Whether a map is true is measured by it.

use candle_core::{D, Tensor};

use super::Input;
use crate::error::{Error, Result};

/// Pictures in one pass.
pub(super) const TOGETHER: usize = 16;

/// What is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The words at these bytes of the sentence, or all of it.
    Words(Option<(usize, usize)>),
    /// What the model has written to the picture as it is: its answer or caption.
    Written,
}

impl Claim {
    /// `input` with the words of the claim selected.
    #[must_use]
    pub fn about(self, input: &Input) -> Input {
        let selection = match self {
            Self::Words(span) => span,
            Self::Written => None,
        };
        Input { selection, brief: false, ..input.clone() }
    }
}

/// In what it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The cosine of picture and words.
    Cosine,
    /// How likely picture and sentence belong together, from 0 to 1.
    Matching,
    /// The probability of the words, each behind those before it: the geometric mean over their tokens, from 0 to 1.
    Probability,
}

/// How strongly a method holds to a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// In what it is measured.
    pub measure: Measure,
    /// For each picture.
    pub values: Vec<f32>,
}

/// The geometric mean of the probabilities of tokens, each `asked` for as the position of its logit and itself, for each row
/// of `logits` `[rows, positions, vocabulary]`.
///
/// # Errors
/// If none is asked for, or one isn't there.
pub(super) fn probabilities(logits: &Tensor, asked: &[(usize, u32)]) -> Result<Vec<f32>> {
    let (rows, _, vocabulary) = logits.dims3()?;
    if asked.is_empty() {
        return Err(Error::unusable(
            "nothing predicts the selected words",
            "select words behind the first one of the text",
        ));
    }
    let mut sums = vec![0f32; rows];
    for (position, token) in asked {
        let at = logits.narrow(1, *position, 1)?.squeeze(1)?.to_dtype(candle_core::DType::F32)?; // [rows, vocabulary]
        let highest = at.max_keepdim(D::Minus1)?;
        let all = at.broadcast_sub(&highest)?.exp()?.sum_keepdim(D::Minus1)?.log()?.add(&highest)?; // [rows, 1]
        if *token as usize >= vocabulary {
            return Err(Error::unusable("a word isn't in the model's vocabulary", "choose other words"));
        }
        let own = at.narrow(1, *token as usize, 1)?.sub(&all)?.squeeze(1)?.to_vec1::<f32>()?;
        sums.iter_mut().zip(own).for_each(|(sum, log)| *sum += log);
    }
    Ok(sums.into_iter().map(|sum| (sum / asked.len() as f32).exp()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn probabilities_are_those_of_a_softmax() {
        // Two rows, two positions, three words; the second row knows the second word at the first position.
        let logits = [[[0f32, 0.0, 0.0], [1.0, 1.0, 1.0]], [[0.0, 3f32.ln(), 0.0], [0.0, 0.0, 0.0]]];
        let logits = Tensor::new(&logits, &Device::Cpu).expect("a tensor");
        let of_one = probabilities(&logits, &[(0, 1)]).expect("probabilities");
        assert!((of_one[0] - 1.0 / 3.0).abs() < 1e-6 && (of_one[1] - 0.6).abs() < 1e-6, "{of_one:?}");
        let of_both = probabilities(&logits, &[(0, 1), (1, 2)]).expect("probabilities");
        assert!((of_both[1] - (0.6f32 / 3.0).sqrt()).abs() < 1e-6, "{of_both:?}");
        probabilities(&logits, &[]).expect_err("nothing is asked for");
        probabilities(&logits, &[(0, 3)]).expect_err("there is no such word");
    }
}
