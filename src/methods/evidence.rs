//! What a method says about a picture and a text: the same parts for every method, as plain numbers.

use image::RgbImage;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::attention::AttentionStack;
use super::queries::Queries;
use super::reading::{LineKind, Reading, Step};
use super::spliced::Spliced;
use super::words::written;
use crate::models::tokenizer::Tokens;
use crate::taps::Tower;

/// What a method says.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The key of the method that says it.
    pub method: &'static str,
    /// The model behind it.
    pub model: ModelFacts,
    /// The sentence as the model reads it.
    pub tokens: Tokens,
    /// Rows and columns of patches.
    pub grid: (usize, usize),
    /// The part of the picture that the model sees, in pixels of the picture: left, top, right, bottom.
    pub seen: [f32; 4],
    /// The phrase that was asked for.
    pub phrase: String,
    /// Maps by phrase: that which was asked for, and one after the other the single words of the sentence.
    pub maps: BTreeMap<String, WordMaps>,
    /// Whether the maps of all words are there.
    pub complete: bool,
    /// Words with their score for each patch.
    pub patch_words: PatchWords,
    /// Labelled points in the method's own space.
    pub cloud: Cloud,
    /// The method's output.
    pub scores: Scores,
    /// The attention of each tower.
    pub attention: Vec<Arc<AttentionStack>>,
    /// Length of each patch's state behind the last block; outliers carry no local content.
    pub norms: Vec<f32>,
    /// What happens at each stage.
    pub ledger: Vec<Stage>,
    /// How far the picture lies from what the checkpoint was trained on, where that is known.
    pub familiarity: Option<Familiar>,
    /// Word by word, where each looks; of a model whose words look at the picture.
    pub reading: Option<Arc<Reading>>,
    /// What the queries do; of a model that has some.
    pub queries: Option<Arc<Queries>>,
    /// What the picture becomes among words; of a model that reads it as words.
    pub spliced: Option<Arc<Spliced>>,
}

/// How many times the median a patch's norm must be for the patch to be marked as a sink. Published outliers lie near 10
/// times, all other patches within twice.
const OUTLIER: f32 = 4.0;

impl Evidence {
    /// Patches with an outlying norm (Darcet et al. 2023, arXiv 2309.16588): they take attention and carry no local content.
    #[must_use]
    pub fn sinks(&self) -> Vec<usize> {
        outliers(&self.norms)
    }

    /// What the method answers to picture and sentence, once that is known.
    #[must_use]
    pub fn said(&self) -> Option<Said> {
        let text = |steps: &[Step]| {
            let text = written(steps);
            (!text.is_empty()).then_some(Said::Text(text))
        };
        if let Some(queries) = &self.queries {
            let matches = queries.matching.as_ref().map(|(_, whole)| Said::Matches(*whole));
            return matches.or_else(|| text(&queries.written));
        }
        if let Some(reading) = &self.reading {
            let written = reading.lines.iter().find(|line| line.kind == LineKind::Written);
            return reading.matching.map(Said::Matches).or_else(|| text(&written?.steps));
        }
        self.scores.own().last().copied().map(Said::Similar)
    }

    /// The attention of a tower.
    #[must_use]
    pub fn attention_of(&self, tower: Tower) -> Option<&AttentionStack> {
        self.attention.iter().find(|stack| stack.tower == tower).map(Arc::as_ref)
    }
}

/// Where norms lie far above the median.
pub(super) fn outliers(norms: &[f32]) -> Vec<usize> {
    let mut sorted = norms.to_vec();
    sorted.sort_by(f32::total_cmp);
    let Some(median) = sorted.get(sorted.len() / 2) else { return Vec::new() };
    let all = norms.iter().enumerate();
    all.filter(|(_, norm)| **norm > OUTLIER * median).map(|(patch, _)| patch).collect()
}

/// What a method answers to a picture and a sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The cosine of both.
    Similar(f32),
    /// How likely they belong together.
    Matches(f32),
    /// A caption, or the answer to a question.
    Text(String),
}

/// Facts about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    /// The name of its folder.
    pub name: String,
    /// Its class.
    pub class: String,
    /// How many numbers it holds.
    pub parameters: usize,
}

/// A number for each patch. Never rescaled: what a value means is said by the attribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    /// Row by row.
    pub values: Vec<f32>,
}

impl Heatmap {
    /// The sum over all patches: the map's absolute mass.
    #[must_use]
    pub fn mass(&self) -> f32 {
        self.values.iter().sum()
    }

