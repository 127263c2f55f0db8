//! Training to be watched: a small model that learns from scratch, step by step, and shows after each what it has learned.

use candle_core::{DType, Device, Tensor};
use image::RgbImage;
use std::path::Path;
use std::sync::Arc;

use super::blip::LOGIT_SCALE;
use super::blip_2::Blip2Recipe;
use super::clip::ClipRecipe;
use super::optimizer::AdamW;
use super::run::{Batch, Recipe};
use super::variables::Variables;
use crate::error::Result;
use crate::models::dual_encoder::DualEncoder;
use crate::nn::Parameters;
use crate::taps::{Recorder, SitePattern, Taps};
use crate::world::{Language, Scene, Split, Thing};

/// Pairs that are looked at; their matrix can be read at a glance.
pub const PAIRS: u64 = 10;
/// Pictures in a step.
const BATCH: usize = 32;
/// Keys that stand before those of the patches: the class token.
const LEADING: usize = 1;

/// What learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LearnerKind {
    /// Two small encoders, by contrast (CLIP), whose patches learn to say which phrases are true.
    #[default]
    Contrast,
    /// A querying transformer with four queries over a frozen tower, by contrast (BLIP-2's first loss).
    Queries,
}

impl LearnerKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Contrast, Self::Queries];

    /// The learning rate at which it learns well.
    #[must_use]
    pub fn usual_rate(self) -> f64 {
        match self {
            Self::Contrast => 2e-3,
            Self::Queries => 1e-3,
        }
    }

    /// One that knows nothing yet. Queries look through the tower of the BLIP in the folder `blip`.
    ///
    /// # Errors
    /// If that can't be read.
    pub fn start(self, seed: u64, language: Language, blip: &Path) -> Result<Box<dyn Learner>> {
        Ok(match self {
            Self::Contrast => Box::new(Live::new(ClipRecipe::small(seed, BATCH)?, language)?),
            Self::Queries => Box::new(Live::new(Blip2Recipe::four_queries(seed, BATCH, blip)?, language)?),
        })
    }
}

/// Something that learns step by step.
pub trait Learner {
    /// Learns from one batch, at this learning rate.
    ///
    /// # Errors
    /// If the pass fails.
    fn step(&mut self, rate: f64) -> Result<Stepped>;
    /// What it has learned so far.
    ///
    /// # Errors
    /// If the pass fails.
    fn look(&self) -> Result<Look>;
    /// Sets the temperature, which it goes on learning from there.
    ///
    /// # Errors
    /// If the device is out of memory.
    fn set_temperature(&mut self, temperature: f32) -> Result<()>;
    /// The pictures and texts that are looked at.
    fn stage(&self) -> &Stage;
}

/// What a step says of its batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stepped {
    /// Steps done.
    pub step: usize,
    /// The loss.
    pub loss: f32,
    /// The recipe's own measure, from 0 to 1.
    pub accuracy: f32,
}

/// Pictures and texts that none of the training's are: each text belongs to the picture at its place.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The pictures.
    pub pictures: Vec<Arc<RgbImage>>,
    /// Their texts.
    pub texts: Vec<String>,
    /// The words whose map is shown on the first picture.
    pub phrase: String,
    scenes: Vec<Scene>,
}

impl Stage {
    /// The scenes that a training is looked at on.
    pub(super) fn usual_scenes() -> Vec<Scene> {
        // Scenes of one or two things, each thing in one of them.
        let mut scenes: Vec<Scene> = Vec::new();
        let mut taken: Vec<Thing> = Vec::new();
        for seed in 0.. {
            let scene = Scene::random_with(Split::Test, seed, 1..=2);
            let things = scene.things();
            if things.iter().all(|thing| !taken.contains(thing)) {
                taken.extend(things);
                scenes.push(scene);
            }
            if scenes.len() as u64 == PAIRS {
                break;
            }
        }
        // The first has two things, so that a map has something to choose from.
        scenes.sort_by_key(|scene| std::cmp::Reverse(scene.things().len()));
        scenes
    }

