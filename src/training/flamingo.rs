//! The recipe of the built-in Flamingo: a frozen vision tower, a frozen language model, and what connects them.
//!
//! The tower is that of `clip-grounded` and the language model that of `lm`. In the first stage the resampler alone learns
//! what lies where (`surroundings.rs`), without any text; in the second also the gated cross-attention and the tokens that
//! stand for a picture, from captions and answers. Of each text only what follows the question is learned.

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::folder::{config_head, learned_in, write_checkpoint, write_tokenizer};
use super::latents::{Heads, on_patches};
use super::lm::{CONTEXT, initialise, lm_config};
use super::losses::next_token;
use super::optimizer::AdamWConfig;
use super::run::{Batch, Plan, Recipe};
use super::surroundings::{SURROUNDINGS_HEAD, Surroundings, surroundings_head};
use super::texts::{Lines, Row, any_language, conversation, take_question, turn};
use super::tokenizer::{BEGIN, END, PAD, tokenizer_json_with, words};
use super::tower::pixels;
use super::variables::Variables;
use crate::error::{Error, Result};
use crate::files;
use crate::models::flamingo::{AROUND, IDEFICS_PLACE, IMAGE};
use crate::models::idefics::{
    AlphaType, Ends, Idefics, IdeficsConfig, IdeficsPerceiverConfig, IdeficsVisionConfig, image_mask,
};
use crate::models::preprocess::{Class, ImageProcessor};
use crate::models::tokenizer::TextTokenizer;
use crate::models::weights::Weights;
use crate::nn::{Activation, Parameters, Scope};
use crate::taps::Taps;
use crate::world::{Language, QuestionKind, Scene, Split};

/// Side of the pictures that the model sees, in pixels.
const IMAGE_SIZE: usize = 64;
/// Side of a patch, in pixels.
const PATCH_SIZE: usize = 8;
/// What is said about each picture in a step, where that is long.
const LONG: usize = 2;
/// Questions about each picture in a step that asks one kind alone.
const SHORT: usize = 4;
/// How many scenes are tried until there is one in which that can be asked.
const TRIED: u64 = 64;
/// Scenes on which it is found out where the latents start.
const SAMPLE: u64 = 64;
/// Prefix of the resampler's weights.
const RESAMPLER: &str = "model.perceiver_resampler.";

/// Folder within a checkpoint for what its training needs and the model doesn't.
const BESIDE: &str = "surroundings";
/// How much it counts in the second stage what lies where, beside the next words.
const SURROUNDINGS: f64 = 0.1;

/// What is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlamingoStage {
    /// The resampler alone, what lies where.
    Resampler,
    /// All that isn't frozen, captions and answers. Most steps ask for one thing alone: where something is, since the question
    /// and the direction have to be found together, and among other questions neither is; colours; all that is there.
    Together,
}

/// What is said in a step of the second stage.
#[derive(Clone, Copy)]
enum Told {
    /// Conversations, of as many turns as fit.
    Conversation,
    /// Questions of one kind.
    Answer(QuestionKind),
    /// What is there.
    List,
}

/// What the steps of the second stage say, in turn.
const TOLD: [Told; 5] =
    [Told::Answer(QuestionKind::Where), Told::List, Told::Conversation, Told::Answer(QuestionKind::Colour), Told::List];

/// The recipe.
pub struct FlamingoRecipe {
    config: IdeficsConfig,
    stage: FlamingoStage,
    plan: Plan,
    processor: ImageProcessor,
    tokenizer: TextTokenizer,
    frozen: BTreeMap<String, Tensor>,
    start: BTreeMap<String, Tensor>,
}

/// One step's pictures and texts.
pub struct FlamingoBatch {
    pixels: Tensor, // [pictures, 1, 3, size, size]
    surroundings: Surroundings,
    texts: Option<Texts>,
}

/// What is said about a step's pictures.
struct Texts {
    pictures: Tensor, // the picture of each text, [texts]
    lines: Lines,
    image_mask: Tensor, // [texts, tokens, 1]
}

