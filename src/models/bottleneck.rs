//! One language model and one vision tower with connectors of different width between them, which are otherwise alike: what a
//! picture loses on its way when it must pass through fewer tokens, and through learned queries.
//!
//! The connectors are those that the literature compares (Cha et al. 2023, Honeybee, arXiv 2312.06742; Li et al. 2024,
//! TokenPacker, arXiv 2407.02392; Chen et al. 2024, InternVL 1.5, arXiv 2404.16821, for pixel shuffle). No published
//! checkpoint is of this class; `alignscope train bottleneck` makes them.

use candle_core::{Device, Tensor};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::checkpoint::Checkpoint;
use super::generate::{Limits, write_together};
use super::language_model::{LanguageConfig, LanguageModel};
use super::llava::Projector;
use super::preprocess::ImageProcessor;
use super::q_former::{QFormer, QFormerConfig, QFormerInput, QFormerMask, TextInput};
use super::runtime::Runtime;
use super::splice::splice;
use super::tokenizer::TextTokenizer;
use super::vision_tower::{Tail, VisionTower, VisionTowerConfig};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::nn::{Activation, Linear, Scope};
use crate::taps::{CancelToken, Taps};

/// The class name in `architectures` of `config.json`.
pub const CLASS: &str = "BottleneckForConditionalGeneration";

/// What stands between vision tower and language model, and how many tokens a picture becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Connector {
    /// LLaVA's: each patch by itself through two layers.
    Projector(usize),
    /// The mean over squares of patches, and then those layers.
    Pool(usize),
    /// The patches of a square beside each other in one long vector (pixel shuffle), and then those layers.
    Shuffle(usize),
    /// A Q-Former: so many learned queries, which look at all patches.
    Queries(usize),
}

impl Connector {
    /// Those of the experiment, over `patches` patches: from the most tokens to the fewest.
    #[must_use]
    pub fn all(patches: usize) -> Vec<Self> {
        let mut all = vec![Self::Projector(patches)];
        all.extend([16, 4, 1].map(Self::Pool));
        all.extend([16, 4].map(Self::Shuffle));
        all.extend([16, 8, 4, 2, 1].map(Self::Queries));
        all
    }

    /// How many tokens a picture becomes.
    #[must_use]
    pub fn tokens(self) -> usize {
        let (Self::Projector(tokens) | Self::Pool(tokens) | Self::Shuffle(tokens) | Self::Queries(tokens)) = self;
        tokens
    }

    /// What it is called without the number of tokens.
    #[must_use]
    pub fn family(self) -> &'static str {
        match self {
            Self::Projector(_) => "projector",
            Self::Pool(_) => "pool",
            Self::Shuffle(_) => "shuffle",
            Self::Queries(_) => "queries",
        }
    }

    /// Refuses a number of tokens that a square grid of `patches` patches can't become.
    fn check(self, patches: usize) -> Result<()> {
        let fits = match self {
            Self::Projector(tokens) => tokens == patches,
            Self::Queries(tokens) => (1..=patches).contains(&tokens),
            Self::Pool(tokens) | Self::Shuffle(tokens) => {
                let (side, whole) = (tokens.isqrt(), patches.isqrt());
                tokens > 0 && side * side == tokens && whole * whole == patches && whole.is_multiple_of(side)
            }
        };
        if fits {
            return Ok(());
        }
        let known: Vec<String> = Self::all(patches).into_iter().map(|connector| connector.to_string()).collect();
        Err(Error::unusable(
            format!("{patches} patches can't become {} tokens by '{}'", self.tokens(), self.family()),
            format!("choose among {}", known.join(", ")),
        ))
    }
}

impl fmt::Display for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.family(), self.tokens())
    }
}

impl From<Connector> for String {
    fn from(connector: Connector) -> Self {
        connector.to_string()
    }
}

