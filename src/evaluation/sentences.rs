//! What a model says about scenes, whichever kind it is of: whether sentences are true, answers, captions.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::Share;
use super::interval::mean;
use crate::error::Result;
use crate::world::{FoilKind, Language, Question, QuestionKind, Scene, Thing, mentioned};

/// Texts in one pass.
pub(super) const BATCH: usize = 64;
/// The longest caption that is written, in tokens, and the longest answer.
const CAPTION: usize = 32;
const ANSWER: usize = 8;

/// A text about a scene: the scene's number, and the text.
pub(super) type About<'a> = (usize, &'a str);

/// True sentences and nearly true ones, one of each for a scene.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matching {
    /// Share that is judged right.
    pub accuracy: Share,
    /// Share of the true ones.
    pub of_true: f64,
    /// Share of the nearly true ones, by what was changed, with their number.
    pub of_foils: Vec<(FoilKind, f64, usize)>,
}

/// Answers to questions of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answers {
    /// Which kind.
    pub kind: QuestionKind,
    /// How many.
    pub questions: usize,
    /// Share that is right, word by word.
    pub right: Share,
    /// What the most frequent answer gets.
    pub majority: f64,
    /// What naming any other thing of the scene gets; of questions where something is.
    pub other_thing: Option<f64>,
}

/// Nouns of written captions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Captions {
    /// Share of the named things that are there.
    pub precision: Share,
    /// Share of the things that are named by a caption that is asked for all of them: those of its longest sentences.
    pub recall: Share,
    /// Some captions, to be read.
    pub examples: Vec<String>,
}

impl Matching {
    /// `judge` says of each of a few texts whether the model holds it true.
    ///
    /// # Errors
    /// If `judge` fails.
    pub(super) fn measure(
        scenes: &[Scene],
        language: Language,
        judge: impl Fn(&[About<'_>]) -> Result<Vec<bool>>,
    ) -> Result<Self> {
        let mut texts: Vec<(usize, String, Option<FoilKind>)> = Vec::new();
        for (at, scene) in scenes.iter().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(at as u64);
            let statement = scene.statement(language, &mut rng);
            if let Some((kind, foil)) = scene.foil(&statement.claim, language, &mut rng) {
                texts.push((at, statement.text, None));
                texts.push((at, foil.text, Some(kind)));
            }
        }
        let mut right = Vec::new();
        for chunk in texts.chunks(BATCH) {
            let about: Vec<About<'_>> = chunk.iter().map(|(scene, text, _)| (*scene, text.as_str())).collect();
            let held_true = judge(&about)?;
            let hit = |held: bool, kind: Option<FoilKind>| f64::from(u8::from(held == kind.is_none()));
            right.extend(chunk.iter().zip(held_true).map(|((_, _, kind), held)| hit(held, *kind)));
        }
        // A true sentence and its foil are one group.
        let accuracy = Share::bootstrap(right.len() / 2, |pairs| {
            mean(pairs.iter().flat_map(|pair| [right[2 * pair], right[2 * pair + 1]]))
        });
        let of = |kind: Option<FoilKind>| {
            let chosen = texts.iter().zip(&right).filter(move |((_, _, of), _)| *of == kind);
            let hits: Vec<f64> = chosen.map(|(_, hit)| *hit).collect();
            (mean(hits.iter().copied()), hits.len())
        };
        let of_foils = FoilKind::ALL.map(|kind| (kind, of(Some(kind)).0, of(Some(kind)).1));
        Ok(Self { accuracy, of_true: of(None).0, of_foils: of_foils.into() })
    }
}

impl Answers {
    /// By kind, the kinds of which there is a question. `write` gives what the model writes behind each of a few texts, or
    /// its answer to it, at most so many tokens.
    ///
    /// # Errors
    /// If `write` fails.
    pub(super) fn measure(
        scenes: &[Scene],
        language: Language,
        write: impl Fn(&[About<'_>], usize) -> Result<Vec<String>>,
    ) -> Result<Vec<Self>> {
        let mut asked: Vec<(usize, Question)> = Vec::new();
        for (at, scene) in scenes.iter().enumerate() {
            asked.extend(scene.questions(language).into_iter().map(|question| (at, question)));
        }
        let mut right = Vec::new();
        for chunk in asked.chunks(BATCH) {
            let about: Vec<About<'_>> =
                chunk.iter().map(|(scene, question)| (*scene, question.text.as_str())).collect();
            let written = write(&about, ANSWER)?;
            right.extend(written.iter().zip(chunk).map(|(text, (_, question))| *text == question.answer));
        }
        let of_kind = |kind: QuestionKind| {
            let of: Vec<(usize, &Question, f64)> = asked
                .iter()
                .zip(&right)
                .filter(|((_, question), _)| question.kind == kind)
                .map(|((scene, question), right)| (*scene, question, f64::from(u8::from(*right))))
                .collect();
            if of.is_empty() {
                return None;
            }
            let groups: Vec<&[(usize, &Question, f64)]> = of.chunk_by(|one, other| one.0 == other.0).collect();
            let count = |answer: &str| of.iter().filter(|(_, question, _)| question.answer == answer).count();
            let majority = of.iter().map(|(_, question, _)| count(&question.answer)).max().unwrap_or(0);
            let others = |scene: usize| (scenes[scene].things().len() - 1).max(1) as f64;
            Some(Self {
                kind,
                questions: of.len(),
                right: Share::bootstrap(groups.len(), |drawn| {
                    mean(drawn.iter().flat_map(|group| groups[*group]).map(|(_, _, hit)| *hit))
                }),
                majority: majority as f64 / of.len() as f64,
                other_thing: (kind == QuestionKind::Where)
                    .then(|| mean(of.iter().map(|(scene, ..)| 1.0 / others(*scene)))),
            })
        };
        Ok(QuestionKind::ALL.into_iter().filter_map(of_kind).collect())
    }
}

impl Captions {
    /// `write` is as for [`Answers::measure`].
    ///
    /// # Errors
    /// If `write` fails.
    pub(super) fn measure(
        scenes: &[Scene],
        language: Language,
        write: impl Fn(&[About<'_>], usize) -> Result<Vec<String>>,
    ) -> Result<Self> {
        let asked: Vec<About<'_>> = (0..scenes.len()).map(|scene| (scene, language.caption_prompt())).collect();
        let mut texts = Vec::new();
        for chunk in asked.chunks(BATCH) {
            texts.extend(write(chunk, CAPTION)?);
        }
        let counts: Vec<[f64; 3]> = texts
            .iter()
            .zip(scenes)
            .map(|(text, scene)| {
                let (named, there): (Vec<Thing>, Vec<Thing>) = (mentioned(text, language), scene.things());
                let found = named.iter().filter(|thing| there.contains(thing)).count();
                [found as f64, named.len() as f64, there.len() as f64]
            })
            .collect();
        let ratio = |of: usize| {
            Share::bootstrap(counts.len(), |drawn| {
                let sum = |which: usize| drawn.iter().map(|at| counts[*at][which]).sum::<f64>();
                sum(0) / sum(of).max(1.0)
            })
        };
        Ok(Self { precision: ratio(1), recall: ratio(2), examples: texts.into_iter().take(8).collect() })
    }
}
