//! The second stage of BLIP-2 (Li et al. 2023, arXiv 2301.12597), and InstructBLIP (Dai et al. 2023, arXiv 2305.06500):
//! what queries bring back is put in front of a language model, which stays as it is.
//!
//! Tower and language model are frozen; the querying transformer goes on from the first stage (`blip_2.rs`), and what
//! brings it into the space of words is new. Both learn captions and answers, of each text only what follows the prompt. In
//! InstructBLIP the queries read the prompt, too, so there the first stage's knowledge of texts goes on as well.

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::blip_2::{self, Blip2Recipe, config_json, initialise};
use super::folder::{learned_in, write_checkpoint, write_json, write_tokenizer};
use super::lm::{CONTEXT, lm_config, with_a_row_more};
use super::losses::next_token;
use super::optimizer::AdamWConfig;
use super::run::{Batch, Plan, Recipe};
use super::texts::{Lines, Row, any_language, anything, turn};
use super::tokenizer::{BEGIN, tokenizer_json_with, without_end, words};
use super::tower::{FrozenTower, pixels};
use super::variables::Variables;
use crate::error::{Error, Result};
use crate::models::blip_2::{Blip2Config, Blip2Kind};
use crate::models::checkpoint::Checkpoint;
use crate::models::flamingo::IMAGE;
use crate::models::language_model::LanguageConfig;
use crate::models::llama::LlamaConfig;
use crate::models::q_former::{QFormerConfig, QFormerText};
use crate::models::querying::{CLASSES, QFORMER_TOKENIZER};
use crate::models::querying_writer::{QueryingPrompt, QueryingWriter};
use crate::models::tokenizer::{TextBatch, TextTokenizer};
use crate::models::weights::Weights;
use crate::nn::Scope;
use crate::taps::Taps;
use crate::world::{Scene, Split};

/// Texts about each picture in a step.
const TEXTS: usize = 2;

/// The recipe.
pub struct QueryingWriterRecipe {
    config: Blip2Config,
    kind: Blip2Kind,
    language: LanguageConfig,
    plan: Plan,
    tower: FrozenTower,
    tokenizer: TextTokenizer,
    instructions: Option<TextTokenizer>,
    frozen: BTreeMap<String, Tensor>, // tower and language model
    start: BTreeMap<String, Tensor>,  // the querying transformer
}

/// One step's pictures and texts.
pub struct QueryingWriterBatch {
    pixels: Tensor,                  // [pictures, 3, size, size]
    pictures: Tensor,                // the picture of each text, [texts]
    instructions: Option<TextBatch>, // what queries read, [texts, tokens]
    lines: Lines,
}

/// One text: what the language model reads and writes, and the ids that queries read.
type Text = (Row, Option<Vec<u32>>);

impl Batch for QueryingWriterBatch {
    fn to(self, device: &Device) -> Result<Self> {
        Ok(Self {
            pixels: self.pixels.to_device(device)?,
            pictures: self.pictures.to_device(device)?,
            instructions: self.instructions.map(|texts| texts.to(device)).transpose()?,
            lines: self.lines.to(device)?,
        })
    }
}