impl Texts {
    /// Texts, each about the picture at its place among `pictures`.
    fn new(rows: &[Row], pictures: Vec<u32>) -> Result<Self> {
        let image = u32::try_from(words().len() + 1).unwrap_or(u32::MAX);
        let lines = Lines::new(rows)?;
        let masks = lines.ids.to_vec2::<u32>()?;
        let masks = masks.iter().map(|ids| image_mask(ids, image, 1, &Device::Cpu)).collect::<Result<Vec<_>>>()?;
        Ok(Self { pictures: Tensor::new(pictures, &Device::Cpu)?, lines, image_mask: Tensor::cat(&masks, 0)? })
    }
}

impl Batch for FlamingoBatch {
    fn to(self, device: &Device) -> Result<Self> {
        let (pixels, surroundings) = (self.pixels.to_device(device)?, self.surroundings.to(device)?);
        let texts = self.texts.map(|Texts { pictures, lines, image_mask }| -> Result<Texts> {
            let (pictures, image_mask) = (pictures.to_device(device)?, image_mask.to_device(device)?);
            Ok(Texts { pictures, lines: lines.to(device)?, image_mask })
        });
        Ok(Self { pixels, surroundings, texts: texts.transpose()? })
    }
}

impl FlamingoRecipe {
    /// A stage of the recipe `flamingo` over the tower of the CLIP checkpoint in `tower` and the language model in
    /// `language`. What is learned starts by chance, or as it is in the Flamingo in `start`, which then learns on from other
    /// scenes.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub fn new(
        stage: FlamingoStage,
        seed: u64,
        steps: usize,
        batch: usize,
        (tower, language): (&Path, &Path),
        start: Option<&Path>,
    ) -> Result<Self> {
        let lm = lm_config();
        let config = IdeficsConfig {
            vocab_size: lm.vocab_size,
            additional_vocab_size: 2,
            hidden_size: lm.hidden_size,
            intermediate_size: lm.intermediate_size,
            num_hidden_layers: lm.num_hidden_layers,
            num_attention_heads: lm.num_attention_heads,
            hidden_act: lm.hidden_act,
            rms_norm_eps: lm.rms_norm_eps,
            eos_token_id: Some(Ends::One(END.1)),
            tie_word_embeddings: true,
            alpha_type: AlphaType::Float,
            cross_layer_interval: 1,
            qk_layer_norms: false,
            use_resampler: true,
            vision_config: IdeficsVisionConfig {
                embed_dim: 128,
                hidden_size: None,
                intermediate_size: 512,
                num_hidden_layers: 4,
                num_attention_heads: 4,
                num_channels: 3,
                image_size: IMAGE_SIZE,
                patch_size: PATCH_SIZE,
                hidden_act: Activation::QuickGelu,
                layer_norm_eps: 1e-5,
            },
            perceiver_config: IdeficsPerceiverConfig {
                resampler_n_latents: (IMAGE_SIZE / PATCH_SIZE).pow(2),
                resampler_depth: 2,
                resampler_n_heads: 4,
                resampler_head_dim: 32,
                qk_layer_norms_perceiver: true,
            },
        };
        let (name, measure) = match stage {
            FlamingoStage::Resampler => ("flamingo-stage1", "neighbours right"),
            FlamingoStage::Together => ("flamingo", "next words right"),
        };
        let plan = Plan {
            name,
            steps,
            batch,
            rate: 1e-3,
            optimizer: AdamWConfig { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.01, clip: 1.0 },
            seed,
            measure,
        };
        let mut frozen = BTreeMap::new();
        let tower = Weights::open(tower, &Device::Cpu)?;
        let language = Weights::open(language, &Device::Cpu)?;
        for (from, part, prefix) in [(&tower, "vision_model.", "model."), (&language, "model.", "")] {
            for (name, shape) in from.shapes() {
                if name.starts_with(part) {
                    frozen.insert(format!("{prefix}{name}"), from.get(&name, &shape)?);
                }
            }
        }
        let tokenizer = TextTokenizer::from_json(&tokenizer(), CONTEXT)?;
        let processor = ImageProcessor::new(Class::Clip, IMAGE_SIZE as u32);
        let start = match start {
            Some(folder) => {
                let mut start = learned_in(folder, &frozen)?;
                let beside = folder.join(BESIDE);
                if beside.is_dir() {
                    start.extend(learned_in(&beside, &BTreeMap::new())?);
                }
                start
            }
            None => latents_on_patches(&config, &processor, &frozen)?,
        };
        Ok(Self { config, stage, plan, processor, tokenizer, frozen, start })
    }

    fn model(&self, variables: &Variables) -> Result<Idefics> {
        Idefics::load(self.config.clone(), &Scope::root(variables))
    }

    fn surroundings_head(&self, variables: &Variables) -> Result<Tensor> {
        surroundings_head(variables, self.config.vision_config.embed_dim)
    }

    /// The scene of this number and what is said about it.
    fn said(&self, number: u64, step: usize, picture: &[u32]) -> Result<(Scene, Vec<Row>)> {
        let mut rng = ChaCha8Rng::seed_from_u64(number ^ 0x666c_616d);
        let scene = Scene::random(Split::Training, number);
        let said = match (self.stage, TOLD[step % TOLD.len()]) {
            (FlamingoStage::Resampler, _) => return Ok((scene, Vec::new())),
            (FlamingoStage::Together, said) => said,
        };
        let kind = match said {
            Told::Conversation => {
                let mut row = |_| conversation(&self.tokenizer, &scene, picture.to_vec(), CONTEXT, &mut rng);
                let rows = (0..LONG).map(&mut row).collect::<Result<Vec<_>>>()?;
                return Ok((scene, rows));
            }
            Told::List => {
                let mut row = |_| {
                    let language = any_language(&mut rng);
                    let list = scene.list(language, &mut rng).text;
                    self.short(picture, language.caption_prompt(), &list)
                };
                let rows = (0..LONG).map(&mut row).collect::<Result<Vec<_>>>()?;
                return Ok((scene, rows));
            }
            Told::Answer(kind) => kind,
        };
        let is_asked = |scene: &Scene| scene.questions(Language::English).iter().any(|question| question.kind == kind);
        let mut others = (1..TRIED).map(|again| Scene::random(Split::Training, number + (again << 30)));
        let scene = Some(scene).filter(is_asked).or_else(|| others.find(is_asked));
        let scene = scene.unwrap_or_else(|| Scene::random(Split::Training, number));
        let mut rows = Vec::new();
        for _ in 0..SHORT {
            let mut questions = scene.questions(any_language(&mut rng));
            questions.retain(|question| question.kind == kind);
            if let Some(question) = take_question(&mut questions, &[], &mut rng) {
                rows.push(self.short(picture, &question.text, &question.answer)?);
            }
        }
        Ok((scene, rows))
    }

    /// The picture, a question and its answer.
    fn short(&self, picture: &[u32], question: &str, answer: &str) -> Result<Row> {
        let [given, written] = turn(&self.tokenizer, question, answer)?;
        let mut row = Row::default();
        row.read(picture.iter().copied());
        row.read(given);
        row.write(&written);
        Ok(row)
    }
}

