//! The recipe of the built-in BLIP checkpoints: one tower, and on it the three heads.
//!
//! The tower starts from CLIP's and learns from everything at once: contrast, matching against hard negatives, captions
//! (the three losses of Li et al. 2022), and answers to questions. What each head says about a picture it must therefore
//! find in the same patches, which are also asked for their places (`places.rs`). Each picture comes with a sentence in one of the languages, and with questions in either.

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::fold::blip_tower;
use super::folder::{config_head, write_checkpoint};
use super::losses::{cosine_factor, info_nce, matching, next_token};
use super::optimizer::AdamWConfig;
use super::places::{place_head, place_loss};
use super::run::{Batch, Plan, Recipe};
use super::sentences::{Pairs, Sentences};
use super::texts::{Lines, Row, any_language, caption_rows, take_question, with_unknown_words};
use super::tokenizer::{BEGIN, END, PAD, words};
use super::tower;
use super::variables::{Start, Variables};
use crate::error::{Error, Result};
use crate::models::blip::{BlipAnswering, BlipConfig};
use crate::models::blip_heads::{BlipDecoder, BlipRetrieval};
use crate::models::blip_text::{BlipText, BlipTextConfig};
use crate::models::blip_vision::BlipVision;
use crate::models::preprocess::{Class, ImageProcessor};
use crate::models::tokenizer::{TextBatch, TextTokenizer};
use crate::models::vision_tower::VisionTowerConfig;
use crate::models::weights::Weights;
use crate::nn::{Activation, Fusion, Scope, padding_mask_for};
use crate::taps::{Taps, Tower};
use crate::world::{Language, QuestionKind, Scene, Split, Statement};

/// Side of the pictures that the model sees, in pixels.
const IMAGE_SIZE: usize = 64;
/// The longest text, in tokens.
const CONTEXT: usize = 32;
/// Questions about each picture in a step.
const QUESTIONS: usize = 2;
/// Pictures over which the deviations of CLIP's patches are averaged.
const SAMPLE: u64 = 256;

/// The names of the checkpoints, their classes, and the prefix of the variables that only they have.
const HEADS: [(&str, &str, &str); 3] = [
    ("blip-retrieval", "BlipForImageTextRetrieval", "retrieval."),
    ("blip-captioning", "BlipForConditionalGeneration", "captioning."),
    ("blip-answering", "BlipForQuestionAnswering", "answering."),
];
/// A variable that is no part of a checkpoint: the logarithm of the inverse temperature of the contrast.
pub(super) const LOGIT_SCALE: &str = "contrast_head.logit_scale";

/// The recipe.
pub struct BlipRecipe {
    config: BlipConfig,
    plan: Plan,
    processor: ImageProcessor,
    tokenizer: TextTokenizer,
    start: Option<PathBuf>,
}

/// The tower and the three heads.
struct Heads {
    vision: BlipVision,
    retrieval: BlipRetrieval,
    captioning: BlipDecoder,
    answering: BlipAnswering,
    logit_scale: Tensor, // []
}

/// One step's pictures and texts.
pub struct BlipBatch {
    pixels: Tensor, // [pictures, 3, size, size]
    sentences: Sentences,
    captions: Lines,
    questions: Questions,
}

pub(super) struct Questions {
    pictures: Tensor, // the picture of each question, [questions]
    texts: TextBatch,
    answers: Lines,
}

impl Batch for BlipBatch {
    fn to(self, device: &Device) -> Result<Self> {
        let Self { pixels, sentences, captions, questions } = self;
        let pixels = pixels.to_device(device)?;
        let (sentences, captions) = (sentences.to(device)?, captions.to(device)?);
        Ok(Self { pixels, sentences, captions, questions: questions.to(device)? })
    }
}

impl Batch for Questions {
    fn to(self, device: &Device) -> Result<Self> {
        let Self { pictures, texts, answers } = self;
        Ok(Self { pictures: pictures.to_device(device)?, texts: texts.to(device)?, answers: answers.to(device)? })
    }
}

