//! The four ways in which models align vision and language, each giving [`Evidence`] of the same parts.
//!
//! Everything that the views draw comes from here; nothing above this layer sees a tensor.

pub mod attention;
pub mod contrastive;
pub mod cost;
pub mod cross_attention;
pub mod evidence;
mod expected;
pub mod faithful;
pub mod familiarity;
pub mod gradients;
pub mod grounding;
pub mod holding;
pub mod interventions;
pub mod maps;
pub mod pairs;
pub mod projector;
pub mod queries;
pub mod querying;
pub mod reading;
pub mod sanity;
mod sinks;
pub mod spliced;
mod vectors;
mod words;

use image::RgbImage;
use std::path::Path;
use std::sync::Arc;

use crate::attribution::bimodal_relevancy::Flow;
use crate::error::Result;
use crate::models::checkpoint::Checkpoint;
use crate::models::runtime::Runtime;
use crate::taps::{CancelToken, Tower};
use crate::world::Language;
pub use evidence::{Cloud, CloudPoint, Evidence, Heatmap, PointKind, Scores, Stage, WordMaps};
pub use holding::{About, Claim, Held, Holder, Measure};
pub use interventions::{Anatomy, Intervention, Route};
pub use maps::MapKind;
pub use words::{is_question, written};

/// What the person gave.
#[derive(Clone)]
pub struct Input {
    /// The picture.
    pub picture: Arc<RgbImage>,
    /// The sentence.
    pub sentence: String,
    /// The selected words, as bytes of the sentence; the whole sentence where nothing is selected.
    pub selection: Option<(usize, usize)>,
    /// Whether the next question is expected before this one is answered: then the maps of the selection are enough.
    pub brief: bool,
    /// The language in which words of the sticker world are offered for a patch.
    pub language: Language,
    /// Pictures with captions to compare with.
    pub comparison: Arc<Vec<Pair>>,
    /// The tower and layer whose attention is looked at (`None` is the last layer); the others are kept where there is
    /// room.
    pub attention: (Tower, Option<usize>),
    /// What the patterns of a tower may take, in megabytes; of the layer that is looked at they are kept in any case.
    pub attention_ceiling: u32,
    /// Gates of Flamingo that are closed, counted as its gated cross-attentions are.
    pub closed_gates: Vec<usize>,
    /// The layer whose hidden states are the cloud, counted from the input on; `None` is the last.
    pub hidden_layer: Option<usize>,
    /// Queries of a querying transformer that are left out.
    pub dropped_queries: Vec<usize>,
    /// The instruction after which queries are compared with what they are after the sentence; `None` is no instruction.
    pub compared_instruction: Option<String>,
    /// What is changed in the model.
    pub interventions: Vec<Intervention>,
    /// What is changed in it besides while it is asked how strongly it holds to something, which it says or knows without.
    pub tried: Vec<Intervention>,
}

impl Input {
    /// A picture and a sentence, with everything else as it usually is.
    #[must_use]
    pub fn new(picture: Arc<RgbImage>, sentence: impl Into<String>, language: Language) -> Self {
        Self {
            picture,
            sentence: sentence.into(),
            selection: None,
            brief: false,
            language,
            comparison: Arc::default(),
            attention: (Tower::Vision, None),
            attention_ceiling: attention::CEILING,
            closed_gates: Vec::new(),
            hidden_layer: None,
            dropped_queries: Vec::new(),
            compared_instruction: None,
            interventions: Vec::new(),
            tried: Vec::new(),
        }
    }

    /// What is changed in the model while it is asked how strongly it holds to something.
    #[must_use]
    pub fn all_interventions(&self) -> Vec<Intervention> {
        [self.interventions.as_slice(), &self.tried].concat()
    }

    /// The text of the selection, or the whole sentence.
    #[must_use]
    pub fn phrase(&self) -> &str {
        let selected = self.selection.and_then(|(start, end)| self.sentence.get(start..end));
        selected.map_or_else(|| self.sentence.trim(), str::trim)
    }

    /// Whether a token that stands at these bytes of the sentence belongs to the selection, or to the whole sentence.
    #[must_use]
    pub fn asks_for(&self, span: Option<(usize, usize)>) -> bool {
        let (start, end) = self.selection.unwrap_or((0, self.sentence.len()));
        span.is_some_and(|(from, to)| from < end && to > start)
    }
}

/// A picture with its caption.
#[derive(Clone)]
pub struct Pair {
    /// Its place in the person's list.
    pub at: usize,
    /// The picture.
    pub picture: Arc<RgbImage>,
    /// What it shows.
    pub caption: String,
}

/// A method with its checkpoint loaded.
pub trait Method: Send {
    /// Computes the evidence and hands it out, first with what was asked for, then with what completes it.
    ///
    /// # Errors
    /// If the work is cancelled, or the input can't be used.
    fn evidence(&mut self, input: &Input, cancel: &CancelToken, emit: &mut dyn FnMut(News)) -> Result<()>;

    /// Where in the model something can be changed, as it reads `input`.
    ///
    /// # Errors
    /// If the text can't be used.
    fn anatomy(&self, input: &Input) -> Result<Anatomy>;

    /// How strongly the model holds to a claim about some pictures: what the maps of these words explain.
    ///
    /// # Errors
    /// If the work is cancelled, or the model can't be asked for these words.
    fn hold(&mut self, input: &Input, about: &About<'_>, cancel: &CancelToken) -> Result<Held>;

    /// How what the model holds to leads through its attentions to the patches.
    ///
    /// # Errors
    /// If the work is cancelled, the model can't be asked for these words, or its attentions don't lead from them to patches.
    fn flow(&mut self, input: &Input, claim: Claim, cancel: &CancelToken) -> Result<Flow>;

    /// What a picture costs, as the model is without interventions.
    ///
    /// # Errors
    /// If the work is stopped, or the text can't be used.
    fn cost(&self, asked: cost::Asked<'_>) -> Result<cost::PictureCost>;
}

/// What comes out while a method computes.
pub enum News {
    /// Evidence; more complete evidence may follow.
    Evidence(Box<Evidence>),
    /// How far the work is, from 0 to 1.
    Progress(f32),
}

/// One of the four ways.
pub struct MethodEntry {
    /// Its name on the command line. Its title and what it does in one sentence stand in the language files, as
    /// `method-` with the key behind it, and that with `-summary`.
    pub key: &'static str,
    /// Its help, Markdown, in English and Chinese.
    pub help: [&'static str; 2],
    /// The classes of checkpoints that work this way.
    pub classes: &'static [&'static str],
    /// The built-in checkpoint that is run where none was chosen. Where there is no checkpoint at all, the text
    /// `method-` with the key and `-missing` says how to come by one.
    pub usual: &'static str,
    /// Loads a checkpoint.
    pub open: fn(&Path, &Runtime) -> Result<Box<dyn Method>>,
}

/// The method with this key.
#[must_use]
pub fn named(key: &str) -> Option<&'static MethodEntry> {
    METHODS.iter().find(|method| method.key == key)
}

/// The method that runs a checkpoint.
///
/// # Errors
/// If none does.
pub fn entry_of(checkpoint: &Checkpoint) -> Result<&'static MethodEntry> {
    let class = checkpoint.class();
    METHODS
        .iter()
        .find(|method| method.classes.contains(&class))
        .ok_or_else(|| checkpoint.config_error(format!("the checkpoint is a '{class}', which no method here can run")))
}

/// Every method.
pub const METHODS: &[MethodEntry] = &[contrastive::ENTRY, cross_attention::ENTRY, querying::ENTRY, projector::ENTRY];
