//! What stands on BLIP's towers: retrieval, and a decoder that writes. Names and order of operations follow
//! transformers.

use candle_core::Tensor;

use super::blip_text::{BlipText, BlipTextConfig};
use super::dual_encoder::{ImageFeatures, TextFeatures};
use super::generate::{Greedy, Limits, greedy};
use crate::error::{Error, Result};
use crate::nn::{Activation, BlockCache, Fusion, LayerNorm, Linear, Scope, normalise};
use crate::taps::{Taps, Tower};

/// Whether a text belongs to a picture, by two answers: the cosine of two vectors that know nothing of each other (image-
/// text contrast), and a text that looked at the picture (image-text matching).
#[derive(Clone, Debug)]
pub struct BlipRetrieval {
    text: BlipText,
    vision_proj: Linear,
    text_proj: Linear,
    itm_head: Linear,
}

impl BlipRetrieval {
    /// Builds the text encoder and the heads of a `BlipForImageTextRetrieval`; `shared` is the length of vectors in the
    /// shared space.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: &BlipTextConfig, vision_width: usize, shared: usize, scope: &Scope<'_>) -> Result<Self> {
        let width = config.hidden_size;
        Ok(Self {
            text: BlipText::load(config, vision_width, Tower::Text, &scope.enter("text_encoder"))?,
            vision_proj: Linear::load(&scope.enter("vision_proj"), vision_width, shared)?,
            text_proj: Linear::load(&scope.enter("text_proj"), width, shared)?,
            itm_head: Linear::load(&scope.enter("itm_head"), width, 2)?,
        })
    }

    /// The text encoder.
    #[must_use]
    pub fn text(&self) -> &BlipText {
        &self.text
    }

    /// Brings `states` of the vision tower `[batch, 1 + patches, width]` into the shared space.
    ///
    /// # Errors
    /// If the shape doesn't fit.
    pub fn embed_image(&self, states: &Tensor) -> Result<ImageFeatures> {
        let pooled = first(states)?;
        let patches = states.narrow(1, 1, states.dim(1)? - 1)?; // [batch, patches, width]
        Ok(ImageFeatures {
            embed: normalise(&self.vision_proj.forward(&pooled)?)?,
            patches: normalise(&self.vision_proj.forward(&patches)?)?,
            pooled,
        })
    }

    /// Reads `ids` `[batch, tokens]` alone, without a picture, and brings them into the shared space. `attention_mask`
    /// `[batch, tokens]` is 1 for tokens and 0 for padding.
    ///
    /// # Errors
    /// If a text is too long, an id unknown, the pass is cancelled, or an observer fails.
    pub fn embed_text(
        &self,
        ids: &Tensor,
        attention_mask: Option<&Tensor>,
        taps: &mut Taps<'_>,
    ) -> Result<TextFeatures> {
        let pooled = first(&self.text.forward(ids, attention_mask, None, None, taps)?)?;
        let embed = normalise(&self.text_proj.forward(&pooled)?)?;
        Ok(TextFeatures { pooled, embed })
    }

    /// Lets each text look at its picture, `states` `[batch, 1 + patches, width]` of the vision tower, and gives two
    /// logits for each pair, `[batch, 2]`: that they don't match, and that they do.
    ///
    /// # Errors
    /// As [`Self::embed_text`], and if there isn't one picture for each text.
    pub fn match_logits(
        &self,
        ids: &Tensor,
        attention_mask: Option<&Tensor>,
        states: &Tensor,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let fusion = Fusion { states, mask: None };
        let states = self.text.forward(ids, attention_mask, Some(fusion), None, taps)?;
        self.itm_head.forward(&first(&states)?)
    }
}

/// The state of the first position, `[batch, width]`.
fn first(states: &Tensor) -> Result<Tensor> {
    Ok(states.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)
}

/// Writes a text while it looks at something: a picture, or a question that was read in front of one.
#[derive(Clone, Debug)]
pub struct BlipDecoder {
    text: BlipText,
    transform: Linear,
    activation: Activation,
    layer_norm: LayerNorm,
    vocabulary: Linear,
    start: u32,
    end: u32,
}

