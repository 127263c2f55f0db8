#![doc = include_str!("../../assets/help/occlusion.en.md")]

use super::asking::{Asked, Explainer, held_about};
use crate::error::Result;

/// The registry's entry.
pub const ENTRY: Explainer = Explainer {
    key: "occlusion",
    help: [include_str!("../../assets/help/occlusion.en.md"), include_str!("../../assets/help/occlusion.zh.md")],
    paper: "Zeiler & Fergus 2014, arXiv 1311.2901",
    map,
};

/// How much less strongly the model holds to it without each patch, `[patches]`.
///
/// # Errors
/// If the model can't be asked.
pub fn map(asked: &mut dyn Asked, progress: &mut dyn FnMut(f32)) -> Result<Vec<f32>> {
    let patches = asked.hiding().patches();
    // The first is the picture as it is.
    let without = |hiding: &super::hiding::Hiding, at: usize| match at.checked_sub(1) {
        Some(patch) => hiding.without(&[patch]),
        None => hiding.without(&[]),
    };
    let values = held_about(asked, patches + 1, without, progress)?;
    let whole = values.first().copied().unwrap_or_default();
    Ok(values.into_iter().skip(1).map(|value| whole - value).collect())
}
