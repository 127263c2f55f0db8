//! Which tokens see what in one pass of a language model that looks only backwards.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::nn::Rotary;

/// What is added to the score of a forbidden key. A token that sees nothing has to see all evenly, as in the reference;
/// under [`crate::taps::MASKED`] the differences of large scores would still show. No mask is added to this one, so it
/// can't overflow.
pub(super) const FORBIDDEN: f32 = f32::MIN;

/// Masks and positions of one pass over the last tokens of a text.
pub(super) struct View {
    /// Added to the scores of self-attention, `[batch, 1, queries, tokens]`.
    pub mask: Tensor,
    /// The turns of the queries' positions.
    pub rotary: Rotary,
}

impl View {
    /// From the attention mask of the whole text, one row for each entry of the batch (1 for a token, 0 for padding), of
    /// which the first `past` tokens were seen in earlier passes; `base` is that of the turned positions.
    pub fn new(attention: &[Vec<u32>], past: usize, head_width: usize, base: f32, device: &Device) -> Result<Self> {
        let batch = attention.len();
        let tokens = attention.first().map_or(0, Vec::len);
        let mut mask = Vec::with_capacity(batch * (tokens - past) * tokens);
        let mut positions = Vec::with_capacity(batch);
        for row in attention {
            // A token that sees nothing (padding in front of the text) sees all evenly, as in the reference, so nothing
            // may be forbidden twice.
            for query in past..tokens {
                mask.extend(row.iter().enumerate().map(|(key, seen)| {
                    let allowed = key <= query && *seen != 0;
                    if allowed { 0.0 } else { FORBIDDEN }
                }));
            }
            // Positions count tokens without padding; transformers gives padding the position 1.
            let mut count = 0;
            let places: Vec<u32> = row
                .iter()
                .map(|seen| {
                    count += u32::from(*seen != 0);
                    if *seen == 0 { 1 } else { count - 1 }
                })
                .collect();
            positions.push(places[past..].to_vec());
        }
        let mask = Tensor::from_vec(mask, (batch, 1, tokens - past, tokens), device)?;
        Ok(Self { mask, rotary: Rotary::new(&positions, head_width, base, device)? })
    }
}

/// The attention mask of `ids` `[batch, tokens]` as rows; all ones where there is none.
pub(super) fn attention_rows(ids: &Tensor, mask: Option<&Tensor>) -> Result<Vec<Vec<u32>>> {
    let (batch, tokens) = ids.dims2()?;
    if batch == 0 || tokens == 0 {
        return Err(Error::unusable("the text is empty", "write at least one word"));
    }
    let Some(mask) = mask else { return Ok(vec![vec![1; tokens]; batch]) };
    fits("attention mask", mask.dims(), &[batch, tokens])?;
    Ok(mask.to_dtype(DType::U32)?.to_vec2()?)
}

/// Refuses a tensor whose shape doesn't fit the text and the pictures.
pub(super) fn fits(name: &str, found: &[usize], expected: &[usize]) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::unusable(
        format!("the {name} has shape {found:?}, but text and pictures ask for {expected:?}"),
        "prepare text and pictures together",
    ))
}
