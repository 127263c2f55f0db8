//! Vectors in the places of tokens: what comes from a picture among the words that a language model reads, as LLaVA (Liu et
//! al. 2023, arXiv 2304.08485), BLIP-2 and InstructBLIP put it.

use candle_core::Tensor;

use super::causal::fits;
use crate::error::{Error, Result};

/// How often the token `placeholder` stands in each row of `ids` `[batch, tokens]`.
pub(super) fn places(ids: &Tensor, placeholder: u32) -> Result<Vec<usize>> {
    let rows = ids.to_vec2::<u32>()?;
    Ok(rows.iter().map(|row| row.iter().filter(|id| **id == placeholder).count()).collect())
}

/// The words' vectors `words` `[batch, tokens, width]`, with `vectors` `[groups, each, width]` in the places of the token
/// `placeholder` in `ids` `[batch, tokens]`: in order, row after row and group after group, as transformers'
/// `masked_scatter` fills them. Gives `[batch, tokens, width]`.
///
/// # Errors
/// If the shapes don't fit each other, or there isn't one place for each vector.
pub(super) fn splice(words: &Tensor, ids: &Tensor, placeholder: u32, vectors: &Tensor) -> Result<Tensor> {
    let (batch, tokens, width) = words.dims3()?;
    let (groups, each, _) = vectors.dims3()?;
    fits("text", ids.dims(), &[batch, tokens])?;
    fits("input of the language model", vectors.dims(), &[groups, each, width])?;
    // Where each position's vector stands among all words and, behind them, all other vectors.
    let (mut from, mut next) = (Vec::with_capacity(batch * tokens), batch * tokens);
    for (at, id) in ids.flatten_all()?.to_vec1::<u32>()?.into_iter().enumerate() {
        if id == placeholder {
            from.push(next as u32);
            next += 1;
        } else {
            from.push(at as u32);
        }
    }
    let (found, given) = (next - batch * tokens, groups * each);
    if found != given {
        return Err(Error::unusable(
            format!("the text has {found} places for {given} vectors of pictures"),
            "give a picture for each place, and leave a place for each picture",
        ));
    }
    let all = [words.reshape((batch * tokens, width))?, vectors.reshape((groups * each, width))?];
    let from = Tensor::from_vec(from, batch * tokens, ids.device())?;
    let rows = Tensor::cat(&all, 0)?.index_select(&from, 0)?; // [batch * tokens, width]
    Ok(rows.reshape((batch, tokens, width))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn column(values: &[f32], shape: (usize, usize, usize)) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).expect("a tensor")
    }

    /// Two texts share three vectors: two in the first, one in the second.
    #[test]
    fn places_are_filled_in_order() {
        let ids = Tensor::new(&[[1u32, 9, 9, 2], [3, 4, 9, 5]], &Device::Cpu).expect("ids");
        let words = column(&[1.0, 0.0, 0.0, 2.0, 3.0, 4.0, 0.0, 5.0], (2, 4, 1));
        assert_eq!(places(&ids, 9).expect("counts"), [2, 1]);
        let spliced = splice(&words, &ids, 9, &column(&[10.0, 20.0, 30.0], (3, 1, 1))).expect("vectors");
        let values: Vec<f32> = spliced.flatten_all().and_then(|t| t.to_vec1()).expect("numbers");
        assert_eq!(values, [1.0, 10.0, 20.0, 2.0, 3.0, 4.0, 30.0, 5.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ids = Tensor::new(&[[1u32, 9]], &Device::Cpu).expect("ids");
        let words = column(&[1.0, 2.0], (1, 2, 1));
        let said = splice(&words, &ids, 9, &column(&[1.0, 2.0], (1, 2, 1))).expect_err("a vector too many").to_string();
        assert!(said.contains("1 places for 2 vectors"), "{said}");
        let said = splice(&words, &ids, 9, &column(&[1.0, 2.0], (1, 1, 2))).expect_err("another width").to_string();
        assert!(said.contains("has shape [1, 1, 2]"), "{said}");
    }
}
