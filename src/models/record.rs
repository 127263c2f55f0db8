//! One pass of a model, brought to the host under the names that it has in a trace file: what goes in, what comes out, and
//! what was seen on the way. One file for each kind of model.

mod dual;
mod fusion;
mod projector;
mod querying;

pub use dual::{PairPass, ProbedPictures};

use candle_core::{DType, Tensor};
use image::RgbImage;
use std::collections::BTreeMap;
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::fusion::OpenedFusion;
use super::opened::Opened;
use super::projector::OpenedProjector;
use super::querying::OpenedQuerying;
use super::runtime::Runtime;
use super::tokenizer::{TextBatch, TextTokenizer, Tokens};
use crate::error::{Error, Result};
use crate::taps::{Array, IdArray, Interventions, Recording, SitePattern};

/// What is to be recorded.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The pictures. Two encoders take any number; a model that matches takes one for each text, or one for all; Flamingo
    /// and LLaVA one for each `<image>` of their text; any other model one.
    pub pictures: &'a [&'a RgbImage],
    /// The texts, as transformers' processor takes them. A model that writes takes one.
    pub texts: &'a [String],
    /// The activations that are kept.
    pub sites: SitePattern,
    /// What a model that writes goes on from, or answers, in place of the text.
    pub prompt: Option<&'a str>,
    /// The longest text that is written, in new tokens; with 0 nothing is.
    pub most: usize,
    /// What is changed in the model.
    pub under: Interventions,
}

/// Inputs, outputs and recorded activations of one pass, by their names in a trace file, in the layout of transformers'
/// outputs.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Each text as it stands in `input_ids`, without padding.
    pub tokens: Vec<Tokens>,
    /// `pixel_values`, `logits` and so on, and each activation under the name of its site. A model that holds a text
    /// against a picture reads several times; then the names begin with `itc.` (contrast: BLIP-2's `itc.image.` and
    /// `itc.text.`) or, of BLIP-2, `itm.` (matching).
    pub floats: BTreeMap<String, Array>,
    /// `input_ids`, masks and so on.
    pub ids: BTreeMap<String, IdArray>,
    /// How many activations were wanted and seen.
    pub sites: usize,
    /// What was written, without special tokens; of a model that writes.
    pub written: Option<String>,
}

/// A model of any kind whose pass can be recorded, opened.
pub enum Recordable {
    /// CLIP or SigLIP.
    DualEncoder(Box<Opened>),
    /// BLIP or Flamingo.
    Fusion(Box<OpenedFusion>),
    /// BLIP-2 or InstructBLIP.
    Querying(Box<OpenedQuerying>),
    /// LLaVA.
    Projector(Box<OpenedProjector>),
}

impl Recordable {
    /// Opens a Hugging Face folder of any class that is known here.
    ///
    /// # Errors
    /// If a file is missing or damaged, the class is unknown, or config and weights don't fit each other.
    pub fn open(folder: &Path, runtime: impl Into<Runtime>) -> Result<Self> {
        let runtime = &runtime.into();
        let checkpoint = Checkpoint::open(folder)?;
        let class = checkpoint.class();
        if super::fusion::CLASSES.contains(&class) {
            return Ok(Self::Fusion(Box::new(OpenedFusion::open(folder, runtime)?)));
        }
        if super::querying::CLASSES.contains(&class) {
            return Ok(Self::Querying(Box::new(OpenedQuerying::open(folder, runtime)?)));
        }
        if super::projector::CLASSES.contains(&class) {
            return Ok(Self::Projector(Box::new(OpenedProjector::open(folder, runtime)?)));
        }
        Ok(Self::DualEncoder(Box::new(Opened::open(folder, runtime)?)))
    }

    /// The folder and its config.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        match self {
            Self::DualEncoder(opened) => &opened.checkpoint,
            Self::Fusion(opened) => &opened.checkpoint,
            Self::Querying(opened) => &opened.checkpoint,
            Self::Projector(opened) => &opened.checkpoint,
        }
    }

    /// Rows and columns of patches.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        match self {
            Self::DualEncoder(opened) => opened.dual_encoder().grid(),
            Self::Fusion(opened) => opened.grid(),
            Self::Querying(opened) => opened.grid(),
            Self::Projector(opened) => opened.grid(),
        }
    }

    /// Runs the model once over pictures and texts, and lets it write if it does.
    ///
    /// # Errors
    /// If there are more or fewer pictures or texts than the model takes, a prompt for a model that writes nothing, the
    /// model gives numbers that aren't finite, or the pass fails.
    pub fn record(&self, wanted: &Wanted<'_>) -> Result<Pass> {
        match self {
            Self::DualEncoder(opened) => opened.record(wanted),
            Self::Fusion(opened) => opened.record(wanted),
            Self::Querying(opened) => opened.record(wanted),
            Self::Projector(opened) => opened.record(wanted),
        }
    }

    /// What to hand to a model that was trained on conversations, for a question about `pictures` pictures: what the chat
    /// template of the checkpoint makes of it.
    ///
    /// # Errors
    /// If the model takes texts as they are, or the template is missing or can't be used.
    pub fn asked(&self, question: &str, pictures: usize) -> Result<String> {
        match self {
            Self::Projector(opened) => opened.asked(question, pictures),
            Self::DualEncoder(_) | Self::Fusion(_) | Self::Querying(_) => {
                let problem = format!("a '{}' was trained on no conversations", self.checkpoint().class());
                Err(Error::unusable(problem, "give it the text as it is"))
            }
        }
    }
}

