//! The bottleneck experiment: the same language model learns to answer from the same pictures and conversations through
//! connectors of different width.
//!
//! As in the controlled comparisons of Honeybee (Cha et al. 2023, arXiv 2312.06742) all else is equal: the frozen tower of
//! `clip-grounded`, the language model of `lm`, which learns together with the connector, scenes, texts, steps and learning
//! rates. No connector has learned anything before; a Q-Former of BLIP-2 would have, from many more pictures, so what is
//! measured here is how well each learns from so little, and what it can let through.

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::blip_2;
use super::folder::{config_head, write_checkpoint, write_tokenizer};
use super::lm::{BEFORE, CONTEXT, lm_config, with_a_row_more};
use super::losses::next_token;
use super::optimizer::AdamWConfig;
use super::run::{Batch, Plan, Recipe};
use super::texts::{Lines, conversation};
use super::tokenizer::{BEGIN, PAD, tokenizer_json_with, without_end, words};
use super::tower::{of_clip, pixels};
use super::variables::{Start, Variables};
use crate::error::{Error, Result};
use crate::models::bottleneck::{Bottleneck, BottleneckConfig, CLASS, Connector};
use crate::models::flamingo::IMAGE;
use crate::models::language_model::LanguageConfig;
use crate::models::llama::LlamaConfig;
use crate::models::preprocess::ImageProcessor;
use crate::models::q_former::QFormerConfig;
use crate::models::tokenizer::TextTokenizer;
use crate::models::weights::Weights;
use crate::nn::{Activation, Scope};
use crate::taps::Taps;
use crate::world::{Scene, Split};

/// Conversations about each picture in a step.
const TEXTS: usize = 2;
/// Prefix of the tower's weights.
const TOWER: &str = "vision_tower";

/// The recipe.
pub struct BottleneckRecipe {
    config: BottleneckConfig,
    language: LanguageConfig,
    plan: Plan,
    processor: ImageProcessor,
    tokenizer: TextTokenizer,
    frozen: BTreeMap<String, Tensor>,
    start: BTreeMap<String, Tensor>,
}

/// One step's pictures and texts.
pub struct BottleneckBatch {
    pixels: Tensor,   // [pictures, 3, size, size]
    pictures: Tensor, // the picture of each text, [texts]
    lines: Lines,
}

impl Batch for BottleneckBatch {
    fn to(self, device: &Device) -> Result<Self> {
        let (pixels, pictures) = (self.pixels.to_device(device)?, self.pictures.to_device(device)?);
        Ok(Self { pixels, pictures, lines: self.lines.to(device)? })
    }
}

impl BottleneckRecipe {
    /// The recipe `bottleneck` with this `connector`, over the tower of the CLIP checkpoint in `tower` and the language model
    /// that `train lm` wrote into `language`.
    ///
    /// # Errors
    /// If one of them can't be read, or a picture can't become so many tokens.
    pub fn new(
        connector: Connector,
        seed: u64,
        steps: usize,
        batch: usize,
        (tower, language): (&Path, &Path),
    ) -> Result<Self> {
        let (vision_config, processor, frozen) = of_clip(tower, TOWER)?;
        let start = with_a_row_more(&Weights::open(language, &Device::Cpu)?, "language_model")?;
        let lm = lm_config();
        let language = LanguageConfig::Llama(LlamaConfig { vocab_size: lm.vocab_size + 1, ..lm });
        let text_config =
            serde_json::to_value(&language).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
        let qformer = QFormerConfig {
            vocab_size: words().len(),
            hidden_size: 128,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            intermediate_size: 512,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-6,
            max_position_embeddings: CONTEXT,
            pad_token_id: PAD.1,
            cross_attention_frequency: 1,
            encoder_hidden_size: vision_config.hidden_size,
            ..QFormerConfig::default()
        };
        let config = BottleneckConfig {
            vision_config,
            text_config,
            connector,
            qformer_config: matches!(connector, Connector::Queries(_)).then_some(qformer),
            image_token_index: words().len() as u32, // IMAGE
        };
        let plan = Plan {
            name: name(connector),
            steps,
            batch,
            rate: 1e-3,
            optimizer: AdamWConfig { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.01, clip: 1.0 },
            seed,
            measure: "next words right",
        };
        let tokenizer = TextTokenizer::from_json(&tokenizer(), BEFORE + CONTEXT)?;
        Ok(Self { config, language, plan, processor, tokenizer, frozen, start })
    }

