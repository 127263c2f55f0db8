#![doc = include_str!("../../assets/help/bimodal-relevancy.en.md")]

use super::asking::Explainer;
use super::matrix::{Matrix, relevance};
use crate::error::{Error, Result};
use crate::taps::{Attn, Point, Recording, Site, SitePattern, Tower};

/// The registry's entry. In the column of two encoders, relevancy is one of the attributions that need no asking.
pub const ENTRY: Explainer = Explainer {
    key: "relevancy",
    help: [
        include_str!("../../assets/help/bimodal-relevancy.en.md"),
        include_str!("../../assets/help/bimodal-relevancy.zh.md"),
    ],
    paper: "Chefer et al. 2021, arXiv 2103.15679",
    map: |asked, progress| {
        let patches = asked.hiding().patches();
        let (recording, flow) = asked.flow(&SitePattern::patterns())?;
        progress(1.0);
        relevancy(&recording, &flow, patches)
    },
};

/// How what a score hangs on leads through a model to its patches, from the end to the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The positions that the score is read at, in the sequence of the first part.
    pub start: Vec<usize>,
    /// Stacks of blocks, the last of which is the vision tower.
    pub parts: Vec<Part>,
}

/// Blocks over one sequence of positions; which there are says the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whose blocks.
    pub tower: Tower,
    /// In what order they look.
    pub order: Order,
    /// Which positions of this sequence come from which of the next part, as (here, there); nothing where cross-attention leads
    /// there.
    pub handed: Vec<(usize, usize)>,
}

/// In what order the positions of a part look at each other and at those of the next part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// In each block first at each other, then, in blocks that have cross-attention, at the next part.
    OwnThenCross,
    /// Each gated cross-attention stands before the block of this number (Flamingo).
    Gated(Vec<usize>),
    /// In each block at the next part and, behind it, at themselves (Flamingo's resampler).
    Latents,
}

/// An attention of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Own(usize),
    Cross(usize),
    Latents(usize),
}

impl Step {
    /// Where its pattern is.
    pub(super) fn pattern(self, tower: Tower) -> Site {
        let (layer, attn) = match self {
            Self::Own(layer) => (layer, Attn::SelfAttn),
            Self::Cross(layer) | Self::Latents(layer) => (layer, Attn::CrossAttn),
        };
        Site::new(tower, layer, Point::Pattern(attn))
    }
}

impl Part {
    /// Blocks that look in the usual order, from which cross-attention leads to the next part.
    #[must_use]
    pub fn new(tower: Tower) -> Self {
        Self { tower, order: Order::OwnThenCross, handed: Vec::new() }
    }

    /// What lies on positions of this sequence, on those of the next part that they come from.
    pub(super) fn hand(&self, row: &[f64]) -> Result<Vec<f64>> {
        let mut handed = vec![0.0; self.handed.iter().map(|(_, there)| there + 1).max().unwrap_or(0)];
        for (here, there) in &self.handed {
            handed[*there] += row.get(*here).ok_or_else(unfit)?;
        }
        Ok(handed)
    }

    /// The attentions that were recorded, in the order of the pass.
    pub(super) fn steps(&self, recording: &Recording) -> Vec<Step> {
        let layers = |attn| -> Vec<usize> {
            let of_it = |site: &&Site| site.tower == self.tower && site.point == Point::Pattern(attn);
            recording.activations.keys().filter(of_it).map(|site| usize::from(site.layer)).collect()
        };
        let (own, cross) = (layers(Attn::SelfAttn), layers(Attn::CrossAttn));
        match &self.order {
            Order::Latents => cross.into_iter().map(Step::Latents).collect(),
            Order::Gated(behind) => {
                let before = |block: usize| (0..behind.len()).filter(move |gated| behind[*gated] == block);
                own.iter().flat_map(|block| before(*block).map(Step::Cross).chain([Step::Own(*block)])).collect()
            }
            // A head that pools has no attention of its own.
            Order::OwnThenCross if own.is_empty() => cross.into_iter().map(Step::Cross).collect(),
            Order::OwnThenCross => {
                let crosses = |block: usize| cross.contains(&block).then_some(Step::Cross(block));
                own.iter().flat_map(|block| std::iter::once(Step::Own(*block)).chain(crosses(*block))).collect()
            }
        }
    }
}

fn add(sum: &mut [f64], other: &[f64]) {
    sum.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
}

/// R = (1 + A_n) ... (1 + A_1) of a sequence's own attention, of which only products are needed.
struct Residual<'a>(Vec<&'a Matrix>);

