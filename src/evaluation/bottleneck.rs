//! What is measured of the bottleneck experiment: answers by kind of question, and what a linear map can read of places from
//! what the language model is handed.

use candle_core::Tensor;
use image::RgbImage;
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};
use std::fmt;

use super::contrastive::Plan;
use super::figures::Figures;
use super::fusion::rows_of;
use super::linear_probe::{Cases, r_squared};
use super::sentences::{About, Answers, BATCH, Captions, Matching};
use super::table::{Column, Table};
use crate::error::Result;
use crate::models::bottleneck::{Connector, OpenedBottleneck};
use crate::taps::CancelToken;
use crate::world::{Language, SIDE, Scene, Split};

/// Scenes from which a probe learns, and scenes on which it is measured.
const PROBED: (usize, usize) = (800, 400);
/// The first of the scenes for probes.
const FIRST: u64 = 1 << 52;
/// Rows and columns of the fields whose cover is read.
const FIELDS: usize = 8;

/// The figures of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BottleneckFigures {
    /// What stands between tower and language model.
    pub connector: Connector,
    /// How it was trained.
    pub trained: Trained,
    /// How much of the place (row and column of the middle) of a picture's only object a linear map reads, R².
    pub place: f64,
    /// How much of what is covered where, field by field, in pictures of three and more objects, R².
    pub layout: f64,
    /// The answers.
    pub figures: Figures<BottleneckPart>,
}

/// `trained` of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trained {
    /// Seed of weights and scenes.
    pub seed: u64,
    /// Number of steps.
    pub steps: usize,
}

/// The answers on one split in one language.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BottleneckPart {
    /// Which scenes.
    pub split: Split,
    /// Which language.
    pub language: Language,
    /// Answers by kind of question.
    pub answers: Vec<Answers>,
    /// Nouns of captions.
    pub captions: Option<Captions>,
}

impl Column for BottleneckPart {
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

/// Measures a checkpoint; `progress` hears how many parts of how many are done.
///
/// # Errors
/// If there are too few scenes, the work is cancelled, or a pass fails.
pub fn evaluate(
    opened: &OpenedBottleneck,
    plan: Plan,
    stop: &CancelToken,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<BottleneckFigures> {
    let see = |scenes: &[Scene]| handed(opened, scenes, stop);
    let measure = |scenes: &[Scene], seen: &Tensor, split: Split, language: Language| {
        let write = |about: &[About<'_>], most: usize| {
            let prompts: Vec<&str> = about.iter().map(|(_, text)| *text).collect();
            opened.write_all(&prompts, &rows_of(seen, about.iter().map(|(scene, _)| *scene))?, most, stop)
        };
        Ok(BottleneckPart {
            split,
            language,
            answers: Answers::measure(scenes, language, write)?,
            captions: Some(Captions::measure(scenes, language, write)?),
        })
    };
    let figures = Figures::measure(&opened.checkpoint, opened.parameters, plan, progress, see, measure)?;
    Ok(BottleneckFigures {
        connector: opened.model().config().connector,
        trained: opened.checkpoint.parse(&opened.checkpoint.config["trained"])?,
        place: probe(opened, 1, middle, stop)?,
        layout: probe(opened, 3, cover, stop)?,
        figures,
    })
}

/// What the language model is handed of each scene, `[scenes, tokens, language width]`.
fn handed(opened: &OpenedBottleneck, scenes: &[Scene], stop: &CancelToken) -> Result<Tensor> {
    let mut all = Vec::new();
    for chunk in scenes.chunks(BATCH) {
        let pictures: Vec<RgbImage> = chunk.iter().map(Scene::draw).collect();
        all.push(opened.handed(&pictures.iter().collect::<Vec<_>>(), stop)?);
    }
    Ok(Tensor::cat(&all, 0)?)
}

/// How much of `target` a linear map reads from all tokens of a picture together, of scenes with at least `objects` objects (or
/// with one alone).
fn probe(opened: &OpenedBottleneck, objects: usize, target: fn(&Scene) -> Vec<f64>, stop: &CancelToken) -> Result<f64> {
    let most = if objects == 1 { 1 } else { 4 };
    let scenes: Vec<Scene> = (FIRST..)
        .take(PROBED.0 + PROBED.1)
        .map(|number| Scene::random_with(Split::Test, number, objects..=most))
        .collect();
    let cases = |scenes: &[Scene]| -> Result<Cases> {
        let rows = handed(opened, scenes, stop)?.flatten_from(1)?.to_vec2::<f32>()?;
        let targets: Vec<Vec<f64>> = scenes.iter().map(target).collect();
        let from = DMatrix::from_fn(rows.len(), rows[0].len(), |row, column| f64::from(rows[row][column]));
        let to = DMatrix::from_fn(rows.len(), targets[0].len(), |row, column| targets[row][column]);
        Ok(Cases { from, to })
    };
    r_squared(&cases(&scenes[..PROBED.0])?, &cases(&scenes[PROBED.0..])?)
}

/// Column and row of the middle of the first object, as shares of the picture.
fn middle(scene: &Scene) -> Vec<f64> {
    let side = f64::from(SIDE);
    let middle = |start: i32, size: u32| (f64::from(start) + f64::from(size) / 2.0) / side;
    scene
        .objects
        .first()
        .map_or(vec![0.0; 2], |object| vec![middle(object.x, object.size), middle(object.y, object.size)])
}

/// The share of each field that objects cover, row by row.
fn cover(scene: &Scene) -> Vec<f64> {
    let mask = scene.mask_of(&(0..scene.objects.len()).collect::<Vec<_>>());
    let field = SIDE as usize / FIELDS;
    let mut covered = vec![0f64; FIELDS * FIELDS];
    for (x, y, pixel) in mask.enumerate_pixels() {
        if pixel.0[0] > 0 {
            covered[(y as usize / field) * FIELDS + x as usize / field] += 1.0;
        }
    }
    covered.iter().map(|count| count / (field * field) as f64).collect()
}

impl fmt::Display for BottleneckFigures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connector, trained: Trained { seed, steps }, place, layout, figures } = self;
        writeln!(formatter, "{connector}, trained with seed {seed} for {steps} steps")?;
        figures.head(formatter)?;
        Table::new(formatter, &figures.parts)?.written()?;
        writeln!(formatter, "A linear map reads the place of the only object: R² {place:.2}")?;
        writeln!(formatter, "and what is covered where among three and more: R² {layout:.2}")
    }
}
