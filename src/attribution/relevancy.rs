#![doc = include_str!("../../assets/help/relevancy.en.md")]

use super::matrix::{Matrix, carried_row, patches_of, relevance};
use super::{Attribution, Subject};
use crate::error::Result;

/// The registry's entry.
pub const RELEVANCY: Attribution = Attribution {
    key: "relevancy",
    help: [include_str!("../../assets/help/relevancy.en.md"), include_str!("../../assets/help/relevancy.zh.md")],
    needs_gradients: true,
    depends_on_text: true,
    signed: false,
    paper: "Chefer et al. 2021, arXiv 2103.15679",
    map,
};

fn map(subject: &Subject<'_>) -> Result<Vec<f32>> {
    Ok(patches_of(subject, &carried_row(subject, relevance, Matrix::added)?))
}
