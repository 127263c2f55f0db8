//! What tokens see of the pictures.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::models::causal::FORBIDDEN;
use crate::nn::Media;

/// What tokens see of pictures that each became `each` vectors: `image_mask` `[batch, tokens, pictures]` is 1 where a
/// token may see a picture.
pub(in crate::models) fn media(image_mask: &Tensor, each: usize) -> Result<Media> {
    let (batch, tokens, pictures) = image_mask.dims3()?;
    let seen = image_mask.ne(0u32)?.to_dtype(DType::F32)?;
    let sees = seen.max_keepdim(2)?; // [batch, tokens, 1]
    let mask = ((1.0 - seen)? * f64::from(FORBIDDEN))?.unsqueeze(3)?;
    let mask = mask.broadcast_as((batch, tokens, pictures, each))?.contiguous()?;
    Ok(Media { mask: mask.reshape((batch, 1, tokens, pictures * each))?, sees })
}

/// 1 where a token sees a picture, `[1, tokens, pictures]`: a token sees the picture that stands before it and no other,
/// and `image` is the token that stands for a picture. Pictures without a token are seen by nobody.
///
/// # Errors
/// If the device is out of memory.
pub fn image_mask(ids: &[u32], image: u32, pictures: usize, device: &Device) -> Result<Tensor> {
    let mut last = None;
    let mut mask = Vec::with_capacity(ids.len() * pictures);
    for id in ids {
        if *id == image {
            last = Some(last.map_or(0, |last: usize| last + 1));
        }
        mask.extend((0..pictures).map(|picture| u32::from(last == Some(picture))));
    }
    Ok(Tensor::from_vec(mask, (1, ids.len(), pictures), device)?)
}
