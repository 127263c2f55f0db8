#![doc = include_str!("../../assets/help/cosine-corrected.en.md")]

use super::cosine::closeness_of;
use super::{Attribution, Subject};
use crate::error::{Error, Result};

/// The registry's entry.
pub const CORRECTED: Attribution = Attribution {
    key: "cosine-corrected",
    help: [
        include_str!("../../assets/help/cosine-corrected.en.md"),
        include_str!("../../assets/help/cosine-corrected.zh.md"),
    ],
    needs_gradients: false,
    depends_on_text: true,
    signed: true,
    paper: "Li et al. 2023, arXiv 2304.05653",
    map,
};

fn map(subject: &Subject<'_>) -> Result<Vec<f32>> {
    closeness_of(subject.patches, &corrected(subject)?)
}

/// The text without what every text has in common, `[projection]`.
pub(super) fn corrected(subject: &Subject<'_>) -> Result<Vec<f32>> {
    if subject.neutral.len() != subject.text.len() {
        return Err(Error::unusable("the empty text doesn't lie in the space of the text", "take both from one model"));
    }
    Ok(subject.text.iter().zip(subject.neutral).map(|(text, neutral)| text - neutral).collect())
}
