//! What a word sees of a picture: by cross-attention, or among the positions of its own row, where patches stand as words.
//! Attention of each layer and head, as it is and weighted by its gradient, brought to the patches.

use crate::error::{Error, Result};
use crate::taps::{Array, Attn, Point, Recording, Site, Tower};

/// One text of a batch and the positions in it that are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The attention of `tower` and, where there is one, of the resampler, `[batch, heads, queries, keys]`; for
    /// weighted maps with the gradients there of a score. The score is a sum over the batch, so a row's gradient belongs
    /// to its text alone.
    pub recording: &'a Recording,
    /// Which entry of the batch.
    pub row: usize,
    /// Which entry of the batch of the resampler.
    pub picture: usize,
    /// The tower whose words look.
    pub tower: Tower,
    /// By which attention they look.
    pub attention: Attn,
    /// How many of these it has.
    pub layers: usize,
    /// How many blocks of a resampler stand between patches and words, or none.
    pub resampler: usize,
    /// Which of the keys are patches.
    pub patches: PatchKeys<'a>,
    /// The positions of the words that are asked about; their maps are added up.
    pub positions: &'a [usize],
}

/// Which of the keys that words look at are patches.
#[derive(Clone, Copy, Debug)]
pub enum PatchKeys<'a> {
    /// All but the first so many.
    Behind(usize),
    /// These, in the order of the patches, of which there are so many; a patch without a key has nothing.
    At(&'a [(usize, usize)], usize),
}

impl PatchKeys<'_> {
    /// From what lies on `keys` `[keys]` to what lies on patches `[patches]`.
    fn of(self, keys: &[f32]) -> Vec<f32> {
        match self {
            Self::Behind(leading) => keys.get(leading..).unwrap_or_default().to_vec(),
            Self::At(places, patches) => {
                let mut map = vec![0.0; patches];
                for (key, patch) in places {
                    if let (Some(value), Some(on_patch)) = (keys.get(*key), map.get_mut(*patch)) {
                        *on_patch = *value;
                    }
                }
                map
            }
        }
    }

    /// How many keys precede the patches.
    fn leading(self) -> usize {
        match self {
            Self::Behind(leading) => leading,
            Self::At(places, _) => places.first().map_or(0, |(key, _)| *key),
        }
    }
}

/// How attention is weighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Not at all.
    Raw,
    /// By the positive part of the gradient of a score (Selvaraju et al. 2017; ALBEF and BLIP do this with cross-attention).
    Gradient,
}