impl QueryingWriterRecipe {
    /// The recipe `instructblip` or `blip2-captioning`, over what `train blip2` wrote into `first_stage` and the language
    /// model that `train lm` wrote into `language`. It starts as the first stage is, or as the checkpoint in `start` that the
    /// same recipe has written, which then learns on from other scenes.
    ///
    /// # Errors
    /// If one of them can't be read, or the first is no first stage.
    pub fn new(
        instructed: bool,
        seed: u64,
        steps: usize,
        batch: usize,
        (first_stage, language): (&Path, &Path),
        start: Option<&Path>,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::open(first_stage)?;
        let [retrieval, ..] = CLASSES;
        if checkpoint.class() != retrieval {
            let problem = format!("a '{}' isn't the first stage of BLIP-2", checkpoint.class());
            return Err(Error::unusable(problem, "name what 'alignscope train blip2' has written").at(first_stage));
        }
        let config = Blip2Config::read(&checkpoint, Blip2Kind::Retrieval)?;
        let tower = FrozenTower::open(first_stage)?;
        let mut frozen = tower.weights.clone();
        // What a query brings back stands where its token would be.
        frozen.extend(with_a_row_more(&Weights::open(language, &Device::Cpu)?, "language_model")?);
        let learned = match start {
            Some(start) => learned_in(start, &frozen)?,
            None => {
                let first = learned_in(first_stage, &frozen)?.into_iter();
                first.map(|(name, weight)| (new_name(&name, instructed), weight)).collect()
            }
        };

        let llama = lm_config();
        let language = LanguageConfig::Llama(LlamaConfig {
            vocab_size: llama.vocab_size + 1,
            max_position_embeddings: CONTEXT + config.num_query_tokens,
            ..llama
        });
        let text_config =
            serde_json::to_value(&language).map_err(|error| Error::unusable(error.to_string(), "report this"))?;
        let config = Blip2Config {
            text_config,
            image_token_index: Some(words().len() as u32), // IMAGE
            // What BLIP-2's second stage is; InstructBLIP reads texts whatever it says.
            qformer_config: QFormerConfig { use_qformer_text_input: false, ..config.qformer_config },
            ..config
        };
        let plan = Plan {
            name: if instructed { "instructblip" } else { "blip2-captioning" },
            steps,
            batch,
            rate: 7e-4,
            optimizer: AdamWConfig { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.02, clip: 1.0 },
            seed,
            measure: "next words right",
        };
        let reads = config.qformer_config.max_position_embeddings;
        let instructions = instructed.then(|| TextTokenizer::from_json(&blip_2::tokenizer(), reads)).transpose()?;
        Ok(Self {
            kind: if instructed { Blip2Kind::Instructed } else { Blip2Kind::Generation },
            tokenizer: TextTokenizer::from_json(&tokenizer(), CONTEXT)?,
            config,
            language,
            plan,
            tower,
            instructions,
            frozen,
            start: learned,
        })
    }

    fn model(&self, variables: &Variables) -> Result<QueryingWriter> {
        QueryingWriter::build(self.config.clone(), self.kind, &self.language, &Scope::root(variables))
    }

    /// What is given of a text, and what is to be written behind it.
    fn text(&self, given: &str, written: &str) -> Result<Text> {
        let queries = self.config.num_query_tokens;
        let mut row = Row::default();
        row.read(std::iter::repeat_n(words().len() as u32, queries)); // IMAGE
        let [asked, answer] = turn(&self.tokenizer, given, written)?;
        row.read(std::iter::once(BEGIN.1).chain(asked));
        row.write(&answer);
        let instruction = self.instructions.as_ref().map(|tokenizer| tokenizer.encode(given)).transpose()?;
        Ok((row, instruction.map(|tokens| tokens.ids)))
    }
}

/// The tokenizer of the language model: with the token that stands for what a query brings back, and without an end behind
/// a text, which is to be written.
fn tokenizer() -> Value {
    without_end(tokenizer_json_with(&[IMAGE]))
}

/// What a weight of the first stage is called in the second, or in InstructBLIP, whose querying transformer has the tables
/// of the text, and their norm, inside.
fn new_name(name: &str, instructed: bool) -> String {
    let inside = |name: &str| format!("qformer.embeddings.{name}");
    let moved =
        name.strip_prefix("embeddings.").or(name.strip_prefix("qformer.").filter(|name| name.starts_with("layer")));
    match moved {
        Some(name) if instructed => inside(name),
        _ => name.to_owned(),
    }
}

