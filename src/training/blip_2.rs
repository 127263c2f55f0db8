//! The first stage of BLIP-2 (Li et al. 2023, arXiv 2301.12597): queries learn to bring back from a picture what texts say
//! about it.
//!
//! The vision tower is that of a BLIP, frozen. The three losses of the paper are learned at once: image-text contrast, in
//! which the best of the queries counts; image-text matching, against pictures and sentences that are easily confused; and
//! image-grounded writing, in which a text sees the queries and no picture. As the paper starts from BERT, the querying
//! transformer starts from BLIP's text encoder, which is of the same build; the queries begin by chance.

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::blip::{BlipRecipe, LOGIT_SCALE};
use super::folder::{config_head, write_checkpoint, write_tokenizer};
use super::losses::{cosine_factor, info_nce, matching, next_token, share_on_diagonal};
use super::optimizer::AdamWConfig;
use super::run::{Batch, Plan, Recipe};
use super::sentences::{Sentences, accidents};
use super::texts::{Lines, any_language, caption_rows, with_unknown_words};
use super::tokenizer::{BEGIN, PAD, tokenizer_json_with, words};
use super::tower::{FrozenTower, pixels};
use super::variables::{Start, Variables};
use crate::error::{Error, Result};
use crate::models::blip::{BlipConfig, BlipKind};
use crate::models::blip_2::{Blip2Config, Blip2VisionConfig};
use crate::models::blip_2_retrieval::Blip2Retrieval;
use crate::models::blip_text::BlipTextConfig;
use crate::models::checkpoint::Checkpoint;
use crate::models::preprocess::ImageProcessor;
use crate::models::q_former::{QFormerConfig, QFormerMask, QFormerText};
use crate::models::tokenizer::{TextBatch, TextTokenizer};
use crate::models::weights::Weights;
use crate::nn::{Linear, Parameters, Scope};
use crate::taps::Taps;
use crate::world::{Language, Scene, Split, Statement};

/// Number of queries.
const QUERIES: usize = 16;
/// How much the contrast of phrases counts beside that of sentences, as if 40 % of all captions were single phrases. Only a
/// phrase by itself asks for one query that stands for one thing.
const PHRASES: f64 = 2.0 / 3.0;
/// The token that begins a text which is written, as in the reference; one that is read begins with [`BEGIN`].
pub(super) const DECODE: &str = "[DEC]";
/// A variable that is no part of a checkpoint: what is added to the score of each token that is written, `[tokens]`.
const GENERATION_BIAS: &str = "generation_head.bias";
/// The table of words, which is also the matrix of the head that writes.
const WORDS: &str = "embeddings.word_embeddings.weight";

/// The recipe.
pub struct Blip2Recipe {
    config: Blip2Config,
    plan: Plan,
    tower: FrozenTower,
    tokenizer: TextTokenizer,
    start: BTreeMap<String, Tensor>,
}

/// One step's pictures and texts.
pub struct Blip2Batch {
    pixels: Tensor, // [pictures, 3, size, size]
    sentences: Sentences,
    phrases: TextBatch,        // a noun phrase for each picture, [pictures, tokens]
    phrases_also_true: Tensor, // [pictures, pictures]
    captions: Lines,
}

impl Batch for Blip2Batch {
    fn to(self, device: &Device) -> Result<Self> {
        let Self { pixels, sentences, phrases, phrases_also_true, captions } = self;
        Ok(Self {
            pixels: pixels.to_device(device)?,
            sentences: sentences.to(device)?,
            phrases: phrases.to(device)?,
            phrases_also_true: phrases_also_true.to_device(device)?,
            captions: captions.to(device)?,
        })
    }
}

impl Blip2Recipe {
    /// The recipe `blip2` over the tower of the `BlipForImageTextRetrieval` in the folder `blip`.
    ///
    /// # Errors
    /// If that checkpoint can't be read.
    pub fn new(seed: u64, steps: usize, batch: usize, blip: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(blip)?;
        let BlipConfig { text_config, vision_config, image_text_hidden_size } =
            BlipConfig::read(&checkpoint, BlipKind::Retrieval)?;
        let tower = FrozenTower::open(blip)?;
        let start = text_start(&Weights::open(blip, &Device::Cpu)?)?;
        let config = Blip2Config {
            qformer_config: qformer_config(&text_config, vision_config.hidden_size),
            vision_config: Blip2VisionConfig { tower: vision_config, qkv_bias: true },
            // There is none, but transformers wants to know of what kind it would be.
            text_config: json!({"model_type": "opt"}),
            num_query_tokens: QUERIES,
            image_text_hidden_size,
            image_token_index: None,
        };
        let plan = Plan {
            name: "blip2",
            steps,
            batch,
            rate: 1e-3,
            optimizer: AdamWConfig { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.02, clip: 1.0 },
            seed,
            measure: "pairs judged right",
        };
        let tokenizer = TextTokenizer::from_json(&tokenizer(), text_config.max_position_embeddings)?;
        Ok(Self { config, plan, tower, tokenizer, start })
    }

