//! A model that reads pictures as words, with all that leads texts and pictures to it: LLaVA, in transformers' layout and in
//! that of its authors.

mod places;

use candle_core::{Device, Tensor};
use image::{Rgb, RgbImage, imageops};
use std::path::Path;

use super::Model;
use super::chat::{ChatTemplate, Message, Role};
use super::checkpoint::Checkpoint;
use super::generate::{Limits, write_together};
use super::llava::{Llava, LlavaPrompt, ORIGINAL_CLASS, OriginalConfig};
use super::preprocess::ImageProcessor;
use super::runtime::Runtime;
use super::tokenizer::{TextTokenizer, Tokens};
use crate::error::{Error, Result};
use crate::taps::{CancelToken, Taps};
use places::Places;

/// The classes of checkpoints that can be opened so.
pub const CLASSES: [&str; 2] = ["LlavaForConditionalGeneration", ORIGINAL_CLASS];

/// The longest side of a picture that is made square, in pixels.
const LONGEST_SIDE: u32 = 1 << 13;

/// The model, opened.
pub struct OpenedProjector {
    /// The folder and its config.
    pub checkpoint: Checkpoint,
    /// From pictures to pixels.
    pub processor: ImageProcessor,
    /// From texts to the ids of the language model; [`Self::tokens`] makes places for pictures among them.
    pub tokenizer: TextTokenizer,
    /// Where the model runs.
    pub device: Device,
    /// How many numbers the checkpoint holds.
    pub parameters: usize,
    model: Box<Llava>,
    places: Places,
    square: bool, // whether pictures are made so first
}

impl OpenedProjector {
    /// Opens a Hugging Face folder, or one in LLaVA's own layout.
    ///
    /// # Errors
    /// If a file is missing or damaged, config, weights and processor don't fit each other, or the model is of another
    /// kind.
    pub fn open(folder: &Path, runtime: impl Into<Runtime>) -> Result<Self> {
        let runtime = runtime.into();
        let checkpoint = Checkpoint::open(folder)?;
        let (model, parameters) = Model::open(&checkpoint, &runtime)?;
        let model = match model {
            Model::Projector(model) => model,
            Model::DualEncoder(_)
            | Model::Flamingo(_)
            | Model::OpenFlamingo(_)
            | Model::Blip(_)
            | Model::QueryingRetrieval(_)
            | Model::QueryingWriter(_) => {
                let problem = format!("the checkpoint is a '{}', which reads no pictures as words", checkpoint.class());
                return Err(Error::unusable(problem, "open a checkpoint of LLaVA here").at(folder));
            }
        };
        let original = (checkpoint.class() == ORIGINAL_CLASS).then(|| OriginalConfig::read(&checkpoint)).transpose()?;
        if original.is_some() && !folder.join("tokenizer.json").is_file() && folder.join("tokenizer.model").is_file() {
            return Err(Error::unusable(
                "the tokenizer is there only as SentencePiece writes it (tokenizer.model)",
                "put the tokenizer.json of the same LLaMA beside it",
            )
            .at(folder));
        }
        let context = model.language().context();
        let (tokenizer, processor, places) = if let Some(headers) = &checkpoint.gguf {
            (headers.tokenizer(context)?, headers.processor()?, Places::between(&model, false))
        } else {
            let tokenizer = TextTokenizer::open(folder, context, false)?;
            // LLaVA's own folder leaves it with the vision tower.
            let with_processor = match &original {
                Some(original) if !folder.join("preprocessor_config.json").is_file() => {
                    original.tower_folder(&checkpoint)?
                }
                _ => folder.to_path_buf(),
            };
            let processor = ImageProcessor::from_folder(&with_processor)?;
            let places = match &original {
                Some(original) => Places::between(&model, original.mm_use_im_start_end),
                None => Places::of_processor(folder, &model, processor.size(), &tokenizer)?,
            };
            (tokenizer, processor, places)
        };
        Ok(Self {
            // llama.cpp, too, makes them so.
            square: checkpoint.gguf.is_some() || original.is_some_and(|original| original.pads()),
            device: runtime.device,
            checkpoint,
            processor,
            tokenizer,
            parameters,
            model,
            places,
        })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Llava {
        &self.model
    }

    /// Rows and columns of patches. [`super::llava::LlavaConfig::patch`] says which of them a vector stands for.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        self.model.config().grid()
    }