impl Recipe for QueryingWriterRecipe {
    type Batch = QueryingWriterBatch;

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
        Blip2Recipe::decays(name)
    }

    fn batch(&self, step: usize) -> Result<QueryingWriterBatch> {
        // Not the scenes of the first stage.
        let first = (self.plan.seed << 40) + (1 << 34) + (step * self.plan.batch) as u64;
        let made = (0..self.plan.batch as u64)
            .into_par_iter()
            .map(|at| {
                let scene = Scene::random(Split::Training, first + at);
                let mut rng = ChaCha8Rng::seed_from_u64((first + at) ^ 0x7772_6974);
                let mut texts = Vec::new();
                for _ in 0..TEXTS {
                    let language = any_language(&mut rng);
                    let (given, written) = anything(&scene, language, &mut rng);
                    texts.push(self.text(&given, &written)?);
                }
                Ok((scene, texts))
            })
            .collect::<Result<Vec<_>>>()?;
        let (mut scenes, mut pictures) = (Vec::new(), Vec::new());
        let (mut rows, mut instructions) = (Vec::new(), Vec::new());
        for (at, (scene, texts)) in made.into_iter().enumerate() {
            scenes.push(scene);
            for (row, instruction) in texts {
                pictures.push(at as u32);
                rows.push(row);
                instructions.extend(instruction);
            }
        }
        let tokenizer = self.instructions.as_ref();
        Ok(QueryingWriterBatch {
            pixels: pixels(&self.tower.processor, &scenes)?,
            pictures: Tensor::new(pictures, &Device::Cpu)?,
            instructions: tokenizer.map(|tokenizer| tokenizer.pad(&instructions, &Device::Cpu)).transpose()?,
            lines: Lines::new(&rows)?,
        })
    }

    fn loss(&self, batch: &QueryingWriterBatch, variables: &Variables) -> Result<(Tensor, f64)> {
        let QueryingWriterBatch { pixels, pictures, instructions, lines } = batch;
        let model = self.model(variables)?;
        let taps = &mut Taps::none();
        let states = model.base().see(pixels, taps)?; // [pictures, 1 + patches, vision width]
        let projected = match instructions {
            // Each text asks the queries for something else.
            Some(texts) => {
                let seen = states.index_select(pictures, 0)?; // [texts, 1 + patches, vision width]
                model.project(&model.query(&seen, Some(QFormerText::from(texts)), None, taps)?)?
            }
            None => model.project(&model.query(&states, None, None, taps)?)?.index_select(pictures, 0)?,
        }; // [texts, queries, language width]
        let prompt = QueryingPrompt { ids: &lines.ids, attention_mask: Some(&lines.mask), projected: &projected };
        next_token(&model.logits(prompt, None, taps)?, lines)
    }

    fn write(&self, variables: &Variables, folder: &Path) -> Result<Vec<PathBuf>> {
        let [_, generation, instructed] = CLASSES;
        let (class, model_type, processor) = match self.kind {
            Blip2Kind::Instructed => (instructed, "instructblip", "InstructBlipProcessor"),
            Blip2Kind::Generation | Blip2Kind::Retrieval => (generation, "blip-2", "Blip2Processor"),
        };
        let mut weights = self.frozen.clone();
        weights.extend(variables.all().into_iter().map(|(name, variable)| (name, variable.as_tensor().clone())));
        let config = config_json(class, model_type, &self.config)?;
        write_checkpoint(folder, &config, &weights, DType::F16, CONTEXT, Some(&self.tower.processor))?;
        write_tokenizer(folder, &tokenizer(), CONTEXT)?;
        if let Some(instructions) = &self.instructions {
            write_tokenizer(&folder.join(QFORMER_TOKENIZER), &blip_2::tokenizer(), instructions.context())?;
        }
        // So that transformers' processor puts as many placeholders as there are queries.
        let processor = json!({"processor_class": processor, "num_query_tokens": self.config.num_query_tokens});
        write_json(&folder.join("processor_config.json"), &processor)?;
        Ok(vec![folder.to_owned()])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::END;
    use super::*;

    #[test]
    fn the_first_stage_finds_its_places() {
        for (name, inside) in [
            ("embeddings.word_embeddings.weight", "qformer.embeddings.word_embeddings.weight"),
            ("qformer.layernorm.bias", "qformer.embeddings.layernorm.bias"),
            ("qformer.encoder.layer.0.output_query.dense.bias", "qformer.encoder.layer.0.output_query.dense.bias"),
            ("query_tokens", "query_tokens"),
        ] {
            assert_eq!(new_name(name, true), inside);
            assert_eq!(new_name(name, false), name);
        }
    }

    #[test]
    fn a_prompt_has_no_end_and_an_instruction_has_one() {
        let prompt = TextTokenizer::from_json(&tokenizer(), CONTEXT).expect("a tokenizer");
        let instruction = TextTokenizer::from_json(&blip_2::tokenizer(), CONTEXT).expect("a tokenizer");
        let (short, long) = (prompt.encode("a cat").expect("ids").ids, instruction.encode("a cat").expect("ids").ids);
        assert_eq!([short.as_slice(), &[END.1]].concat(), long);
        let [image, decode] = [prompt.id(IMAGE), instruction.id(blip_2::DECODE)];
        assert_eq!([image, decode], [Some(words().len() as u32); 2]);
    }
}