    /// The highest value and its patch.
    #[must_use]
    pub fn peak(&self) -> Option<(usize, f32)> {
        let values = self.values.iter().copied().enumerate();
        values.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The lowest and the highest value.
    #[must_use]
    pub fn range(&self) -> (f32, f32) {
        let bounds = (f32::INFINITY, f32::NEG_INFINITY);
        let values = self.values.iter();
        values.fold(bounds, |(low, high), value| (low.min(*value), high.max(*value)))
    }
}

/// The maps of one phrase, by the key of the attribution.
pub type WordMaps = BTreeMap<&'static str, Heatmap>;

/// Words with their score for each patch.
#[derive(Clone, Debug, Default)]
pub struct PatchWords {
    /// The words: those of the sentence first, then others that are offered.
    pub words: Vec<String>,
    /// How many of them stand in the sentence.
    pub from_sentence: usize,
    /// `[patches, words]`, row by row.
    pub scores: Vec<f32>,
}

impl PatchWords {
    /// From the words of a sentence with their maps, `[patches]` each: a word's score for a patch is its map there, as a
    /// share of the map's highest value.
    #[must_use]
    pub fn of_maps(maps: impl IntoIterator<Item = (String, Vec<f32>)>) -> Self {
        let mut words = Vec::new();
        let mut rows: Vec<Vec<f32>> = Vec::new(); // by word
        for (word, map) in maps {
            let top = map.iter().copied().fold(1e-9, f32::max);
            words.push(word);
            rows.push(map.into_iter().map(|value| value / top).collect());
        }
        let patches = rows.iter().map(Vec::len).min().unwrap_or(0);
        let scores = (0..patches).flat_map(|patch| rows.iter().map(move |row| row[patch])).collect();
        Self { from_sentence: words.len(), words, scores }
    }

    /// The words of a patch, best first, as (index of the word, score).
    #[must_use]
    pub fn ranked(&self, patch: usize) -> Vec<(usize, f32)> {
        let count = self.words.len();
        let row = self.scores.get(patch * count..(patch + 1) * count).unwrap_or_default();
        let mut ranked: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

/// What a point of a cloud stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PointKind {
    /// A whole picture.
    Picture,
    /// A whole text.
    Text,
    /// A patch of the picture.
    Patch,
    /// A word of the text.
    Word,
    /// A query of a querying transformer.
    Query,
}

/// What stands on the side of the picture, and what on that of the text.
const HALVES: [&[PointKind]; 2] =
    [&[PointKind::Picture, PointKind::Patch, PointKind::Query], &[PointKind::Text, PointKind::Word]];

/// A labelled point.
#[derive(Clone, Debug)]
pub struct CloudPoint {
    /// What it stands for.
    pub kind: PointKind,
    /// Which pair it belongs to; the person's own picture and sentence are the last pair.
    pub pair: usize,
    /// Its place in the person's list of what to compare with; `None` for the own pair.
    pub listed: Option<usize>,
    /// The picture, for a picture.
    pub picture: Option<Arc<RgbImage>>,
    /// The text, or the caption of the picture.
    pub label: String,
    /// Where it lies in the real space.
    pub vector: Vec<f32>,
}

/// Labelled points in a method's own space.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    /// The points.
    pub points: Vec<CloudPoint>,
}

impl Cloud {
    /// The vectors of one kind, in the order of the pairs.
    #[must_use]
    pub fn vectors(&self, kind: PointKind) -> Vec<Vec<f32>> {
        let of_kind = self.points.iter().filter(|point| point.kind == kind);
        of_kind.map(|point| point.vector.clone()).collect()
    }

    /// The vectors of pictures, patches or queries, and those of texts or words.
    #[must_use]
    pub fn halves(&self) -> [Vec<Vec<f32>>; 2] {
        HALVES.map(|kinds| kinds.iter().flat_map(|kind| self.vectors(*kind)).collect())
    }

