//! What attention keeps of earlier positions, so that a text that grows by one token needs the work of one token.
//!
//! A cache is handed into a pass and grows there; no block holds one.

use candle_core::Tensor;

use crate::error::Result;

/// Keys and values as one attention has projected them.
#[derive(Clone, Debug)]
pub struct KeyValue {
    /// Keys, `[batch, keys, key heads * head width]`.
    pub keys: Tensor,
    /// Values, `[batch, keys, key heads * head width]`.
    pub values: Tensor,
}

/// The keys and values of all positions that one self-attention has seen; empty before the first.
#[derive(Clone, Debug, Default)]
pub struct Cache(Option<KeyValue>);

impl Cache {
    /// The number of positions so far.
    ///
    /// # Errors
    /// If the kept keys aren't of the shape of keys.
    pub fn positions(&self) -> Result<usize> {
        self.0.as_ref().map_or(Ok(0), |kept| Ok(kept.keys.dim(1)?))
    }

    /// Puts `newer` behind what is kept, and gives all of it.
    ///
    /// # Errors
    /// If the two don't belong to the same attention and batch.
    pub fn extend(&mut self, newer: KeyValue) -> Result<KeyValue> {
        let all = match self.0.take() {
            Some(older) => KeyValue {
                keys: Tensor::cat(&[&older.keys, &newer.keys], 1)?,
                values: Tensor::cat(&[&older.values, &newer.values], 1)?,
            },
            None => newer,
        };
        self.0 = Some(all.clone());
        Ok(all)
    }
}

/// What the attentions of one block keep. Empty before the first pass.
#[derive(Clone, Debug, Default)]
pub struct BlockCache {
    /// Of all positions so far.
    pub self_attn: Cache,
    /// Of the other sequence, which stays the same.
    pub cross_attn: Option<KeyValue>,
}