impl FromStr for Connector {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let unknown =
            || format!("'{name}' is no connector; write one such as projector-64, pool-16, shuffle-4 or queries-8");
        let (family, tokens) = name.rsplit_once('-').ok_or_else(unknown)?;
        let tokens = tokens.parse().map_err(|_| unknown())?;
        match family {
            "projector" => Ok(Self::Projector(tokens)),
            "pool" => Ok(Self::Pool(tokens)),
            "shuffle" => Ok(Self::Shuffle(tokens)),
            "queries" => Ok(Self::Queries(tokens)),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Connector {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        name.parse()
    }
}

/// `config.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BottleneckConfig {
    /// The vision tower, CLIP's.
    pub vision_config: VisionTowerConfig,
    /// The language model, as its own class reads it.
    pub text_config: Value,
    /// What stands between them.
    pub connector: Connector,
    /// The querying transformer, where there is one.
    pub qformer_config: Option<QFormerConfig>,
    /// The token that stands in a text for each vector of a picture.
    pub image_token_index: u32,
}

impl BottleneckConfig {
    /// Reads the config of a checkpoint and checks what the experiment asks of it.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        if checkpoint.class() != CLASS {
            let problem = format!("a '{}' is none of the bottleneck experiment", checkpoint.class());
            return Err(
                Error::unusable(problem, "name what 'alignscope train bottleneck' has written").at(&checkpoint.folder)
            );
        }
        let config: Self = checkpoint.parse(&checkpoint.config)?;
        config.vision_config.check(checkpoint)?;
        if let Some(qformer) = &config.qformer_config {
            qformer.check(checkpoint)?;
        }
        config.connector.check(config.patches()).map_err(|error| error.at(&checkpoint.folder))?;
        Ok(config)
    }

    /// Number of patches.
    #[must_use]
    pub fn patches(&self) -> usize {
        let (rows, columns) = self.vision_config.grid();
        rows * columns
    }
}

/// Vision tower, connector and language model.
pub struct Bottleneck {
    config: BottleneckConfig,
    vision: VisionTower,
    connector: Parts,
    language: Box<dyn LanguageModel>,
}

/// The weights of a connector.
enum Parts {
    /// Patches put together square by square, or left alone, and two layers.
    Layers(Projector),
    /// The raw queries `[1, queries, width]`, what lets them look, and the layer that brings them to the words.
    Queries(Tensor, QFormer, Linear),
}

impl Bottleneck {
    /// Builds the model from its weights.
    ///
    /// # Errors
    /// If the connector can't be had of so many patches, or a weight is missing or has another shape.
    pub fn build(config: BottleneckConfig, language: &LanguageConfig, scope: &Scope<'_>) -> Result<Self> {
        config.connector.check(config.patches())?;
        let (from, to) = (config.vision_config.hidden_size, language.width());
        let layers = |width: usize| -> Result<Parts> {
            let scope = scope.enter("multi_modal_projector");
            Ok(Parts::Layers(Projector::load(&scope, (width, to), true, Activation::Gelu)?))
        };
        let connector = match config.connector {
            Connector::Projector(_) | Connector::Pool(_) => layers(from)?,
            Connector::Shuffle(tokens) => layers(from * (config.patches() / tokens))?,
            Connector::Queries(tokens) => {
                let Some(qformer) = &config.qformer_config else {
                    return Err(Error::unusable(
                        "the config names queries and has no qformer_config",
                        "train the checkpoint again",
                    ));
                };
                let queries = scope.get("query_tokens", &[1, tokens, qformer.hidden_size])?;
                let transformer = QFormer::load(qformer, &TextInput::None, &scope.enter("qformer"))?;
                let out = Linear::load(&scope.enter("language_projection"), qformer.hidden_size, to)?;
                Parts::Queries(queries, transformer, out)
            }
        };
        Ok(Self {
            vision: VisionTower::load(
                &config.vision_config,
                Tail::ClassToken,
                &scope.enter("vision_tower.vision_model"),
            )?,
            language: language.load(&scope.enter("language_model"))?,
            connector,
            config,
        })
    }

