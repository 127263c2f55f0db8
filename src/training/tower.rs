//! Pictures of scenes, and what a vision tower that isn't learned makes of them.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::models::blip_vision::BlipVision;
use crate::models::preprocess::ImageProcessor;
use crate::models::vision_tower::VisionTowerConfig;
use crate::models::weights::Weights;
use crate::nn::{Parameters, Scope};
use crate::taps::Taps;
use crate::world::Scene;

/// Prefix of the tower's weights, in BLIP as in BLIP-2 and InstructBLIP.
const PREFIX: &str = "vision_model";

/// Scenes as a vision tower takes them, `[scenes, 3, height, width]`.
pub(super) fn pixels(processor: &ImageProcessor, scenes: &[Scene]) -> Result<Tensor> {
    let made: Vec<Vec<f32>> = scenes
        .par_iter()
        .map(|scene| Ok(processor.normalise(&processor.pixels(&scene.draw())?)))
        .collect::<Result<_>>()?;
    let (height, width) = processor.size();
    Ok(Tensor::from_vec(made.concat(), (scenes.len(), 3, height as usize, width as usize), &Device::Cpu)?)
}

/// The vision tower of a checkpoint of the BLIP family, which stays as it is.
///
/// A scene is shown once in a training, so it is looked at once: where the batch is made, on the thread beside the one that
/// learns. All losses of a step then share these states.
pub(super) struct FrozenTower {
    /// From pictures to pixels.
    pub processor: ImageProcessor,
    /// The weights, under `vision_model.`.
    pub weights: BTreeMap<String, Tensor>,
    vision: BlipVision,
}

impl FrozenTower {
    /// The tower of the checkpoint in `folder`, whose config says that it is so large. BLIP's tower and that of BLIP-2 are
    /// the same, with the same names, as long as the projections of the latter have all their biases (`qkv_bias`).
    ///
    /// # Errors
    /// If a file is missing, or weights and config don't fit each other.
    pub fn open(folder: &Path, config: &VisionTowerConfig, qkv_bias: bool) -> Result<Self> {
        let checkpoint = Weights::open(folder, &Device::Cpu)?;
        let mut weights = BTreeMap::new();
        for (name, shape) in checkpoint.shapes().into_iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let weight = checkpoint.get(&name, &shape)?;
            weights.insert(name, weight);
        }
        let vision = BlipVision::load_with(config, qkv_bias, &Scope::root(&weights).enter(PREFIX))?;
        Ok(Self { processor: ImageProcessor::from_folder(folder)?, weights, vision })
    }

    /// What it makes of `scenes`, `[scenes, 1 + patches, width]`, the class token first.
    ///
    /// # Errors
    /// If the processor's pictures have another size than the tower takes.
    pub fn states(&self, scenes: &[Scene]) -> Result<Tensor> {
        self.vision.forward(&pixels(&self.processor, scenes)?, &mut Taps::none())
    }
}