/// Where the latents start, over the frozen tower.
fn latents_on_patches(
    config: &IdeficsConfig,
    processor: &ImageProcessor,
    frozen: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    let scenes: Vec<Scene> = (0..SAMPLE).map(|number| Scene::random(Split::Training, number)).collect();
    let variables = Variables::new(initialise, 0, &Device::Cpu).beside(frozen)?;
    let tower = Idefics::load(config.clone(), &Scope::root(&variables))?;
    let states = tower.look(&pixels(processor, &scenes)?.unsqueeze(1)?, &mut Taps::none())?; // [scenes, 1 + patches, width]
    let states = states.narrow(1, 1, states.dim(1)? - 1)?;
    let perceiver = &config.perceiver_config;
    let heads = Heads { count: perceiver.resampler_n_heads, width: perceiver.resampler_head_dim };
    let start = on_patches(&states, heads)?;
    Ok(start.into_iter().map(|(name, weight)| (format!("{RESAMPLER}{name}"), weight)).collect())
}

/// The tokenizer of the sticker world with the tokens that stand for a picture.
fn tokenizer() -> Value {
    tokenizer_json_with(&[AROUND, IMAGE])
}

impl Recipe for FlamingoRecipe {
    type Batch = FlamingoBatch;

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn variables(&self, device: &Device) -> Result<Variables> {
        let variables = Variables::new(initialise, self.plan.seed, device);
        let variables = variables.starting_as(self.start.clone()).beside(&self.frozen)?;
        self.model(&variables)?;
        self.surroundings_head(&variables)?;
        Ok(variables)
    }

