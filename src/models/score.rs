//! What gradients are asked of: the logits of words.

use candle_core::Tensor;

use crate::error::Result;

/// The sum of some of `logits` `[rows, tokens, vocabulary]`, each named by its row, its token and the word.
///
/// # Errors
/// If there is no such logit.
pub fn sum_of_logits(logits: &Tensor, asked: impl IntoIterator<Item = (usize, usize, u32)>) -> Result<Tensor> {
    let (_, tokens, words) = logits.dims3()?;
    let places: Vec<u32> =
        asked.into_iter().map(|(row, at, word)| ((row * tokens + at) * words) as u32 + word).collect();
    let logits = logits.flatten_all()?;
    if places.is_empty() {
        // A score that nothing can change.
        return Ok(logits.narrow(0, 0, 1)?.affine(0.0, 0.0)?.sum_all()?);
    }
    Ok(logits.index_select(&Tensor::new(places.as_slice(), logits.device())?, 0)?.sum_all()?)
}