    /// How many vectors, and so tokens, a picture becomes.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.model.config().positions()
    }

    /// Number of blocks of the language model.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.model.language().depth()
    }

    /// What stands for a picture in a text, `<image>` in most checkpoints.
    #[must_use]
    pub fn image_token(&self) -> &str {
        self.places.image()
    }

    /// Pictures as the vision tower takes them, `[pictures, 3, height, width]`.
    ///
    /// # Errors
    /// If a picture has no pixels, or is far too long to be made square where the model asks for that.
    pub fn pixels(&self, pictures: &[&RgbImage]) -> Result<Tensor> {
        if !self.square {
            return self.processor.batch(pictures, &self.device);
        }
        let squares = pictures.iter().map(|picture| self.squared(picture)).collect::<Result<Vec<_>>>()?;
        self.processor.batch(&squares.iter().collect::<Vec<_>>(), &self.device)
    }

    /// The picture in the middle of a square of the processor's mean colour, as LLaVA's `expand2square` makes it.
    fn squared(&self, picture: &RgbImage) -> Result<RgbImage> {
        let (width, height) = picture.dimensions();
        let side = width.max(height);
        if side > LONGEST_SIDE {
            return Err(Error::unusable(
                format!("the picture is {side} pixels long, and this model makes it square first"),
                "choose a smaller one",
            ));
        }
        let mut square = RgbImage::from_pixel(side, side, Rgb(self.processor.mean_colour()));
        let (left, top) = ((side - width) / 2, (side - height) / 2);
        imageops::replace(&mut square, picture, left.into(), top.into());
        Ok(square)
    }

    /// The rectangle of a `width` x `height` picture that the model sees: left, top, right, bottom in the picture's pixels.
    /// It reaches beyond the picture where that is padded.
    #[must_use]
    pub fn seen(&self, width: u32, height: u32) -> [f32; 4] {
        if !self.square {
            return self.processor.seen(width, height);
        }
        let side = width.max(height);
        let (left, top) = (((side - width) / 2) as f32, ((side - height) / 2) as f32);
        let [x, y, right, bottom] = self.processor.seen(side, side);
        [x - left, y - top, right - left, bottom - top]
    }

    /// What the projector gets, `[pictures, positions, feature width]`, of `pixels` `[pictures, 3, height, width]`.
    ///
    /// # Errors
    /// If the pixels have another size than the config says, the pass is cancelled, or an observer fails.
    pub fn see(&self, pixels: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        self.model.see(pixels, taps)
    }

    /// The text as the language model reads it, with [`Self::positions`] placeholders for each [`Self::image_token`] in it,
    /// as transformers' `LlavaProcessor` makes them (or, for LLaVA's own layout, its `tokenizer_image_token`). Spans are
    /// those of `text`; placeholders have none.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn tokens(&self, text: &str) -> Result<Tokens> {
        self.places.tokens(text, &self.tokenizer)
    }

    /// [`Self::tokens`] of a text about one picture: where it doesn't say itself where that stands, it stands in front, in a
    /// line of its own.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn tokens_about(&self, text: &str) -> Result<Tokens> {
        let image = self.image_token();
        if text.contains(image) {
            return self.tokens(text);
        }
        let front = format!("{image}\n");
        let mut tokens = self.tokens(&format!("{front}{text}"))?;
        for span in &mut tokens.spans {
            let moved =
                |(start, end): (usize, usize)| Some((start.checked_sub(front.len())?, end.checked_sub(front.len())?));
            *span = span.and_then(moved);
        }
        Ok(tokens)
    }

    /// [`Self::tokens_about`] as the language model goes on from them: without the end that some tokenizers put behind every
    /// text.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn tokens_to_go_on(&self, text: &str) -> Result<Tokens> {
        let mut tokens = self.tokens_about(text)?;
        let ends = self.model.language().ends();
        // A lone end is a beginning: in some models both are one token.
        if tokens.ids.len() > 1 && tokens.ids.last().is_some_and(|last| ends.contains(last)) {
            tokens.pop();
        }
        Ok(tokens)
    }

    /// Whether the checkpoint has a chat template, so that a text is to be put as [`Self::asked`] puts it.
    #[must_use]
    pub fn converses(&self) -> bool {
        self.template().is_ok_and(|template| template.is_some())
    }

    fn template(&self) -> Result<Option<ChatTemplate>> {
        match &self.checkpoint.gguf {
            Some(headers) => headers.chat_template().map(Some),
            None => ChatTemplate::open(&self.checkpoint.folder),
        }
    }

    /// What to write for a model that was trained on conversations: a question about `pictures` pictures, as the template
    /// of the checkpoint puts it, up to where the model is to answer.
    ///
    /// # Errors
    /// If the checkpoint has no template, or that can't be used.
    pub fn asked(&self, question: &str, pictures: usize) -> Result<String> {
        self.conversation(&[Message::new(Role::User, pictures, question)])
    }

    /// The same for a whole conversation.
    ///
    /// # Errors
    /// As [`Self::asked`].
    pub fn conversation(&self, messages: &[Message]) -> Result<String> {
        let folder = &self.checkpoint.folder;
        let template = self.template()?.ok_or_else(|| {
            Error::unusable("the checkpoint has no chat template", "write the whole prompt yourself").at(folder)
        })?;
        template.render(messages, self.image_token(), true).map_err(|error| error.at(folder))
    }

    /// Writes on behind each of `prompts`, greedily and all at once, each about its row of `features` `[texts, positions,
    /// feature width]` of [`Self::see`]. Gives the new tokens without the end. Meant for many short texts: nothing is kept
    /// between the tokens.
    ///
    /// # Errors
    /// If a prompt is too long or speaks of several pictures, there isn't one row for each prompt, or the pass is cancelled.
    pub fn write_all(
        &self,
        prompts: &[&str],
        features: &Tensor,
        most: usize,
        stop: &CancelToken,
    ) -> Result<Vec<Vec<u32>>> {
        let taps = || Taps::none().cancelled_by(stop);
        let projected = self.model.project(features)?; // [texts, positions, language width]
        let rows = prompts.iter().map(|text| Ok(self.tokens_to_go_on(text)?.ids)).collect::<Result<Vec<_>>>()?;
        let language = self.model.language();
        // A model may write the placeholder, but no picture stands there.
        let ends = [language.ends(), vec![self.model.placeholder()]].concat();
        let limits = Limits { max_new_tokens: most, context: language.context(), ends: &ends };
        write_together(rows, limits, |rows| {
            let texts = self.tokenizer.pad(rows, &self.device)?;
            let mask = texts.attention_mask.as_ref();
            let prompt = LlavaPrompt { ids: &texts.ids, attention_mask: mask, projected: Some(&projected) };
            self.model.logits(prompt, &mut taps())
        })
    }
}
