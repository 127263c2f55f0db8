//! A model whose words look at the picture by cross-attention, with all that leads texts and pictures to it: BLIP's three
//! classes, and Flamingo as IDEFICS or OpenFlamingo.

use candle_core::{Device, Tensor};
use image::RgbImage;
use std::path::Path;

use super::Model;
use super::blip::{Blip, BlipHead};
use super::checkpoint::Checkpoint;
use super::flamingo::{Flamingo, IMAGE};
use super::generate::{Limits, write_together};
use super::idefics::image_mask;
use super::open_flamingo::parts;
use super::preprocess::ImageProcessor;
use super::runtime::Runtime;
use super::tokenizer::{TextBatch, TextTokenizer, Tokens};
use crate::error::{Error, Result};
use crate::nn::{Fusion, padding_mask_for};
use crate::taps::{CancelToken, Taps, Tower};

/// The longest text that Flamingo gets here, in tokens; its published models read no more.
const FLAMINGO_CONTEXT: usize = 2048;

/// The classes of checkpoints that can be opened so.
pub const CLASSES: [&str; 5] = [
    "BlipForImageTextRetrieval",
    "BlipForConditionalGeneration",
    "BlipForQuestionAnswering",
    "IdeficsForVisionText2Text",
    "OpenFlamingo",
];

/// What a model does with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Says whether it belongs to the picture.
    Match,
    /// Goes on writing about the picture.
    Write,
    /// Answers it.
    Answer,
}

/// The model, opened.
pub struct OpenedFusion {
    /// The folder and its config.
    pub checkpoint: Checkpoint,
    /// From pictures to pixels.
    pub processor: ImageProcessor,
    /// From texts to ids.
    pub tokenizer: TextTokenizer,
    /// Where the model runs.
    pub device: Device,
    /// How many numbers the checkpoint holds.
    pub parameters: usize,
    model: FusionModel,
}

enum FusionModel {
    Blip(Box<Blip>),
    Flamingo { model: Box<dyn Flamingo>, image: u32 },
}

/// What a pass over texts gives.
pub struct Read {
    /// For each text that it doesn't match and that it does, `[texts, 2]`; only of a model that matches.
    pub matching: Option<Tensor>,
    /// What follows each token, `[texts, tokens, vocabulary]`; only of a model that writes.
    pub logits: Option<Tensor>,
    /// The states behind the last block, `[texts, tokens, width]`; only of a model that answers.
    pub states: Option<Tensor>,
}

impl OpenedFusion {
    /// Opens a Hugging Face folder.
    ///
    /// # Errors
    /// If a file is missing or damaged, config and weights don't fit each other, or the model is of another kind.
    pub fn open(folder: &Path, runtime: impl Into<Runtime>) -> Result<Self> {
        let runtime = runtime.into();
        let checkpoint = Checkpoint::open(folder)?;
        let (model, parameters) = Model::open(&checkpoint, &runtime)?;
        let (model, tokenizer, processor) = match model {
            Model::Blip(model) => {
                let context = model.config().text_config.max_position_embeddings;
                let tokenizer = TextTokenizer::open(folder, context, false)?;
                (FusionModel::Blip(model), tokenizer, ImageProcessor::from_folder(folder)?)
            }
            Model::Flamingo(model) => {
                let tokenizer = TextTokenizer::open(folder, FLAMINGO_CONTEXT, false)?;
                let image = tokenizer.id(IMAGE).ok_or_else(|| {
                    let problem = format!("the tokenizer has no token {IMAGE}");
                    Error::unusable(problem, "use the tokenizer.json that belongs to the weights").at(folder)
                })?;
                (FusionModel::Flamingo { model, image }, tokenizer, ImageProcessor::from_folder(folder)?)
            }
            Model::OpenFlamingo(model) => {
                let tokenizer = parts::tokenizer(folder, model.config(), FLAMINGO_CONTEXT)?;
                let image = model.config().media_token_id;
                (FusionModel::Flamingo { model, image }, tokenizer, parts::processor(folder)?)
            }
            Model::DualEncoder(_) | Model::QueryingRetrieval(_) | Model::QueryingWriter(_) | Model::Projector(_) => {
                let class = checkpoint.class();
                let problem = format!("the checkpoint is a '{class}', whose words don't look at pictures");
                return Err(Error::unusable(problem, "open a checkpoint of BLIP or IDEFICS here").at(folder));
            }
        };
        Ok(Self { processor, device: runtime.device, checkpoint, tokenizer, parameters, model })
    }

