#![doc = include_str!("../../assets/help/grad-cam.en.md")]

use super::{Attribution, Subject};
use crate::error::{Error, Result};
use crate::taps::{Point, Site, Tower};

/// The registry's entry.
pub const GRAD_CAM: Attribution = Attribution {
    key: "grad-cam",
    help: [include_str!("../../assets/help/grad-cam.en.md"), include_str!("../../assets/help/grad-cam.zh.md")],
    needs_gradients: true,
    depends_on_text: true,
    signed: false,
    paper: "Selvaraju et al. 2016, arXiv 1610.02391",
    map,
};

fn map(subject: &Subject<'_>) -> Result<Vec<f32>> {
    let site = Site::new(Tower::Vision, subject.depth.saturating_sub(1), Point::ResidPre);
    let missing = || Error::unusable(format!("the recording lacks {site} with its gradient"), "record it, too");
    let values = subject.recording.activations.get(&site).ok_or_else(missing)?;
    let gradients = subject.recording.gradients.get(&site).ok_or_else(missing)?;
    let [_, positions, width] = values.shape[..] else { return Err(missing()) };
    let patches = subject.row * positions + subject.class_tokens..(subject.row + 1) * positions;
    let part = |data: &[f32]| data.get(patches.start * width..patches.end * width).map(<[f32]>::to_vec);
    let (values, gradients) = part(&values.data).zip(part(&gradients.data)).ok_or_else(missing)?;
    let mut weights = vec![0.0; width]; // the mean gradient of each number of a patch's vector
    for gradient in gradients.chunks_exact(width) {
        weights.iter_mut().zip(gradient).for_each(|(weight, gradient)| *weight += gradient / patches.len() as f32);
    }
    let weighted = |value: &[f32]| value.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<f32>();
    Ok(values.chunks_exact(width).map(|value| weighted(value).max(0.0)).collect())
}
