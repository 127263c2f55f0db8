//! A scene with all its truth, as it is written beside the picture.

use image::GrayImage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::SIDE;
use super::captions::Phrase;
use super::language::Language;
use super::questions::Question;
use super::scene::{Bounds, Scene};
use super::split::Split;

/// How many captions in each language a description holds.
const CAPTIONS: usize = 4;

/// Everything that is true of a scene.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Width and height of the picture, in pixels.
    pub side: u32,
    /// What made the scene; none for a scene that a person made.
    pub origin: Option<Origin>,
    /// The scene itself, from which the picture can be drawn again.
    pub scene: Scene,
    /// The objects, in the scene's order.
    pub objects: Vec<DescribedObject>,
    /// What can be said in English.
    pub english: DescribedText,
    /// What can be said in Chinese.
    pub chinese: DescribedText,
}

/// The split and the seed from which [`Scene::random`] makes the scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Which scenes it is one of.
    pub split: Split,
    /// Which of them.
    pub seed: u64,
}

/// One object and where it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedObject {
    /// Its name in English.
    pub english: String,
    /// Its name in Chinese.
    pub chinese: String,
    /// Its box in pixels.
    pub bounds: Bounds,
    /// Its visible pixels as [`run_lengths`].
    pub mask: Vec<u32>,
}

/// What can be said about a scene in one language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedText {
    /// Different true captions.
    pub captions: Vec<String>,
    /// The phrases that name things.
    pub phrases: Vec<DescribedPhrase>,
    /// All questions with their answers.
    pub questions: Vec<Question>,
}

/// A phrase and the objects that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedPhrase {
    /// Without an article.
    pub text: String,
    /// With article or measure word.
    pub with_article: String,
    /// Indices of the objects.
    pub objects: Vec<usize>,
}

impl From<Phrase> for DescribedPhrase {
    fn from(phrase: Phrase) -> Self {
        Self { text: phrase.text, with_article: phrase.with_article, objects: phrase.objects }
    }
}

impl Scene {
    /// Everything that is true of the scene. `origin` is only noted down.
    pub fn describe(&self, origin: Option<Origin>) -> Description {
        let objects = self.objects.iter().enumerate().map(|(index, object)| DescribedObject {
            english: object.thing.phrase(Language::English),
            chinese: object.thing.phrase(Language::Chinese),
            bounds: object.bounds(),
            mask: run_lengths(&self.mask(index)),
        });
        let seed = origin.map_or(0, |origin| origin.seed);
        Description {
            side: SIDE,
            origin,
            scene: self.clone(),
            objects: objects.collect(),
            english: self.describe_in(Language::English, seed),
            chinese: self.describe_in(Language::Chinese, seed),
        }
    }

    fn describe_in(&self, language: Language, seed: u64) -> DescribedText {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut captions = Vec::new();
        // Few objects allow few captions, so the number of tries is limited.
        for _ in 0..8 * CAPTIONS {
            let caption = self.caption(language, &mut rng);
            if captions.len() < CAPTIONS && !caption.is_empty() && !captions.contains(&caption) {
                captions.push(caption);
            }
        }
        DescribedText {
            captions,
            phrases: self.phrases(language).into_iter().map(DescribedPhrase::from).collect(),
            questions: self.questions(language),
        }
    }
}

/// A mask as lengths of runs, row by row: so many pixels off, so many on, off, on, ... The sum is the number of pixels.
pub fn run_lengths(mask: &GrayImage) -> Vec<u32> {
    let mut runs = vec![0_u32];
    let mut is_on = false;
    for pixel in mask.pixels() {
        if (pixel.0[0] > 127) != is_on {
            is_on = !is_on;
            runs.push(0);
        }
        if let Some(run) = runs.last_mut() {
            *run += 1;
        }
    }
    runs
}