impl BlipDecoder {
    /// Builds the decoder from the weights under `text_decoder`; it looks at vectors of length `key_width`.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: &BlipTextConfig, key_width: usize, scope: &Scope<'_>) -> Result<Self> {
        let text = BlipText::load(config, key_width, Tower::Decoder, &scope.enter("bert"))?;
        let head = scope.enter("cls.predictions");
        let (width, tokens) = (config.hidden_size, config.vocab_size);
        let weight = if config.tie_word_embeddings {
            text.words().weight().clone()
        } else {
            head.matrix("decoder.weight", (tokens, width))?
        };
        // The bias has two names, and files keep either or both.
        let bias = if head.contains("bias") { "bias" } else { "decoder.bias" };
        Ok(Self {
            transform: Linear::load(&head.enter("transform.dense"), width, width)?,
            activation: config.hidden_act,
            layer_norm: LayerNorm::load(&head.enter("transform.LayerNorm"), width, config.layer_norm_eps)?,
            vocabulary: Linear::new(weight, head.get(bias, &[tokens])?),
            start: config.bos_token_id,
            end: config.sep_token_id,
            text,
        })
    }

    /// The transformer under the head.
    #[must_use]
    pub fn text(&self) -> &BlipText {
        &self.text
    }

    /// The logits `[batch, tokens, vocabulary]` of what follows each token of `ids` `[batch, tokens]`, while each row
    /// looks at its row of `fusion`. `attention_mask` `[batch, tokens so far]` is 1 for tokens and 0 for padding. With a
    /// `cache`, `ids` are only the tokens that follow those in it.
    ///
    /// # Errors
    /// If a text is too long, an id unknown, there isn't one row of `fusion` for each text, the pass is cancelled, or an
    /// observer fails.
    pub fn logits(
        &self,
        ids: &Tensor,
        attention_mask: Option<&Tensor>,
        fusion: Fusion<'_>,
        cache: Option<&mut [BlockCache]>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let states = self.text.forward(ids, attention_mask, Some(fusion), cache, taps)?;
        self.head(&states)
    }

    /// Writes a text that looks at `states` `[1, keys, key width]`: a picture, or a question without padding. `prompt` is
    /// what it goes on from, as the tokenizer gives it; as in transformers the start token takes the place of its first
    /// token, and its last one, which ends it, is left out. An empty prompt stands for the start token alone. Returns the
    /// new tokens, with the one that ends the text if it came to that; each is handed to `on_token`, which returns whether
    /// to go on. A recorder that watches keeps the pass of the last token.
    ///
    /// # Errors
    /// If `states` holds more than one row, the prompt is too long or has an unknown id, the model gives numbers that
    /// aren't finite, an observer fails, or the taps' token cancels it.
    pub fn generate(
        &self,
        prompt: &[u32],
        states: &Tensor,
        how: Greedy,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        let rows = states.dim(0)?;
        if rows != 1 {
            return Err(Error::unusable(format!("there are {rows} pictures to write about"), "give one at a time"));
        }
        let mut text = vec![self.start];
        if let [_, words @ .., _] = prompt {
            text.extend(words);
        }
        let limits = Limits { max_new_tokens: how.max_new_tokens, context: self.text.context(), ends: &[self.end] };
        let mut cache = self.text.new_cache();
        greedy(text, limits, on_token, |text| {
            let (new, cache) = if how.cached {
                let known = cache.first().map_or(0, |block| block.self_attn.positions());
                (&text[known..], Some(cache.as_mut_slice()))
            } else {
                (text, None)
            };
            let ids = Tensor::from_slice(new, (1, new.len()), states.device())?;
            let fusion = Fusion { states, mask: None };
            let states = self.text.forward(&ids, None, Some(fusion), cache, taps)?; // [1, new, width]
            // The head acts on each position alone, so only the last one needs it.
            let last = states.narrow(1, new.len() - 1, 1)?;
            Ok(self.head(&last)?.flatten_all()?)
        })
    }

    /// From states `[batch, tokens, width]` to logits `[batch, tokens, vocabulary]`.
    fn head(&self, states: &Tensor) -> Result<Tensor> {
        let x = self.activation.forward(&self.transform.forward(states)?)?;
        self.vocabulary.forward(&self.layer_norm.forward(&x)?)
    }
}