    /// These scenes with their texts; there is at least one.
    pub(super) fn of(scenes: Vec<Scene>, language: Language) -> Self {
        let phrases = scenes.first().map(|scene| scene.phrases(language)).unwrap_or_default();
        Self {
            pictures: scenes.iter().map(|scene| Arc::new(scene.draw())).collect(),
            texts: scenes.iter().map(|scene| scene.full_caption(language)).collect(),
            phrase: phrases.first().map(|phrase| phrase.text.clone()).unwrap_or_default(),
            scenes,
        }
    }
}

/// What a model has learned, on the stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// The cosine of each picture with each text, `[pairs, pairs]`, pictures by row.
    pub cosines: Vec<f32>,
    /// Each picture in the shared space, unit length.
    pub pictures: Vec<Vec<f32>>,
    /// Each text in the shared space, unit length.
    pub texts: Vec<Vec<f32>>,
    /// Where the phrase lands in the first picture, `[patches]`.
    pub map: Vec<f32>,
    /// One over the factor between cosine and logit.
    pub temperature: f32,
}

/// A recipe whose model can be looked at.
pub trait Watched: Recipe {
    /// The name of the logarithm of the factor between cosine and logit.
    const LOGIT_SCALE: &'static str;
    /// Looks at the stage.
    ///
    /// # Errors
    /// If the pass fails.
    fn look(&self, variables: &Variables, stage: &Stage) -> Result<Look>;
    /// What is learned here: less than the whole recipe, where that shows more in little time.
    ///
    /// # Errors
    /// If the pass fails.
    fn watched_loss(&self, batch: &Self::Batch, variables: &Variables) -> Result<(Tensor, f64)> {
        self.loss(batch, variables)
    }
}

/// A recipe in the middle of its run.
struct Live<R: Watched> {
    recipe: R,
    variables: Variables,
    optimizer: AdamW,
    stage: Stage,
    step: usize,
}

impl<R: Watched> Live<R> {
    fn new(recipe: R, language: Language) -> Result<Self> {
        let variables = recipe.variables(&Device::Cpu)?;
        let optimizer = AdamW::new(recipe.plan().optimizer, R::decays);
        Ok(Self { recipe, variables, optimizer, stage: Stage::of(Stage::usual_scenes(), language), step: 0 })
    }
}

impl<R: Watched> Learner for Live<R> {
    fn step(&mut self, rate: f64) -> Result<Stepped> {
        let batch = self.recipe.batch(self.step)?.to(&Device::Cpu)?;
        let (loss, accuracy) = self.recipe.watched_loss(&batch, &self.variables)?;
        let gradients = loss.backward()?;
        self.optimizer.step(&self.variables.all(), &gradients, rate)?;
        self.step += 1;
        Ok(Stepped { step: self.step, loss: loss.to_scalar::<f32>()?, accuracy: accuracy as f32 })
    }

    fn look(&self) -> Result<Look> {
        self.recipe.look(&self.variables, &self.stage)
    }

    fn set_temperature(&mut self, temperature: f32) -> Result<()> {
        let scale = (1.0 / temperature.clamp(0.01, 1.0)).ln();
        self.variables.set(R::LOGIT_SCALE, &Tensor::new(scale, &Device::Cpu)?)
    }

    fn stage(&self) -> &Stage {
        &self.stage
    }
}

/// The temperature that the variables hold, by the name of the logarithm of its inverse.
fn temperature(variables: &Variables, name: &str) -> Result<f32> {
    Ok((-variables.get(name, &[])?.to_dtype(DType::F32)?.to_scalar::<f32>()?).exp())
}

/// The cosines of all pairs of unit vectors.
fn cosines(pictures: &[Vec<f32>], texts: &[Vec<f32>]) -> Vec<f32> {
    let dot = |one: &Vec<f32>, other: &Vec<f32>| one.iter().zip(other).map(|(one, other)| one * other).sum();
    pictures.iter().flat_map(|picture| texts.iter().map(move |text| dot(picture, text))).collect()
}

impl Watched for ClipRecipe {
    const LOGIT_SCALE: &'static str = "logit_scale";

