//! LLaVA (Liu et al. 2023, arXiv 2304.08485) by its two stages: first the projector alone learns to say with words what
//! patches show, from captions; then the language model learns with it, from captions and answers.
//!
//! The tower is that of `clip-grounded`, frozen in both stages. The language model is that of `lm`, which has learned to
//! read sentences about a scene that stand before a text: now a picture stands there.

use candle_core::{DType, Device, Tensor};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::folder::{config_head, write_checkpoint, write_json, write_tokenizer};
use super::lm::{self, BEFORE, CONTEXT, with_a_row_more, with_a_token_more};
use super::losses::next_token;
use super::optimizer::AdamWConfig;
use super::run::{Plan, Recipe};
use super::shown::Shown;
use super::texts::{Row, any_language, asked_caption, conversation, turn};
use super::tokenizer::{BEGIN, tokenizer_json_with, without_end, words};
use super::tower::of_clip;
use super::variables::{Start, Variables};
use crate::error::{Error, Result};
use crate::models::checkpoint::Checkpoint;
use crate::models::flamingo::IMAGE;
use crate::models::language_model::LanguageConfig;
use crate::models::llava::{FeatureLayers, Llava, LlavaConfig, LlavaPrompt, LlavaVisionConfig, VisionKind};
use crate::models::preprocess::ImageProcessor;
use crate::models::projector::CLASSES;
use crate::models::tokenizer::TextTokenizer;
use crate::models::vision_tower::VisionTowerConfig;
use crate::models::weights::Weights;
use crate::nn::{Activation, Parameters, Scope};
use crate::taps::Taps;
use crate::world::Scene;

/// Texts about each picture in a step: captions, or conversations.
const TEXTS: usize = 2;
/// Prefix of the projector's weights.
const PROJECTOR: &str = "multi_modal_projector";
/// Prefix of the language model's weights.
const LANGUAGE: &str = "language_model";
/// Prefix of the tower's weights.
const TOWER: &str = "vision_tower";

/// What a stage starts from.
#[derive(Clone, Copy, Debug)]
pub enum LlavaStage<'a> {
    /// The projector alone, between the tower of the CLIP checkpoint `tower` and the language model `language`.
    Projector {
        /// The folder of a CLIP checkpoint.
        tower: &'a Path,
        /// What `train lm` has written.
        language: &'a Path,
    },
    /// The projector and the language model, from what the first stage has written, or the second.
    Together {
        /// The folder of the first stage.
        start: &'a Path,
    },
}

/// The recipe.
pub struct LlavaRecipe {
    config: LlavaConfig,
    language: LanguageConfig,
    plan: Plan,
    captions: bool, // whether only these are learned
    processor: ImageProcessor,
    tokenizer: TextTokenizer,
    frozen: BTreeMap<String, Tensor>,
    start: BTreeMap<String, Tensor>,
}

impl LlavaRecipe {
    /// The recipe of a stage.
    ///
    /// # Errors
    /// If what it starts from can't be read, or is of another kind.
    pub fn new(seed: u64, steps: usize, batch: usize, stage: LlavaStage<'_>) -> Result<Self> {
        let captions = matches!(stage, LlavaStage::Projector { .. });
        let (config, language, processor, frozen, start) = match stage {
            LlavaStage::Projector { tower, language } => {
                let (vision, processor, mut frozen) = of_clip(tower, TOWER)?;
                // The projector's output stands where the token for a picture would be.
                frozen.extend(with_a_row_more(&Weights::open(language, &Device::Cpu)?, LANGUAGE)?);
                let (config, language) = first_config(vision)?;
                (config, language, processor, frozen, BTreeMap::new())
            }
            LlavaStage::Together { start } => {
                let checkpoint = Checkpoint::open(start)?;
                let [class, ..] = CLASSES;
                if checkpoint.class() != class {
                    let problem = format!("a '{}' isn't the first stage of LLaVA", checkpoint.class());
                    let remedy = "name what 'alignscope train llava --stage 1' has written";
                    return Err(Error::unusable(problem, remedy).at(start));
                }
                let config = LlavaConfig::read(&checkpoint)?;
                let language = config.language(&checkpoint)?;
                let from = Weights::open(start, &Device::Cpu)?;
                let all = from.shapes().into_iter().map(|(name, shape)| Ok((name.clone(), from.get(&name, &shape)?)));
                let all: Vec<(String, Tensor)> = all.collect::<Result<_>>()?;
                let (frozen, learned) = all.into_iter().partition(|(name, _)| name.starts_with(TOWER));
                (config, language, ImageProcessor::from_folder(start)?, frozen, learned)
            }
        };
        let plan = Plan {
            name: if captions { "llava-stage1" } else { "llava" },
            steps,
            batch,
            rate: if captions { 2e-3 } else { 7e-4 },
            optimizer: AdamWConfig { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.01, clip: 1.0 },
            seed,
            measure: "next words right",
        };
        let tokenizer = TextTokenizer::from_json(&tokenizer(), BEFORE + CONTEXT)?;
        Ok(Self { config, language, plan, captions, processor, tokenizer, frozen, start })
    }

