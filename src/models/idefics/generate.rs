//! Writing on after a prompt, always with the likeliest token.

use candle_core::{DType, IndexOp, Tensor};

use super::media::media;
use super::{Idefics, Prompt, ROTARY_BASE};
use crate::error::{Error, Result};
use crate::models::causal::View;
use crate::nn::Cache;
use crate::taps::Taps;

/// How to write on.
#[derive(Clone, Debug)]
pub struct Writing {
    /// The most tokens to write.
    pub most: usize,
    /// Tokens behind which nothing follows.
    pub ends: Vec<u32>,
    /// Whether keys and values of earlier tokens are kept. The result is the same without, only later.
    pub cached: bool,
}

impl Idefics {
    /// Writes on after one text (a batch of one). A new token sees the pictures that the last token of the prompt sees.
    /// `on_token` gets every token as it is written, and ends the writing by `false`.
    ///
    /// # Errors
    /// As [`Self::forward`], and if there are several texts.
    pub fn generate(
        &self,
        prompt: &Prompt,
        how: &Writing,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        let (mut attention, _) = self.check(prompt)?;
        let device = prompt.ids.device();
        let [attention_row] = attention.as_mut_slice() else {
            return Err(Error::unusable("several texts can't be written on at once", "give one text"));
        };
        let mut attention_row = std::mem::take(attention_row);
        let keys = self.media_keys(&self.see(&prompt.pixels, taps)?)?;
        let mut ids: Vec<u32> = prompt.ids.i(0)?.to_vec1()?;
        let mut image_mask = prompt.image_mask.to_dtype(DType::U32)?;
        let last = image_mask.narrow(1, ids.len() - 1, 1)?; // [1, 1, pictures]
        let mut caches = how.cached.then(|| vec![Cache::default(); self.config.num_hidden_layers]);
        let mut written = Vec::new();
        let mut past = 0;
        while written.len() < how.most {
            let view =
                View::new(std::slice::from_ref(&attention_row), past, self.config.head_width(), ROTARY_BASE, device)?;
            let seen = media(&image_mask, self.config.media_tokens())?;
            let new = Tensor::new(&ids[past..], device)?.unsqueeze(0)?; // [1, queries]
            let logits = self.decode(&new, &view, Some((&keys, &seen)), caches.as_mut(), taps)?;
            let token = likeliest(&logits.i((0, logits.dim(1)? - 1))?)?;
            written.push(token);
            if !on_token(token) || how.ends.contains(&token) {
                break;
            }
            if how.cached {
                past = ids.len();
                image_mask = last.clone();
            } else {
                image_mask = Tensor::cat(&[&image_mask, &last], 1)?;
            }
            ids.push(token);
            attention_row.push(1);
        }
        Ok(written)
    }
}

/// The first of the highest scores `[tokens]`.
fn likeliest(scores: &Tensor) -> Result<u32> {
    let scores = scores.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    let mut best = 0;
    for (at, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = at;
        }
    }
    Ok(u32::try_from(best).unwrap_or(0))
}
