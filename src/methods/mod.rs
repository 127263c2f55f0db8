//! The four ways in which models align vision and language, each giving [`Evidence`] of the same parts.
//!
//! Everything that the views draw comes from here; nothing above this layer sees a tensor.

pub mod contrastive;
pub mod evidence;
pub mod familiarity;

use candle_core::Device;
use image::RgbImage;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::taps::CancelToken;
use crate::world::Language;
pub use evidence::{Cloud, CloudPoint, Evidence, Heatmap, PointKind, Scores, Stage, WordMaps};

/// What the person gave.
#[derive(Clone)]
pub struct Input {
    /// The picture.
    pub picture: Arc<RgbImage>,
    /// The sentence.
    pub sentence: String,
    /// The selected words, as bytes of the sentence; the whole sentence where nothing is selected.
    pub selection: Option<(usize, usize)>,
    /// The language in which words of the sticker world are offered for a patch.
    pub language: Language,
    /// Pictures with captions to compare with.
    pub comparison: Arc<Vec<Pair>>,
}

impl Input {
    /// The text of the selection, or the whole sentence.
    #[must_use]
    pub fn phrase(&self) -> &str {
        let selected = self.selection.and_then(|(start, end)| self.sentence.get(start..end));
        selected.map_or_else(|| self.sentence.trim(), str::trim)
    }
}

/// A picture with its caption.
#[derive(Clone)]
pub struct Pair {
    /// A name that stays the same, to remember what was computed.
    pub key: String,
    /// The picture.
    pub picture: Arc<RgbImage>,
    /// What it shows.
    pub caption: String,
}

/// A method with its checkpoint loaded.
pub trait Method {
    /// Computes the evidence and hands it out, first with what was asked for, then with what completes it.
    ///
    /// # Errors
    /// If the work is cancelled, or the input can't be used.
    fn evidence(&mut self, input: &Input, cancel: &CancelToken, emit: &mut dyn FnMut(Evidence)) -> Result<()>;
}

/// One of the four ways.
pub struct MethodEntry {
    /// Its name on the command line.
    pub key: &'static str,
    /// Its name in English and Chinese.
    pub title: [&'static str; 2],
    /// What it does, in one sentence, in English and Chinese.
    pub summary: [&'static str; 2],
    /// Its help, Markdown, in English and Chinese.
    pub help: [&'static str; 2],
    /// The classes of checkpoints that work this way.
    pub classes: &'static [&'static str],
    /// Loads a checkpoint.
    pub open: fn(&Path, &Device) -> Result<Box<dyn Method>>,
}

/// Every method.
pub const METHODS: &[MethodEntry] = &[contrastive::ENTRY];