impl Residual<'_> {
    /// R times a column.
    fn before(&self, column: &[f64]) -> Vec<f64> {
        let mut column = column.to_vec();
        for matrix in &self.0 {
            let added = matrix.before(&column);
            add(&mut column, &added);
        }
        column
    }

    /// A row times R.
    fn behind(&self, row: &[f64]) -> Vec<f64> {
        let mut row = row.to_vec();
        for matrix in self.0.iter().rev() {
            let added = matrix.behind(&row);
            add(&mut row, &added);
        }
        row
    }

    /// One over the sums of the rows of R - 1, where these aren't zero.
    fn scale(&self, length: usize) -> Vec<f64> {
        let sums = self.before(&vec![1.0; length]);
        sums.into_iter().map(|sum| if sum - 1.0 > f64::from(f32::EPSILON) { 1.0 / (sum - 1.0) } else { 0.0 }).collect()
    }

    /// A row times R with the rows of R - 1 scaled to the sum 1.
    fn normalised_behind(&self, row: &[f64]) -> Vec<f64> {
        let scaled: Vec<f64> = row.iter().zip(self.scale(row.len())).map(|(value, scale)| value * scale).collect();
        let through = self.behind(&scaled);
        row.iter().zip(through.iter().zip(&scaled)).map(|(own, (through, scaled))| own + through - scaled).collect()
    }

    /// A row times the transpose of that.
    fn normalised_transposed(&self, row: &[f64]) -> Vec<f64> {
        let through = self.before(row);
        let scale = self.scale(row.len());
        row.iter().zip(through.iter().zip(scale)).map(|(own, (through, scale))| own + scale * (through - own)).collect()
    }
}

/// What the score has of each of `patches`, `[patches]`: equations 5 to 10 of Chefer, Gur & Wolf 2021
/// (hila-chefer/Transformer-MM-Explainability:lxmert/lxmert/src/ExplanationGenerator.py), part by part. Of each part only the row
/// is carried that the score has of it.
///
/// # Errors
/// If the recording lacks something, or the parts don't fit each other.
pub fn relevancy(recording: &Recording, flow: &Flow, patches: usize) -> Result<Vec<f32>> {
    let (mut row, mut by_cross): (Vec<f64>, bool) = (Vec::new(), false);
    for (at, part) in flow.parts.iter().enumerate() {
        let read = |step: Step| Ok((step, relevance(recording, 0, step.pattern(part.tower))?));
        let matrices: Vec<(Step, Matrix)> = part.steps(recording).into_iter().map(read).collect::<Result<_>>()?;
        let length = matrices.iter().map(|(_, matrix)| matrix.size().0).max().unwrap_or(row.len());
        if at == 0 {
            row = vec![0.0; length];
            for start in &flow.start {
                *row.get_mut(*start).ok_or_else(unfit)? += 1.0;
            }
        }
        row.resize(length.max(row.len()), 0.0);
        let own = |until: usize| {
            let own = matrices[..until].iter().filter(|(step, _)| matches!(step, Step::Own(_)));
            Residual(own.map(|(_, matrix)| matrix).collect())
        };
        if by_cross && at + 1 == flow.parts.len() {
            row = own(matrices.len()).normalised_behind(&row);
            break;
        }
        let mut next: Vec<f64> = Vec::new();
        for (place, (step, matrix)) in matrices.iter().enumerate().rev() {
            match step {
                Step::Own(_) => {
                    let added = matrix.behind(&row);
                    add(&mut row, &added);
                }
                Step::Cross(_) => {
                    next.resize(matrix.size().1.max(next.len()), 0.0);
                    let looking = own(place).normalised_transposed(&row);
                    add(&mut next, &matrix.behind(&looking[..matrix.size().0.min(looking.len())]));
                }
                Step::Latents(_) => {
                    let all = matrix.behind(&row);
                    let (latents, all_keys) = matrix.size();
                    let keys = all_keys.checked_sub(latents).ok_or_else(unfit)?;
                    next.resize(keys.max(next.len()), 0.0);
                    add(&mut next, &all[..keys]);
                    add(&mut row, &all[keys..]);
                }
            }
        }
        by_cross = !next.is_empty();
        if by_cross {
            row = next;
        } else if !part.handed.is_empty() {
            row = part.hand(&row)?;
        }
    }
    let leading = row.len().checked_sub(patches).ok_or_else(unfit)?;
    Ok(row[leading..].iter().map(|value| *value as f32).collect())
}

pub(super) fn unfit() -> Error {
    Error::unusable("the model's patches aren't those of its picture", "choose another explanation")
}
