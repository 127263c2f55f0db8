//! The second recipe of BLIP: answers, over the tower that the first has trained and that stays as it is.
//!
//! As in the paper, reading a question starts as reading a sentence that is to be matched with the picture, which knows
//! already how to look for what a text names. With the tower frozen a step is spent on questions alone.

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::blip::{BlipRecipe, Questions, initialise};
use super::run::{Batch, Plan, Recipe};
use super::variables::Variables;
use crate::error::Result;
use crate::models::blip::BlipAnswering;
use crate::models::blip_vision::BlipVision;
use crate::models::weights::Weights;
use crate::nn::{Parameters, Scope};
use crate::taps::Taps;
use crate::world::{Scene, Split};

/// Questions about each picture in a step.
const QUESTIONS: usize = 4;

/// The recipe.
pub struct BlipAnswersRecipe {
    blip: BlipRecipe,
    plan: Plan,
    frozen: BTreeMap<String, Tensor>, // the tower
    start: BTreeMap<String, Tensor>,  // the heads
}

/// One step's pictures and questions.
pub struct AnswersBatch {
    pixels: Tensor, // [pictures, 3, size, size]
    questions: Questions,
}

impl Batch for AnswersBatch {
    fn to(self, device: &Device) -> Result<Self> {
        Ok(Self { pixels: self.pixels.to_device(device)?, questions: self.questions.to(device)? })
    }
}

impl BlipAnswersRecipe {
    /// The recipe over what `train blip` wrote into `folder`.
    ///
    /// # Errors
    /// If a checkpoint there can't be read.
    pub fn new(seed: u64, steps: usize, batch: usize, folder: &Path) -> Result<Self> {
        let blip = BlipRecipe::new(seed, steps, batch, None)?;
        let plan = Plan { name: "blip-answers", ..*blip.plan() };
        let (mut frozen, mut start) = (BTreeMap::new(), BTreeMap::new());
        let retrieval = Weights::open(&folder.join("blip-retrieval"), &Device::Cpu)?;
        let answering = Weights::open(&folder.join("blip-answering"), &Device::Cpu)?;
        let part = |from: &Weights, part: &str, into: &mut BTreeMap<String, Tensor>| -> Result<()> {
            for (name, shape) in from.shapes().into_iter().filter(|(name, _)| name.starts_with(part)) {
                let weight = from.get(&name, &shape)?;
                into.insert(name, weight);
            }
            Ok(())
        };
        part(&retrieval, "vision_model.", &mut frozen)?;
        part(&retrieval, "text_encoder.", &mut start)?;
        part(&answering, "text_decoder.", &mut start)?;
        Ok(Self { blip, plan, frozen, start })
    }

    fn model(&self, variables: &Variables) -> Result<(BlipVision, BlipAnswering)> {
        let root = Scope::root(variables);
        let vision = BlipVision::load(&self.blip.config().vision_config, &root.enter("vision_model"))?;
        Ok((vision, self.blip.answering(&root)?))
    }
}

impl Recipe for BlipAnswersRecipe {
    type Batch = AnswersBatch;

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn variables(&self, device: &Device) -> Result<Variables> {
        let variables = Variables::new(initialise, self.plan.seed, device);
        let variables = variables.starting_as(self.start.clone()).beside(&self.frozen)?;
        self.model(&variables)?;
        Ok(variables)
    }

    fn decays(name: &str) -> bool {
        BlipRecipe::decays(name)
    }

    fn batch(&self, step: usize) -> Result<AnswersBatch> {
        // Not the scenes of the first recipe.
        let first = (self.plan.seed << 40) + (1 << 32) + (step * self.plan.batch) as u64;
        let scenes: Vec<Scene> =
            (0..self.plan.batch as u64).into_par_iter().map(|at| Scene::random(Split::Training, first + at)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(first ^ 0x616e_7377);
        let questions = self.blip.questions(&scenes, QUESTIONS, &mut rng)?;
        Ok(AnswersBatch { pixels: self.blip.pixels(&scenes)?, questions })
    }

    fn loss(&self, batch: &AnswersBatch, variables: &Variables) -> Result<(Tensor, f64)> {
        let (vision, answering) = self.model(variables)?;
        let states = vision.forward(&batch.pixels, &mut Taps::none())?; // [pictures, 1 + patches, width]
        batch.questions.loss(&answering, &states)
    }

    fn write(&self, variables: &Variables, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut weights = self.frozen.clone();
        weights.extend(variables.all().into_iter().map(|(name, variable)| (name, variable.as_tensor().clone())));
        self.blip.write_answering(&weights, folder)?;
        Ok(vec![folder.to_owned()])
    }
}