    fn model(&self, variables: &Variables) -> Result<Bottleneck> {
        Bottleneck::build(self.config.clone(), &self.language, &Scope::root(variables))
    }
}

/// What snapshots are called.
fn name(connector: Connector) -> &'static str {
    match connector {
        Connector::Projector(_) => "bottleneck-projector",
        Connector::Pool(_) => "bottleneck-pool",
        Connector::Shuffle(_) => "bottleneck-shuffle",
        Connector::Queries(_) => "bottleneck-queries",
    }
}

/// The tokenizer: with the token that stands for a vector of a picture, and without an end behind a text.
fn tokenizer() -> Value {
    without_end(tokenizer_json_with(&[IMAGE]))
}

/// How weights start that nothing has learned yet: those of the connector.
fn initialise(name: &str, shape: &[usize]) -> Start {
    if name.starts_with("multi_modal_projector") && name.ends_with("weight") {
        let width = shape.last().copied().unwrap_or(1) as f64;
        return Start::Normal(width.powf(-0.5));
    }
    blip_2::initialise(name, shape)
}

impl Recipe for BottleneckRecipe {
    type Batch = BottleneckBatch;

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
        !["norm", "Norm", "embed", "bias", "query_tokens"].iter().any(|part| name.contains(part))
    }

    fn batch(&self, step: usize) -> Result<BottleneckBatch> {
        // The same scenes and conversations, whatever the connector.
        let first = (self.plan.seed << 40) + (1 << 37) + (step * self.plan.batch) as u64;
        let tokens = self.config.connector.tokens();
        let image = std::iter::repeat_n(self.config.image_token_index, tokens);
        let picture: Vec<u32> = std::iter::once(BEGIN.1).chain(image).collect();
        let made = (0..self.plan.batch as u64)
            .into_par_iter()
            .map(|at| {
                let scene = Scene::random(Split::Training, first + at);
                let mut rng = ChaCha8Rng::seed_from_u64((first + at) ^ 0x626f_7474);
                let longest = tokens + CONTEXT;
                let texts = (0..TEXTS)
                    .map(|_| conversation(&self.tokenizer, &scene, picture.clone(), longest, &mut rng))
                    .collect::<Result<Vec<_>>>()?;
                Ok((scene, texts))
            })
            .collect::<Result<Vec<_>>>()?;
        let (mut scenes, mut pictures, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (scene, texts)) in made.into_iter().enumerate() {
            scenes.push(scene);
            pictures.extend(texts.iter().map(|_| at as u32));
            rows.extend(texts);
        }
        let pictures = Tensor::new(pictures, &Device::Cpu)?;
        Ok(BottleneckBatch { pixels: pixels(&self.processor, &scenes)?, pictures, lines: Lines::new(&rows)? })
    }

    fn loss(&self, batch: &BottleneckBatch, variables: &Variables) -> Result<(Tensor, f64)> {
        let BottleneckBatch { pixels, pictures, lines } = batch;
        let model = self.model(variables)?;
        let taps = &mut Taps::none();
        let connected = model.connect(&model.see(pixels, taps)?, taps)?;
        let connected = connected.index_select(pictures, 0)?; // [texts, tokens of a picture, language width]
        next_token(&model.logits(&lines.ids, Some(&lines.mask), &connected, taps)?, lines)
    }

    fn write(&self, variables: &Variables, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut config = config_head(CLASS, "bottleneck");
        let written =
            serde_json::to_value(&self.config).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
        config.extend(written.as_object().cloned().unwrap_or_default());
        config.insert("tie_word_embeddings".into(), json!(true));
        // So that a table of many trainings tells them apart.
        config.insert("trained".into(), json!({"seed": self.plan.seed, "steps": self.plan.steps}));
        let mut weights = self.frozen.clone();
        weights.extend(variables.all().into_iter().map(|(name, variable)| (name, variable.as_tensor().clone())));
        let context = BEFORE + CONTEXT;
        write_checkpoint(folder, &Value::Object(config), &weights, DType::F16, context, Some(&self.processor))?;
        write_tokenizer(folder, &tokenizer(), context)?;
        Ok(vec![folder.to_owned()])
    }
}
