//! The block of the querying transformer (Q-Former) of BLIP-2 (Li et al. 2023, arXiv 2301.12597): a block of BERT in which
//! learned queries and a text go side by side. They share the self-attention; only queries look at the picture, and they
//! have a feed-forward part of their own.

use candle_core::Tensor;

use super::bert_block::{BertAttention, BertFeedForward};
use super::{BlockShape, Scope};
use crate::error::{Error, Result};
use crate::taps::{Attn, Point, Site, Taps, Tower};

/// Queries: `q = norm(q + attention(q)); q = norm(q + cross(q, picture)); q = norm(q + mlp(q))`; the text as in BERT. The
/// norms stand behind.
#[derive(Clone, Debug)]
pub struct QFormerBlock {
    self_attn: BertAttention,
    cross: Option<BertAttention>,
    query_forward: BertFeedForward,
    text_forward: Option<BertFeedForward>,
}

impl QFormerBlock {
    /// Reads a block with the names of transformers' `Blip2QFormerLayer`. `key_width` is the length of the vectors that
    /// queries look at, `None` where the block has no cross-attention; `text` says whether it reads texts.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(scope: &Scope<'_>, shape: BlockShape, key_width: Option<usize>, text: bool) -> Result<Self> {
        let cross = |key_width| BertAttention::load(scope, ["crossattention", "attention"], shape, key_width);
        Ok(Self {
            self_attn: BertAttention::load(scope, ["attention", "attention"], shape, shape.width)?,
            cross: key_width.map(cross).transpose()?,
            query_forward: BertFeedForward::load(scope, "_query", shape)?,
            text_forward: text.then(|| BertFeedForward::load(scope, "", shape)).transpose()?,
        })
    }

    /// One step of `x` `[batch, positions, width]`, whose first positions are `queries` and whose others are a text.
    /// `mask` is added to the scores of self-attention (`[batch or 1, 1, positions, positions]`); queries look at
    /// `states` `[batch, keys, key width]`, which only a block with cross-attention needs.
    ///
    /// # Errors
    /// If the shapes don't fit, queries have nothing to look at, there is a text and the block reads none, the pass is
    /// cancelled, or an observer fails.
    pub fn forward(
        &self,
        x: Tensor,
        queries: usize,
        mask: Option<&Tensor>,
        states: Option<&Tensor>,
        layer: usize,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let at = |point| Site::new(Tower::QFormer, layer, point);
        let x = taps.tap(at(Point::ResidPre), x)?;
        let seen = self.self_attn.keys(&x)?;
        let x = self.self_attn.forward(&x, &seen, mask, (Tower::QFormer, layer, Attn::SelfAttn), taps)?;

        let mut parts = Vec::with_capacity(2);
        if queries > 0 {
            let mut x = x.narrow(1, 0, queries)?; // [batch, queries, width]
            if let Some(cross) = &self.cross {
                let states =
                    states.ok_or_else(|| Error::unusable("the queries have no picture to look at", "give them one"))?;
                let place = (Tower::QFormer, layer, Attn::CrossAttn);
                x = cross.forward(&x, &cross.keys(states)?, None, place, taps)?;
            }
            parts.push((x, &self.query_forward));
        }
        let tokens = x.dim(1)?.saturating_sub(queries);
        if tokens > 0 {
            let forward = self.text_forward.as_ref().ok_or_else(|| {
                Error::unusable("this querying transformer reads no texts", "give it the picture alone")
            })?;
            parts.push((x.narrow(1, queries, tokens)?, forward)); // [batch, tokens, width]
        }

        // What is added is seen as a whole, although two feed-forward parts give it.
        let added = parts.iter().map(|(x, forward)| forward.added(x)).collect::<Result<Vec<_>>>()?;
        let added = taps.tap(at(Point::MlpOut), Tensor::cat(&added, 1)?)?; // [batch, positions, width]
        let mut start = 0;
        let mut normed = Vec::with_capacity(parts.len());
        for (x, forward) in &parts {
            let count = x.dim(1)?;
            normed.push(forward.normed(x, &added.narrow(1, start, count)?)?);
            start += count;
        }
        taps.tap(at(Point::ResidPost), Tensor::cat(&normed, 1)?)
    }
}
