//! What is measured of a model whose words look at the picture: matching, answers, captions, and the pointing game by
//! layer and head.

use candle_core::Tensor;
use image::RgbImage;
use serde::Serialize;

use super::fusion_pointing::{self, FusionPointing, Place};
use super::sentences::{About, Answers, BATCH, Captions, Matching};
use super::table::Column;
use super::{contrastive::Plan, figures::Figures};
use crate::error::Result;
use crate::models::fusion::{OpenedFusion, Task};
use crate::taps::{Array, CancelToken, Taps};
use crate::world::{Language, Scene, Split};

/// The figures on one split in one language.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Which scenes.
    pub split: Split,
    /// Which language.
    pub language: Language,
    /// Whether true sentences are told from nearly true ones.
    pub matching: Option<Matching>,
    /// Answers by kind of question.
    pub answers: Vec<Answers>,
    /// Nouns of captions.
    pub captions: Option<Captions>,
    /// The pointing game.
    pub pointing: Vec<FusionPointing>,
}

/// An evaluation under way.
pub(super) struct Run<'a> {
    pub opened: &'a OpenedFusion,
    pub stop: &'a CancelToken,
}

/// Measures a checkpoint; `progress` hears how many parts of how many are done.
///
/// # Errors
/// If the checkpoint is of another class, there are too few scenes, the work is cancelled, or a pass fails.
pub fn evaluate(
    opened: &OpenedFusion,
    plan: Plan,
    stop: &CancelToken,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Figures<Part>> {
    let run = Run { opened, stop };
    let task = opened.task();
    let see = |scenes: &[Scene]| run.states(scenes);
    let measure = |scenes: &[Scene], states: &Tensor, split: Split, language: Language| {
        let judge = |about: &[About<'_>]| run.judge(about, states);
        let write = |about: &[About<'_>], most: usize| run.written(about, states, most);
        let answers = task == Task::Answer || opened.flamingo().is_some();
        Ok(Part {
            split,
            language,
            matching: (task == Task::Match).then(|| Matching::measure(scenes, language, judge)).transpose()?,
            answers: if answers { Answers::measure(scenes, language, write)? } else { Vec::new() },
            captions: (task == Task::Write).then(|| Captions::measure(scenes, language, write)).transpose()?,
            pointing: fusion_pointing::play(&run, scenes, language)?,
        })
    };
    Figures::measure(&opened.checkpoint, opened.parameters, plan, progress, see, measure)
}

impl Run<'_> {
    /// What words look at, of each scene, `[scenes, keys, width]`.
    fn states(&self, scenes: &[Scene]) -> Result<Tensor> {
        let mut states = Vec::new();
        for chunk in scenes.chunks(BATCH) {
            let mut taps = Taps::none().cancelled_by(self.stop);
            states.push(self.opened.see(&self.pixels(chunk)?, &mut taps)?);
        }
        Ok(Tensor::cat(&states, 0)?)
    }

    pub fn pixels(&self, scenes: &[Scene]) -> Result<Tensor> {
        let pictures: Vec<RgbImage> = scenes.iter().map(Scene::draw).collect();
        self.opened.pixels(&pictures.iter().collect::<Vec<_>>())
    }

    /// Whether the model holds each text true of its scene.
    fn judge(&self, about: &[About<'_>], states: &Tensor) -> Result<Vec<bool>> {
        let texts = self.opened.tokenizer.pad(&self.rows(about)?, &self.opened.device)?;
        let seen = rows_of(states, about.iter().map(|(scene, _)| *scene))?;
        let mut taps = Taps::none().cancelled_by(self.stop);
        let Some(logits) = self.opened.read(&texts, &seen, &mut taps)?.matching else { return Ok(Vec::new()) };
        let logits = Array::from_tensor(&logits)?; // [texts, 2]
        Ok((0..about.len()).map(|at| logits.row(at)[1] > logits.row(at)[0]).collect())
    }

    /// What is written behind each text about a scene, or the answer to it.
    fn written(&self, about: &[About<'_>], states: &Tensor, most: usize) -> Result<Vec<String>> {
        let seen = rows_of(states, about.iter().map(|(scene, _)| *scene))?;
        let written = self.opened.write_all(&self.rows(about)?, &seen, most, self.stop)?;
        written.iter().map(|ids| self.opened.tokenizer.decode(ids)).collect()
    }

    fn rows(&self, about: &[About<'_>]) -> Result<Vec<Vec<u32>>> {
        about.iter().map(|(_, text)| Ok(self.opened.tokens(text)?.ids)).collect()
    }
}

/// The rows of `states` `[scenes, keys, width]` at these places.
pub(super) fn rows_of(states: &Tensor, rows: impl Iterator<Item = usize>) -> Result<Tensor> {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    Ok(states.index_select(&Tensor::new(rows, states.device())?, 0)?)
}

/// How well each head grounds where a noun is written (or, where none is, read): the share of nouns on whose object its raw
/// attention is highest, `[layers][heads]`.
///
/// # Errors
/// If the work is cancelled, or a pass fails.
pub fn heads(opened: &OpenedFusion, scenes: &[Scene], stop: &CancelToken) -> Result<Vec<Vec<f64>>> {
    let played = fusion_pointing::play(&Run { opened, stop }, scenes, Language::English)?;
    let of = |place: Place| played.iter().find(|pointing| pointing.place == place);
    Ok(of(Place::Predict).or(of(Place::Read)).map(|pointing| pointing.raw_heads.clone()).unwrap_or_default())
}

impl Column for Part {
    fn of(&self) -> (Split, Language) {
        (self.split, self.language)
    }

    fn matching(&self) -> Option<&Matching> {
        self.matching.as_ref()
    }

    fn answers(&self) -> &[Answers] {
        &self.answers
    }

    fn captions(&self) -> Option<&Captions> {
        self.captions.as_ref()
    }
}