    fn model(&self, variables: &Variables) -> Result<Llava> {
        Llava::build(self.config.clone(), &self.language, &Scope::root(variables))
    }

    /// The beginning of every text about a picture: the picture.
    fn picture(&self) -> Vec<u32> {
        let image = std::iter::repeat_n(self.config.image_token_index, self.config.positions());
        std::iter::once(BEGIN.1).chain(image).collect()
    }

    /// A caption of a scene.
    fn caption(&self, scene: &Scene, rng: &mut ChaCha8Rng) -> Result<Row> {
        let (prompt, caption) = asked_caption(scene, any_language(rng), rng);
        let [given, written] = turn(&self.tokenizer, prompt, &caption)?;
        let given = [self.picture(), given].concat();
        Ok(Row::learned_behind(given.len(), [given, written].concat()))
    }
}

/// The sizes of the first stage, with this tower.
fn first_config(tower: VisionTowerConfig) -> Result<(LlavaConfig, LanguageConfig)> {
    let (language, text_config) = with_a_token_more()?;
    let config = LlavaConfig {
        vision_config: LlavaVisionConfig { tower, model_type: VisionKind::Clip },
        text_config,
        image_token_index: words().len() as u32, // IMAGE
        // The last states: those that `clip-grounded` has learned to compare with words.
        vision_feature_layer: FeatureLayers::One(-1),
        projector_hidden_act: Activation::Gelu,
        ..LlavaConfig::default()
    };
    Ok((LlavaConfig { image_seq_length: config.positions(), ..config }, language))
}

/// The tokenizer: with the token that stands for a picture, and without an end behind a text, which is to be written.
pub(super) fn tokenizer() -> Value {
    without_end(tokenizer_json_with(&[IMAGE]))
}

/// How weights start that nothing has learned yet: those of the projector.
fn initialise(name: &str, shape: &[usize]) -> Start {
    projector_start(name, shape).unwrap_or_else(|| lm::initialise(name, shape))
}

/// How a weight of a projector's layers starts, if it is one.
pub(super) fn projector_start(name: &str, shape: &[usize]) -> Option<Start> {
    let width = shape.last().copied().unwrap_or(1) as f64;
    (name.starts_with(PROJECTOR) && name.ends_with("weight")).then(|| Start::Normal(width.powf(-0.5)))
}

impl Recipe for LlavaRecipe {
    type Batch = Shown;

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
        !["norm", "embed", "bias"].iter().any(|part| name.contains(part))
    }

    fn batch(&self, step: usize) -> Result<Shown> {
        let stage = if self.captions { 1 } else { 2 };
        let first = (self.plan.seed << 40) + (stage << 36);
        Shown::new(&self.processor, &self.plan, (first, step, 0x6c6c_6176), |scene, rng| {
            let text = |_| {
                if self.captions {
                    return self.caption(scene, rng);
                }
                conversation(&self.tokenizer, scene, self.picture(), self.tokenizer.context(), rng)
            };
            (0..TEXTS).map(text).collect()
        })
    }

    fn loss(&self, batch: &Shown, variables: &Variables) -> Result<(Tensor, f64)> {
        let Shown { pixels, pictures, lines } = batch;
        let model = self.model(variables)?;
        let features = model.see(pixels, &mut Taps::none())?; // [pictures, positions, feature width]
        let projected = model.project(&features)?.index_select(pictures, 0)?; // [texts, positions, language width]
        let prompt = LlavaPrompt { ids: &lines.ids, attention_mask: Some(&lines.mask), projected: Some(&projected) };
        next_token(&model.logits(prompt, &mut Taps::none())?, lines)
    }

    fn write(&self, variables: &Variables, folder: &Path) -> Result<Vec<PathBuf>> {
        let [class, ..] = CLASSES;
        let mut config = config_head(class, "llava");
        let written =
            serde_json::to_value(&self.config).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
        config.extend(written.as_object().cloned().unwrap_or_default());
        config.insert("tie_word_embeddings".into(), json!(true));
        let mut weights = self.frozen.clone();
        weights.extend(variables.all().into_iter().map(|(name, variable)| (name, variable.as_tensor().clone())));
        let context = BEFORE + CONTEXT;
        write_checkpoint(folder, &Value::Object(config), &weights, DType::F16, context, Some(&self.processor))?;
        write_tokenizer(folder, &tokenizer(), context)?;
        // So that transformers' processor leaves as many places as a picture has vectors.
        let tower = &self.config.vision_config.tower;
        let processor = json!({
            "processor_class": "LlavaProcessor",
            "image_token": IMAGE,
            "patch_size": tower.patch_size,
            "num_additional_image_tokens": self.config.class_tokens(),
            "vision_feature_select_strategy": self.config.vision_feature_select_strategy,
        });
        write_json(&folder.join("processor_config.json"), &processor)?;
        Ok(vec![folder.to_owned()])
    }
}
