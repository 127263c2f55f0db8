//! What both forms of Flamingo have in common: IDEFICS and OpenFlamingo.

use candle_core::Tensor;

use super::idefics::{Idefics, Prompt, Writing};
use super::open_flamingo::OpenFlamingo;
use crate::error::Result;
use crate::taps::Taps;

/// The token that stands for a picture.
pub const IMAGE: &str = "<image>";
/// The token that IDEFICS writes on both sides of it.
pub const AROUND: &str = "<fake_token_around_image>";
/// What stands in a text of IDEFICS where a picture is: the three of them.
pub const IDEFICS_PLACE: &str = "<fake_token_around_image><image><fake_token_around_image>";

/// A language model that stays as it was, and between its blocks gated cross-attention to the pictures.
pub trait Flamingo: Send + Sync {
    /// Rows and columns of patches.
    fn grid(&self) -> (usize, usize);
    /// What stands in a text where a picture is.
    fn place(&self) -> &'static str;
    /// The tokens that end a text.
    fn ends(&self) -> Vec<u32>;
    /// How many gated cross-attentions there are.
    fn gated(&self) -> usize;
    /// The block of the language model before which a gated cross-attention stands.
    fn block_behind(&self, gated: usize) -> usize;
    /// Blocks of the resampler, or none.
    fn resampler_layers(&self) -> usize;
    /// How many positions precede the patches in what the resampler, or else the words, look at.
    fn leading(&self) -> usize;
    /// How far the gates of each gated cross-attention are open, attention and feed-forward part: tanh(α), -1 to 1.
    ///
    /// # Errors
    /// If the device can't be read.
    fn gates(&self) -> Result<Vec<(f32, f32)>>;
    /// What the language model gets of `pixels` `[batch, pictures, 3, height, width]`: `[batch, pictures, media tokens,
    /// vision width]`.
    ///
    /// # Errors
    /// If the shape doesn't fit the config, the pass is cancelled, or an observer fails.
    fn see(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor>;
    /// The first half of [`Self::see`], what the resampler looks at of `pixels` `[batch, pictures, 3, height, width]`: `[batch
    /// * pictures, positions, vision width]`.
    ///
    /// # Errors
    /// As [`Self::see`].
    fn look(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor>;
    /// The second half of [`Self::see`], what the resampler makes of `[pictures, positions, vision width]`: `[pictures, media
    /// tokens, vision width]`.
    ///
    /// # Errors
    /// As [`Self::see`].
    fn resample(&self, states: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor>;
    /// Scores of every next token of `ids` `[batch, tokens]`, `[batch, tokens, all tokens]`; `states` are those of
    /// [`Self::see`], and `image_mask` `[batch, tokens, pictures]` is 1 where a token sees a picture.
    ///
    /// # Errors
    /// If the shapes don't fit, an id is unknown, the pass is cancelled, or an observer fails.
    fn read(&self, ids: &Tensor, states: &Tensor, image_mask: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor>;
    /// The same from the language model alone.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn language(&self, ids: &Tensor, attention_mask: Option<&Tensor>, taps: &mut Taps<'_>) -> Result<Tensor>;
    /// Writes on after one text. `on_token` gets every token as it is written, and ends the writing by `false`.
    ///
    /// # Errors
    /// As [`Self::read`], and if there are several texts.
    fn generate(
        &self,
        prompt: &Prompt,
        how: &Writing,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>>;
}

/// The part of [`Flamingo`] that both models have under the same names.
macro_rules! as_the_model_does {
    () => {
        fn grid(&self) -> (usize, usize) {
            self.grid()
        }

        fn gates(&self) -> Result<Vec<(f32, f32)>> {
            self.gates()
        }

        fn see(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
            self.see(pixels, taps)
        }

        fn look(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
            self.look(pixels, taps)
        }

        fn resample(&self, states: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
            self.resample(states, taps)
        }

        fn read(&self, ids: &Tensor, states: &Tensor, image_mask: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
            self.read(ids, states, image_mask, taps)
        }

        fn language(&self, ids: &Tensor, attention_mask: Option<&Tensor>, taps: &mut Taps<'_>) -> Result<Tensor> {
            self.language(ids, attention_mask, taps)
        }

        fn generate(
            &self,
            prompt: &Prompt,
            how: &Writing,
            taps: &mut Taps<'_>,
            on_token: &mut dyn FnMut(u32) -> bool,
        ) -> Result<Vec<u32>> {
            self.generate(prompt, how, taps, on_token)
        }
    };
}

impl Flamingo for Idefics {
    fn place(&self) -> &'static str {
        IDEFICS_PLACE
    }

    fn ends(&self) -> Vec<u32> {
        self.config().ends()
    }

    fn gated(&self) -> usize {
        self.config().num_hidden_layers / self.config().cross_layer_interval.max(1)
    }

    fn block_behind(&self, gated: usize) -> usize {
        gated * self.config().cross_layer_interval
    }

    fn resampler_layers(&self) -> usize {
        if self.config().use_resampler { self.config().perceiver_config.resampler_depth } else { 0 }
    }

    fn leading(&self) -> usize {
        1
    }

    as_the_model_does!();
}

impl Flamingo for OpenFlamingo {
    fn place(&self) -> &'static str {
        IMAGE
    }

    fn ends(&self) -> Vec<u32> {
        vec![self.config().eoc_token_id]
    }

    fn gated(&self) -> usize {
        self.config().gated()
    }

    fn block_behind(&self, gated: usize) -> usize {
        (gated + 1) * self.config().cross_attn_every_n_layers - 1
    }

    fn resampler_layers(&self) -> usize {
        self.config().perceiver.depth
    }

    fn leading(&self) -> usize {
        0
    }

    as_the_model_does!();
}
