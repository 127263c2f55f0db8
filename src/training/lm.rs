//! The recipe of the small language model under Flamingo, BLIP-2, InstructBLIP and LLaVA: the world's sentences, questions
//! and answers, and no picture.
//!
//! What it learns is what can be known without looking: grammar, which answers fit which question, and how often; and, as
//! every large language model does, to find in what stands before a text what it is about. There stand sentences about the
//! same scene, half of the time; a picture's vectors will stand there later.

use candle_core::{DType, Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::folder::{config_head, write_checkpoint};
use super::losses::next_token;
use super::optimizer::AdamWConfig;
use super::run::{Plan, Recipe};
use super::texts::{Lines, Row, any_language, conversation, question_or_caption};
use super::tokenizer::{BEGIN, END, PAD, words};
use super::variables::{Start, Variables};
use crate::error::{Error, Result};
use crate::models::generate::Ends;
use crate::models::language_model::{LanguageConfig, LanguageModel};
use crate::models::llama::{Llama, LlamaConfig};
use crate::models::tokenizer::TextTokenizer;
use crate::models::weights::Weights;
use crate::nn::{Activation, Parameters, Scope};
use crate::taps::Taps;
use crate::world::{QuestionKind, Scene, Split};

/// The longest text, in tokens.
pub const CONTEXT: usize = 48;
/// What can stand before a text, in tokens: sentences, or the patches of a picture.
pub const BEFORE: usize = 64;
/// The most sentences before a text.
const SENTENCES: u32 = 8;
/// The language model's table of words.
const WORDS: &str = "model.embed_tokens.weight";

/// The recipe.
pub struct LmRecipe {
    config: LlamaConfig,
    plan: Plan,
    tokenizer: TextTokenizer,
}

/// The sizes of the language model.
#[must_use]
pub fn lm_config() -> LlamaConfig {
    LlamaConfig {
        vocab_size: words().len(),
        hidden_size: 128,
        intermediate_size: 384,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        num_key_value_heads: Some(4),
        head_dim: None,
        hidden_act: Activation::Silu,
        rms_norm_eps: 1e-6,
        attention_bias: false,
        qkv_bias: false,
        mlp_bias: false,
        rope_theta: 10_000.0,
        rope_scaling: None,
        sliding_window: None,
        max_position_embeddings: BEFORE + CONTEXT,
        tie_word_embeddings: true,
        bos_token_id: Some(BEGIN.1),
        eos_token_id: Some(Ends::One(END.1)),
        pad_token_id: Some(PAD.1.into()),
    }
}

/// What stands before a text: half of the time sentences about the scene, each in any language and as many as there is room
/// for, and half of the time where everything is. Whoever has read that has learned to carry a place from a word to the answer.
fn before(scene: &Scene, tokenizer: &TextTokenizer, rng: &mut ChaCha8Rng) -> Result<Vec<u32>> {
    let ids = |text: &str| -> Result<Vec<u32>> {
        let mut ids = tokenizer.encode(text)?.ids;
        ids.retain(|id| *id != END.1);
        Ok(ids)
    };
    if rng.random_bool(0.5) {
        let mut ids = ids(&scene.places(any_language(rng), rng))?;
        ids.truncate(BEFORE);
        return Ok(ids);
    }
    let mut all = String::new();
    for _ in 0..rng.random_range(1..=SENTENCES) {
        let longer = format!("{all}{} ", scene.caption(any_language(rng), rng));
        if ids(&longer)?.len() > BEFORE {
            break;
        }
        all = longer;
    }
    ids(&all)
}

/// The weights of the language model under `prefix`, with a row more in its table of words. No text ever holds it: a vector
/// of a picture stands there instead. But the table is also the matrix of the scores, so the row is that of the padding,
/// which is as unlikely to be written.
///
/// # Errors
/// If a weight can't be read.
pub(super) fn with_a_row_more(lm: &Weights, prefix: &str) -> Result<BTreeMap<String, Tensor>> {
    let mut weights = BTreeMap::new();
    for (name, shape) in lm.shapes() {
        let mut weight = lm.get(&name, &shape)?;
        if name == WORDS {
            weight = Tensor::cat(&[&weight, &weight.narrow(0, PAD.1 as usize, 1)?], 0)?; // [words + 1, width]
        }
        weights.insert(format!("{prefix}.{name}"), weight);
    }
    Ok(weights)
}

/// The language model with that row: how it is built, and the same as `text_config` of what it stands in.
///
/// # Errors
/// If its sizes can't be written.
pub(super) fn with_a_token_more() -> Result<(LanguageConfig, Value)> {
    let lm = lm_config();
    let language = LanguageConfig::Llama(LlamaConfig { vocab_size: lm.vocab_size + 1, ..lm });
    let written = serde_json::to_value(&language).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
    Ok((language, written))
}

impl LmRecipe {
    /// The recipe `lm`.
    ///
    /// # Errors
    /// If the tokenizer can't be set up.
    pub fn new(seed: u64, steps: usize, batch: usize) -> Result<Self> {
        let plan = Plan {
            name: "lm",
            steps,
            batch,
            rate: 1e-3,
            optimizer: AdamWConfig { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.01, clip: 1.0 },
            seed,
            measure: "next words right",
        };
        let tokenizer = TextTokenizer::from_json(&super::tokenizer::tokenizer_json(), BEFORE + CONTEXT)?;
        Ok(Self { config: lm_config(), plan, tokenizer })
    }
}

impl Recipe for LmRecipe {
    type Batch = Lines;

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn variables(&self, device: &Device) -> Result<Variables> {
        let variables = Variables::new(initialise, self.plan.seed, device);
        Llama::load(self.config.clone(), &Scope::root(&variables))?;
        Ok(variables)
    }

    fn decays(name: &str) -> bool {
        !name.contains("norm") && !name.contains("embed")
    }

    fn batch(&self, step: usize) -> Result<Lines> {
        let first = (self.plan.seed << 40) + (step * self.plan.batch) as u64;
        let rows = (0..self.plan.batch as u64)
            .into_par_iter()
            .map(|at| {
                let mut rng = ChaCha8Rng::seed_from_u64((first + at) ^ 0x6c6d);
                let scene = Scene::random(Split::Training, first + at);
                // All texts of a step have something before them, or none has, so that they are of about one length.
                if !step.is_multiple_of(2) {
                    let before = before(&scene, &self.tokenizer, &mut rng)?;
                    let longest = before.len() + CONTEXT;
                    return conversation(&self.tokenizer, &scene, before, longest, &mut rng);
                }
                let language = any_language(&mut rng);
                let (given, written) = question_or_caption(&scene, language, 0.5, &[QuestionKind::Where], &mut rng);
                // Questions are learned, too.
                Ok(Row::learned_behind(1, self.tokenizer.encode(&format!("{given} {written}"))?.ids))
            })
            .collect::<Result<Vec<_>>>()?;
        Lines::new(&rows)
    }

    fn loss(&self, batch: &Lines, variables: &Variables) -> Result<(Tensor, f64)> {
        let model = Llama::load(self.config.clone(), &Scope::root(variables))?;
        let embeds = model.embed(&batch.ids)?; // [texts, tokens, width]
        next_token(&model.logits(&embeds, None, None, &mut Taps::none())?, batch)
    }

    fn write(&self, variables: &Variables, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut config = config_head("LlamaForCausalLM", "llama");
        let written =
            serde_json::to_value(&self.config).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
        config.extend(written.as_object().cloned().unwrap_or_default());
        let weights = variables.all().into_iter().map(|(name, variable)| (name, variable.as_tensor().clone()));
        write_checkpoint(folder, &Value::Object(config), &weights.collect(), DType::F16, BEFORE + CONTEXT, None)?;
        Ok(vec![folder.to_owned()])
    }
}

/// How the weights of the language model start, and of what Flamingo adds to it.
pub(super) fn initialise(name: &str, shape: &[usize]) -> Start {
    let width = shape.last().copied().unwrap_or(1) as f64;
    if (name.contains("norm") || name.ends_with("ln.weight")) && name.ends_with("weight") {
        Start::Constant(1.0)
    } else if name.ends_with("bias") {
        Start::Constant(0.0)
    } else if name.contains("alpha") {
        Start::Constant(OPEN)
    } else if name.contains("latents") {
        // As published. Near zero they would all become what the first layer adds, the same for each of them.
        Start::Normal(1.0)
    } else if name.contains("embed") {
        Start::Normal(0.05)
    } else {
        Start::Normal(width.powf(-0.5) * 0.7)
    }
}

/// Where Flamingo's gates start. In the paper it is 0, closed, so that the language model starts as it was; but a gate
/// moves by no more than the learning rate in a step, and a small model has few of them.
const OPEN: f32 = 0.25;
