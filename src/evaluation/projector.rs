//! What is measured of a model that reads pictures as words: answers, captions, the pointing game in its own row, and how many
//! patches lie nearest to a word that names what they show.

use candle_core::Tensor;
use image::RgbImage;
use serde::Serialize;

use super::contrastive::Plan;
use super::figures::Figures;
use super::fusion::rows_of;
use super::fusion_pointing::Place;
use super::projector_pointing::{self, ProjectorPointing};
use super::projector_words::{self, PatchNames};
use super::sentences::{About, Answers, BATCH, Captions, Matching};
use super::table::Column;
use crate::error::Result;
use crate::models::projector::OpenedProjector;
use crate::taps::{CancelToken, Taps};
use crate::world::{Language, Scene, Split};

/// The figures on one split in one language.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProjectorPart {
    /// Which scenes.
    pub split: Split,
    /// Which language.
    pub language: Language,
    /// Answers by kind of question.
    pub answers: Vec<Answers>,
    /// Nouns of captions.
    pub captions: Option<Captions>,
    /// The pointing game while a caption is read and while it is written, and while a question about a colour is answered.
    pub pointing: Vec<ProjectorPointing>,
    /// By depth, how many patches of objects lie nearest to a word that names the object, in whichever language: the same in
    /// both columns of a split.
    pub names: Vec<PatchNames>,
}

impl Column for ProjectorPart {
    fn of(&self) -> (Split, Language) {
        (self.split, self.language)
    }

    fn matching(&self) -> Option<&Matching> {
        None
    }

    fn answers(&self) -> &[Answers] {
        &self.answers
    }

    fn captions(&self) -> Option<&Captions> {
        self.captions.as_ref()
    }
}

/// An evaluation under way.
pub(super) struct Run<'a> {
    pub opened: &'a OpenedProjector,
    pub stop: &'a CancelToken,
}

/// Measures a checkpoint; `progress` hears how many parts of how many are done.
///
/// # Errors
/// If there are too few scenes, the work is cancelled, or a pass fails.
pub fn evaluate(
    opened: &OpenedProjector,
    plan: Plan,
    stop: &CancelToken,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Figures<ProjectorPart>> {
    let run = Run { opened, stop };
    let see = |scenes: &[Scene]| {
        let features = run.features(scenes)?;
        let names = projector_words::measure(&run, scenes, &features)?;
        Ok((features, names))
    };
    let measure = |scenes: &[Scene], seen: &(Tensor, Vec<PatchNames>), split: Split, language: Language| {
        let (features, names) = seen;
        let write = |about: &[About<'_>], most: usize| run.written(about, features, most);
        Ok(ProjectorPart {
            split,
            language,
            answers: Answers::measure(scenes, language, write)?,
            captions: Some(Captions::measure(scenes, language, write)?),
            pointing: projector_pointing::play(&run, scenes, features, language)?,
            names: names.clone(),
        })
    };
    Figures::measure(&opened.checkpoint, opened.parameters, plan, progress, see, measure)
}

impl Run<'_> {
    /// What the projector gets of each scene, `[scenes, positions, feature width]`.
    fn features(&self, scenes: &[Scene]) -> Result<Tensor> {
        let mut features = Vec::new();
        for chunk in scenes.chunks(BATCH) {
            let pictures: Vec<RgbImage> = chunk.iter().map(Scene::draw).collect();
            let pixels = self.opened.pixels(&pictures.iter().collect::<Vec<_>>())?;
            features.push(self.opened.see(&pixels, &mut Taps::none().cancelled_by(self.stop))?);
        }
        Ok(Tensor::cat(&features, 0)?)
    }

    /// What is written behind each text about a scene, or the answer to it.
    fn written(&self, about: &[About<'_>], features: &Tensor, most: usize) -> Result<Vec<String>> {
        let prompts: Vec<&str> = about.iter().map(|(_, text)| *text).collect();
        let seen = rows_of(features, about.iter().map(|(scene, _)| *scene))?;
        let written = self.opened.write_all(&prompts, &seen, most, self.stop)?;
        written.iter().map(|ids| self.opened.tokenizer.decode(ids)).collect()
    }
}

/// How well each head of the language model grounds at the position that predicts a noun: the share of nouns on whose object its
/// raw attention is highest, `[layers][heads]`.
///
/// # Errors
/// If the work is cancelled, or a pass fails.
pub fn heads(opened: &OpenedProjector, scenes: &[Scene], stop: &CancelToken) -> Result<Vec<Vec<f64>>> {
    let run = Run { opened, stop };
    let played = projector_pointing::play(&run, scenes, &run.features(scenes)?, Language::English)?;
    let while_predicted = played.into_iter().find(|pointing| pointing.place == Place::Predict);
    Ok(while_predicted.map(|pointing| pointing.raw_heads).unwrap_or_default())
}