impl Look<'_> {
    /// The map of each head of each layer, `[layers * heads][patches]`.
    ///
    /// # Errors
    /// If the recording lacks something.
    pub fn by_head(&self, weight: Weight) -> Result<Vec<Vec<f32>>> {
        let mut maps = Vec::new();
        for layer in 0..self.layers {
            for head in 0..self.heads(self.tower, layer)? {
                maps.push(self.sum(self.tower, layer, head..head + 1, self.row, self.positions, weight)?);
            }
        }
        self.on_patches(maps, weight)
    }

    /// The mean over the heads and layers, `[patches]`.
    ///
    /// # Errors
    /// If the recording lacks something.
    pub fn all(&self, weight: Weight) -> Result<Vec<f32>> {
        let mut total: Vec<f32> = Vec::new();
        for layer in 0..self.layers {
            let heads = self.heads(self.tower, layer)?;
            let keys = self.sum(self.tower, layer, 0..heads, self.row, self.positions, weight)?;
            total.resize(keys.len(), 0.0);
            let share = 1.0 / (heads * self.layers) as f32;
            total.iter_mut().zip(keys).for_each(|(total, value)| *total += value * share);
        }
        Ok(self.on_patches(vec![total], weight)?.swap_remove(0))
    }

    /// How many heads a cross-attention has.
    ///
    /// # Errors
    /// If it wasn't recorded.
    pub fn heads(&self, tower: Tower, layer: usize) -> Result<usize> {
        Ok(self.pattern(tower, layer)?.0.shape[1])
    }

    fn pattern(&self, tower: Tower, layer: usize) -> Result<(&Array, Option<&Array>)> {
        let attention = if tower == self.tower { self.attention } else { Attn::CrossAttn };
        let site = Site::new(tower, layer, Point::Pattern(attention));
        let pattern =
            self.recording.get(site).filter(|pattern| pattern.shape.len() == 4).ok_or_else(|| {
                Error::unusable(format!("{site} wasn't recorded"), "record the attention of all layers")
            })?;
        Ok((pattern, self.recording.gradients.get(&site)))
    }

    /// The sum over heads and positions, `[keys]`.
    fn sum(
        &self,
        tower: Tower,
        layer: usize,
        heads: std::ops::Range<usize>,
        row: usize,
        positions: &[usize],
        weight: Weight,
    ) -> Result<Vec<f32>> {
        let (pattern, gradient) = self.pattern(tower, layer)?;
        let [_, all_heads, queries, keys] = pattern.shape[..] else { return Ok(Vec::new()) };
        let gradient = match weight {
            Weight::Raw => None,
            Weight::Gradient => Some(gradient.ok_or_else(|| {
                Error::unusable("there are no gradients of the attention", "record them with a score")
            })?),
        };
        let mut sum = vec![0.0; keys];
        for head in heads {
            for query in positions.iter().filter(|query| **query < queries) {
                let begin = ((row * all_heads + head) * queries + query) * keys;
                let Some(shares) = pattern.data.get(begin..begin + keys) else { continue };
                match gradient.and_then(|gradient| gradient.data.get(begin..begin + keys)) {
                    Some(slopes) => {
                        let weighted = shares.iter().zip(slopes).map(|(share, slope)| (share * slope).max(0.0));
                        sum.iter_mut().zip(weighted).for_each(|(sum, value)| *sum += value);
                    }
                    None => sum.iter_mut().zip(shares).for_each(|(sum, value)| *sum += value),
                }
            }
        }
        Ok(sum)
    }

    /// From the keys of the words, of each of some maps, to patches: directly, or through the latents of the resampler.
    fn on_patches(&self, maps: Vec<Vec<f32>>, weight: Weight) -> Result<Vec<Vec<f32>>> {
        if self.resampler == 0 {
            return Ok(maps.iter().map(|keys| self.patches.of(keys)).collect());
        }
        let latents = maps.first().map_or(0, Vec::len);
        let flow = self.flow(latents, weight)?;
        let patches = flow.len() / latents.max(1);
        let through = |keys: Vec<f32>| {
            let mut map = vec![0.0; patches];
            for (share, row) in keys.iter().zip(flow.chunks_exact(patches.max(1))) {
                map.iter_mut().zip(row).for_each(|(map, value)| *map += share * value);
            }
            map
        };
        Ok(maps.into_iter().map(through).collect())
    }

    /// What the positions that are asked about have of each patch, followed through all layers, `[patches]`: relevancy of a
    /// transformer whose words and patches stand in one row (Chefer, Gur & Wolf 2021, arXiv 2103.15679, equations 5 and 6;
    /// github.com/hila-chefer/Transformer-MM-Explainability). In each layer attention times its gradient, where that is
    /// positive, is averaged over heads and added to what was there.
    ///
    /// # Errors
    /// If the recording lacks something.
    pub fn relevancy(&self) -> Result<Vec<f32>> {
        let (pattern, _) = self.pattern(self.tower, 0)?;
        let (queries, keys) = (pattern.shape[2], pattern.shape[3]);
        if queries != keys {
            return Err(Error::unusable("the words look at another row than their own", "ask a model of one row"));
        }
        // What a position has of all others is followed from the last layer down, so that one row is enough:
        // e (1 + A_n) ... (1 + A_1).
        let mut row = vec![0.0f32; keys];
        for at in self.positions {
            if let Some(value) = row.get_mut(*at) {
                *value = 1.0;
            }
        }
        for layer in (0..self.layers).rev() {
            let heads = self.heads(self.tower, layer)?;
            let share = 1.0 / heads.max(1) as f32;
            let mut next = row.clone();
            for (query, weight) in row.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                let looks = self.sum(self.tower, layer, 0..heads, self.row, &[query], Weight::Gradient)?;
                next.iter_mut().zip(looks).for_each(|(next, look)| *next += weight * share * look);
            }
            row = next;
        }
        // What it has of itself explains nothing, and patches are never asked about.
        Ok(self.patches.of(&row))
    }

    /// What each latent holds of each patch, `[latents, patches]`; `latents` says how many there are. A block's latents look
    /// at the patches and at the latents before, which hold patches already, and keep what they had. By attention as it is
    /// that is rollout (Abnar & Zuidema 2020, arXiv 2005.00928), in which what is kept and what is new are halves; weighted,
    /// it is what matters for the score, relevancy as in [`Self::relevancy`], in which what is new is added.
    ///
    /// # Errors
    /// If the resampler wasn't recorded.
    pub fn flow(&self, latents: usize, weight: Weight) -> Result<Vec<f32>> {
        let (pattern, _) = self.pattern(Tower::Resampler, 0)?;
        let positions = pattern.shape[3].saturating_sub(latents);
        let leading = self.patches.leading();
        let patches = positions.saturating_sub(leading);
        let (kept, new) = match weight {
            Weight::Raw => (0.5, 0.5),
            Weight::Gradient => (1.0, 1.0),
        };
        let mut flow = vec![0.0; latents * patches];
        for layer in 0..self.resampler {
            let heads = self.heads(Tower::Resampler, layer)?;
            let mut next = vec![0.0; latents * patches];
            for latent in 0..latents {
                let keys = self.sum(Tower::Resampler, layer, 0..heads, self.picture, &[latent], weight)?;
                let row = &mut next[latent * patches..(latent + 1) * patches];
                let share = new / heads.max(1) as f32;
                let own = &flow[latent * patches..(latent + 1) * patches];
                for (at, value) in row.iter_mut().enumerate() {
                    *value = kept * own[at] + share * keys[leading + at];
                }
                for other in 0..latents {
                    let through = share * keys[positions + other];
                    let of_other = &flow[other * patches..(other + 1) * patches];
                    row.iter_mut().zip(of_other).for_each(|(value, held)| *value += through * held);
                }
            }
            flow = next;
        }
        Ok(flow)
    }
}
