//! Keys and values that are kept from one pass to the next. They are arguments of a pass, never part of a block.

use candle_core::Tensor;

use crate::error::Result;

/// The keys and values of one attention.
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
