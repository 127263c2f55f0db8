//! The recipes of the built-in CLIP checkpoints.
//!
//! `clip` is trained as published, by InfoNCE alone; its patches are left to themselves. `clip-grounded` has the same
//! loss and three more, which need only what is in a picture, never where. From the patches alone it must be visible which
//! phrases are true of the picture; where a rectangle was painted over with bare ground, its patches must stay silent; and
//! each patch must know its own place (`places.rs`). Without the second, empty patches become a notebook of the tower: they
//! hold what is elsewhere in the picture, louder than the objects themselves (measured: the highest patch lay on the object
//! in 37 % of the cases). Without the third, nothing that stands on the tower can say what is left of what.

use candle_core::{DType, Device, Tensor};
use image::{RgbImage, imageops};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::folder::{config_head, write_checkpoint};
use super::losses::{
    cosine_factor, info_nce, phrase_cosines, phrase_scores, share_on_diagonal, sigmoid_cross_entropy, silence,
};
use super::optimizer::AdamWConfig;
use super::places::{LastStates, PLACE_HEAD, place_head, place_loss};
use super::run::{Batch, Plan, Recipe};
use super::texts::{also_true, with_unknown_words};
use super::tokenizer::{BEGIN, END, PAD, words};
use super::variables::{Start, Variables};
use crate::error::{Error, Result};
use crate::models::clip::{Clip, ClipConfig, ClipTextConfig};
use crate::models::dual_encoder::DualEncoder;
use crate::models::preprocess::{Class, ImageProcessor};
use crate::models::tokenizer::{TextBatch, TextTokenizer};
use crate::models::vision_tower::VisionTowerConfig;
use crate::nn::{Activation, Parameters, Scope};
use crate::taps::Taps;
use crate::world::{Language, SIDE, Scene, Split, Statement, Thing, all_phrases};

/// Side of the pictures that the model sees, in pixels.
const IMAGE_SIZE: usize = 64;
/// Patches on a side.
const PATCHES: usize = 8;
/// Phrases that the phrase loss looks at in one step.
const PHRASES: usize = 64;
/// Side of the rectangle that is painted over, in patches.
const ERASED: usize = 3;
/// Weight of the loss on painted-over patches. Of the phrases, only the few that are true of the picture tempt them.
const SILENCE: f64 = 8.0;

/// One of the two recipes.
pub struct ClipRecipe {
    config: ClipConfig,
    plan: Plan,
    grounded: bool,
    processor: ImageProcessor,
    tokenizer: TextTokenizer,
}

/// One step's pictures and texts.
pub struct ClipBatch {
    pixels: Tensor, // [pictures, 3, size, size]
    /// For each language the texts, and which pairs off the diagonal are true by accident.
    captions: Vec<(Tensor, Option<Tensor>, Tensor)>, // [pictures, tokens] twice, [pictures, pictures]
    phrases: Option<Phrases>,
    erased: Option<Tensor>, // [pictures, patches], 1 where the ground was painted over whatever was there
}

struct Phrases {
    ids: Tensor,          // [phrases, tokens]
    mask: Option<Tensor>, // [phrases, tokens]
    labels: Tensor,       // [pictures, phrases], 1 where the phrase names something in the picture
}

impl Batch for ClipBatch {
    fn to(self, device: &Device) -> Result<Self> {
        let Self { pixels, captions, phrases, erased } = self;
        let moved = |tensor: Option<Tensor>| tensor.map(|tensor| tensor.to_device(device)).transpose();
        let captions = captions
            .into_iter()
            .map(|(ids, mask, also_true)| Ok((ids.to_device(device)?, moved(mask)?, also_true.to_device(device)?)));
        let phrases = phrases.map(|Phrases { ids, mask, labels }| -> Result<Phrases> {
            Ok(Phrases { ids: ids.to_device(device)?, mask: moved(mask)?, labels: labels.to_device(device)? })
        });
        Ok(Self {
            pixels: pixels.to_device(device)?,
            captions: captions.collect::<Result<_>>()?,
            phrases: phrases.transpose()?,
            erased: moved(erased)?,
        })
    }
}

