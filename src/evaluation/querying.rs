//! What is measured of a model whose queries look at the picture: retrieval and matching, or answers and captions, and the
//! pointing game through the queries.

use candle_core::Tensor;
use image::RgbImage;
use serde::Serialize;

use super::contrastive::{Plan, RETRIEVAL_SCENES};
use super::figures::Figures;
use super::fusion::rows_of;
use super::querying_pointing::{self, QueryingPointing};
use super::retrieval::Retrieval;
use super::sentences::{About, Answers, BATCH, Captions, Matching};
use super::table::Column;
use crate::error::Result;
use crate::models::blip_2_retrieval::Blip2Retrieval;
use crate::models::querying::OpenedQuerying;
use crate::taps::{Array, CancelToken, Taps};
use crate::world::{Language, Scene, Split};

/// The figures on one split in one language.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueryingPart {
    /// Which scenes.
    pub split: Split,
    /// Which language.
    pub language: Language,
    /// Finding texts and pictures by the best of the queries; of a model for retrieval.
    pub retrieval: Option<Retrieval>,
    /// Whether true sentences are told from nearly true ones; of a model for retrieval.
    pub matching: Option<Matching>,
    /// Answers by kind of question; of a model that writes.
    pub answers: Vec<Answers>,
    /// Nouns of captions; of a model that writes.
    pub captions: Option<Captions>,
    /// The pointing game; none where an encoder stands between queries and what is written (T5).
    pub pointing: Option<QueryingPointing>,
}

impl Column for QueryingPart {
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

/// An evaluation under way.
pub(super) struct Run<'a> {
    pub opened: &'a OpenedQuerying,
    pub stop: &'a CancelToken,
}

/// Measures a checkpoint; `progress` hears how many parts of how many are done.
///
/// # Errors
/// If there are too few scenes, the work is cancelled, or a pass fails.
pub fn evaluate(
    opened: &OpenedQuerying,
    plan: Plan,
    stop: &CancelToken,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Figures<QueryingPart>> {
    let run = Run { opened, stop };
    let see = |scenes: &[Scene]| run.states(scenes);
    let measure = |scenes: &[Scene], states: &Tensor, split: Split, language: Language| {
        let mut part = QueryingPart {
            split,
            language,
            retrieval: None,
            matching: None,
            answers: Vec::new(),
            captions: None,
            pointing: querying_pointing::play(&run, scenes, states, language)?,
        };
        if let Some(model) = opened.retrieval() {
            let judge = |about: &[About<'_>]| run.judge(model, about, states);
            part.retrieval = Some(run.retrieval(model, scenes, states, language)?);
            part.matching = Some(Matching::measure(scenes, language, judge)?);
        } else {
            let write = |about: &[About<'_>], most: usize| run.written(about, states, most);
            part.answers = Answers::measure(scenes, language, write)?;
            part.captions = Some(Captions::measure(scenes, language, write)?);
        }
        Ok(part)
    };
    Figures::measure(&opened.checkpoint, opened.parameters, plan, progress, see, measure)
}

impl Run<'_> {
    /// What queries look at, of each scene, `[scenes, 1 + patches, vision width]`.
    fn states(&self, scenes: &[Scene]) -> Result<Tensor> {
        let mut states = Vec::new();
        for chunk in scenes.chunks(BATCH) {
            let pictures: Vec<RgbImage> = chunk.iter().map(Scene::draw).collect();
            let pixels = self.opened.pixels(&pictures.iter().collect::<Vec<_>>())?;
            states.push(self.opened.see(&pixels, &mut Taps::none().cancelled_by(self.stop))?);
        }
        Ok(Tensor::cat(&states, 0)?)
    }

    /// Texts in the shared space, `[texts, shared]`.
    pub fn texts(&self, model: &Blip2Retrieval, texts: &[&str]) -> Result<Tensor> {
        let texts = self.opened.tokenizer.batch(texts, &self.opened.device)?;
        model.embed_text((&texts).into(), &mut Taps::none().cancelled_by(self.stop))
    }

    /// The best text of each picture and the best picture of each text; of several queries the best counts.
    fn retrieval(
        &self,
        model: &Blip2Retrieval,
        scenes: &[Scene],
        states: &Tensor,
        language: Language,
    ) -> Result<Retrieval> {
        let count = scenes.len().min(RETRIEVAL_SCENES);
        let mut pictures = Vec::new();
        for begin in (0..count).step_by(BATCH) {
            let seen = rows_of(states, begin..count.min(begin + BATCH))?;
            pictures.push(model.embed_image(&seen, None, &mut Taps::none().cancelled_by(self.stop))?);
        }
        let pictures = Tensor::cat(&pictures, 0)?; // [scenes, queries, shared]
        Retrieval::among(&scenes[..count], language, |captions| {
            let texts = captions.chunks(BATCH).map(|chunk| self.texts(model, chunk)).collect::<Result<Vec<_>>>()?;
            let best = Blip2Retrieval::contrast(&pictures, &Tensor::cat(&texts, 0)?)?.max(1)?; // [scenes, texts]
            Ok(Array::from_tensor(&best)?.data)
        })
    }

    /// Whether the model holds each text true of its scene.
    fn judge(&self, model: &Blip2Retrieval, about: &[About<'_>], states: &Tensor) -> Result<Vec<bool>> {
        let texts: Vec<&str> = about.iter().map(|(_, text)| *text).collect();
        let texts = self.opened.tokenizer.batch(&texts, &self.opened.device)?;
        let seen = rows_of(states, about.iter().map(|(scene, _)| *scene))?;
        let mut taps = Taps::none().cancelled_by(self.stop);
        let logits = model.match_logits((&texts).into(), &seen, None, &mut taps)?; // [texts, queries, 2]
        let logits = Array::from_tensor(&logits.mean(1)?)?; // [texts, 2]
        Ok((0..about.len()).map(|at| logits.row(at)[1] > logits.row(at)[0]).collect())
    }

    /// What is written behind each text about a scene, or the answer to it.
    fn written(&self, about: &[About<'_>], states: &Tensor, most: usize) -> Result<Vec<String>> {
        let prompts: Vec<&str> = about.iter().map(|(_, text)| *text).collect();
        let seen = rows_of(states, about.iter().map(|(scene, _)| *scene))?;
        let written = self.opened.write_all(&prompts, &seen, most, self.stop)?;
        written.iter().map(|ids| self.opened.tokenizer.decode(ids)).collect()
    }
}

/// How well each head of the cross-attention grounds in the query that stands for a noun: the share of nouns on whose object it is
/// highest, `[layers][heads]`; empty where no query stands for a noun.
///
/// # Errors
/// If the work is cancelled, or a pass fails.
pub fn heads(opened: &OpenedQuerying, scenes: &[Scene], stop: &CancelToken) -> Result<Vec<Vec<f64>>> {
    let run = Run { opened, stop };
    let played = querying_pointing::play(&run, scenes, &run.states(scenes)?, Language::English)?;
    Ok(played.map(|played| played.heads).unwrap_or_default())
}