    /// The sizes of the model.
    #[must_use]
    pub fn config(&self) -> &BottleneckConfig {
        &self.config
    }

    /// The language model.
    #[must_use]
    pub fn language(&self) -> &dyn LanguageModel {
        self.language.as_ref()
    }

    /// What the vision tower makes of `pixels` `[pictures, 3, height, width]`, `[pictures, patches, vision width]`: the states
    /// behind its last block, without the class token.
    ///
    /// # Errors
    /// If the pixels have another size, or the pass is cancelled.
    pub fn see(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let states = self.vision.forward(pixels, taps)?; // [pictures, 1 + patches, vision width]
        Ok(states.narrow(1, 1, self.config.patches())?.contiguous()?)
    }

    /// What the language model is handed of `patches` `[pictures, patches, vision width]`: `[pictures, tokens, language
    /// width]`.
    ///
    /// # Errors
    /// If the shape doesn't fit, or the pass is cancelled.
    pub fn connect(&self, patches: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let (pictures, _, width) = patches.dims3()?;
        let tokens = self.config.connector.tokens();
        match &self.connector {
            Parts::Queries(queries, transformer, out) => {
                let (_, _, inner) = queries.dims3()?;
                let queries = queries.broadcast_as((pictures, tokens, inner))?.contiguous()?;
                let input = QFormerInput {
                    queries: Some(&queries),
                    text: None,
                    states: Some(patches),
                    mask: QFormerMask::Bidirectional,
                };
                out.forward(&transformer.forward(input, taps)?)
            }
            Parts::Layers(projector) => {
                let squares = match self.config.connector {
                    Connector::Pool(_) => squares(patches, tokens)?.mean(2)?, // [pictures, tokens, vision width]
                    Connector::Shuffle(_) => squares(patches, tokens)?.reshape((pictures, tokens, ()))?,
                    Connector::Projector(_) | Connector::Queries(_) => patches.reshape((pictures, tokens, width))?,
                };
                projector.forward(&squares)
            }
        }
    }

    /// The logits of what follows each token of `ids` `[texts, tokens]`, `[texts, tokens, vocabulary]`, with `connected`
    /// `[texts, picture tokens, language width]` in the places of its placeholders.
    ///
    /// # Errors
    /// If the texts have more or fewer places, an id is unknown, a text is too long, or the pass is cancelled.
    pub fn logits(
        &self,
        ids: &Tensor,
        attention_mask: Option<&Tensor>,
        connected: &Tensor,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let inputs = splice(&self.language.embed(ids)?, ids, self.config.image_token_index, connected)?;
        self.language.logits(&inputs, attention_mask, None, taps)
    }
}

/// The model, opened, with all that leads texts and pictures to it.
pub struct OpenedBottleneck {
    /// The folder and its config.
    pub checkpoint: Checkpoint,
    /// How many numbers the checkpoint holds.
    pub parameters: usize,
    processor: ImageProcessor,
    tokenizer: TextTokenizer,
    device: Device,
    model: Bottleneck,
}