    /// What the model does with a text.
    #[must_use]
    pub fn task(&self) -> Task {
        match &self.model {
            FusionModel::Blip(blip) => match blip.head() {
                BlipHead::Retrieval(_) => Task::Match,
                BlipHead::Captioning(_) => Task::Write,
                BlipHead::Answering(_) => Task::Answer,
            },
            FusionModel::Flamingo { .. } => Task::Write,
        }
    }

    /// Flamingo, if it is one.
    #[must_use]
    pub fn flamingo(&self) -> Option<&dyn Flamingo> {
        match &self.model {
            FusionModel::Flamingo { model, .. } => Some(model.as_ref()),
            FusionModel::Blip(_) => None,
        }
    }

    /// BLIP, if it is one.
    #[must_use]
    pub fn blip(&self) -> Option<&Blip> {
        match &self.model {
            FusionModel::Blip(blip) => Some(blip),
            FusionModel::Flamingo { .. } => None,
        }
    }

    /// Rows and columns of patches; one class token stands in front of them.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        match &self.model {
            FusionModel::Blip(blip) => blip.grid(),
            FusionModel::Flamingo { model, .. } => model.grid(),
        }
    }

    /// The tower whose words look at the picture.
    #[must_use]
    pub fn tower(&self) -> Tower {
        if self.task() == Task::Write { Tower::Decoder } else { Tower::Text }
    }

    /// How many cross-attentions that tower has.
    #[must_use]
    pub fn cross_layers(&self) -> usize {
        match &self.model {
            FusionModel::Blip(blip) => blip.config().text_config.num_hidden_layers,
            FusionModel::Flamingo { model, .. } => model.gated(),
        }
    }

    /// How many blocks stand between patches and words: those of the resampler, or none.
    #[must_use]
    pub fn resampler_layers(&self) -> usize {
        self.flamingo().map_or(0, Flamingo::resampler_layers)
    }

    /// How many positions precede the patches in what words, or the latents between, look at.
    #[must_use]
    pub fn leading(&self) -> usize {
        self.flamingo().map_or(1, Flamingo::leading)
    }

    /// The token that ends a text.
    #[must_use]
    pub fn end(&self) -> u32 {
        match &self.model {
            FusionModel::Blip(blip) => blip.config().text_config.sep_token_id,
            FusionModel::Flamingo { model, .. } => model.ends().first().copied().unwrap_or(u32::MAX),
        }
    }

    /// Pictures as the vision tower takes them, `[pictures, 3, height, width]`.
    ///
    /// # Errors
    /// If a picture has no pixels.
    pub fn pixels(&self, pictures: &[&RgbImage]) -> Result<Tensor> {
        self.processor.batch(pictures, &self.device)
    }

    /// What words look at, of `pixels` `[pictures, 3, height, width]`: `[pictures, keys, width]`.
    ///
    /// # Errors
    /// If the pixels have another size than the config says, the pass is cancelled, or an observer fails.
    pub fn see(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        self.resample(&self.look(pixels, taps)?, taps)
    }

    /// What the resampler or, where there is none, words look at, of `pixels` `[pictures, 3, height, width]`: `[pictures,
    /// positions, width]`.
    ///
    /// # Errors
    /// As [`Self::see`].
    pub fn look(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        match &self.model {
            FusionModel::Blip(blip) => blip.vision().forward(pixels, taps),
            FusionModel::Flamingo { model, .. } => model.look(&pixels.unsqueeze(1)?, taps),
        }
    }

    /// What words look at, of what [`Self::look`] gave: `[pictures, keys, width]`.
    ///
    /// # Errors
    /// As [`Self::see`].
    pub fn resample(&self, states: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        match &self.model {
            FusionModel::Blip(_) => Ok(states.clone()),
            FusionModel::Flamingo { model, .. } => model.resample(states, taps),
        }
    }

    /// The text as the model reads it. One that is written on has no end; of Flamingo the place of the picture stands
    /// before the text, unless it names the place itself. Spans are those of `text`.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn tokens(&self, text: &str) -> Result<Tokens> {
        let mut tokens = match &self.model {
            FusionModel::Blip(blip) => {
                let mut tokens = self.tokenizer.encode(text)?;
                if let (BlipHead::Captioning(_), Some(first)) = (blip.head(), tokens.ids.first_mut()) {
                    *first = blip.config().text_config.bos_token_id;
                }
                tokens
            }
            FusionModel::Flamingo { .. } if text.contains(IMAGE) => self.tokenizer.encode(text)?,
            FusionModel::Flamingo { model, .. } => {
                let place = model.place();
                let mut tokens = self.tokenizer.encode(&format!("{place}{text}"))?;
                for span in &mut tokens.spans {
                    let moved = |(start, end): (usize, usize)| {
                        Some((start.checked_sub(place.len())?, end.checked_sub(place.len())?))
                    };
                    *span = span.and_then(moved);
                }
                tokens
            }
        };
        if self.task() == Task::Write && tokens.ids.last() == Some(&self.end()) {
            tokens.pop();
        }
        Ok(tokens)
    }

    /// Which picture each token sees, `[1, tokens, 1]`: 1 for the picture, 0 for a token that stands before it.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn image_mask(&self, ids: &[u32]) -> Result<Tensor> {
        let image = match &self.model {
            FusionModel::Flamingo { image, .. } => *image,
            FusionModel::Blip(_) => 0,
        };
        image_mask(ids, image, 1, &self.device)
    }

    /// Reads `texts` `[texts, tokens]`, each while it looks at its row of `states` `[texts, keys, width]`.
    ///
    /// # Errors
    /// If a text is too long, an id unknown, there isn't one row for each text, the pass is cancelled, or an observer
    /// fails.
    pub fn read(&self, texts: &TextBatch, states: &Tensor, taps: &mut Taps<'_>) -> Result<Read> {
        let (ids, mask) = (&texts.ids, texts.attention_mask.as_ref());
        let mut read = Read { matching: None, logits: None, states: None };
        match &self.model {
            FusionModel::Blip(blip) => match blip.head() {
                BlipHead::Retrieval(retrieval) => {
                    read.matching = Some(retrieval.match_logits(ids, mask, states, taps)?);
                }
                BlipHead::Captioning(decoder) => {
                    let fusion = Fusion { states, mask: None };
                    read.logits = Some(decoder.logits(ids, mask, fusion, None, taps)?);
                }
                BlipHead::Answering(answering) => read.states = Some(answering.read(ids, mask, states, taps)?),
            },
            FusionModel::Flamingo { model, .. } => {
                let rows = ids.to_vec2::<u32>()?;
                let masks = rows.iter().map(|row| self.image_mask(row));
                let masks = Tensor::cat(&masks.collect::<Result<Vec<_>>>()?, 0)?;
                read.logits = Some(model.read(ids, &states.unsqueeze(1)?, &masks, taps)?);
            }
        }
        Ok(read)
    }

    /// The logits `[texts, tokens, vocabulary]` of what follows each token of the answers `ids` `[texts, tokens]`, the
    /// start token first, to questions that were read, with the questions' `mask` `[texts, question tokens]`.
    ///
    /// # Errors
    /// If the model doesn't answer questions, or as [`Self::read`].
    pub fn answer(
        &self,
        ids: &Tensor,
        questions: &Tensor,
        mask: Option<&Tensor>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let Some(BlipHead::Answering(answering)) = self.blip().map(Blip::head) else {
            return Err(Error::unusable("this model answers no questions", "open a BlipForQuestionAnswering"));
        };
        let mask = mask.map(|mask| padding_mask_for(mask, ids.dim(1)?)).transpose()?;
        answering.answer.logits(ids, None, Fusion { states: questions, mask: mask.as_ref() }, None, taps)
    }

    /// Writes on behind each of `prompts` (or answers it), greedily and all at once, each looking at its row of `states`
    /// `[texts, keys, width]`; gives the new tokens without the end. Meant for many short texts: nothing is kept between
    /// the tokens.
    ///
    /// # Errors
    /// If the model doesn't write, or as [`Self::read`].
    pub fn write_all(
        &self,
        prompts: &[Vec<u32>],
        states: &Tensor,
        most: usize,
        stop: &CancelToken,
    ) -> Result<Vec<Vec<u32>>> {
        let start = self.blip().map_or(0, |blip| blip.config().text_config.bos_token_id);
        let answering = self.task() == Task::Answer;
        let (mut rows, mut question) = (prompts.to_vec(), None);
        if answering {
            let texts = self.tokenizer.pad(prompts, &self.device)?;
            let mut taps = Taps::none().cancelled_by(stop);
            question = Some((self.read(&texts, states, &mut taps)?.states, texts.attention_mask));
            rows = vec![vec![start]; prompts.len()];
        }
        let limits = Limits { max_new_tokens: most, context: self.tokenizer.context(), ends: &[self.end()] };
        write_together(rows, limits, |rows| {
            let mut taps = Taps::none().cancelled_by(stop);
            let texts = self.tokenizer.pad(rows, &self.device)?;
            let logits = match &question {
                Some((Some(read), mask)) => Some(self.answer(&texts.ids, read, mask.as_ref(), &mut taps)?),
                _ => self.read(&texts, states, &mut taps)?.logits,
            };
            logits.ok_or_else(|| Error::unusable("this model writes no texts", "open another"))
        })
    }
}
