//! BLIP-2's retrieval (Li et al. 2023, arXiv 2301.12597): whether a text belongs to a picture, by contrast and by matching.
//!
//! Names and order of operations follow transformers' `Blip2ForImageTextRetrieval`.

use candle_core::Tensor;

use super::blip_2::{Blip2Base, Blip2Config, Blip2Kind};
use super::q_former::{QFormerInput, QFormerMask, QFormerText};
use crate::error::Result;
use crate::nn::{Linear, Scope, normalise};
use crate::taps::Taps;

/// Two answers: the cosine of a query and a text that know nothing of each other, the best of the queries counts (image-
/// text contrast); and queries that looked at picture and text together, whose mean counts (image-text matching).
#[derive(Clone, Debug)]
pub struct Blip2Retrieval {
    base: Blip2Base,
    vision_projection: Linear,
    text_projection: Linear,
    itm_head: Linear,
}

impl Blip2Retrieval {
    /// Builds the model from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: Blip2Config, scope: &Scope<'_>) -> Result<Self> {
        let (width, shared) = (config.qformer_config.hidden_size, config.image_text_hidden_size);
        Ok(Self {
            vision_projection: Linear::load(&scope.enter("vision_projection"), width, shared)?,
            text_projection: Linear::load(&scope.enter("text_projection"), width, shared)?,
            itm_head: Linear::load(&scope.enter("itm_head"), width, 2)?,
            base: Blip2Base::load(config, Blip2Kind::Retrieval, scope)?,
        })
    }

    /// Vision tower, queries and querying transformer.
    #[must_use]
    pub fn base(&self) -> &Blip2Base {
        &self.base
    }

    /// Each query in the shared space, unit length, `[batch, queries, shared]`, after it looked at `states` `[batch, 1 +
    /// patches, vision width]` of [`Blip2Base::see`]; only the `kept` queries, if some are dropped.
    ///
    /// # Errors
    /// If a query isn't there, the pass is cancelled, or an observer fails.
    pub fn embed_image(&self, states: &Tensor, kept: Option<&[usize]>, taps: &mut Taps<'_>) -> Result<Tensor> {
        self.embed_queries(&self.base.fused(None, states, kept, QFormerMask::Unimodal, taps)?)
    }

    /// Queries that have looked at the picture and at no text, `[batch, queries, width]`, in the shared space, unit length,
    /// `[batch, queries, shared]`.
    ///
    /// # Errors
    /// If the shape doesn't fit.
    pub fn embed_queries(&self, queries: &Tensor) -> Result<Tensor> {
        normalise(&self.vision_projection.forward(queries)?)
    }

    /// Each text in the shared space, unit length, `[texts, shared]`; it is read without a picture, and its first token
    /// speaks for it.
    ///
    /// # Errors
    /// If a text is too long, an id unknown, the pass is cancelled, or an observer fails.
    pub fn embed_text(&self, text: QFormerText<'_>, taps: &mut Taps<'_>) -> Result<Tensor> {
        let input = QFormerInput { queries: None, text: Some(text), states: None, mask: QFormerMask::Unimodal };
        let states = self.base.qformer().forward(input, taps)?;
        let first = states.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?; // [texts, width]
        normalise(&self.text_projection.forward(&first)?)
    }

    /// The cosines of every query of every picture with every text, `[pictures, queries, texts]`, of what
    /// [`Self::embed_image`] and [`Self::embed_text`] gave. The largest over the queries is the model's score; no
    /// temperature is in it.
    ///
    /// # Errors
    /// If the two aren't of one space.
    pub fn contrast(image: &Tensor, text: &Tensor) -> Result<Tensor> {
        let (pictures, queries, shared) = image.dims3()?;
        let flat = image.reshape((pictures * queries, shared))?;
        let cosines = flat.matmul(&text.t()?)?; // [pictures * queries, texts]
        Ok(cosines.reshape((pictures, queries, ()))?)
    }

    /// Lets the queries look at each picture, `states` `[batch, 1 + patches, vision width]`, and at its text, and gives two
    /// logits for each query, `[batch, queries, 2]`: that they don't match, and that they do. Their mean over the queries
    /// is the model's answer.
    ///
    /// # Errors
    /// As [`Self::embed_text`], and if there isn't one picture for each text or a query isn't there.
    pub fn match_logits(
        &self,
        text: QFormerText<'_>,
        states: &Tensor,
        kept: Option<&[usize]>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let states = self.base.fused(Some(text), states, kept, QFormerMask::Bidirectional, taps)?;
        let queries = states.dim(1)?.saturating_sub(text.ids.dim(1)?);
        self.itm_head.forward(&states.narrow(1, 0, queries)?)
    }
}