impl BlipRecipe {
    /// The recipe `blip`; `start` is the folder of the CLIP checkpoint whose tower it starts from, or none for a random
    /// start.
    ///
    /// # Errors
    /// If the tokenizer can't be set up.
    pub fn new(seed: u64, steps: usize, batch: usize, start: Option<&Path>) -> Result<Self> {
        let config = BlipConfig {
            text_config: BlipTextConfig {
                vocab_size: words().len(),
                hidden_size: 128,
                intermediate_size: 512,
                num_hidden_layers: 3,
                num_attention_heads: 4,
                max_position_embeddings: CONTEXT,
                hidden_act: Activation::QuickGelu,
                layer_norm_eps: 1e-6,
                bos_token_id: BEGIN.1,
                eos_token_id: END.1,
                pad_token_id: PAD.1,
                sep_token_id: END.1,
                ..BlipTextConfig::default()
            },
            vision_config: VisionTowerConfig {
                hidden_size: 128,
                intermediate_size: 512,
                num_hidden_layers: 4,
                num_attention_heads: 4,
                num_channels: 3,
                image_size: IMAGE_SIZE,
                patch_size: 8,
                hidden_act: Activation::QuickGelu,
                layer_norm_eps: 1e-5,
            },
            image_text_hidden_size: 128,
        };
        let plan = Plan {
            name: "blip",
            steps,
            batch,
            rate: 1e-3,
            optimizer: AdamWConfig { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.02, clip: 1.0 },
            seed,
            measure: "answers right",
        };
        let tokenizer = TextTokenizer::from_json(&super::tokenizer::tokenizer_json(), CONTEXT)?;
        let processor = ImageProcessor::new(Class::Blip, 64);
        Ok(Self { config, plan, processor, tokenizer, start: start.map(Path::to_owned) })
    }

    fn heads(&self, variables: &Variables) -> Result<Heads> {
        let root = Scope::root(variables);
        let (text, width) = (&self.config.text_config, self.config.vision_config.hidden_size);
        let [retrieval, captioning, answering] = HEADS.map(|(_, _, prefix)| root.enter(prefix.trim_end_matches('.')));
        Ok(Heads {
            vision: BlipVision::load(&self.config.vision_config, &root.enter("vision_model"))?,
            retrieval: BlipRetrieval::load(text, width, self.config.image_text_hidden_size, &retrieval)?,
            captioning: BlipDecoder::load(text, width, &captioning.enter("text_decoder"))?,
            answering: self.answering(&answering)?,
            logit_scale: root.get(LOGIT_SCALE, &[])?,
        })
    }

    /// The sizes of the models.
    pub(super) fn config(&self) -> &BlipConfig {
        &self.config
    }

    /// The head that answers, from the weights in `scope`.
    pub(super) fn answering(&self, scope: &Scope<'_>) -> Result<BlipAnswering> {
        let (text, width) = (&self.config.text_config, self.config.vision_config.hidden_size);
        Ok(BlipAnswering {
            question: BlipText::load(text, width, Tower::Text, &scope.enter("text_encoder"))?,
            answer: BlipDecoder::load(text, text.hidden_size, &scope.enter("text_decoder"))?,
        })
    }

    /// Writes the checkpoint that answers.
    pub(super) fn write_answering(&self, weights: &BTreeMap<String, Tensor>, folder: &Path) -> Result<()> {
        let [.., (_, class, _)] = HEADS;
        self.write_head(class, weights.clone(), folder)
    }

    fn write_head(&self, class: &str, mut weights: BTreeMap<String, Tensor>, folder: &Path) -> Result<()> {
        // One weight with two names; transformers wants to find the shorter one.
        const LONG: &str = "text_decoder.cls.predictions.decoder.bias";
        if let Some(bias) = weights.get(LONG).cloned() {
            weights.insert(LONG.replace("decoder.bias", "bias"), bias);
        }
        write_checkpoint(folder, &self.config_json(class)?, &weights, DType::F16, CONTEXT, Some(&self.processor))
    }

    pub(super) fn pixels(&self, scenes: &[Scene]) -> Result<Tensor> {
        tower::pixels(&self.processor, scenes)
    }