impl ClipRecipe {
    /// The recipe called `clip` or `clip-grounded`.
    ///
    /// # Errors
    /// If the tokenizer can't be set up.
    pub fn new(grounded: bool, seed: u64, steps: usize, batch: usize) -> Result<Self> {
        let config = ClipConfig {
            text_config: ClipTextConfig {
                vocab_size: words().len(),
                hidden_size: 128,
                intermediate_size: 512,
                num_hidden_layers: 2,
                num_attention_heads: 4,
                max_position_embeddings: 24,
                hidden_act: Activation::QuickGelu,
                layer_norm_eps: 1e-5,
                eos_token_id: END.1,
                pad_token_id: PAD.1,
                bos_token_id: BEGIN.1,
            },
            vision_config: VisionTowerConfig {
                hidden_size: 128,
                intermediate_size: 512,
                num_hidden_layers: 4,
                num_attention_heads: 4,
                num_channels: 3,
                image_size: IMAGE_SIZE,
                patch_size: IMAGE_SIZE / PATCHES,
                hidden_act: Activation::QuickGelu,
                layer_norm_eps: 1e-5,
            },
            projection_dim: 128,
            logit_scale_init_value: (1.0f64 / 0.07).ln(),
        };
        let plan = Plan {
            name: if grounded { "clip-grounded" } else { "clip" },
            steps,
            batch,
            rate: 1e-3,
            optimizer: AdamWConfig { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.05, clip: 1.0 },
            seed,
            measure: "R@1 in the batch",
        };
        let context = config.text_config.max_position_embeddings;
        let tokenizer = TextTokenizer::from_json(&super::tokenizer::tokenizer_json(), context)?;
        Ok(Self { processor: ImageProcessor::new(Class::Clip, 64), tokenizer, config, plan, grounded })
    }

    /// A recipe of the same build that is small enough to be watched: some hundred steps show what it learns.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn small(seed: u64, batch: usize) -> Result<Self> {
        let mut recipe = Self::new(true, seed, usize::MAX, batch)?;
        let ClipConfig { text_config, vision_config, projection_dim, .. } = &mut recipe.config;
        (text_config.hidden_size, text_config.intermediate_size, text_config.num_hidden_layers) = (64, 192, 1);
        (vision_config.hidden_size, vision_config.intermediate_size, vision_config.num_hidden_layers) = (64, 192, 2);
        *projection_dim = 64;
        Ok(recipe)
    }

    /// From pictures to pixels.
    pub(super) fn processor(&self) -> &ImageProcessor {
        &self.processor
    }

    /// Texts as the text tower reads them.
    pub(super) fn texts(&self, texts: &[String]) -> Result<TextBatch> {
        self.tokenizer.batch(texts, &Device::Cpu)
    }

    /// The model as it is now.
    pub(super) fn model(&self, variables: &Variables) -> Result<Clip> {
        Clip::load(self.config.clone(), &Scope::root(variables))
    }

    fn context(&self) -> usize {
        self.config.text_config.max_position_embeddings
    }

    fn config_json(&self) -> Result<Value> {
        let mut config = config_head("CLIPModel", "clip");
        let written =
            serde_json::to_value(&self.config).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
        config.extend(written.as_object().cloned().unwrap_or_default());
        for (part, model_type) in [("text_config", "clip_text_model"), ("vision_config", "clip_vision_model")] {
            config[part]["model_type"] = json!(model_type);
            config[part]["projection_dim"] = json!(self.config.projection_dim);
        }
        Ok(Value::Object(config))
    }

    fn captions(
        &self,
        scenes: &[Scene],
        language: Language,
        rng: &mut ChaCha8Rng,
    ) -> Result<(Tensor, Option<Tensor>, Tensor)> {
        let statements: Vec<Statement> = scenes.iter().map(|scene| scene.statement(language, rng)).collect();
        let rows = statements
            .iter()
            .map(|statement| with_unknown_words(&self.tokenizer, &statement.text, self.context(), rng))
            .collect::<Result<Vec<_>>>()?;
        let texts = self.tokenizer.pad(&rows, &Device::Cpu)?;
        let accidents = also_true(scenes, &statements.iter().collect::<Vec<_>>());
        let also_true = Tensor::from_vec(accidents, (scenes.len(), scenes.len()), &Device::Cpu)?;
        Ok((texts.ids, texts.attention_mask, also_true))
    }

    fn phrases(&self, scenes: &[Scene], rng: &mut ChaCha8Rng) -> Result<Phrases> {
        let mut order: Vec<usize> = (0..Thing::all().count()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, rng.random_range(0..=last));
        }
        order.truncate(PHRASES);
        let languages = Language::ALL.map(all_phrases);
        let mut rows = Vec::new();
        for &thing in &order {
            let phrase = &languages[rng.random_range(0..languages.len())][thing];
            let with_article = rng.random_bool(0.6);
            let text = if with_article { &phrase.with_article } else { &phrase.text };
            rows.push(with_unknown_words(&self.tokenizer, text, self.context(), rng)?);
        }
        let texts = self.tokenizer.pad(&rows, &Device::Cpu)?;
        let mut labels = Vec::with_capacity(scenes.len() * order.len());
        for scene in scenes {
            let things: Vec<usize> = scene.things().iter().map(|thing| thing.index()).collect();
            labels.extend(order.iter().map(|thing| f32::from(things.contains(thing))));
        }
        Ok(Phrases {
            ids: texts.ids,
            mask: texts.attention_mask,
            labels: Tensor::from_vec(labels, (scenes.len(), order.len()), &Device::Cpu)?,
        })
    }
}