    /// A recipe with four queries that starts from nothing, to be watched.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn four_queries(seed: u64, batch: usize, blip: &Path) -> Result<Self> {
        let mut recipe = Self::new(seed, usize::MAX, batch, blip)?;
        recipe.config.num_query_tokens = 4;
        recipe.start.clear();
        Ok(recipe)
    }

    /// From pictures to pixels.
    pub(super) fn processor(&self) -> &ImageProcessor {
        &self.tower.processor
    }

    /// Texts as the querying transformer reads them.
    pub(super) fn texts(&self, texts: &[String]) -> Result<TextBatch> {
        self.tokenizer.batch(texts, &Device::Cpu)
    }

    /// The contrast of sentences and phrases alone, with the share of sentences that are nearest to their own picture.
    pub(super) fn contrast_loss(&self, batch: &Blip2Batch, variables: &Variables) -> Result<(Tensor, f64)> {
        let model = self.model(variables)?;
        let states = model.base().see(&batch.pixels, &mut Taps::none())?; // [pictures, 1 + patches, vision width]
        let image = model.embed_image(&states, None, &mut Taps::none())?; // [pictures, queries, shared]
        let factor = cosine_factor(&variables.get(LOGIT_SCALE, &[])?)?;
        let contrast = |texts: &TextBatch| -> Result<Tensor> {
            let text = model.embed_text(texts.into(), &mut Taps::none())?; // [pictures, shared]
            Ok(Blip2Retrieval::contrast(&image, &text)?.max(1)?.broadcast_mul(&factor)?) // [pictures, texts]
        };
        let of_sentences = contrast(&batch.sentences.true_ones()?)?;
        let of_phrases = contrast(&batch.phrases)?;
        let loss = info_nce(&of_sentences, &batch.sentences.also_true)?;
        let loss = (loss + info_nce(&of_phrases, &batch.phrases_also_true)?)?;
        Ok((loss, share_on_diagonal(&of_sentences)?))
    }

    pub(super) fn model(&self, variables: &Variables) -> Result<Blip2Retrieval> {
        Blip2Retrieval::load(self.config.clone(), &Scope::root(variables))
    }

    /// The head that writes, over the states of the text: the table of words with a bias.
    fn generation_head(&self, variables: &Variables) -> Result<Linear> {
        let QFormerConfig { vocab_size, hidden_size, .. } = self.config.qformer_config;
        let weight = variables.get(WORDS, &[vocab_size, hidden_size])?;
        Ok(Linear::new(weight, variables.get(GENERATION_BIAS, &[vocab_size])?))
    }

    /// A statement about each scene, in any language.
    fn statements(
        scenes: &[Scene],
        rng: &mut ChaCha8Rng,
        about: impl Fn(&Scene, Language, &mut ChaCha8Rng) -> Statement,
    ) -> Vec<(Language, Statement)> {
        let statement = |scene: &Scene| {
            let language = any_language(rng);
            (language, about(scene, language, rng))
        };
        scenes.iter().map(statement).collect()
    }
}

/// The tokenizer of the sticker world with the token that begins what is written.
pub(super) fn tokenizer() -> Value {
    tokenizer_json_with(&[DECODE])
}

/// A querying transformer of the sizes of BLIP's text encoder, whose blocks all look at the picture.
fn qformer_config(text: &BlipTextConfig, vision_width: usize) -> QFormerConfig {
    QFormerConfig {
        vocab_size: text.vocab_size + 1,
        hidden_size: text.hidden_size,
        num_hidden_layers: text.num_hidden_layers,
        num_attention_heads: text.num_attention_heads,
        intermediate_size: text.intermediate_size,
        hidden_act: text.hidden_act,
        layer_norm_eps: text.layer_norm_eps,
        max_position_embeddings: text.max_position_embeddings,
        pad_token_id: PAD.1,
        cross_attention_frequency: 1,
        encoder_hidden_size: vision_width,
        use_qformer_text_input: true,
        ..QFormerConfig::default()
    }
}