    fn ids(&self, text: &str, rng: &mut ChaCha8Rng) -> Result<Vec<u32>> {
        with_unknown_words(&self.tokenizer, text, CONTEXT, rng)
    }

    /// So many questions about each scene.
    pub(super) fn questions(&self, scenes: &[Scene], each: usize, rng: &mut ChaCha8Rng) -> Result<Questions> {
        let (mut pictures, mut texts, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for (at, scene) in scenes.iter().enumerate() {
            for _ in 0..each {
                let language = any_language(rng);
                if let Some(question) = take_question(&mut scene.questions(language), &[QuestionKind::Where], rng) {
                    pictures.push(at as u32);
                    texts.push(self.ids(&question.text, rng)?);
                    answers.push(Row::learned_behind(1, self.tokenizer.encode(&question.answer)?.ids));
                }
            }
        }
        let pictures = Tensor::new(pictures, &Device::Cpu)?;
        Ok(Questions { pictures, texts: self.tokenizer.pad(&texts, &Device::Cpu)?, answers: Lines::new(&answers)? })
    }
}

impl Recipe for BlipRecipe {
    type Batch = BlipBatch;

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn variables(&self, device: &Device) -> Result<Variables> {
        let mut variables = Variables::new(initialise, self.plan.seed, device);
        if let Some(folder) = &self.start {
            let clip = Weights::open(folder, &Device::Cpu)?;
            let scenes: Vec<Scene> = (0..SAMPLE).map(|number| Scene::random(Split::Training, number)).collect();
            variables = variables.starting_as(blip_tower(&clip, &self.config.vision_config, &self.pixels(&scenes)?)?);
        }
        self.heads(&variables)?;
        place_head(&variables, self.config.vision_config.hidden_size)?;
        Ok(variables)
    }

    fn decays(name: &str) -> bool {
        let exempt = ["bias", "norm", "Norm", "embed", "logit_scale", "place_head"];
        !exempt.iter().any(|part| name.contains(part))
    }

