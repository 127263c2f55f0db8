//! Which tokens see what in one pass of a language model that looks only backwards.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::nn::{Rotary, Sight};

/// What is added to the score of a forbidden key. A token that sees nothing has to see all evenly, as in the reference;
/// under [`crate::taps::MASKED`] the differences of large scores would still show. No other mask is added to this one, so
/// it can't overflow; what T5 adds by distance is lost in its rounding.
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
    /// which the first `past` tokens were seen in earlier passes; `base` is that of the turned positions. Positions count
    /// tokens without padding; transformers gives padding the position 1.
    pub fn new(attention: &[Vec<u32>], past: usize, head_width: usize, base: f32, device: &Device) -> Result<Self> {
        let rotary = Rotary::new(&positions(attention, past), head_width, base, device)?;
        Ok(Self { mask: mask(attention, past, device)?, rotary })
    }

    /// The same for the blocks.
    pub fn sight(&self) -> Sight<'_> {
        Sight { mask: Some(&self.mask), rotary: Some(&self.rotary), fusion: None }
    }
}

/// The positions of the tokens behind the first `past`, one row for each row of `attention`: they count tokens without
/// padding, which itself has the position 1, as transformers gives it when it writes.
pub(super) fn positions(attention: &[Vec<u32>], past: usize) -> Vec<Vec<u32>> {
    attention.iter().map(|row| places(row).skip(past).map(|place| place.unwrap_or(1)).collect()).collect()
}

/// The positions of whole texts in which padding, too, has its position.
pub(super) fn positions_in_order(attention: &[Vec<u32>]) -> Vec<Vec<u32>> {
    attention.iter().map(|row| (0..row.len() as u32).collect()).collect()
}

/// What is added to the scores of self-attention, `[batch, 1, queries, tokens]`, in a pass over the last tokens of texts.
/// `attention` is the mask of the whole texts, one row for each entry of the batch (1 for a token, 0 for padding); the
/// first `past` tokens were seen in earlier passes.
pub(super) fn mask(attention: &[Vec<u32>], past: usize, device: &Device) -> Result<Tensor> {
    mask_within(attention, past, None, device)
}

/// The same where a token sees no further back than to the first of the `window` tokens that end with itself, padding
/// counted, as transformers counts them.
pub(super) fn mask_within(
    attention: &[Vec<u32>],
    past: usize,
    window: Option<usize>,
    device: &Device,
) -> Result<Tensor> {
    let batch = attention.len();
    let tokens = attention.first().map_or(0, Vec::len);
    let mut mask = Vec::with_capacity(batch * (tokens - past) * tokens);
    for row in attention {
        // A token that sees nothing (padding in front of the text) sees all evenly, as in the reference, so nothing may
        // be forbidden twice.
        for query in past..tokens {
            mask.extend(row.iter().enumerate().map(|(key, seen)| {
                let near = window.is_none_or(|window| query < key.saturating_add(window));
                let allowed = key <= query && near && *seen != 0;
                if allowed { 0.0 } else { FORBIDDEN }
            }));
        }
    }
    Ok(Tensor::from_vec(mask, (batch, 1, tokens - past, tokens), device)?)
}

/// What is added to the scores of all queries that see a whole text but its padding, `[batch, 1, 1, tokens]`.
pub(super) fn padding(attention: &[Vec<u32>], device: &Device) -> Result<Tensor> {
    let tokens = attention.first().map_or(0, Vec::len);
    let mask: Vec<f32> = attention.iter().flatten().map(|seen| if *seen == 0 { FORBIDDEN } else { 0.0 }).collect();
    Ok(Tensor::from_vec(mask, (attention.len(), 1, 1, tokens), device)?)
}

/// How many tokens stand before each one of a text whose attention mask is `row`; `None` for padding.
pub(super) fn places(row: &[u32]) -> impl Iterator<Item = Option<u32>> {
    let mut count = 0;
    row.iter().map(move |seen| {
        let place = (*seen != 0).then_some(count);
        count += u32::from(*seen != 0);
        place
    })
}

/// The attention mask of `ids` `[batch, tokens]` as rows; all ones where there is none.
pub(super) fn attention_rows(ids: &Tensor, mask: Option<&Tensor>) -> Result<Vec<Vec<u32>>> {
    rows(ids.dims2()?, mask)
}

/// The same for texts that are already vectors.
pub(super) fn rows((batch, tokens): (usize, usize), mask: Option<&Tensor>) -> Result<Vec<Vec<u32>>> {
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
