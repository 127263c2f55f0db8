//! One attention as a matrix, mean over its heads, and how a row is carried down a stack of them.
//!
//! Rollout and relevancy are defined by products of whole matrices, R = (I + A_last) ... (I + A_first), of which one row
//! is drawn: that of the position which reads the picture. A row of a product needs only the row of its left factor, so
//! the row is carried from the last block to the first: the same result for 1/positions of the work and memory.

use super::Subject;
use crate::error::{Error, Result};
use crate::taps::{Array, Attn, Point, Recording, Site, Tower};

/// Weights from queries to keys.
pub(super) struct Matrix {
    keys: usize,
    values: Vec<f64>, // [queries * keys]
}

/// How an attention becomes a [`Matrix`]: that of an entry of the batch, at a site with a pattern.
pub(super) type Reading = fn(&Recording, usize, Site) -> Result<Matrix>;

/// The pattern at `site`, mean over heads.
pub(super) fn attention(recording: &Recording, row: usize, site: Site) -> Result<Matrix> {
    let pattern = entry(recording.get(site), row, site, "pattern")?;
    Ok(pattern.mean_over_heads(|at| f64::from(pattern.values[at])))
}

/// The pattern at `site` times the length of what each key offers, mean over heads (Kobayashi et al. 2020, section 2.2, before the
/// output projection).
pub(super) fn valued(recording: &Recording, row: usize, site: Site) -> Result<Matrix> {
    let pattern = entry(recording.get(site), row, site, "pattern")?;
    let Point::Pattern(attn) = site.point else { return Err(missing("pattern", site)) };
    let at = Site { point: Point::V(attn), ..site };
    let offered = recording.get(at).ok_or_else(|| missing("values", at))?;
    let width = offered.shape.last().copied().unwrap_or(1).max(1);
    let lengths: Vec<f64> = offered.row(row).chunks_exact(width).map(length).collect(); // [heads * keys]
    if lengths.len() != pattern.heads * pattern.keys {
        return Err(missing("values", at));
    }
    let size = pattern.values.len() / pattern.heads;
    let key = |at: usize| at / size * pattern.keys + at % pattern.keys;
    Ok(pattern.mean_over_heads(|at| f64::from(pattern.values[at]) * lengths[key(at)]))
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// Gradient x pattern at `site` where it is positive, mean over heads (Chefer et al., equation 5).
pub(super) fn relevance(recording: &Recording, row: usize, site: Site) -> Result<Matrix> {
    let pattern = entry(recording.get(site), row, site, "pattern")?;
    let gradient = entry(recording.gradients.get(&site), row, site, "gradient of the pattern")?;
    if gradient.values.len() != pattern.values.len() {
        return Err(missing("gradient of the pattern", site));
    }
    Ok(pattern.mean_over_heads(|at| (f64::from(gradient.values[at]) * f64::from(pattern.values[at])).max(0.0)))
}

/// The attention by which the picture's vector is gathered last: its row over the positions of the vision tower.
/// That is the class token's in the last block or, without a class token, the pooling head's.
pub(super) fn last_row(subject: &Subject<'_>, reading: Reading) -> Result<Vec<f64>> {
    let site = if subject.class_tokens > 0 {
        Site::pattern(Tower::Vision, subject.depth.saturating_sub(1))
    } else {
        Site::new(Tower::Pooler, 0, Point::Pattern(Attn::CrossAttn))
    };
    let matrix = reading(subject.recording, subject.row, site)?;
    Ok(matrix.row(0).to_vec())
}

/// Carries the row of the position that reads the picture from the last block to the first; `step` says what becomes of
/// a row at a block.
pub(super) fn carried_row(
    subject: &Subject<'_>,
    reading: Reading,
    step: fn(&Matrix, &[f64]) -> Vec<f64>,
) -> Result<Vec<f64>> {
    let mut row = None;
    if subject.class_tokens == 0 {
        row = Some(last_row(subject, reading)?);
    }
    for layer in (0..subject.depth).rev() {
        let site = Site::pattern(Tower::Vision, layer);
        let matrix = reading(subject.recording, subject.row, site)?;
        // The class token stands at position 0.
        let above = row.unwrap_or_else(|| (0..matrix.keys).map(|key| f64::from(u8::from(key == 0))).collect());
        if above.len() != matrix.keys || matrix.values.len() != matrix.keys * matrix.keys {
            return Err(Error::unusable(
                format!("the recorded pattern {site} doesn't fit the blocks around it"),
                "record one pass of one model",
            ));
        }
        row = Some(step(&matrix, &above));
    }
    Ok(row.unwrap_or_default())
}

/// The part of a row that belongs to patches.
pub(super) fn patches_of(subject: &Subject<'_>, row: &[f64]) -> Vec<f32> {
    row.iter().skip(subject.class_tokens).map(|value| *value as f32).collect()
}

impl Matrix {
    /// The weights of one query.
    pub(super) fn row(&self, query: usize) -> &[f64] {
        self.values.get(query * self.keys..(query + 1) * self.keys).unwrap_or_default()
    }

    /// How many queries and keys there are.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.values.len() / self.keys.max(1), self.keys)
    }

    /// `row` `[queries]` A, `[keys]`.
    pub(super) fn behind(&self, row: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.keys];
        for (query, amount) in row.iter().enumerate().filter(|(_, amount)| **amount != 0.0) {
            out.iter_mut().zip(self.row(query)).for_each(|(sum, weight)| *sum += amount * weight);
        }
        out
    }

    /// A times `column` `[keys]`, `[queries]`.
    pub(super) fn before(&self, column: &[f64]) -> Vec<f64> {
        let rows = self.values.chunks_exact(self.keys.max(1));
        rows.map(|weights| weights.iter().zip(column).map(|(weight, value)| weight * value).sum()).collect()
    }

    /// `row` (I + A).
    pub(super) fn added(&self, row: &[f64]) -> Vec<f64> {
        self.spread(row, |_| 1.0)
    }

    /// `row` times (I + A) whose rows were scaled to the sum 1.
    pub(super) fn averaged(&self, row: &[f64]) -> Vec<f64> {
        self.spread(row, |weights| 1.0 / (1.0 + weights.iter().sum::<f64>()))
    }

    /// `row` (I + A) with each row of the matrix scaled by `scale` of its weights; walks along rows, as they lie in
    /// memory.
    fn spread(&self, row: &[f64], scale: fn(&[f64]) -> f64) -> Vec<f64> {
        let mut result = vec![0.0; row.len()];
        for (query, amount) in row.iter().enumerate().filter(|(_, amount)| **amount != 0.0) {
            let weights = self.row(query);
            let amount = amount * scale(weights);
            result[query] += amount;
            for (sum, weight) in result.iter_mut().zip(weights) {
                *sum += amount * weight;
            }
        }
        result
    }
}

/// One batch entry of a recorded pattern or gradient.
struct Entry<'a> {
    heads: usize,
    keys: usize,
    values: &'a [f32], // [heads * queries * keys]
}

impl Entry<'_> {
    fn mean_over_heads(&self, value: impl Fn(usize) -> f64) -> Matrix {
        let size = self.values.len() / self.heads;
        let mut values = vec![0.0; size];
        for head in 0..self.heads {
            for (at, sum) in values.iter_mut().enumerate() {
                *sum += value(head * size + at) / self.heads as f64;
            }
        }
        Matrix { keys: self.keys, values }
    }
}

fn entry<'a>(array: Option<&'a Array>, row: usize, site: Site, what: &str) -> Result<Entry<'a>> {
    let array = array.ok_or_else(|| missing(what, site))?;
    let values = array.row(row);
    match array.shape.as_slice() {
        [_, heads, queries, keys] if !values.is_empty() && values.len() == heads * queries * keys => {
            Ok(Entry { heads: *heads, keys: *keys, values })
        }
        _ => Err(missing(what, site)),
    }
}

fn missing(what: &str, site: Site) -> Error {
    Error::unusable(format!("the recording lacks the {what} at {site}"), "record it in the pass")
}
