//! A dual encoder ready to run: the model with its preprocessing and its tokenizer.

use candle_core::{Device, Tensor};
use image::RgbImage;
use std::path::Path;

use super::Model;
use super::checkpoint::Checkpoint;
use super::dual_encoder::DualEncoder;
use super::preprocess::ImageProcessor;
use super::runtime::Runtime;
use super::tokenizer::{TextBatch, TextTokenizer};
use crate::error::{Error, Result};

/// A model with everything that leads pictures and texts to it.
pub struct Opened {
    /// The folder and its config.
    pub checkpoint: Checkpoint,
    /// The model.
    pub model: Box<dyn DualEncoder>,
    /// From pictures to pixels.
    pub processor: ImageProcessor,
    /// From texts to ids.
    pub tokenizer: TextTokenizer,
    /// Where the model runs.
    pub device: Device,
    /// How many numbers the checkpoint holds.
    pub parameters: usize,
}

impl Opened {
    /// Opens a Hugging Face folder.
    ///
    /// # Errors
    /// If a file is missing or damaged, config and weights don't fit each other, or the model is no dual encoder.
    pub fn open(folder: &Path, runtime: impl Into<Runtime>) -> Result<Self> {
        let runtime = runtime.into();
        let checkpoint = Checkpoint::open(folder)?;
        let (model, parameters) = Model::open(&checkpoint, &runtime)?;
        let Model::DualEncoder(model) = model else {
            let class = checkpoint.class();
            return Err(Error::unusable(
                format!("the checkpoint is a '{class}', which isn't a dual encoder"),
                "open a checkpoint of CLIP or SigLIP here",
            )
            .at(folder));
        };
        Ok(Self {
            processor: ImageProcessor::from_folder(folder)?,
            tokenizer: TextTokenizer::open(folder, model.context(), model.pads_to_context())?,
            device: runtime.device,
            checkpoint,
            model,
            parameters,
        })
    }

    /// The model as a dual encoder.
    #[must_use]
    pub fn dual_encoder(&self) -> &dyn DualEncoder {
        self.model.as_ref()
    }

    /// Pictures as the vision tower takes them, `[pictures, 3, height, width]`.
    ///
    /// # Errors
    /// If a picture has no pixels.
    pub fn pixels(&self, pictures: &[&RgbImage]) -> Result<Tensor> {
        self.processor.batch(pictures, &self.device)
    }

    /// Texts as the text tower takes them.
    ///
    /// # Errors
    /// If there are none, or the tokenizer fails.
    pub fn texts<Text: AsRef<str>>(&self, texts: &[Text]) -> Result<TextBatch> {
        self.tokenizer.batch(texts, &self.device)
    }
}
