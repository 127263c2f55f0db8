//! The bottleneck experiment: the same language model learns to answer from the same pictures and conversations through
//! connectors of different width.
//!
//! As in the controlled comparisons of Honeybee (Cha et al. 2023, arXiv 2312.06742) all else is equal: the frozen tower of
//! `clip-grounded`, the language model of `lm`, which learns together with the connector, scenes, texts, steps and learning
//! rates. No connector has learned anything before; a Q-Former of BLIP-2 would have, from many more pictures, so what is
//! measured here is how well each learns from so little, and what it can let through.

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::blip_2;
use super::folder::{config_head, write_checkpoint, write_tokenizer};
use super::llava::{projector_start, tokenizer};
use super::lm::{BEFORE, CONTEXT, with_a_row_more, with_a_token_more};
use super::losses::next_token;
use super::optimizer::AdamWConfig;
use super::run::{Plan, Recipe};
use super::shown::Shown;
use super::texts::conversation;
use super::tokenizer::{BEGIN, PAD, words};
use super::tower::of_clip;
use super::variables::{Start, Variables};
use crate::error::{Error, Result};
use crate::models::bottleneck::{Bottleneck, BottleneckConfig, CLASS, Connector};
use crate::models::language_model::LanguageConfig;
use crate::models::preprocess::ImageProcessor;
use crate::models::q_former::QFormerConfig;
use crate::models::tokenizer::TextTokenizer;
use crate::models::weights::Weights;
use crate::nn::{Activation, Scope};
use crate::taps::Taps;

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
        let (language, text_config) = with_a_token_more()?;
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

/// How weights start that nothing has learned yet: those of the connector.
fn initialise(name: &str, shape: &[usize]) -> Start {
    projector_start(name, shape).unwrap_or_else(|| blip_2::initialise(name, shape))
}

impl Recipe for BottleneckRecipe {
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
        !["norm", "Norm", "embed", "bias", "query_tokens"].iter().any(|part| name.contains(part))
    }

    fn batch(&self, step: usize) -> Result<Shown> {
        // The same scenes and conversations, whatever the connector.
        let first = (self.plan.seed << 40) + (1 << 37);
        let tokens = self.config.connector.tokens();
        let image = std::iter::repeat_n(self.config.image_token_index, tokens);
        let picture: Vec<u32> = std::iter::once(BEGIN.1).chain(image).collect();
        Shown::new(&self.processor, &self.plan, (first, step, 0x626f_7474), |scene, rng| {
            let text = |_| conversation(&self.tokenizer, scene, picture.clone(), tokens + CONTEXT, rng);
            (0..TEXTS).map(text).collect()
        })
    }

    fn loss(&self, batch: &Shown, variables: &Variables) -> Result<(Tensor, f64)> {
        let Shown { pixels, pictures, lines } = batch;
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
