#![doc = include_str!("../../assets/help/gradient-input.en.md")]

use super::asking::Explainer;
use super::{Attribution, Subject};
use crate::error::{Error, Result};
use crate::taps::{Point, Site, Tower};

/// The registry's entry.
pub const GRADIENT_INPUT: Attribution = Attribution {
    key: "gradient-input",
    help: [
        include_str!("../../assets/help/gradient-input.en.md"),
        include_str!("../../assets/help/gradient-input.zh.md"),
    ],
    needs_gradients: true,
    depends_on_text: true,
    signed: true,
    paper: "Shrikumar et al. 2016, arXiv 1605.01713",
    map,
};

/// The same of any model, whose score is how strongly it holds to something.
pub const OF_ALL: Explainer = Explainer {
    key: GRADIENT_INPUT.key,
    help: GRADIENT_INPUT.help,
    paper: GRADIENT_INPUT.paper,
    map: |asked, progress| {
        let picture = asked.hiding().without(&[]);
        let slopes = asked.slopes(&[picture])?;
        progress(1.0);
        let slope = slopes.into_iter().next().unwrap_or_default();
        let products = slope.of_patches(asked.hiding().patches())?;
        Ok(products.map(|(value, gradient)| product(value, gradient)).collect())
    },
};

/// Where patches have become vectors and nothing has mixed them yet.
const INPUT: Site = Site { tower: Tower::Vision, layer: 0, point: Point::Embed };

fn map(subject: &Subject<'_>) -> Result<Vec<f32>> {
    let missing = || Error::unusable("the recording lacks vision.embed with its gradient", "record it, too");
    let values = subject.recording.activations.get(&INPUT).ok_or_else(missing)?;
    let gradients = subject.recording.gradients.get(&INPUT).ok_or_else(missing)?;
    let [_, positions, width] = values.shape[..] else { return Err(missing()) };
    let start = (subject.row * positions + subject.class_tokens) * width;
    let end = (subject.row + 1) * positions * width;
    let (values, gradients) = (values.data.get(start..end), gradients.data.get(start..end));
    let (Some(values), Some(gradients)) = (values, gradients) else { return Err(missing()) };
    let products = values.chunks_exact(width).zip(gradients.chunks_exact(width));
    Ok(products.map(|(value, gradient)| product(value, gradient)).collect())
}

fn product(value: &[f32], gradient: &[f32]) -> f32 {
    value.iter().zip(gradient).map(|(a, b)| a * b).sum()
}
