#![doc = include_str!("../../assets/help/rollout.en.md")]

use super::matrix::{Matrix, attention, carried_row, patches_of};
use super::{Attribution, Subject};
use crate::error::Result;

/// The registry's entry.
pub const ROLLOUT: Attribution = Attribution {
    key: "rollout",
    help: [include_str!("../../assets/help/rollout.en.md"), include_str!("../../assets/help/rollout.zh.md")],
    needs_gradients: false,
    depends_on_text: false,
    signed: false,
    paper: "Abnar and Zuidema 2020, arXiv 2005.00928",
    map,
};

fn map(subject: &Subject<'_>) -> Result<Vec<f32>> {
    Ok(patches_of(subject, &carried_row(subject, attention, Matrix::averaged)?))
}
