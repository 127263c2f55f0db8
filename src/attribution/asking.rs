//! Attributions for which a model is asked many times: of every model that can say how strongly it holds to something about a
//! picture, whatever is inside.

use image::RgbImage;

use super::bimodal_relevancy::{self, Flow};
use super::hiding::Hiding;
use super::{gradient_input, integrated_gradients, occlusion, sliding_occlusion, value_attention};
use crate::error::{Error, Result};
use crate::taps::{Recording, SitePattern};

/// How strongly a model holds to something would change with what the picture is to its vision tower.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slope {
    /// How long the vector of a position is.
    pub width: usize,
    /// What enters the first block, `[positions * width]`; the patches stand at the end.
    pub states: Vec<f32>,
    /// The gradient there.
    pub gradient: Vec<f32>,
}

impl Slope {
    /// The last `patches` positions of states and gradient, each a patch's vectors.
    ///
    /// # Errors
    /// If they aren't so many vectors of one length, with a class token before them at most.
    pub fn of_patches(&self, patches: usize) -> Result<impl Iterator<Item = (&[f32], &[f32])>> {
        let width = self.width.max(1);
        let positions = self.states.len() / width;
        let leading = positions.checked_sub(patches).filter(|leading| *leading <= 1);
        let (Some(leading), true) = (leading, self.states.len() == self.gradient.len()) else {
            return Err(Error::unusable(
                "the map's patches aren't those of the vision tower",
                "choose an explanation that hides patches",
            ));
        };
        let patches = |vectors| <[f32]>::chunks_exact(vectors, width).skip(leading);
        Ok(patches(&self.states).zip(patches(&self.gradient)))
    }
}

/// A model with a picture and something that it holds to.
pub trait Asked {
    /// The picture, whose patches can be hidden.
    fn hiding(&self) -> &Hiding;

    /// How strongly the model holds to it about each of `pictures`, in a unit that the model's method names.
    ///
    /// # Errors
    /// If the model can't be asked.
    fn hold(&mut self, pictures: &[RgbImage]) -> Result<Vec<f32>>;

    /// How that would change, for each of `pictures`.
    ///
    /// # Errors
    /// As [`Self::hold`].
    fn slopes(&mut self, pictures: &[RgbImage]) -> Result<Vec<Slope>>;

    /// What a pass over the picture as it is leaves at `sites`, with the gradients there of how strongly the model holds to it; and
    /// the way from what it says to the patches.
    ///
    /// # Errors
    /// As [`Self::hold`], or if no such way is known.
    fn flow(&mut self, sites: &SitePattern) -> Result<(Recording, Flow)>;
}

/// Makes a map by asking; its second argument gets the share that is done.
pub type MakeMap = fn(&mut dyn Asked, &mut dyn FnMut(f32)) -> Result<Vec<f32>>;

/// Such an attribution. Its name on the screen stands in the language files, as `attribution-` with the key behind it.
#[derive(Clone, Copy, Debug)]
pub struct Explainer {
    /// Its name on the command line and in files.
    pub key: &'static str,
    /// What it shows and what it can't, as Markdown, in English and Chinese.
    pub help: [&'static str; 2],
    /// Where it was published.
    pub paper: &'static str,
    /// The map: one number a patch, row by row, in units of what is held to; below zero what speaks against it.
    pub map: MakeMap,
}

/// All of them.
pub const EXPLAINERS: &[Explainer] = &[
    bimodal_relevancy::ENTRY,
    value_attention::OF_ALL,
    gradient_input::OF_ALL,
    integrated_gradients::ENTRY,
    occlusion::ENTRY,
    sliding_occlusion::ENTRY,
];

/// The one with this key.
#[must_use]
pub fn explainer(key: &str) -> Option<&'static Explainer> {
    EXPLAINERS.iter().find(|explainer| explainer.key == key)
}

/// How strongly about each of some pictures, which are made one after the other: all at once they could fill the memory.
pub(super) fn held_about(
    asked: &mut dyn Asked,
    count: usize,
    picture: impl Fn(&Hiding, usize) -> RgbImage,
    progress: &mut dyn FnMut(f32),
) -> Result<Vec<f32>> {
    const TOGETHER: usize = 16;
    let mut values = Vec::with_capacity(count);
    for start in (0..count).step_by(TOGETHER) {
        let end = (start + TOGETHER).min(count);
        let pictures: Vec<RgbImage> = (start..end).map(|at| picture(asked.hiding(), at)).collect();
        values.extend(asked.hold(&pictures)?);
        progress(end as f32 / count as f32);
    }
    Ok(values)
}
