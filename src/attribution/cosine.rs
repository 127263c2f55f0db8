#![doc = include_str!("../../assets/help/cosine.en.md")]

use super::{Attribution, Subject};
use crate::error::{Error, Result};

/// The registry's entry.
pub const COSINE: Attribution = Attribution {
    key: "cosine",
    help: [include_str!("../../assets/help/cosine.en.md"), include_str!("../../assets/help/cosine.zh.md")],
    needs_gradients: false,
    depends_on_text: true,
    signed: true,
    paper: "Li et al. 2023, arXiv 2304.05653",
    map,
};

fn map(subject: &Subject<'_>) -> Result<Vec<f32>> {
    closeness_of(subject.patches, subject.text)
}

/// Inner product of each of `patches` `[patches * projection]` with `direction`, a vector of the shared space.
pub(super) fn closeness_of(patches: &[f32], direction: &[f32]) -> Result<Vec<f32>> {
    let width = direction.len();
    if width == 0 || !patches.len().is_multiple_of(width) {
        return Err(Error::unusable("patches and text don't lie in one space", "take both from one model"));
    }
    let dot = |patch: &[f32]| patch.iter().zip(direction).map(|(a, b)| a * b).sum();
    Ok(patches.chunks_exact(width).map(dot).collect())
}
