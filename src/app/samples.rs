//! The sample menu: sticker scenes, whose pixels are made on the spot, and a few photographs.

use image::RgbImage;
use serde::Deserialize;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::models::picture::Picture;
use crate::world::{Language, Scene, read_scene};

/// A picture with captions that comes with the program.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its name, which stays the same.
    pub key: String,
    /// Its captions in English and Chinese.
    pub captions: [String; 2],
    /// Where its pixels come from.
    pub source: SampleSource,
}

/// Where a sample's pixels come from.
#[derive(Clone, Debug)]
pub enum SampleSource {
    /// A sticker scene, of which everything is known.
    Scene(Box<Scene>),
    /// A file.
    Photograph(PathBuf),
}

#[derive(Deserialize)]
struct Entry {
    file: PathBuf,
    english: String,
    chinese: String,
}

/// All samples, scenes first. Empty if the program's files can't be found.
#[must_use]
pub fn samples() -> Vec<Sample> {
    let Some(folder) = crate::resources::folder("sample-data") else { return Vec::new() };
    let entries = std::fs::read(folder.join("captions.json")).ok();
    let entries: Vec<Entry> = entries.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let mut samples: Vec<Sample> = entries
        .into_iter()
        .filter_map(|entry| {
            let key = entry.file.file_stem()?.to_string_lossy().into_owned();
            let path = folder.join(&entry.file);
            let source = match read_scene(&path.with_extension("json")) {
                Ok(description) => SampleSource::Scene(Box::new(description.scene)),
                Err(_) => SampleSource::Photograph(path),
            };
            Some(Sample { key, captions: [entry.english, entry.chinese], source })
        })
        .collect();
    samples.sort_by_key(|sample| matches!(sample.source, SampleSource::Photograph(_)));
    samples
}

impl Sample {
    /// The sample's pixels.
    ///
    /// # Errors
    /// If its file can't be read.
    pub fn picture(&self) -> Result<RgbImage> {
        match &self.source {
            SampleSource::Scene(scene) => Ok(scene.draw()),
            SampleSource::Photograph(path) => Ok(Picture::open(path)?.pixels),
        }
    }

    /// The sample called `key`.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(key: &str) -> Result<Self> {
        let found = samples().into_iter().find(|sample| sample.key == key);
        found.ok_or_else(|| {
            Error::unusable(format!("there is no sample '{key}'"), "choose another from the sample menu")
        })
    }

    /// The last thing that the caption names, as bytes of the caption: a good first selection.
    #[must_use]
    pub fn suggested_selection(&self, language: usize) -> Option<(usize, usize)> {
        let SampleSource::Scene(scene) = &self.source else { return None };
        let phrases = scene.phrases(Language::ALL[language]);
        let places = phrases.iter().filter_map(|phrase| {
            let start = self.captions[language].find(&phrase.text)?;
            Some((start, start + phrase.text.len()))
        });
        places.max()
    }
}

/// The scenes of the sample menu, by their keys: what is compared with at first.
#[must_use]
pub fn scene_keys() -> Vec<String> {
    let scenes = samples().into_iter().filter(|sample| matches!(sample.source, SampleSource::Scene(_)));
    scenes.map(|sample| sample.key).collect()
}
