#![doc = include_str!("../../assets/help/class-attention.en.md")]

use super::matrix::{attention, last_row, patches_of};
use super::{Attribution, Subject};
use crate::error::Result;

/// The registry's entry.
pub const CLASS_ATTENTION: Attribution = Attribution {
    key: "class-attention",
    help: [
        include_str!("../../assets/help/class-attention.en.md"),
        include_str!("../../assets/help/class-attention.zh.md"),
    ],
    needs_gradients: false,
    depends_on_text: false,
    signed: false,
    paper: "Caron et al. 2021, arXiv 2104.14294",
    map,
};

fn map(subject: &Subject<'_>) -> Result<Vec<f32>> {
    Ok(patches_of(subject, &last_row(subject, attention)?))
}