    /// Where each point stands in what [`Self::halves`] gives, one half behind the other.
    #[must_use]
    pub fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.points.len()];
        let of_kind = |kind: PointKind| (0..self.points.len()).filter(move |at| self.points[*at].kind == kind);
        for (place, at) in HALVES.concat().into_iter().flat_map(of_kind).enumerate() {
            places[at] = place;
        }
        places
    }

    /// How many pairs there are, the person's own among them.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.points.iter().filter(|point| point.kind == PointKind::Picture).count()
    }

    /// The points nearest to point `at` by cosine in the real space, best first, as (index, cosine).
    #[must_use]
    pub fn neighbours(&self, at: usize) -> Vec<(usize, f32)> {
        let Some(point) = self.points.get(at) else { return Vec::new() };
        let cosine = |other: &CloudPoint| -> f32 { point.vector.iter().zip(&other.vector).map(|(a, b)| a * b).sum() };
        let others = self.points.iter().enumerate().filter(|(index, _)| *index != at);
        let mut ranked: Vec<(usize, f32)> = others.map(|(index, other)| (index, cosine(other))).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

/// What a dual encoder (no other model has any) says of the pairs of the comparison and, last, of the person's own.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// The captions and, last, the sentence.
    pub texts: Vec<String>,
    /// Cosine of each picture with each text, `[pairs, pairs]`, pictures by row.
    pub cosines: Vec<f32>,
    /// Cosine of the person's own picture with the phrase.
    pub phrase: f32,
    /// Factor between cosine and logit, the inverse temperature.
    pub factor: f32,
    /// SigLIP's bias, added to the logit before a sigmoid; `None` where a softmax over the texts is meant.
    pub bias: Option<f32>,
}

impl Scores {
    /// Cosine of a picture with each text.
    #[must_use]
    pub fn of_picture(&self, picture: usize) -> &[f32] {
        let count = self.texts.len();
        self.cosines.get(picture * count..(picture + 1) * count).unwrap_or_default()
    }

    /// Cosine of the person's own picture with each text.
    #[must_use]
    pub fn own(&self) -> &[f32] {
        self.of_picture(self.texts.len().saturating_sub(1))
    }
}

/// What the model makes of `cosines`: the softmax over them times `factor`, as in CLIP, or, with a `bias`, the sigmoid of
/// each, as in SigLIP.
#[must_use]
pub fn probabilities(cosines: &[f32], factor: f32, bias: Option<f32>) -> Vec<f32> {
    if let Some(bias) = bias {
        return cosines.iter().map(|cosine| 1.0 / (1.0 + (-cosine * factor - bias).exp())).collect();
    }
    let highest = cosines.iter().copied().fold(f32::MIN, f32::max);
    let exponentials: Vec<f32> = cosines.iter().map(|cosine| ((cosine - highest) * factor).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}

/// A stage of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// What it is: its key in the language files is `stage-` with this behind it.
    pub key: &'static str,
    /// The shape of what comes out.
    pub shape: String,
}

/// How far a picture lies from what a checkpoint was trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Familiar {
    /// The picture's distance (Mahalanobis).
    pub distance: f32,
    /// 99.9 % of fresh sticker scenes lie nearer than this.
    pub usual: f32,
}

impl Familiar {
    /// Whether the picture lies outside of what the checkpoint knows.
    #[must_use]
    pub fn is_strange(self) -> bool {
        self.distance > self.usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_are_patches_far_above_the_median() {
        assert_eq!(outliers(&[10.0, 11.0, 9.0, 100.0, 10.5, 41.0]), [3]);
        assert_eq!(outliers(&[10.0; 8]), Vec::<usize>::new());
        assert_eq!(outliers(&[]), Vec::<usize>::new());
    }

    #[test]
    fn points_are_found_again_in_the_halves() {
        let kinds = [PointKind::Word, PointKind::Query, PointKind::Picture, PointKind::Word, PointKind::Query];
        let points = kinds.into_iter().enumerate().map(|(at, kind)| {
            let vector = vec![at as f32];
            CloudPoint { kind, pair: 0, listed: None, picture: None, label: String::new(), vector }
        });
        let cloud = Cloud { points: points.collect() };
        let all = cloud.halves().concat();
        assert_eq!(cloud.places(), [3, 1, 0, 4, 2]);
        for (point, place) in cloud.points.iter().zip(cloud.places()) {
            assert_eq!(all[place], point.vector);
        }
    }

    #[test]
    fn probabilities_are_those_of_the_model() {
        let softmax = probabilities(&[0.5, 0.5, -1e9], 10.0, None);
        assert_eq!(softmax, [0.5, 0.5, 0.0]);
        let sigmoid = probabilities(&[0.1, 0.3], 10.0, Some(-1.0));
        assert!((sigmoid[0] - 0.5).abs() < 1e-6 && sigmoid[1] > 0.5);
    }
}