/// What the text encoder of a BLIP has learned, under the names of the querying transformer. As in the reference, the
/// queries' feed-forward parts start as those of the text; the token that begins what is written starts as [`BEGIN`].
fn text_start(blip: &Weights) -> Result<BTreeMap<String, Tensor>> {
    let mut start = BTreeMap::new();
    for (name, shape) in blip.shapes() {
        let new_names = new_names(&name);
        if new_names.is_empty() {
            continue;
        }
        let mut weight = blip.get(&name, &shape)?;
        if new_names.iter().any(|name| name == WORDS) {
            weight = Tensor::cat(&[&weight, &weight.narrow(0, BEGIN.1 as usize, 1)?], 0)?; // [words + 1, width]
        }
        start.extend(new_names.into_iter().map(|name| (name, weight.clone())));
    }
    Ok(start)
}

/// What a weight of a `BlipForImageTextRetrieval` is called in the querying transformer; nothing if it has no place there.
fn new_names(name: &str) -> Vec<String> {
    if let Some(rest) = name.strip_prefix("text_proj.") {
        return vec![format!("text_projection.{rest}")];
    }
    let Some(name) = name.strip_prefix("text_encoder.") else { return Vec::new() };
    if let Some(rest) = name.strip_prefix("embeddings.LayerNorm.") {
        return vec![format!("qformer.layernorm.{rest}")];
    }
    let Some(rest) = name.strip_prefix("encoder.layer.") else { return vec![name.to_owned()] };
    let Some((layer, rest)) = rest.split_once('.') else { return Vec::new() };
    let layer = format!("qformer.encoder.layer.{layer}");
    for part in ["intermediate", "output"] {
        if let Some(rest) = rest.strip_prefix(&format!("{part}.")) {
            return vec![format!("{layer}.{part}.{rest}"), format!("{layer}.{part}_query.{rest}")];
        }
    }
    vec![format!("{layer}.{}", rest.replace("attention.self.", "attention.attention."))]
}

/// `config.json` of a checkpoint of this class.
pub(super) fn config_json(class: &str, model_type: &str, config: &Blip2Config) -> Result<Value> {
    let written = serde_json::to_value(config).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
    let mut json = config_head(class, model_type);
    json.extend(written.as_object().cloned().unwrap_or_default());
    let prefix = if model_type == "blip-2" { "blip_2" } else { model_type };
    json["vision_config"]["model_type"] = json!(format!("{prefix}_vision_model"));
    json["qformer_config"]["model_type"] = json!(format!("{prefix}_qformer"));
    Ok(Value::Object(json))
}

impl Recipe for Blip2Recipe {
    type Batch = Blip2Batch;

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn variables(&self, device: &Device) -> Result<Variables> {
        let variables = Variables::new(initialise, self.plan.seed, device);
        let variables = variables.starting_as(self.start.clone()).beside(&self.tower.weights)?;
        self.model(&variables)?;
        self.generation_head(&variables)?;
        variables.get(LOGIT_SCALE, &[])?;
        Ok(variables)
    }

    fn decays(name: &str) -> bool {
        BlipRecipe::decays(name) && name != "query_tokens"
    }