    fn decays(name: &str) -> bool {
        !["norm", "embed", "ln.", "bias", "latents", "alpha", SURROUNDINGS_HEAD].iter().any(|part| name.contains(part))
    }

    fn batch(&self, step: usize) -> Result<FlamingoBatch> {
        let stage = u64::from(self.stage == FlamingoStage::Resampler);
        let first = (self.plan.seed << 40) + (stage << 36) + (step * self.plan.batch) as u64;
        let mut picture = self.tokenizer.encode(IDEFICS_PLACE)?.ids;
        picture.retain(|id| *id != END.1);
        let made = (0..self.plan.batch as u64)
            .into_par_iter()
            .map(|at| self.said(first + at, step, &picture))
            .collect::<Result<Vec<_>>>()?;
        let (mut scenes, mut pictures, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (scene, of_scene)) in made.into_iter().enumerate() {
            scenes.push(scene);
            pictures.extend(of_scene.iter().map(|_| at as u32));
            rows.extend(of_scene);
        }
        Ok(FlamingoBatch {
            pixels: pixels(&self.processor, &scenes)?.unsqueeze(1)?,
            surroundings: Surroundings::new(&scenes, IMAGE_SIZE / PATCH_SIZE)?,
            texts: (!rows.is_empty()).then(|| Texts::new(&rows, pictures)).transpose()?,
        })
    }

    fn loss(&self, batch: &FlamingoBatch, variables: &Variables) -> Result<(Tensor, f64)> {
        let model = self.model(variables)?;
        let states = model.see(&batch.pixels, &mut Taps::none())?; // [pictures, 1, latents, width]
        let head = self.surroundings_head(variables)?;
        // The latents start on the patches, one on each (`latents.rs`), and are asked there.
        let (of_places, found) = batch.surroundings.loss(&states.squeeze(1)?, &head)?;
        let Some(Texts { pictures, lines, image_mask }) = &batch.texts else { return Ok((of_places, found)) };
        let states = states.index_select(pictures, 0)?;
        let (of_words, right) = next_token(&model.read(&lines.ids, &states, image_mask, &mut Taps::none())?, lines)?;
        Ok(((of_words + (of_places * SURROUNDINGS)?)?, right))
    }

    fn write(&self, variables: &Variables, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut config = config_head("IdeficsForVisionText2Text", "idefics");
        let written =
            serde_json::to_value(&self.config).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
        config.extend(written.as_object().cloned().unwrap_or_default());
        for (key, id) in [("bos_token_id", BEGIN.1), ("pad_token_id", PAD.1)] {
            config.insert(key.into(), json!(id));
        }
        let mut weights = self.frozen.clone();
        let learned = variables.all().into_iter().map(|(name, variable)| (name, variable.as_tensor().clone()));
        let (beside, learned): (BTreeMap<_, _>, _) = learned.partition(|(name, _)| name.starts_with(SURROUNDINGS_HEAD));
        weights.extend::<BTreeMap<_, _>>(learned);
        // What learns on from here goes on with that matrix; nothing else needs it.
        let beside = beside.into_iter().map(|(name, weight)| Ok((name, weight.to_device(&Device::Cpu)?)));
        let beside = beside.collect::<Result<BTreeMap<_, _>>>()?;
        files::write_safetensors(&folder.join(BESIDE).join("model.safetensors"), &beside, HashMap::new())?;
        write_checkpoint(folder, &Value::Object(config), &weights, DType::F16, CONTEXT, Some(&self.processor))?;
        write_tokenizer(folder, &tokenizer(), CONTEXT)?;
        Ok(vec![folder.to_owned()])
    }
}
