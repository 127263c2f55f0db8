#![doc = include_str!("../../assets/help/surgery.en.md")]

use super::cosine::closeness_of;
use super::cosine_corrected::corrected;
use super::{Attribution, Subject};
use crate::error::Result;

/// The registry's entry.
pub const SURGERY: Attribution = Attribution {
    key: "surgery",
    help: [include_str!("../../assets/help/surgery.en.md"), include_str!("../../assets/help/surgery.zh.md")],
    needs_gradients: false,
    depends_on_text: true,
    signed: true,
    paper: "Li et al. 2023, arXiv 2304.05653",
    map,
};

fn map(subject: &Subject<'_>) -> Result<Vec<f32>> {
    closeness_of(subject.surgical, &corrected(subject)?)
}