impl<'a> Wanted<'a> {
    /// The only text.
    fn text(&self) -> Result<&'a str> {
        match self.texts {
            [text] => Ok(text.as_str()),
            texts => Err(Error::unusable(
                format!("a model that writes was given {} texts", texts.len()),
                "give it one text, and the others in traces of their own",
            )),
        }
    }

    /// The only picture.
    fn picture(&self) -> Result<&'a RgbImage> {
        match self.pictures {
            [picture] => Ok(*picture),
            pictures => Err(Error::unusable(
                format!("a model that writes about one picture was given {}", pictures.len()),
                "give it one, and the others in traces of their own",
            )),
        }
    }

    /// Refuses a prompt, as a model must that writes nothing.
    fn without_prompt(&self) -> Result<()> {
        if self.prompt.is_some() {
            return Err(Error::unusable("this model writes nothing that could go on from a prompt", "leave it out"));
        }
        Ok(())
    }

    /// What was seen of the pictures, `states` `[pictures, keys, width]`, once for each text, `[texts, keys, width]`.
    fn for_each_text(&self, states: &Tensor) -> Result<Tensor> {
        let (pictures, keys, width) = states.dims3()?;
        let texts = self.texts.len();
        if pictures == texts {
            return Ok(states.clone());
        }
        if pictures == 1 {
            return Ok(states.broadcast_as((texts, keys, width))?.contiguous()?);
        }
        Err(Error::unusable(
            format!("there are {texts} texts for {pictures} pictures"),
            "give each text its picture, or all of them one",
        ))
    }

    /// Refuses that there is no picture or no text.
    fn check(&self) -> Result<()> {
        if self.pictures.is_empty() {
            return Err(Error::unusable("there is no picture", "give one"));
        }
        if self.texts.is_empty() {
            return Err(Error::unusable("there is no text", "write one"));
        }
        Ok(())
    }
}

impl Pass {
    /// Refuses scores that aren't finite; where these are, all that led to them is.
    fn checked(self, checkpoint: &Checkpoint) -> Result<Self> {
        let mut scores = self.floats.iter().filter(|(name, _)| name.contains("logits")).map(|(_, array)| array);
        if scores.any(|array| array.data.iter().any(|value| !value.is_finite())) {
            return Err(Error::unusable("the model gives scores that aren't finite", "fetch or train it again")
                .at(&checkpoint.folder));
        }
        Ok(self)
    }

    fn float(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        self.floats.insert(name.to_owned(), Array::from_tensor(tensor)?);
        Ok(())
    }

    /// Adds ids or a mask.
    fn id(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let data = tensor.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
        self.ids.insert(name.to_owned(), IdArray { shape: tensor.dims().to_vec(), data });
        Ok(())
    }

    /// Adds the ids of texts and their mask.
    fn texts(&mut self, batch: &TextBatch) -> Result<()> {
        self.id("input_ids", &batch.ids)?;
        batch.attention_mask.as_ref().map_or(Ok(()), |mask| self.id("attention_mask", mask))
    }

    /// Adds the ids of one text, `[1, tokens]`.
    fn row(&mut self, name: &str, ids: &[u32]) {
        let data = ids.iter().map(|id| i64::from(*id)).collect();
        self.ids.insert(name.to_owned(), IdArray { shape: vec![1, ids.len()], data });
    }

    /// Adds what was seen, with `front` before the names of the sites.
    fn see(&mut self, front: &str, recording: Recording) {
        self.sites += recording.activations.len();
        let named = recording.activations.into_iter().map(|(site, array)| (format!("{front}{site}"), array));
        self.floats.extend(named);
    }

    /// Adds what was written, `new` tokens.
    fn write(&mut self, new: &[u32], tokenizer: &TextTokenizer) -> Result<()> {
        self.row("generated_ids", new);
        self.written = Some(tokenizer.decode(new)?);
        Ok(())
    }
}