    fn look(&self, variables: &Variables, stage: &Stage) -> Result<Look> {
        let model = self.model(variables)?;
        let image = model.encode_image(&super::tower::pixels(self.processor(), &stage.scenes)?, &mut Taps::none())?;
        let mut texts = stage.texts.clone();
        texts.push(stage.phrase.clone());
        let batch = self.texts(&texts)?;
        let text = model.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut Taps::none())?;
        let mut texts = text.embed.to_vec2::<f32>()?;
        let phrase = texts.pop().unwrap_or_default();
        let pictures = image.embed.to_vec2::<f32>()?;
        let patches = image.patches.narrow(0, 0, 1)?.squeeze(0)?.to_vec2::<f32>()?;
        Ok(Look {
            cosines: cosines(&pictures, &texts),
            map: cosines(&[phrase], &patches),
            pictures,
            texts,
            temperature: temperature(variables, Self::LOGIT_SCALE)?,
        })
    }
}

impl Watched for Blip2Recipe {
    const LOGIT_SCALE: &'static str = LOGIT_SCALE;

    fn look(&self, variables: &Variables, stage: &Stage) -> Result<Look> {
        let model = self.model(variables)?;
        let states = model.base().see(&super::tower::pixels(self.processor(), &stage.scenes)?, &mut Taps::none())?;
        let mut recorder = Recorder::new(SitePattern::new("qformer.*.cross_attn.pattern"));
        let queries = model.embed_image(&states, None, &mut Taps::none().with(&mut recorder))?; // [pairs, queries, shared]
        let queries = queries.to_vec3::<f32>()?;
        let mut texts = stage.texts.clone();
        texts.push(stage.phrase.clone());
        let batch = self.texts(&texts)?;
        let mut texts = model.embed_text((&batch).into(), &mut Taps::none())?.to_vec2::<f32>()?;
        let phrase = texts.pop().unwrap_or_default();
        // Of each picture, the query that is nearest to a text.
        let nearest = |queries: &[Vec<f32>], text: &Vec<f32>| -> usize {
            let cosines = cosines(queries, std::slice::from_ref(text));
            (0..cosines.len()).max_by(|one, other| cosines[*one].total_cmp(&cosines[*other])).unwrap_or(0)
        };
        let mut all = Vec::new();
        for of_picture in &queries {
            for text in &texts {
                let best = &of_picture[nearest(of_picture, text)];
                all.extend(cosines(std::slice::from_ref(best), std::slice::from_ref(text)));
            }
        }
        let own = queries.iter().zip(&texts).map(|(queries, text)| queries[nearest(queries, text)].clone());
        let winner = queries.first().map_or(0, |queries| nearest(queries, &phrase));
        Ok(Look {
            cosines: all,
            pictures: own.collect(),
            texts,
            map: query_map(&recorder.finish(), winner),
            temperature: temperature(variables, Self::LOGIT_SCALE)?,
        })
    }

    fn watched_loss(&self, batch: &Self::Batch, variables: &Variables) -> Result<(Tensor, f64)> {
        self.contrast_loss(batch, variables)
    }
}

/// Where a query looks in the first picture, the mean over blocks and heads, `[patches]`.
fn query_map(recording: &crate::taps::Recording, query: usize) -> Vec<f32> {
    let mut map: Vec<f32> = Vec::new();
    let mut count = 0;
    for pattern in recording.activations.values() {
        let [_, heads, queries, keys] = pattern.shape.as_slice() else { continue };
        for head in 0..*heads {
            let start = (head * queries + query) * keys;
            let row = pattern.data.get(start + LEADING..start + keys).unwrap_or_default();
            map.resize(row.len(), 0.0);
            map.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            count += 1;
        }
    }
    map.iter().map(|sum| sum / count.max(1) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_learns_the_same_and_learns_something() {
        let blip = crate::models::builtin::folder().join("blip-retrieval");
        for kind in LearnerKind::ALL {
            let run = || {
                let mut learner = kind.start(3, Language::English, &blip).expect("a learner");
                let losses: Vec<f32> = (0..6).map(|_| learner.step(kind.usual_rate()).expect("a step").loss).collect();
                learner.set_temperature(0.1).expect("a temperature");
                (losses, learner.look().expect("a look"))
            };
            let ((losses, look), (again, _)) = (run(), run());
            assert_eq!(losses, again, "{kind:?}");
            assert!(losses.iter().all(|loss| loss.is_finite()) && losses[5] < losses[0], "{kind:?}: {losses:?}");
            assert_eq!((look.cosines.len(), look.map.len()), ((PAIRS * PAIRS) as usize, 64), "{kind:?}");
            assert!((look.temperature - 0.1).abs() < 1e-4);
        }
    }
}
