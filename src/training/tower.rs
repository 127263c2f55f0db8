//! Pictures of scenes, and a vision tower that isn't learned.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::models::checkpoint::Checkpoint;
use crate::models::clip::ClipConfig;
use crate::models::preprocess::ImageProcessor;
use crate::models::vision_tower::VisionTowerConfig;
use crate::models::weights::Weights;
use crate::nn::Parameters;
use crate::world::Scene;

/// Prefix of the tower's weights, in CLIP and BLIP as in BLIP-2 and InstructBLIP.
const PREFIX: &str = "vision_model";

/// The vision tower of the CLIP checkpoint in `folder`: its sizes, its processor, and its weights under `prefix`.
///
/// # Errors
/// If a file is missing or broken.
pub(super) fn of_clip(
    folder: &Path,
    prefix: &str,
) -> Result<(VisionTowerConfig, ImageProcessor, BTreeMap<String, Tensor>)> {
    let config = ClipConfig::read(&Checkpoint::open(folder)?)?.vision_config;
    let from = Weights::open(folder, &Device::Cpu)?;
    let mut weights = BTreeMap::new();
    for (name, shape) in from.shapes().into_iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        weights.insert(format!("{prefix}.{name}"), from.get(&name, &shape)?);
    }
    Ok((config, ImageProcessor::from_folder(folder)?, weights))
}

/// Scenes as a vision tower takes them, `[scenes, 3, height, width]`.
pub(super) fn pixels(processor: &ImageProcessor, scenes: &[Scene]) -> Result<Tensor> {
    let made: Vec<Vec<f32>> = scenes
        .par_iter()
        .map(|scene| Ok(processor.normalise(&processor.pixels(&scene.draw())?)))
        .collect::<Result<_>>()?;
    let (height, width) = processor.size();
    Ok(Tensor::from_vec(made.concat(), (scenes.len(), 3, height as usize, width as usize), &Device::Cpu)?)
}

/// The vision tower of a checkpoint of the BLIP family, which stays as it is. BLIP's tower and that of BLIP-2 are the same,
/// with the same names, as long as the projections of the latter have all their biases (`qkv_bias`).
pub(super) struct FrozenTower {
    /// From pictures to pixels.
    pub processor: ImageProcessor,
    /// The weights, under `vision_model.`.
    pub weights: BTreeMap<String, Tensor>,
}

impl FrozenTower {
    /// The tower of the checkpoint in `folder`.
    ///
    /// # Errors
    /// If a file is missing or broken.
    pub fn open(folder: &Path) -> Result<Self> {
        let checkpoint = Weights::open(folder, &Device::Cpu)?;
        let mut weights = BTreeMap::new();
        for (name, shape) in checkpoint.shapes().into_iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let weight = checkpoint.get(&name, &shape)?;
            weights.insert(name, weight);
        }
        Ok(Self { processor: ImageProcessor::from_folder(folder)?, weights })
    }
}
