//! What is measured of a model whose words look at the picture: matching, answers, captions, and the pointing game by
//! layer and head.

use candle_core::Tensor;
use image::RgbImage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::fusion_pointing::{self, FusionPointing, Place};
use super::interval::mean;
use super::{SPLITS, Share, contrastive::Plan, fresh_scenes};
use crate::error::{Error, Result};
use crate::methods::grounding;
use crate::models::fusion::{OpenedFusion, Task};
use crate::taps::{Array, CancelToken, Taps};
use crate::world::{FoilKind, Language, Question, QuestionKind, Scene, Split, Thing, mentioned};

/// Texts in one pass.
pub(super) const BATCH: usize = 64;
/// The longest caption that is written, in tokens, and the longest answer.
const CAPTION: usize = 32;
const ANSWER: usize = 8;

/// The figures of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FusionReport {
    /// The name of its folder.
    pub checkpoint: String,
    /// Its class.
    pub class: String,
    /// How many numbers it holds.
    pub parameters: usize,
    /// The seed of the scenes.
    pub seed: u32,
    /// How many scenes there are of each split.
    pub scenes: usize,
    /// The figures on each split in each language.
    pub parts: Vec<Part>,
}

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
) -> Result<FusionReport> {
    let run = Run { opened, stop };
    let mut parts = Vec::new();
    let all = SPLITS.len() * Language::ALL.len();
    for split in SPLITS {
        let scenes = fresh_scenes(split, plan.seed, plan.scenes);
        if !scenes.iter().any(|scene| scene.things().len() > 1) {
            return Err(Error::unusable("no scene has two different things", "ask for more scenes"));
        }
        let states = run.states(&scenes)?;
        for language in Language::ALL {
            progress(parts.len(), all);
            let task = opened.task();
            let answers = task == Task::Answer || opened.flamingo().is_some();
            parts.push(Part {
                split,
                language,
                matching: if task == Task::Match { Some(run.matching(&scenes, &states, language)?) } else { None },
                answers: if answers { run.answers(&scenes, &states, language)? } else { Vec::new() },
                captions: if task == Task::Write { Some(run.captions(&scenes, &states, language)?) } else { None },
                pointing: fusion_pointing::play(&run, &scenes, language)?,
            });
        }
    }
    progress(all, all);
    Ok(FusionReport {
        checkpoint: opened.checkpoint.name(),
        class: opened.checkpoint.class().to_owned(),
        parameters: opened.parameters,
        seed: plan.seed,
        scenes: plan.scenes,
        parts,
    })
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

    fn matching(&self, scenes: &[Scene], states: &Tensor, language: Language) -> Result<Matching> {
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
            let rows =
                chunk.iter().map(|(_, text, _)| Ok(self.opened.tokens(text)?.ids)).collect::<Result<Vec<_>>>()?;
            let batch = self.opened.tokenizer.pad(&rows, &self.opened.device)?;
            let seen = rows_of(states, chunk.iter().map(|(scene, ..)| *scene))?;
            let mut taps = Taps::none().cancelled_by(self.stop);
            let Some(logits) = self.opened.read(&batch, &seen, &mut taps)?.matching else { continue };
            let logits = Array::from_tensor(&logits)?;
            for (at, (_, _, kind)) in chunk.iter().enumerate() {
                let row = logits.row(at);
                right.push(f64::from(u8::from((row[1] > row[0]) == kind.is_none())));
            }
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
        Ok(Matching { accuracy, of_true: of(None).0, of_foils: of_foils.into() })
    }

    fn answers(&self, scenes: &[Scene], states: &Tensor, language: Language) -> Result<Vec<Answers>> {
        let mut asked: Vec<(usize, Question)> = Vec::new();
        for (at, scene) in scenes.iter().enumerate() {
            asked.extend(scene.questions(language).into_iter().map(|question| (at, question)));
        }
        let mut right = Vec::new();
        for chunk in asked.chunks(BATCH) {
            let prompts: Vec<String> = chunk.iter().map(|(_, question)| question.text.clone()).collect();
            let seen = rows_of(states, chunk.iter().map(|(scene, _)| *scene))?;
            let written = self.written(&prompts, &seen, ANSWER)?;
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
            Some(Answers {
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

    /// What is written behind each prompt, or the answer to it.
    fn written(&self, prompts: &[String], states: &Tensor, most: usize) -> Result<Vec<String>> {
        let rows = prompts.iter().map(|prompt| Ok(self.opened.tokens(prompt)?.ids)).collect::<Result<Vec<_>>>()?;
        let written = self.opened.write_all(&rows, states, most, self.stop)?;
        written.iter().map(|ids| self.opened.tokenizer.decode(ids)).collect()
    }

    fn captions(&self, scenes: &[Scene], states: &Tensor, language: Language) -> Result<Captions> {
        let mut texts = Vec::new();
        for (chunk, begin) in scenes.chunks(BATCH).zip((0..).step_by(BATCH)) {
            let prompts = vec![language.caption_prompt().to_owned(); chunk.len()];
            let seen = states.narrow(0, begin, chunk.len())?;
            texts.extend(self.written(&prompts, &seen, CAPTION)?);
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
        Ok(Captions { precision: ratio(1), recall: ratio(2), examples: texts.into_iter().take(8).collect() })
    }
}

/// The rows of `states` `[scenes, keys, width]` at these places.
pub(super) fn rows_of(states: &Tensor, rows: impl Iterator<Item = usize>) -> Result<Tensor> {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    Ok(states.index_select(&Tensor::new(rows, states.device())?, 0)?)
}

/// Scenes on which heads are measured.
const HEAD_SCENES: usize = 256;

/// Measures how well each head grounds, where a noun is written (or, where none is, read), and keeps it beside the weights
/// for the window.
///
/// # Errors
/// If a pass fails, or the file can't be written.
pub fn measure_heads(opened: &OpenedFusion) -> Result<()> {
    let scenes = fresh_scenes(Split::Test, 99, HEAD_SCENES);
    let stop = CancelToken::default();
    let played = fusion_pointing::play(&Run { opened, stop: &stop }, &scenes, Language::English)?;
    let of = |place: Place| played.iter().find(|pointing| pointing.place == place);
    let heads = of(Place::Predict).or(of(Place::Read)).map(|pointing| pointing.raw_heads.clone()).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "shares")]
    let heads = heads.iter().map(|layer| layer.iter().map(|share| *share as f32).collect()).collect();
    grounding::write(&opened.checkpoint.folder, HEAD_SCENES, heads)
}
