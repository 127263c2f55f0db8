//! What is seen of a pass of the querying transformer, and of one of the language model behind it.

use candle_core::Tensor;

use super::Querying;
use crate::error::Result;
use crate::taps::{Array, Attn, CancelToken, Observer, Point, Recorder, Recording, Site, SitePattern, Taps, Tower};

/// Positions in front of the patches in what queries look at: the class token.
pub(super) const LEADING: usize = 1;

/// Numbers of all patterns of self-attention that are kept, 64 MB; only beside a very long text there are more.
const PATTERN_NUMBERS: usize = 1 << 24;

/// What was seen of a pass of the querying transformer.
pub(super) struct Seen {
    /// Where queries look, without the class token, `[kept, layers, heads, patches]`.
    pub maps: Vec<f32>,
    /// What queries and tokens see of each other, `[depth, heads, positions, positions]`; nothing if that is too much.
    pub self_attention: Vec<f32>,
}

impl Querying {
    /// Heads of each attention of the querying transformer.
    pub(super) fn heads(&self) -> usize {
        self.opened.base().config().qformer_config.num_attention_heads
    }

    /// Makes a pass in which `kept` queries look at the picture beside `tokens` tokens, and looks on.
    pub(super) fn watch(
        &self,
        (kept, tokens): (usize, usize),
        cancel: &CancelToken,
        pass: impl FnOnce(&mut Taps<'_>) -> Result<Tensor>,
    ) -> Result<(Tensor, Seen)> {
        let positions = kept + tokens;
        let numbers = self.opened.depth() * self.heads() * positions * positions;
        let sites = if numbers > PATTERN_NUMBERS { "qformer.*.cross_attn.pattern" } else { "qformer.*.pattern" };
        let mut recorder = Recorder::new(SitePattern::new(sites));
        let given = {
            let mut taps = Taps::under(&self.interventions).with(&mut recorder).cancelled_by(cancel);
            pass(&mut taps)?
        };
        let recording = recorder.finish();
        let seen = Seen {
            maps: maps(&recording, &self.opened.cross_layers(), kept),
            self_attention: self_attention(&recording, self.opened.depth()),
        };
        Ok((given, seen))
    }
}

/// Where each of `kept` queries looks, `[kept, layers, heads, patches]`.
fn maps(recording: &Recording, layers: &[usize], kept: usize) -> Vec<f32> {
    let site = |layer: usize| Site::new(Tower::QFormer, layer, Point::Pattern(Attn::CrossAttn));
    let patterns: Vec<&Array> = layers.iter().filter_map(|layer| recording.get(site(*layer))).collect();
    let mut maps = Vec::new();
    for query in 0..kept {
        for pattern in &patterns {
            let [_, heads, queries, keys] = pattern.shape[..] else { return Vec::new() };
            for head in 0..heads {
                let begin = (head * queries + query) * keys;
                maps.extend(pattern.data.get(begin + LEADING..begin + keys).unwrap_or_default());
            }
        }
    }
    maps
}

/// What queries and tokens see of each other, `[depth, heads, positions, positions]`.
fn self_attention(recording: &Recording, depth: usize) -> Vec<f32> {
    let patterns = (0..depth).filter_map(|layer| recording.get(Site::pattern(Tower::QFormer, layer)));
    patterns.flat_map(|pattern| pattern.data.iter().copied()).collect() // each is [1, heads, positions, positions]
}

/// Adds up how much the positions of a decoder look at the first keys of one of its attentions. The patterns themselves
/// would be large: their number grows with the square of the text.
pub(super) struct LooksAtQueries {
    attention: Attn,
    keys: usize,
    layers: usize,
    sum: Option<Tensor>, // [1, positions, keys], over layers, of means over heads
}

impl LooksAtQueries {
    /// Looks at the first `keys` keys of `attention`.
    pub fn new(attention: Attn, keys: usize) -> Self {
        Self { attention, keys, layers: 0, sum: None }
    }

    /// The mean over layers and heads, `[positions, keys]`.
    ///
    /// # Errors
    /// If the device can't be read.
    pub fn finish(self) -> Result<Array> {
        let Some(sum) = self.sum else { return Ok(Array { shape: vec![0, self.keys], data: Vec::new() }) };
        Array::from_tensor(&(sum / self.layers as f64)?.squeeze(0)?)
    }
}

impl Observer for LooksAtQueries {
    fn wants(&self, site: Site) -> bool {
        site.tower == Tower::Decoder && site.point == Point::Pattern(self.attention)
    }

    fn observe(&mut self, _site: Site, pattern: Tensor) -> Result<Tensor> {
        let looks = pattern.mean(1)?.narrow(2, 0, self.keys)?; // [1, positions, keys]
        self.sum = Some(match self.sum.take() {
            Some(sum) => (sum + looks)?,
            None => looks,
        });
        self.layers += 1;
        Ok(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use std::collections::BTreeMap;

    #[test]
    fn maps_stand_by_query_and_without_the_class_token() {
        // Two queries, one head, a class token and two patches.
        let pattern =
            |offset: f32| Array { shape: vec![1, 1, 2, 3], data: (0..6).map(|value| offset + value as f32).collect() };
        let site = |layer| Site::new(Tower::QFormer, layer, Point::Pattern(Attn::CrossAttn));
        let activations = BTreeMap::from([(site(0), pattern(0.0)), (site(2), pattern(10.0))]);
        let recording = Recording { activations, gradients: BTreeMap::new() };
        assert_eq!(maps(&recording, &[0, 2], 2), [1.0, 2.0, 11.0, 12.0, 4.0, 5.0, 14.0, 15.0]);
    }

    #[test]
    fn looks_are_means_over_layers_and_heads() -> Result<()> {
        let mut looks = LooksAtQueries::new(Attn::SelfAttn, 1);
        for values in [vec![0.2f32, 0.8, 0.6, 0.4], vec![0.4, 0.6, 1.0, 0.0]] {
            // Two heads of one position and two keys.
            let pattern = Tensor::from_vec(values, (1, 2, 1, 2), &Device::Cpu)?;
            looks.observe(Site::pattern(Tower::Decoder, 0), pattern)?;
        }
        let mean = looks.finish()?;
        assert_eq!(mean.shape, [1, 1]);
        assert!((mean.data[0] - (0.2 + 0.6 + 0.4 + 1.0) / 4.0).abs() < 1e-6);
        Ok(())
    }
}