impl OpenedBottleneck {
    /// Opens what `alignscope train bottleneck` has written into `folder`.
    ///
    /// # Errors
    /// If a file is missing or damaged, or config and weights don't fit each other.
    pub fn open(folder: &Path, runtime: impl Into<Runtime>) -> Result<Self> {
        let runtime = runtime.into();
        let checkpoint = Checkpoint::open(folder)?;
        let config = BottleneckConfig::read(&checkpoint)?;
        let language = LanguageConfig::read(&config.text_config, &checkpoint)?;
        let weights = Weights::open(folder, &runtime)?;
        let model = Bottleneck::build(config, &language, &Scope::root(&weights))?;
        let tokenizer = TextTokenizer::open(folder, model.language().context(), false)?;
        Ok(Self {
            parameters: weights.parameter_count(),
            processor: ImageProcessor::from_folder(folder)?,
            device: runtime.device,
            checkpoint,
            tokenizer,
            model,
        })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Bottleneck {
        &self.model
    }

    /// What the language model is handed of each picture, `[pictures, tokens, language width]`.
    ///
    /// # Errors
    /// If a picture has no pixels, or the pass is cancelled.
    pub fn handed(&self, pictures: &[&RgbImage], stop: &CancelToken) -> Result<Tensor> {
        let taps = &mut Taps::none().cancelled_by(stop);
        let pixels = self.processor.batch(pictures, &self.device)?;
        self.model.connect(&self.model.see(&pixels, taps)?, taps)
    }

    /// What is written behind each of `prompts`, greedily, each about its row of `handed` `[texts, tokens, language width]` of
    /// [`Self::handed`]: at most so many tokens, without the end.
    ///
    /// # Errors
    /// If a prompt is too long, or the pass is cancelled.
    pub fn write_all(&self, prompts: &[&str], handed: &Tensor, most: usize, stop: &CancelToken) -> Result<Vec<String>> {
        let (language, placeholder) = (self.model.language(), self.model.config.image_token_index);
        let mut rows = Vec::new();
        for prompt in prompts {
            let begin = language.begin().into_iter();
            let picture = std::iter::repeat_n(placeholder, self.model.config.connector.tokens());
            let words = self.tokenizer.encode(prompt)?.ids.into_iter().filter(|id| Some(*id) != language.begin());
            rows.push(begin.chain(picture).chain(words).collect::<Vec<u32>>());
        }
        let ends = [language.ends(), vec![placeholder]].concat();
        let limits = Limits { max_new_tokens: most, context: language.context(), ends: &ends };
        let written = write_together(rows, limits, |rows| {
            let texts = self.tokenizer.pad(rows, &self.device)?;
            let taps = &mut Taps::none().cancelled_by(stop);
            self.model.logits(&texts.ids, texts.attention_mask.as_ref(), handed, taps)
        })?;
        written.iter().map(|ids| self.tokenizer.decode(ids)).collect()
    }
}

/// The patches of a square grid, `[pictures, patches, width]`, in `tokens` squares: `[pictures, tokens, patches of a square,
/// width]`.
fn squares(patches: &Tensor, tokens: usize) -> Result<Tensor> {
    let (pictures, count, width) = patches.dims3()?;
    let side = tokens.isqrt();
    let each = count.isqrt() / side;
    let cut = patches.reshape(vec![pictures, side, each, side, each, width])?;
    let cut = cut.permute(vec![0, 1, 3, 2, 4, 5])?.contiguous()?; // [pictures, side, side, each, each, width]
    Ok(cut.reshape((pictures, tokens, each * each, width))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connectors_have_names() {
        for connector in Connector::all(64) {
            assert_eq!(connector.to_string().parse(), Ok(connector));
            assert!(connector.check(64).is_ok());
        }
        for name in ["", "queries", "queries-", "queries--1", "perceiver-4", "4"] {
            assert!(name.parse::<Connector>().is_err(), "{name}");
        }
        for impossible in [Connector::Projector(16), Connector::Pool(9), Connector::Shuffle(8), Connector::Queries(0)] {
            assert!(impossible.check(64).is_err(), "{impossible}");
        }
    }

    #[test]
    fn squares_hold_neighbours() -> Result<()> {
        // A grid of four by four patches, whose numbers are row and column.
        let numbers: Vec<f32> = (0..16).flat_map(|at| [(at / 4) as f32, (at % 4) as f32]).collect();
        let patches = Tensor::from_vec(numbers, (1, 16, 2), &Device::Cpu)?;
        let cut = squares(&patches, 4)?.squeeze(0)?.to_vec3::<f32>()?;
        assert_eq!(cut[1], [[0.0, 2.0], [0.0, 3.0], [1.0, 2.0], [1.0, 3.0]]);
        assert_eq!(cut[2], [[2.0, 0.0], [2.0, 1.0], [3.0, 0.0], [3.0, 1.0]]);
        Ok(())
    }
}
