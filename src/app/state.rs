//! What the person chose. Kept between sessions.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use crate::world::Language;

/// Everything that a person can choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppState {
    /// The picture.
    pub picture: PictureSource,
    /// The sentence; empty at the very first start, when the sample's caption is taken.
    pub sentence: String,
    /// The selected words, as bytes of the sentence.
    pub selection: Option<(usize, usize)>,
    /// The selected patch.
    pub patch: Option<usize>,
    /// Which map is shown large.
    pub layer: Layer,
    /// How strongly the map covers the picture, from 0 to 1.
    pub opacity: f32,
    /// Whether the map is drawn smooth instead of patch by patch.
    pub smooth: bool,
    /// What the colours of a map are measured against.
    pub scale: Scale,
    /// The language of the interface and of the sample captions.
    pub language: Language,
    /// Light or dark.
    pub theme: Theme,
    /// The folder of the checkpoint.
    pub checkpoint: Option<PathBuf>,
}

impl Default for AppState {
    fn default() -> Self {
        Self {
            picture: PictureSource::Sample("scene-000101".into()),
            sentence: String::new(),
            selection: None,
            patch: None,
            layer: Layer::default(),
            opacity: 0.65,
            smooth: true,
            scale: Scale::Shared,
            language: Language::English,
            theme: Theme::Dark,
            checkpoint: None,
        }
    }
}

/// Where the picture comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PictureSource {
    /// A sample, by its key.
    Sample(String),
    /// A file.
    File(PathBuf),
}

/// Which attribution is shown large, by its key in [`crate::attribution::ATTRIBUTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer(pub &'static str);

impl Default for Layer {
    /// Relevancy: the raw cosine of a plainly trained model misleads.
    fn default() -> Self {
        Self("relevancy")
    }
}

impl Serialize for Layer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Layer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An attribution that a newer or older version knew is no reason to lose the rest of the state.
        let key = String::deserialize(deserializer)?;
        Ok(crate::attribution::named(&key).map_or_else(Self::default, |attribution| Self(attribution.key)))
    }
}

/// What the colours of a map are measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// The highest value among all words of the sentence: maps can be compared.
    Shared,
    /// The map's own highest value: weak maps look as strong as strong ones.
    Own,
}

/// Light or dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Theme {
    /// Light.
    Light,
    /// Dark.
    Dark,
}
