//! What attention keeps of earlier positions, so that a text that grows by one token needs the work of one token.
//!
//! A cache is handed into a pass and grows there; no block holds one.

use candle_core::Tensor;
use std::sync::Arc;

use crate::error::Result;

/// Keys and values as one attention has projected them.
#[derive(Clone, Debug)]
pub struct KeyValue {
    /// Keys, `[batch, keys, key heads * head width]`.
    pub keys: Tensor,
    /// Values, `[batch, keys, key heads * head width]`.
    pub values: Tensor,
}

impl KeyValue {
    /// Whether a gradient can be asked of these.
    fn tracked(&self) -> bool {
        self.keys.track_op() || self.values.track_op()
    }

    /// These with `newer` behind them.
    fn with(&self, newer: &Self) -> Result<Self> {
        let both = |older: &Tensor, newer: &Tensor| Tensor::cat(&[older, newer], 1);
        Ok(Self { keys: both(&self.keys, &newer.keys)?, values: both(&self.values, &newer.values)? })
    }
}

/// The keys and values of all positions that one self-attention has seen; empty before the first.
#[derive(Clone, Debug, Default)]
pub struct Cache(Option<Arc<Kept>>);

/// Keys and values with room for more behind them, so that a new position doesn't copy all earlier ones.
#[derive(Debug)]
struct Kept {
    room: KeyValue, // [batch, positions and room, key heads * head width]
    positions: usize,
}

/// Positions for which room is made at once.
const ROOM: usize = 32;

impl Cache {
    /// The number of positions so far.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.0.as_ref().map_or(0, |kept| kept.positions)
    }

    /// Puts `newer` behind what is kept, and gives all of it. A clone of this cache stays as it is.
    ///
    /// # Errors
    /// If the two don't belong to the same attention and batch.
    pub fn extend(&mut self, newer: &KeyValue) -> Result<KeyValue> {
        let (batch, new, width) = newer.keys.dims3()?;
        let positions = self.positions() + new;
        // What is written into a room has no gradient; while one is wanted, all is put together anew.
        if newer.tracked() || self.0.as_ref().is_some_and(|kept| kept.room.tracked()) {
            let older = self.0.take().map(|kept| kept.all()).transpose()?;
            let room = older.map_or_else(|| Ok(newer.clone()), |older| older.with(newer))?;
            self.0 = Some(Arc::new(Kept { room: room.clone(), positions }));
            return Ok(room);
        }
        let mut kept = match self.0.take() {
            // What was handed out ends before the room; nobody but another cache sees what is written there.
            Some(kept) if Arc::strong_count(&kept) == 1 && positions <= kept.room.keys.dim(1)? => kept,
            older => {
                let shape = (batch, positions + ROOM, width);
                let empty = || Tensor::zeros(shape, newer.keys.dtype(), newer.keys.device());
                let room = KeyValue { keys: empty()?, values: empty()? };
                if let Some(older) = older {
                    let all = older.all()?;
                    room.keys.slice_set(&all.keys.contiguous()?, 1, 0)?;
                    room.values.slice_set(&all.values.contiguous()?, 1, 0)?;
                }
                Arc::new(Kept { room, positions: positions - new })
            }
        };
        if let Some(kept) = Arc::get_mut(&mut kept) {
            kept.room.keys.slice_set(&newer.keys.contiguous()?, 1, kept.positions)?;
            kept.room.values.slice_set(&newer.values.contiguous()?, 1, kept.positions)?;
            kept.positions = positions;
        }
        let all = kept.all()?;
        self.0 = Some(kept);
        Ok(all)
    }
}

impl Kept {
    /// All positions so far.
    fn all(&self) -> Result<KeyValue> {
        let filled = |room: &Tensor| room.narrow(1, 0, self.positions);
        Ok(KeyValue { keys: filled(&self.room.keys)?, values: filled(&self.room.values)? })
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// Positions put in one by one, many at once, and into a clone: always what stands in their order, also beyond the room.
    #[test]
    fn a_cache_holds_what_was_put_in_and_a_clone_its_own() -> Result<()> {
        let rows = |first: usize, count: usize| -> Result<KeyValue> {
            let all = Tensor::arange(0, 2 * 400 * 3, &Device::Cpu)?.to_dtype(DType::F32)?.reshape((2, 400, 3))?;
            let keys = all.narrow(1, first, count)?;
            Ok(KeyValue { values: keys.neg()?, keys })
        };
        let same = |found: &KeyValue, expected: &KeyValue| -> Result<bool> {
            let numbers = |tensor: &Tensor| tensor.to_vec3::<f32>();
            Ok(numbers(&found.keys)? == numbers(&expected.keys)?
                && numbers(&found.values)? == numbers(&expected.values)?)
        };
        let mut cache = Cache::default();
        assert_eq!(cache.positions(), 0);
        let (mut at, mut early) = (0, None);
        for new in [5, 1, 1, 40, 1, 3].into_iter().chain(std::iter::repeat_n(1, 90)) {
            let all = cache.extend(&rows(at, new)?)?;
            at += new;
            assert!(same(&all, &rows(0, at)?)? && cache.positions() == at);
            early.get_or_insert(all);
        }
        let early = early.expect("the first was handed out");
        assert!(same(&early, &rows(0, 5)?)?, "what was handed out stays as it was");
        let mut other = cache.clone();
        let forked = other.extend(&rows(300, 1)?)?;
        let all = cache.extend(&rows(at, 1)?)?;
        assert!(same(&all, &rows(0, at + 1)?)?);
        assert_eq!(
            forked.keys.get(0)?.get(at)?.to_vec1::<f32>()?,
            rows(300, 1)?.keys.get(0)?.get(0)?.to_vec1::<f32>()?
        );
        assert!(cache.extend(&KeyValue { keys: early.keys.get(0)?.unsqueeze(0)?, values: early.values }).is_err());
        Ok(())
    }
}
