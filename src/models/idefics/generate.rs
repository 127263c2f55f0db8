//! Writing on after a prompt, always with the likeliest token.

use candle_core::{DType, IndexOp, Tensor};

use super::media::media;
use super::{Idefics, Prompt, ROTARY_BASE};
use crate::error::{Error, Result};
use crate::models::causal::View;
use crate::models::generate::most_likely;
use crate::nn::{BlockCache, Media};
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

/// What one pass of the language model gets while it writes.
pub(in crate::models) struct Pass<'a> {
    /// The tokens that no pass has seen yet, `[1, queries]`.
    pub ids: &'a Tensor,
    /// 1 for a token, 0 for padding, of the whole text; one row.
    pub attention: &'a [Vec<u32>],
    /// How many tokens were seen in earlier passes.
    pub past: usize,
    /// What the tokens see of the pictures.
    pub media: &'a Media,
    /// What earlier passes left, one for each block.
    pub caches: Option<&'a mut Vec<BlockCache>>,
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
        let each = self.config.media_tokens();
        let (attention, _) = prompt.check(each)?;
        let keys = self.media_keys(&self.see(&prompt.pixels, taps)?)?;
        let sizes = (each, self.config.num_hidden_layers);
        write_on(prompt, attention, how, sizes, on_token, |pass| {
            let head_width = self.config.head_width();
            let view = View::new(pass.attention, pass.past, head_width, ROTARY_BASE, pass.ids.device())?;
            self.decode(pass.ids, &view, Some((&keys, pass.media)), pass.caches, taps)
        })
    }
}

/// Writes on after one text, whose attention mask is `attention`. `each` is the number of vectors that a picture
/// became, `depth` that of the blocks; `logits` makes a pass, which gives `[1, queries, all tokens]`.
pub(in crate::models) fn write_on(
    prompt: &Prompt,
    mut attention: Vec<Vec<u32>>,
    how: &Writing,
    (each, depth): (usize, usize),
    on_token: &mut dyn FnMut(u32) -> bool,
    mut logits: impl FnMut(Pass<'_>) -> Result<Tensor>,
) -> Result<Vec<u32>> {
    if attention.len() != 1 {
        return Err(Error::unusable("several texts can't be written on at once", "give one text"));
    }
    let device = prompt.ids.device();
    let mut ids: Vec<u32> = prompt.ids.i(0)?.to_vec1()?;
    let mut image_mask = prompt.image_mask.to_dtype(DType::U32)?;
    let last = image_mask.narrow(1, ids.len() - 1, 1)?; // [1, 1, pictures]
    let mut caches = how.cached.then(|| vec![BlockCache::default(); depth]);
    let mut written = Vec::new();
    let mut past = 0;
    while written.len() < how.most {
        let seen = media(&image_mask, each)?;
        let new = Tensor::new(&ids[past..], device)?.unsqueeze(0)?; // [1, queries]
        let pass = Pass { ids: &new, attention: &attention, past, media: &seen, caches: caches.as_mut() };
        let scores = logits(pass)?;
        let token = most_likely(&scores.i((0, scores.dim(1)? - 1))?.to_dtype(DType::F32)?.to_vec1::<f32>()?)?;
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
        attention.iter_mut().for_each(|row| row.push(1));
    }
    Ok(written)
}