impl Recipe for ClipRecipe {
    type Batch = ClipBatch;

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn variables(&self, device: &Device) -> Result<Variables> {
        let variables = Variables::new(initialise, self.plan.seed, device);
        Clip::load(self.config.clone(), &Scope::root(&variables))?;
        if self.grounded {
            phrase_head(&variables)?;
            place_head(&variables, self.config.vision_config.hidden_size)?;
        }
        Ok(variables)
    }

    fn decays(name: &str) -> bool {
        let exempt = ["bias", "norm", "layrnorm", "embed", "logit_scale", "phrase_head", "place_head"];
        !exempt.iter().any(|part| name.contains(part))
    }

    fn batch(&self, step: usize) -> Result<ClipBatch> {
        // Scenes are numbered through; runs with different seeds see different ones.
        let first = (self.plan.seed << 40) + (step * self.plan.batch) as u64;
        let numbers: Vec<u64> = (0..self.plan.batch as u64).map(|at| first + at).collect();
        let made: Vec<(Scene, Vec<f32>, Vec<f32>)> = numbers
            .par_iter()
            .map(|number| {
                let scene = Scene::random(Split::Training, *number);
                let mut picture = scene.draw();
                let erased = if self.grounded { erase(&scene, &mut picture, *number) } else { Vec::new() };
                let pixels = self.processor.normalise(&self.processor.pixels(&picture)?);
                Ok((scene, pixels, erased))
            })
            .collect::<Result<_>>()?;
        let mut scenes = Vec::with_capacity(made.len());
        let (mut pixels, mut erased) = (Vec::new(), Vec::new());
        for (scene, of_scene, erased_of_scene) in made {
            scenes.push(scene);
            pixels.extend(of_scene);
            erased.extend(erased_of_scene);
        }
        let shape = (self.plan.batch, 3, IMAGE_SIZE, IMAGE_SIZE);
        let pixels = Tensor::from_vec(pixels, shape, &Device::Cpu)?;
        let mut rng = ChaCha8Rng::seed_from_u64(first ^ 0x7465_7874);
        let captions =
            Language::ALL.iter().map(|language| self.captions(&scenes, *language, &mut rng)).collect::<Result<_>>()?;
        let phrases = if self.grounded { Some(self.phrases(&scenes, &mut rng)?) } else { None };
        let erased = if self.grounded {
            Some(Tensor::from_vec(erased, (self.plan.batch, PATCHES * PATCHES), &Device::Cpu)?)
        } else {
            None
        };
        Ok(ClipBatch { pixels, captions, phrases, erased })
    }

    fn loss(&self, batch: &ClipBatch, variables: &Variables) -> Result<(Tensor, f64)> {
        let model = self.model(variables)?;
        let mut last = LastStates::new(self.config.vision_config.num_hidden_layers);
        let image = model.encode_image(&batch.pixels, &mut Taps::none().with(&mut last))?;
        let factor = cosine_factor(model.logit_scale())?;
        let mut loss = Tensor::zeros((), DType::F32, variables.device())?;
        let mut hits = 0f64;
        for (ids, mask, also_true) in &batch.captions {
            let text = model.encode_text(ids, mask.as_ref(), &mut Taps::none())?;
            let logits = image.embed.matmul(&text.embed.t()?)?.broadcast_mul(&factor)?;
            loss = (loss + (info_nce(&logits, also_true)? / batch.captions.len() as f64)?)?;
            hits += share_on_diagonal(&logits)? / batch.captions.len() as f64;
        }
        if let Some(phrases) = &batch.phrases {
            let text = model.encode_text(&phrases.ids, phrases.mask.as_ref(), &mut Taps::none())?;
            let (scale, bias) = phrase_head(variables)?;
            let logits = |scores: &Tensor| scores.broadcast_mul(&scale)?.broadcast_add(&bias);
            let cosine = phrase_cosines(&image.patches, &text.embed)?; // [pictures, phrases, patches]
            let scores = logits(&phrase_scores(&cosine)?)?; // [pictures, phrases]
            loss = (loss + sigmoid_cross_entropy(&scores, &phrases.labels, 6.0)?)?;
            if let Some(erased) = &batch.erased {
                loss = (loss + (silence(&logits(&cosine)?, erased)? * SILENCE)?)?;
            }
            if let Some(states) = last.patches()? {
                let head = place_head(variables, self.config.vision_config.hidden_size)?;
                loss = (loss + place_loss(&states, &head)?)?;
            }
        }
        Ok((loss, hits))
    }

