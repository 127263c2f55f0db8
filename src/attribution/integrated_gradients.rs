#![doc = include_str!("../../assets/help/integrated-gradients.en.md")]

use image::RgbImage;

use super::asking::{Asked, Explainer};
use crate::error::Result;

/// The registry's entry.
pub const ENTRY: Explainer = Explainer {
    key: "integrated-gradients",
    help: [
        include_str!("../../assets/help/integrated-gradients.en.md"),
        include_str!("../../assets/help/integrated-gradients.zh.md"),
    ],
    paper: "Sundararajan et al. 2017, arXiv 1703.01365",
    map,
};

/// Steps from the hidden picture to the picture.
const STEPS: usize = 32;
/// Steps that are asked about together.
const TOGETHER: usize = 4;

/// The gradient along the straight way from the picture with everything hidden to the picture as it is, summed up for each patch,
/// `[patches]`. Each patch's pixels go into one vector alone, so that the sum over its pixels, which the paper has, is the sum
/// over the way of that vector, which is had here: by trapezoids, in steps of whole levels of colour. All patches together are
/// the difference that the picture makes, up to the steps.
///
/// # Errors
/// If the model can't be asked.
pub fn map(asked: &mut dyn Asked, progress: &mut dyn FnMut(f32)) -> Result<Vec<f32>> {
    let patches = asked.hiding().patches();
    let mut map = vec![0.0; patches];
    let mut last = None;
    for start in (0..=STEPS).step_by(TOGETHER) {
        let steps = start..(start + TOGETHER).min(STEPS + 1);
        let faded = |step: usize| asked.hiding().faded(1.0 - step as f32 / STEPS as f32);
        let pictures: Vec<RgbImage> = steps.clone().map(faded).collect();
        for slope in asked.slopes(&pictures)? {
            if let Some(last) = last.replace(slope.clone()) {
                let steps = last.of_patches(patches)?.zip(slope.of_patches(patches)?);
                for (value, ((from, before), (to, after))) in map.iter_mut().zip(steps) {
                    let along = from.iter().zip(to).zip(before.iter().zip(after));
                    *value +=
                        along.map(|((from, to), (before, after))| (to - from) * (before + after) / 2.0).sum::<f32>();
                }
            }
        }
        progress(steps.end as f32 / (STEPS + 1) as f32);
    }
    Ok(map)
}
