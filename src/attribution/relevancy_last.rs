#![doc = include_str!("../../assets/help/relevancy-last.en.md")]

use super::matrix::{last_row, patches_of, relevance};
use super::{Attribution, Subject};
use crate::error::Result;

/// The registry's entry.
pub const LAST: Attribution = Attribution {
    key: "relevancy-last",
    help: [
        include_str!("../../assets/help/relevancy-last.en.md"),
        include_str!("../../assets/help/relevancy-last.zh.md"),
    ],
    needs_gradients: true,
    depends_on_text: true,
    signed: false,
    paper: "Chefer et al. 2021, arXiv 2103.15679 (the CLIP notebook)",
    map,
};

fn map(subject: &Subject<'_>) -> Result<Vec<f32>> {
    Ok(patches_of(subject, &last_row(subject, relevance)?))
}