    fn batch(&self, step: usize) -> Result<BlipBatch> {
        let first = (self.plan.seed << 40) + (step * self.plan.batch) as u64;
        let scenes: Vec<Scene> =
            (0..self.plan.batch as u64).into_par_iter().map(|at| Scene::random(Split::Training, first + at)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(first ^ 0x626c_6970);
        let statements: Vec<(Language, Statement)> = scenes
            .iter()
            .map(|scene| {
                let language = any_language(&mut rng);
                (language, scene.statement(language, &mut rng))
            })
            .collect();
        let languages = statements.iter().map(|(language, _)| *language);
        Ok(BlipBatch {
            pixels: self.pixels(&scenes)?,
            sentences: Sentences::new(&self.tokenizer, &scenes, &statements, &mut rng)?,
            captions: Lines::new(&caption_rows(&self.tokenizer, &scenes, languages, &mut rng)?)?,
            questions: self.questions(&scenes, QUESTIONS, &mut rng)?,
        })
    }

    fn loss(&self, batch: &BlipBatch, variables: &Variables) -> Result<(Tensor, f64)> {
        let heads = self.heads(variables)?;
        let states = heads.vision.forward(&batch.pixels, &mut Taps::none())?; // [pictures, 1 + patches, width]
        let contrast = heads.contrast(&batch.sentences, &states)?; // [pictures, texts]
        let mut loss = info_nce(&contrast, &batch.sentences.also_true)?;
        let patches = states.narrow(1, 1, states.dim(1)? - 1)?; // without the class token
        let head = place_head(variables, self.config.vision_config.hidden_size)?;
        loss = (loss + place_loss(&patches, &head)?)?;
        loss = (loss + heads.matching_loss(&batch.sentences, &states, &contrast)?)?;

        let fusion = Fusion { states: &states, mask: None };
        let captions = &batch.captions;
        let logits = heads.captioning.logits(&captions.ids, Some(&captions.mask), fusion, None, &mut Taps::none())?;
        loss = (loss + next_token(&logits, captions)?.0)?;

        let (of_answers, right) = batch.questions.loss(&heads.answering, &states)?;
        Ok(((loss + of_answers)?, right))
    }

    fn write(&self, variables: &Variables, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for (name, class, prefix) in HEADS {
            let mut weights = BTreeMap::new();
            for (name, variable) in variables.all() {
                let own = name.strip_prefix(prefix).or(name.starts_with("vision_model.").then_some(name.as_str()));
                if let Some(own) = own {
                    weights.insert(own.to_owned(), variable.as_tensor().clone());
                }
            }
            let folder = folder.join(name);
            self.write_head(class, weights, &folder)?;
            folders.push(folder);
        }
        Ok(folders)
    }
}

impl Questions {
    /// The loss of the answers to questions about pictures with these `states` `[pictures, 1 + patches, width]`, and the
    /// share of right tokens.
    pub(super) fn loss(&self, answering: &BlipAnswering, states: &Tensor) -> Result<(Tensor, f64)> {
        let Self { pictures, texts, answers } = self;
        let seen = states.index_select(pictures, 0)?; // [questions, 1 + patches, width]
        let mask = texts.attention_mask.as_ref();
        let read = answering.read(&texts.ids, mask, &seen, &mut Taps::none())?;
        let unpadded = mask.map(|mask| padding_mask_for(mask, answers.ids.dim(1)?)).transpose()?;
        let fusion = Fusion { states: &read, mask: unpadded.as_ref() };
        let logits = answering.answer.logits(&answers.ids, Some(&answers.mask), fusion, None, &mut Taps::none())?;
        next_token(&logits, answers)
    }
}

impl BlipRecipe {
    fn config_json(&self, class: &str) -> Result<Value> {
        let mut config = config_head(class, "blip");
        let written =
            serde_json::to_value(&self.config).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
        config.extend(written.as_object().cloned().unwrap_or_default());
        let width = self.config.vision_config.hidden_size;
        config["text_config"]["model_type"] = json!("blip_text_model");
        config["text_config"]["encoder_hidden_size"] = json!(width);
        config["text_config"]["projection_dim"] = json!(self.config.image_text_hidden_size);
        config["vision_config"]["model_type"] = json!("blip_vision_model");
        config.insert("projection_dim".into(), json!(self.config.image_text_hidden_size));
        Ok(Value::Object(config))
    }
}

impl Heads {
    /// The logits of each picture with each true sentence, `[pictures, sentences]`.
    fn contrast(&self, sentences: &Sentences, states: &Tensor) -> Result<Tensor> {
        let texts = sentences.true_ones()?;
        let text = self.retrieval.embed_text(&texts.ids, texts.attention_mask.as_ref(), &mut Taps::none())?.embed;
        let factor = cosine_factor(&self.logit_scale)?;
        Ok(self.retrieval.embed_image(states)?.embed.matmul(&text.t()?)?.broadcast_mul(&factor)?)
    }

    /// Each sentence with its picture, and either with another picture that is easily taken for it, or changed so that it
    /// is false.
    fn matching_loss(&self, sentences: &Sentences, states: &Tensor, contrast: &Tensor) -> Result<Tensor> {
        let Pairs { texts, pictures, matches } = sentences.pairs(contrast)?;
        let seen = states.index_select(&pictures, 0)?; // [pairs, 1 + patches, width]
        let mask = texts.attention_mask.as_ref();
        let logits = self.retrieval.match_logits(&texts.ids, mask, &seen, &mut Taps::none())?;
        Ok(matching(&logits, &matches)?.0)
    }
}

/// How BLIP's weights start.
pub(super) fn initialise(name: &str, shape: &[usize]) -> Start {
    let width = shape.last().copied().unwrap_or(1) as f64;
    if name == LOGIT_SCALE {
        Start::Constant(2.659_26)
    } else if (name.contains("norm") || name.contains("Norm")) && name.ends_with("weight") {
        Start::Constant(1.0)
    } else if name.ends_with("bias") {
        Start::Constant(0.0)
    } else if name.contains("embed") || name.contains("itm_head") {
        Start::Normal(0.02)
    } else {
        Start::Normal(width.powf(-0.5) * 0.7)
    }
}