    fn batch(&self, step: usize) -> Result<Blip2Batch> {
        // Not the scenes from which the tower has learned.
        let first = (self.plan.seed << 40) + (1 << 33) + (step * self.plan.batch) as u64;
        let scenes: Vec<Scene> =
            (0..self.plan.batch as u64).into_par_iter().map(|at| Scene::random(Split::Training, first + at)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(first ^ 0x626c_6932);
        let statements = Self::statements(&scenes, &mut rng, Scene::statement);
        let sentences = Sentences::new(&self.tokenizer, &scenes, &statements, &mut rng)?;

        let nouns = Self::statements(&scenes, &mut rng, Scene::single);
        let context = self.tokenizer.context();
        let phrases = nouns.iter().map(|(_, noun)| with_unknown_words(&self.tokenizer, &noun.text, context, &mut rng));
        let phrases = self.tokenizer.pad(&phrases.collect::<Result<Vec<_>>>()?, &Device::Cpu)?;

        let languages = statements.iter().map(|(language, _)| *language);
        let mut captions = caption_rows(&self.tokenizer, &scenes, languages, &mut rng)?;
        for row in &mut captions {
            if let Some(begin) = row.ids.first_mut() {
                *begin = words().len() as u32; // DECODE
            }
        }
        Ok(Blip2Batch {
            pixels: pixels(&self.tower.processor, &scenes)?,
            sentences,
            phrases,
            phrases_also_true: accidents(&scenes, &nouns)?,
            captions: Lines::new(&captions)?,
        })
    }

    fn loss(&self, batch: &Blip2Batch, variables: &Variables) -> Result<(Tensor, f64)> {
        let Blip2Batch { pixels, sentences, phrases, phrases_also_true, captions } = batch;
        let model = self.model(variables)?;
        let states = &model.base().see(pixels, &mut Taps::none())?; // [pictures, 1 + patches, vision width]

        // Where texts are written, queries see one another alone, as in contrast; so one pass gives both.
        let text = QFormerText { ids: &captions.ids, attention_mask: Some(&captions.mask) };
        let both = model.base().fused(Some(text), states, None, QFormerMask::Causal, &mut Taps::none())?;
        let (queries, tokens) = (self.config.num_query_tokens, captions.ids.dim(1)?);
        let written = both.narrow(1, queries, tokens)?.contiguous()?; // [pictures, tokens, width]
        let logits = self.generation_head(variables)?.forward(&written)?; // [pictures, tokens, vocabulary]
        let mut loss = next_token(&logits, captions)?.0;

        let image = model.embed_queries(&both.narrow(1, 0, queries)?.contiguous()?)?; // [pictures, queries, shared]
        let factor = cosine_factor(&variables.get(LOGIT_SCALE, &[])?)?;
        let contrast = |texts: &TextBatch| -> Result<Tensor> {
            let text = model.embed_text(texts.into(), &mut Taps::none())?; // [pictures, shared]
            let best = Blip2Retrieval::contrast(&image, &text)?.max(1)?; // [pictures, texts]
            Ok(best.broadcast_mul(&factor)?)
        };
        let of_sentences = contrast(&sentences.true_ones()?)?;
        loss = (loss + info_nce(&of_sentences, &sentences.also_true)?)?;
        loss = (loss + (info_nce(&contrast(phrases)?, phrases_also_true)? * PHRASES)?)?;

        let pairs = sentences.pairs(&of_sentences)?;
        let seen = states.index_select(&pairs.pictures, 0)?; // [pairs, 1 + patches, vision width]
        let judged = model.match_logits((&pairs.texts).into(), &seen, None, &mut Taps::none())?;
        let (of_pairs, right) = matching(&judged.mean(1)?, &pairs.matches)?; // [pairs, 2]
        Ok(((loss + of_pairs)?, right))
    }

    fn write(&self, variables: &Variables, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut weights = self.tower.weights.clone();
        for (name, variable) in variables.all() {
            if name != LOGIT_SCALE && name != GENERATION_BIAS {
                weights.insert(name, variable.as_tensor().clone());
            }
        }
        let config = config_json("Blip2ForImageTextRetrieval", "blip-2", &self.config)?;
        let context = self.tokenizer.context();
        write_checkpoint(folder, &config, &weights, DType::F16, context, Some(&self.tower.processor))?;
        write_tokenizer(folder, &tokenizer(), context)?;
        Ok(vec![folder.to_owned()])
    }
}

/// How the weights of the querying transformer start that start from nothing, and those around it.
pub(super) fn initialise(name: &str, shape: &[usize]) -> Start {
    // So far from one another that they soon ask for different things.
    if name == "query_tokens" { Start::Normal(0.3) } else { super::blip::initialise(name, shape) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_encoder_finds_its_places() {
        let names = |name: &str| new_names(name).join(" ");
        assert_eq!(names("text_encoder.embeddings.word_embeddings.weight"), WORDS);
        assert_eq!(names("text_encoder.embeddings.LayerNorm.bias"), "qformer.layernorm.bias");
        assert_eq!(names("text_proj.weight"), "text_projection.weight");
        let layer = |rest: &str| names(&format!("text_encoder.encoder.layer.2.{rest}"));
        let found = layer("crossattention.self.query.weight");
        assert_eq!(found, "qformer.encoder.layer.2.crossattention.attention.query.weight");
        let found = layer("attention.self.value.bias");
        assert_eq!(found, "qformer.encoder.layer.2.attention.attention.value.bias");
        let found = layer("attention.output.dense.bias");
        assert_eq!(found, "qformer.encoder.layer.2.attention.output.dense.bias");
        let found = layer("output.LayerNorm.weight");
        assert_eq!(
            found,
            "qformer.encoder.layer.2.output.LayerNorm.weight qformer.encoder.layer.2.output_query.LayerNorm.weight"
        );
        assert!(names("vision_proj.weight").is_empty() && names("itm_head.bias").is_empty());
    }
}