    fn write(&self, variables: &Variables, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut weights: BTreeMap<String, Tensor> = BTreeMap::new();
        for (name, variable) in variables.all() {
            if !name.starts_with(PHRASE_HEAD) && !name.starts_with(PLACE_HEAD) {
                weights.insert(name, variable.as_tensor().clone());
            }
        }
        write_checkpoint(folder, &self.config_json()?, &weights, DType::F32, self.context(), Some(&self.processor))?;
        Ok(vec![folder.to_owned()])
    }
}

/// Paints a square of bare ground over part of the picture; gives 1 for each patch inside of it, else 0.
fn erase(scene: &Scene, picture: &mut RgbImage, number: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(number ^ 0x6572_6173);
    let ground = Scene { ground: scene.ground, objects: Vec::new() }.draw();
    let (row, column) = (rng.random_range(0..=PATCHES - ERASED), rng.random_range(0..=PATCHES - ERASED));
    let patch = SIDE / PATCHES as u32;
    let (left, top, side) = (column as u32 * patch, row as u32 * patch, ERASED as u32 * patch);
    let bare = imageops::crop_imm(&ground, left, top, side, side).to_image();
    imageops::replace(picture, &bare, i64::from(left), i64::from(top));
    let inside = |at: usize| {
        let (here, there) = (at / PATCHES, at % PATCHES);
        (row..row + ERASED).contains(&here) && (column..column + ERASED).contains(&there)
    };
    (0..PATCHES * PATCHES).map(|at| f32::from(inside(at))).collect()
}

/// Weights that only the phrase loss uses; they aren't part of the checkpoint.
const PHRASE_HEAD: &str = "phrase_head.";

fn phrase_head(variables: &Variables) -> Result<(Tensor, Tensor)> {
    Ok((variables.get("phrase_head.scale", &[1])?, variables.get("phrase_head.bias", &[1])?))
}

/// How CLIP's weights start, as transformers' `CLIPPreTrainedModel._init_weights` does it.
fn initialise(name: &str, shape: &[usize]) -> Start {
    let width = shape.last().copied().unwrap_or(1) as f64;
    let depth = if name.starts_with("vision_model") { 4.0 } else { 2.0 };
    let residual = (2.0f64 * depth).powf(-0.5);
    if name == "logit_scale" {
        Start::Constant(2.659_26)
    } else if name == "phrase_head.scale" {
        Start::Constant(10.0)
    } else if name == "phrase_head.bias" {
        Start::Constant(-6.0)
    } else if name.ends_with("norm.weight") || name.contains("layer_norm") && name.ends_with("weight") {
        Start::Constant(1.0)
    } else if name.ends_with("bias") {
        Start::Constant(0.0)
    } else if name.contains("class_embedding") || name.contains("projection") || name.contains("out_proj") {
        Start::Normal(width.powf(-0.5))
    } else if name.contains("embed") {
        Start::Normal(0.02)
    } else if name.contains("fc1") {
        Start::Normal((2.0 * width).powf(-0.5))
    } else if name.contains("fc2") {
        let inner_to_width = shape.first().copied().unwrap_or(1) as f64;
        Start::Normal(inner_to_width.powf(-0.5) * residual)
    } else {
        Start::Normal(width.powf(-0.5) * residual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_start_as_in_the_reference() {
        let norm = "vision_model.encoder.layers.0.layer_norm1.weight";
        assert_eq!(initialise(norm, &[128]), Start::Constant(1.0));
        assert_eq!(initialise("vision_model.pre_layrnorm.weight", &[128]), Start::Constant(1.0));
        assert_eq!(initialise("text_model.final_layer_norm.bias", &[128]), Start::Constant(0.0));
        assert_eq!(initialise("text_model.embeddings.token_embedding.weight", &[300, 128]), Start::Normal(0.02));
        assert!(ClipRecipe::decays("vision_model.encoder.layers.0.mlp.fc1.weight"));
        assert!(!ClipRecipe::decays("vision_model.pre_layrnorm.weight"));
        assert!(!ClipRecipe::decays("text_model.embeddings.position_embedding.weight"));
    }
}
