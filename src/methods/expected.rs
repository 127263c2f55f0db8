//! What a model that writes expected at each place of a text.

use candle_core::{IndexOp, Tensor};

use super::reading::Step;
use crate::error::Result;
use crate::models::tokenizer::TextTokenizer;

/// How many of the words that are expected are kept.
const KEPT: usize = 6;

/// Says at each of `steps`, whose tokens are `ids`, what was expected there, from the `logits` `[steps, vocabulary]` of
/// what stands at each.
///
/// # Errors
/// If there are fewer rows of logits than steps.
pub(super) fn expect(steps: &mut [Step], logits: &Tensor, ids: &[u32], tokenizer: &TextTokenizer) -> Result<()> {
    for (at, (step, id)) in steps.iter_mut().zip(ids).enumerate() {
        let shares = crate::nn::softmax(&logits.i(at)?)?.to_vec1::<f32>()?;
        step.probability = shares.get(*id as usize).copied();
        step.expected = likeliest(&shares, tokenizer);
    }
    Ok(())
}

/// The likeliest words of `shares` `[vocabulary]`, likeliest first.
fn likeliest(shares: &[f32], tokenizer: &TextTokenizer) -> Vec<(String, f32)> {
    highest(shares, KEPT).into_iter().map(|id| (tokenizer.token(id as u32), shares[id])).collect()
}

/// The places of the `count` highest of `values` (or of all, if there are fewer), highest first; the first of equals
/// comes first.
pub(super) fn highest(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let count = count.min(order.len());
    if count == 0 {
        return Vec::new();
    }
    order.select_nth_unstable_by(count - 1, |a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    order.truncate(count);
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_come_first() {
        assert_eq!(highest(&[0.1, 0.5, 0.2, 0.5], 3), [1, 3, 2]);
        assert_eq!(highest(&[0.1], 3), [0]);
        assert_eq!(highest(&[], 3), Vec::<usize>::new());
        assert_eq!(highest(&[0.1], 0), Vec::<usize>::new());
    }
}
