//! The pointing game (Zhang et al. 2016, arXiv 1608.00507; TorchRay's pointing_game.py): words name an object, and a map
//! is right if its highest patch lies on it.
//!
//! Played in scenes with at least two different things, where looking at any object isn't enough, with every noun phrase
//! of the scene. The patch's centre must lie within 15 pixels of an object that the phrase names: the published margin,
//! since the highest point of a map is known no better, which here is half a patch of the small models. The strict figure,
//! without margin, stands beside it.
//! Frequent things don't count more: the shares of hits of each thing are averaged.

use image::GrayImage;
use serde::Serialize;

use super::Share;
use super::interval::mean;
use crate::models::preprocess::ImageProcessor;
use crate::world::{Language, SIDE, Scene, Thing};

/// How far from the object a map's highest point may lie, in pixels, as in TorchRay.
pub const MARGIN: u32 = 15;

/// One phrase about one scene.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Index of the scene.
    pub scene: usize,
    /// The phrase without an article.
    pub text: String,
    /// What it names.
    pub thing: Thing,
    /// For each patch whether its centre lies on an object that the phrase names, or within [`MARGIN`] of it.
    pub near_object: Vec<bool>,
    /// For each patch whether its centre lies on an object that the phrase names.
    pub on_object: Vec<bool>,
}

/// Every phrase of the scenes in which there are at least two different things.
#[must_use]
pub fn pairs(scenes: &[Scene], language: Language, centres: &[(u32, u32)]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (index, scene) in scenes.iter().enumerate().filter(|(_, scene)| scene.things().len() > 1) {
        for phrase in scene.phrases(language) {
            let mask = scene.mask_of(&phrase.objects);
            let on_object = centres.iter().map(|centre| is_near(&mask, *centre, 0)).collect();
            let near_object = centres.iter().map(|centre| is_near(&mask, *centre, MARGIN)).collect();
            pairs.push(Pair { scene: index, text: phrase.text, thing: phrase.thing, near_object, on_object });
        }
    }
    pairs
}

/// Whether a pixel of the mask lies within `margin` pixels of a place.
#[must_use]
pub fn is_near(mask: &GrayImage, (x, y): (u32, u32), margin: u32) -> bool {
    let range = |at: u32, length: u32| at.saturating_sub(margin)..at.saturating_add(margin + 1).min(length);
    let (columns, rows) = (range(x, mask.width()), range(y, mask.height()));
    let within = |column: u32, row: u32| column.abs_diff(x).pow(2) + row.abs_diff(y).pow(2) <= margin.pow(2);
    rows.clone().any(|row| columns.clone().any(|column| within(column, row) && mask.get_pixel(column, row).0[0] > 0))
}

/// Where the centres of the patches lie in a scene, in pixels, row by row; `grid` is rows and columns.
#[must_use]
pub fn centres(processor: &ImageProcessor, grid: (usize, usize)) -> Vec<(u32, u32)> {
    centres_in(processor.seen(SIDE, SIDE), grid)
}

/// The same where the grid lies over the part of the picture with these edges: left, top, right, bottom, in pixels.
#[must_use]
pub fn centres_in([left, top, right, bottom]: [f32; 4], (rows, columns): (usize, usize)) -> Vec<(u32, u32)> {
    let middle = |from: f32, to: f32, at: usize, count: usize| {
        let place = from + (to - from) * (at as f32 + 0.5) / count as f32;
        // Outside of the scene there is no object.
        if place < 0.0 { u32::MAX } else { place as u32 }
    };
    let row = |row: usize| (0..columns).map(move |column| (middle(left, right, column, columns), row));
    (0..rows).flat_map(row).map(|(x, row)| (x, middle(top, bottom, row, rows))).collect()
}

/// 1 if the map's highest patch lies on the object, else 0. Where several patches are equally high, the share of them
/// that do: so a flat map gets what a random one gets on average.
#[must_use]
pub fn hit(map: &[f32], on_object: &[bool]) -> f64 {
    let highest = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let top = map.iter().zip(on_object).filter(|(value, _)| **value == highest);
    mean(top.map(|(_, on)| f64::from(u8::from(*on))))
}

/// A map's hit with the margin, and without.
pub(super) fn hits(map: &[f32], pair: &Pair) -> [f64; 2] {
    [&pair.near_object, &pair.on_object].map(|patches| hit(map, patches))
}

/// What a random map hits on average, with the margin and without: as much as a flat one.
pub(super) fn random_hits(pair: &Pair) -> [f64; 2] {
    hits(&vec![0.0; pair.on_object.len()], pair)
}

/// How often one kind of map is right.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pointing {
    /// The attribution's key, or `random`.
    pub attribution: &'static str,
    /// The language of the phrases.
    pub language: Language,
    /// How many phrases were asked about.
    pub phrases: usize,
    /// Share of hits, averaged over things.
    pub over_things: Share,
    /// Share of hits, averaged over phrases.
    pub over_phrases: Share,
    /// Share of hits without margin, averaged over things.
    pub strict_over_things: Share,
}

impl Pointing {
    /// From the hits of each pair, in the same order: with the margin, and without.
    #[must_use]
    pub fn of(attribution: &'static str, language: Language, pairs: &[Pair], hits: &[[f64; 2]]) -> Self {
        // Pairs of one scene stand together.
        let by_scene: Vec<Vec<(usize, [f64; 2])>> = pairs
            .iter()
            .zip(hits)
            .collect::<Vec<_>>()
            .chunk_by(|one, other| one.0.scene == other.0.scene)
            .map(|scene| scene.iter().map(|(pair, hit)| (pair.thing.index(), **hit)).collect())
            .collect();
        let drawn = |scenes: &[usize], which: usize| -> Vec<(usize, f64)> {
            let of_scenes = scenes.iter().flat_map(|scene| &by_scene[*scene]);
            of_scenes.map(|(thing, hits)| (*thing, hits[which])).collect()
        };
        Self {
            attribution,
            language,
            phrases: pairs.len(),
            over_things: Share::bootstrap(by_scene.len(), |scenes| mean_over_things(&drawn(scenes, 0))),
            over_phrases: Share::bootstrap(by_scene.len(), |scenes| mean(drawn(scenes, 0).iter().map(|(_, hit)| *hit))),
            strict_over_things: Share::bootstrap(by_scene.len(), |scenes| mean_over_things(&drawn(scenes, 1))),
        }
    }
}

/// The mean of the means of each thing that occurs.
fn mean_over_things(hits: &[(usize, f64)]) -> f64 {
    let mut things = vec![(0.0, 0.0); Thing::all().count()];
    for (thing, hit) in hits {
        things[*thing].0 += hit;
        things[*thing].1 += 1.0;
    }
    mean(things.iter().filter(|(_, count)| *count > 0.0).map(|(sum, count)| sum / count))
}
