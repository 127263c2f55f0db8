//! Observers that change what the model computes with.

use candle_core::Tensor;

use super::{Attn, MASKED, Observer, Point, Site, Tower};
use crate::error::{Error, Result};

/// Switches one attention head off: what it gathered becomes zero.
pub struct HeadAblation {
    /// The block's `z` site.
    pub site: Site,
    /// Index of the head.
    pub head: usize,
}

impl HeadAblation {
    /// Switches off `head` of a block's self-attention.
    #[must_use]
    pub fn new(tower: Tower, layer: usize, head: usize) -> Self {
        let site = Site::new(tower, layer, Point::Z(Attn::SelfAttn));
        Self { site, head }
    }
}

impl Observer for HeadAblation {
    fn wants(&self, site: Site) -> bool {
        site == self.site
    }

    fn observe(&mut self, _site: Site, z: Tensor) -> Result<Tensor> {
        let heads = z.dim(1)?; // z: [batch, heads, queries, head width]
        if self.head >= heads {
            return Err(Error::unusable(
                format!("there is no head {} among {heads}", self.head),
                "choose a smaller head number",
            ));
        }
        let keep: Vec<f32> = (0..heads).map(|head| if head == self.head { 0.0 } else { 1.0 }).collect();
        let keep = Tensor::from_vec(keep, (1, heads, 1, 1), z.device())?;
        Ok(z.broadcast_mul(&keep.to_dtype(z.dtype())?)?)
    }
}

/// Cuts attention from some queries to some keys: their scores become so low that the softmax gives them nothing.
pub struct AttentionKnockout {
    /// The block's `scores` site.
    pub site: Site,
    /// Positions that no longer look.
    pub queries: Vec<usize>,
    /// Positions that are no longer seen by them.
    pub keys: Vec<usize>,
}

impl Observer for AttentionKnockout {
    fn wants(&self, site: Site) -> bool {
        site == self.site
    }

    fn observe(&mut self, _site: Site, scores: Tensor) -> Result<Tensor> {
        let (_, _, queries, keys) = scores.dims4()?;
        let mut mask = vec![0f32; queries * keys];
        for &query in self.queries.iter().filter(|query| **query < queries) {
            for &key in self.keys.iter().filter(|key| **key < keys) {
                mask[query * keys + key] = MASKED;
            }
        }
        let mask = Tensor::from_vec(mask, (1, 1, queries, keys), scores.device())?;
        Ok(scores.broadcast_add(&mask.to_dtype(scores.dtype())?)?)
    }
}

/// Closes gates of Flamingo's cross-attention blocks: what they add becomes zero, as if tanh of the gate were. With all
/// of them closed the model is its language model alone.
#[derive(Clone, Debug, Default)]
pub struct GatesClosed {
    /// The blocks whose gates are closed, counted as the cross-attention blocks are; `None` for all.
    pub layers: Option<Vec<usize>>,
}

impl Observer for GatesClosed {
    fn wants(&self, site: Site) -> bool {
        let gate = matches!(site.point, Point::GateAttn | Point::GateFfn);
        gate && self.layers.as_ref().is_none_or(|layers| layers.contains(&usize::from(site.layer)))
    }

    fn observe(&mut self, _site: Site, added: Tensor) -> Result<Tensor> {
        Ok(added.zeros_like()?)
    }
}
