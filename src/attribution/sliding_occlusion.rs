#![doc = include_str!("../../assets/help/sliding-occlusion.en.md")]

use super::asking::{Asked, Explainer, held_about};
use crate::error::Result;

/// The registry's entry.
pub const ENTRY: Explainer = Explainer {
    key: "sliding-occlusion",
    help: [
        include_str!("../../assets/help/sliding-occlusion.en.md"),
        include_str!("../../assets/help/sliding-occlusion.zh.md"),
    ],
    paper: "Zeiler & Fergus 2014, arXiv 1311.2901",
    map,
};

/// How far the window reaches to each side of the patch in its middle.
const REACH: usize = 1;

/// For each patch, how much less strongly the model holds to it while a window covers that patch: the mean over all such windows,
/// `[patches]`.
///
/// # Errors
/// If the model can't be asked.
pub fn map(asked: &mut dyn Asked, progress: &mut dyn FnMut(f32)) -> Result<Vec<f32>> {
    let (grid, patches) = (asked.hiding().grid(), asked.hiding().patches());
    // A window around each patch; at the edges a part of it lies outside. The first is none at all.
    let without = |hiding: &super::hiding::Hiding, at: usize| match at.checked_sub(1) {
        Some(middle) => hiding.without(&window(grid, middle)),
        None => hiding.without(&[]),
    };
    let values = held_about(asked, patches + 1, without, progress)?;
    let Some((whole, values)) = values.split_first() else { return Ok(Vec::new()) };
    let (mut sums, mut counts) = (vec![0.0; patches], vec![0.0; patches]);
    for (middle, value) in values.iter().enumerate() {
        for patch in window(grid, middle) {
            sums[patch] += whole - value;
            counts[patch] += 1.0;
        }
    }
    Ok(sums.into_iter().zip(counts).map(|(sum, count): (f32, f32)| sum / count.max(1.0)).collect())
}

/// The patches that are covered while the window's middle lies on one of them.
fn window((rows, columns): (usize, usize), middle: usize) -> Vec<usize> {
    let around = |at: usize, count: usize| at.saturating_sub(REACH)..(at + REACH + 1).min(count);
    let (row, column) = (middle / columns.max(1), middle % columns.max(1));
    around(row, rows).flat_map(|row| around(column, columns).map(move |column| row * columns + column)).collect()
}
