//! The self-attention of one tower, brought to the host for the attention explorer.
//!
//! The patterns of a whole tower grow with the square of its positions (all of CLIP L/14-336 take 511 MB in 32 bits), so they
//! are kept in 16 bits, and all only below a ceiling; above it, the layer that is looked at is kept, and of the others what can
//! be said in numbers.

use candle_core::{DType, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt;
use half::vec::HalfFloatVecExt;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::taps::{Attn, Observer, Point, Site, Tower};

/// What the patterns of a tower may take unless it is said, in megabytes.
pub const CEILING: u32 = 128;

/// The self-attention of a tower in one pass.
#[derive(Clone, Debug)]
pub struct AttentionStack {
    /// Which tower.
    pub tower: Tower,
    /// How many blocks it has.
    pub layers: usize,
    /// How many heads each has.
    pub heads: usize,
    /// How many positions there are: queries, and as many keys.
    pub positions: usize,
    /// How many positions precede the patches.
    pub leading: usize,
    /// The patterns by layer, `[heads, queries, keys]`; those that were kept.
    pub patterns: BTreeMap<usize, Arc<Vec<f16>>>,
    /// What a key gets from all queries but the leading ones, on average, `[layers, heads, keys]`.
    pub means: Vec<f32>,
    /// Entropy of each head in bits, mean over queries, `[layers, heads]`.
    pub entropy: Vec<f32>,
    /// Mean distance between query and key, weighted by attention, `[layers, heads]`: in patches where there is a grid
    /// (Dosovitskiy et al. 2020, arXiv 2010.11929, figure 7), else in positions.
    pub distance: Vec<f32>,
}

impl AttentionStack {
    /// The attention of one query to all keys; `None` if the layer wasn't kept.
    #[must_use]
    pub fn row(&self, layer: usize, head: usize, query: usize) -> Option<Vec<f32>> {
        if head >= self.heads || query >= self.positions {
            return None;
        }
        let begin = (head * self.positions + query) * self.positions;
        self.patterns.get(&layer)?.get(begin..begin + self.positions).map(HalfFloatSliceExt::to_f32_vec)
    }

    /// What each key gets on average in one head, `[keys]`.
    #[must_use]
    pub fn mean(&self, layer: usize, head: usize) -> Option<&[f32]> {
        let begin = (layer * self.heads + head) * self.positions;
        self.means.get(begin..begin + self.positions).filter(|_| head < self.heads)
    }

    /// The pattern of one head, `[queries, keys]`; `None` if the layer wasn't kept.
    #[must_use]
    pub fn head(&self, layer: usize, head: usize) -> Option<Vec<f32>> {
        let size = self.positions * self.positions;
        self.patterns.get(&layer)?.get(head * size..(head + 1) * size).map(HalfFloatSliceExt::to_f32_vec)
    }
}

/// Looks at the attention of one tower during a pass over a single picture or text.
pub struct AttentionWatch {
    stack: AttentionStack,
    columns: usize,
    wanted: usize,
    most: usize, // numbers of all patterns that are kept
}

impl AttentionWatch {
    /// Watches `tower` with `layers` blocks, of which `wanted` is kept in any case. `leading` positions precede the
    /// patches, which stand in rows of `columns`; a text has neither. All patterns together may take `ceiling` megabytes.
    #[must_use]
    pub fn new(
        tower: Tower,
        (layers, wanted): (usize, usize),
        leading: usize,
        columns: Option<usize>,
        ceiling: u32,
    ) -> Self {
        let stack = AttentionStack {
            tower,
            layers,
            heads: 0,
            positions: 0,
            leading,
            patterns: BTreeMap::new(),
            means: Vec::new(),
            entropy: Vec::new(),
            distance: Vec::new(),
        };
        let most = (ceiling as usize).saturating_mul((1 << 20) / size_of::<f16>());
        Self { stack, columns: columns.unwrap_or(usize::MAX), wanted, most }
    }

    /// What was seen.
    #[must_use]
    pub fn finish(self) -> AttentionStack {
        self.stack
    }
}

impl Observer for AttentionWatch {
    fn wants(&self, site: Site) -> bool {
        site.tower == self.stack.tower && site.point == Point::Pattern(Attn::SelfAttn)
    }

    fn observe(&mut self, site: Site, activation: Tensor) -> Result<Tensor> {
        let (_, heads, positions, _) = activation.dims4()?; // [batch, heads, queries, keys]
        let values = activation.get(0)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        self.stack.heads = heads;
        self.stack.positions = positions;
        for pattern in values.chunks_exact((positions * positions).max(1)) {
            self.stack.means.extend(mean_row(pattern, positions, self.stack.leading));
            self.stack.entropy.push(entropy(pattern, positions));
            self.stack.distance.push(distance(pattern, positions, self.stack.leading, self.columns));
        }
        let layer = usize::from(site.layer);
        if layer == self.wanted || values.len().saturating_mul(self.stack.layers) <= self.most {
            self.stack.patterns.insert(layer, Arc::new(Vec::from_f32_slice(&values)));
        }
        Ok(activation)
    }
}

/// The mean of the rows of `pattern` `[queries, keys]` behind the leading ones, `[keys]`.
fn mean_row(pattern: &[f32], positions: usize, leading: usize) -> Vec<f32> {
    let mut sum = vec![0.0; positions];
    for row in pattern.chunks_exact(positions.max(1)).skip(leading) {
        sum.iter_mut().zip(row).for_each(|(sum, share)| *sum += share);
    }
    let count = positions.saturating_sub(leading).max(1) as f32;
    sum.into_iter().map(|sum| sum / count).collect()
}

/// Mean entropy of the rows of `pattern` `[queries, keys]`, in bits.
fn entropy(pattern: &[f32], positions: usize) -> f32 {
    let bits = |share: &f32| if *share > 0.0 { -share * share.log2() } else { 0.0 };
    pattern.iter().map(bits).sum::<f32>() / positions.max(1) as f32
}

/// Mean distance between query and key, weighted by the attention; positions that precede the patches have no place and
/// don't count.
fn distance(pattern: &[f32], positions: usize, leading: usize, columns: usize) -> f32 {
    let place = |at: usize| {
        let patch = at - leading;
        ((patch / columns) as f32, (patch % columns) as f32)
    };
    let (mut sum, mut mass) = (0.0, 0.0);
    for query in leading..positions {
        let (row, column) = place(query);
        for key in leading..positions {
            let (other_row, other_column) = place(key);
            let share = pattern[query * positions + key];
            sum += share * (row - other_row).hypot(column - other_column);
            mass += share;
        }
    }
    if mass > 0.0 { sum / mass } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn numbers_of_a_head_are_those_made_by_hand() {
        // A class token and a grid of 2 x 2: every patch looks at the first patch alone, the class token at all.
        let mut pattern = vec![0.0; 25];
        pattern[..5].fill(0.2);
        for query in 1..5 {
            pattern[query * 5 + 1] = 1.0;
        }
        let expected = (0.0 + 1.0 + 1.0 + 2f32.sqrt()) / 4.0;
        assert!((distance(&pattern, 5, 1, 2) - expected).abs() < 1e-6);
        assert!((entropy(&pattern, 5) - 5f32.log2() / 5.0).abs() < 1e-6);
        // A text: positions in a row.
        assert!((distance(&[1.0, 0.0, 1.0, 0.0], 2, 0, usize::MAX) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn layers_heads_and_rows_are_found() -> Result<()> {
        let mut watch = AttentionWatch::new(Tower::Text, (2, 1), 0, None, CEILING);
        for layer in 0..2 {
            let values: Vec<f32> = (0..8).map(|at| (at + 8 * layer) as f32).collect();
            let tensor = Tensor::from_vec(values, (1, 2, 2, 2), &Device::Cpu)?;
            watch.observe(Site::pattern(Tower::Text, layer), tensor)?;
        }
        let stack = watch.finish();
        assert_eq!(stack.row(1, 1, 0), Some(vec![12.0, 13.0]));
        assert_eq!(stack.head(0, 1), Some(vec![4.0, 5.0, 6.0, 7.0]));
        assert_eq!((stack.row(0, 2, 0), stack.row(2, 0, 0), stack.row(0, 0, 2)), (None, None, None));
        assert_eq!(stack.mean(1, 0), Some(&[9.0, 10.0][..]));
        assert_eq!((stack.entropy.len(), stack.heads, stack.positions), (4, 2, 2));
        Ok(())
    }
}
