//! Pictures with texts about them, as recipes take them whose model reads a picture as words.

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::run::{Batch, Plan};
use super::texts::{Lines, Row};
use super::tower::pixels;
use crate::error::Result;
use crate::models::preprocess::ImageProcessor;
use crate::world::{Scene, Split};

/// One step's pictures and texts.
pub struct Shown {
    /// `[pictures, 3, size, size]`.
    pub pixels: Tensor,
    /// The picture of each text, `[texts]`.
    pub pictures: Tensor,
    /// The texts.
    pub lines: Lines,
}

impl Batch for Shown {
    fn to(self, device: &Device) -> Result<Self> {
        let (pixels, pictures) = (self.pixels.to_device(device)?, self.pictures.to_device(device)?);
        Ok(Self { pixels, pictures, lines: self.lines.to(device)? })
    }
}

impl Shown {
    /// The pictures of step `step`, of which the scenes of the whole run begin at `first`, each with the texts that `texts`
    /// makes of it by random numbers of its own; `salt` keeps these apart from those of other recipes.
    ///
    /// # Errors
    /// If `texts` fails, or memory runs out.
    pub fn new(
        processor: &ImageProcessor,
        plan: &Plan,
        (first, step, salt): (u64, usize, u64),
        texts: impl Fn(&Scene, &mut ChaCha8Rng) -> Result<Vec<Row>> + Sync,
    ) -> Result<Self> {
        let first = first + (step * plan.batch) as u64;
        let made = (0..plan.batch as u64)
            .into_par_iter()
            .map(|at| {
                let scene = Scene::random(Split::Training, first + at);
                let rows = texts(&scene, &mut ChaCha8Rng::seed_from_u64((first + at) ^ salt))?;
                Ok((scene, rows))
            })
            .collect::<Result<Vec<_>>>()?;
        let (mut scenes, mut pictures, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (scene, of_scene)) in made.into_iter().enumerate() {
            scenes.push(scene);
            pictures.extend(of_scene.iter().map(|_| at as u32));
            rows.extend(of_scene);
        }
        let pictures = Tensor::new(pictures, &Device::Cpu)?;
        Ok(Self { pixels: pixels(processor, &scenes)?, pictures, lines: Lines::new(&rows)? })
    }
}
