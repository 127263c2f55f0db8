//! From what is known of the queries to evidence.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ENTRY, Image, Input, Known, Querying};
use crate::methods::evidence::{Evidence, Heatmap, PatchWords, WordMaps};
use crate::methods::expected::highest;
use crate::methods::queries::{Queries, QueryLook};
use crate::methods::{Cloud, CloudPoint, PointKind, Scores, Stage};

/// The key of the map of the query that is nearest to a word.
const WINNING: &str = "winning-query";

/// Pictures and texts of the comparison and, last, the person's own, in the shared space of a model for retrieval; none
/// while they are computed.
#[derive(Default)]
pub(super) struct Beside {
    /// Each as the query that is nearest to its caption, `[shared]`.
    pub pictures: Vec<Vec<f32>>,
    /// `[shared]` each.
    pub texts: Vec<Vec<f32>>,
}

impl Querying {
    /// What is known so far.
    pub(super) fn evidence_of(&self, image: &Image, known: &Known, input: &Input, beside: &Beside) -> Evidence {
        let phrase = input.phrase().to_owned();
        Evidence {
            method: ENTRY.key,
            model: self.facts.clone(),
            tokens: known.tokens.clone(),
            grid: self.opened.grid(),
            seen: self.opened.processor.seen(input.picture.width(), input.picture.height()),
            maps: maps_of(&known.queries, &phrase, input),
            phrase,
            complete: known.queries.complete,
            patch_words: patch_words(&known.queries, input),
            cloud: cloud(known, input, beside),
            scores: Scores::default(),
            attention: Vec::new(),
            norms: image.norms.clone(),
            ledger: self.ledger(image, known),
            familiarity: image.familiar,
            reading: None,
            queries: Some(Arc::new(known.queries.clone())),
            spliced: None,
        }
    }

    /// Many patches, a few queries, and what these become.
    fn ledger(&self, image: &Image, known: &Known) -> Vec<Stage> {
        let (rows, columns) = self.opened.grid();
        let (height, width) = self.opened.processor.size();
        let stage = |key, shape: String| Stage { key, shape };
        let kept = known.asked.kept.len();
        let [positions, vision] = [1usize, 2].map(|axis| image.states.dims().get(axis).copied().unwrap_or(0));
        let there = known.vectors.first().map_or(0, Vec::len);
        let tokens = known.tokens.ids.len();
        let (projected, read) = if self.opened.writer().is_some() {
            ("projector", format!("{kept} + {}", known.prompt.ids.len()))
        } else {
            ("shared-space", tokens.to_string())
        };
        vec![
            stage("pixels", format!("3 × {height} × {width}")),
            stage("patches", format!("{rows} × {columns} = {}", rows * columns)),
            stage("vision-tower", format!("{positions} × {vision}")),
            stage("queries", format!("{kept} × {}", self.opened.base().config().qformer_config.hidden_size)),
            stage(projected, format!("{kept} × {there}")),
            stage("tokens", read),
        ]
    }
}

/// The words of the sentence that were held against the queries, each with the map of the query nearest to it.
fn word_maps(queries: &Queries, input: &Input) -> Vec<(String, Vec<f32>)> {
    let Some(contrast) = &queries.contrast else { return Vec::new() };
    let words = contrast.words.iter().filter_map(|((start, end), cosines)| {
        let word = input.sentence.get(*start..*end)?.trim().to_owned();
        Some((word, winning(queries, cosines)?))
    });
    words.collect()
}

/// The map of the query with the highest of `cosines` `[kept]`, the mean over layers and heads.
fn winning(queries: &Queries, cosines: &[f32]) -> Option<Vec<f32>> {
    queries.map(*highest(cosines, 1).first()?, QueryLook::default())
}

/// The winning query's map, of the phrase and of each word.
fn maps_of(queries: &Queries, phrase: &str, input: &Input) -> BTreeMap<String, WordMaps> {
    let whole = queries.contrast.as_ref().and_then(|contrast| winning(queries, &contrast.phrase));
    let whole = whole.map(|values| (phrase.to_owned(), values));
    let all = word_maps(queries, input).into_iter().chain(whole);
    all.map(|(word, values)| (word, WordMaps::from([(WINNING, Heatmap { values })]))).collect()
}

/// For each patch, the words that have to do with it by way of the queries: those whose winning query looks at it, or, of a
/// model that writes, those that were written with a look at queries that look at it.
fn patch_words(queries: &Queries, input: &Input) -> PatchWords {
    let Some(looks) = &queries.written_to_queries else { return PatchWords::of_maps(word_maps(queries, input)) };
    let maps: Vec<Vec<f32>> =
        (0..queries.kept.len()).filter_map(|place| queries.map(place, QueryLook::default())).collect();
    let rows = looks.chunks_exact(queries.kept.len().max(1));
    let words = queries.written.iter().zip(rows).filter(|(step, _)| step.is_written && !step.text.trim().is_empty());
    PatchWords::of_maps(words.map(|(step, row)| {
        let mut flow = vec![0.0; queries.patches()];
        for (share, map) in row.iter().zip(&maps) {
            flow.iter_mut().zip(map).for_each(|(flow, value)| *flow += share * value);
        }
        (step.text.trim().to_owned(), flow)
    }))
}

/// Queries among the texts and pictures that they are held against, or among the words of the language model.
fn cloud(known: &Known, input: &Input, beside: &Beside) -> Cloud {
    let own = input.comparison.len();
    let mut captions: Vec<String> = input.comparison.iter().map(|pair| pair.caption.clone()).collect();
    captions.push(input.sentence.trim().to_owned());
    let point = |kind, pair: usize, label: &str, vector: &[f32]| CloudPoint {
        kind,
        pair,
        listed: input.comparison.get(pair).map(|pair| pair.at),
        picture: None,
        label: label.to_owned(),
        vector: vector.to_vec(),
    };
    let mut points = Vec::new();
    for (pair, (vector, caption)) in beside.pictures.iter().zip(&captions).enumerate() {
        let picture = input.comparison.get(pair).map_or(&input.picture, |pair| &pair.picture);
        let picture = Some(Arc::clone(picture));
        points.push(CloudPoint { picture, ..point(PointKind::Picture, pair, caption, vector) });
    }
    for (query, vector) in known.asked.kept.iter().zip(&known.vectors) {
        points.push(point(PointKind::Query, own, &(query + 1).to_string(), vector));
    }
    for (pair, (vector, caption)) in beside.texts.iter().zip(&captions).enumerate() {
        points.push(point(PointKind::Text, pair, caption, vector));
    }
    for (word, vector) in &known.words {
        points.push(point(PointKind::Word, own, word, vector));
    }
    Cloud { points }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::queries::Contrast;
    use crate::methods::reading::Step;
    use crate::world::Language;

    /// Two queries with one map each, over two patches.
    fn queries() -> Queries {
        let maps = Arc::new(vec![0.8, 0.2, 0.1, 0.4]);
        Queries { count: 3, kept: vec![0, 2], layers: vec![0], depth: 1, heads: 1, maps, ..Queries::default() }
    }

    fn input() -> Input {
        let picture = Arc::new(image::RgbImage::new(4, 4));
        Input { dropped_queries: vec![1], ..Input::new(picture, "a cat", Language::English) }
    }

    #[test]
    fn a_word_has_the_map_of_the_query_nearest_to_it() {
        let words = vec![((0, 1), vec![0.3, 0.1]), ((2, 5), vec![0.1, 0.9])];
        let contrast = Contrast { phrase: vec![0.5, 0.2], sentence: vec![0.5, 0.2], words };
        let queries = Queries { contrast: Some(contrast), ..queries() };
        let maps = maps_of(&queries, "a cat", &input());
        assert_eq!(maps["a cat"][WINNING].values, [0.8, 0.2]);
        assert_eq!(maps["cat"][WINNING].values, [0.1, 0.4]);
        let words = patch_words(&queries, &input());
        assert_eq!(words.words, ["a", "cat"]);
        assert_eq!(words.ranked(1)[0], (1, 1.0));
    }

    #[test]
    fn a_written_word_has_the_maps_of_the_queries_that_it_looks_at() {
        let step = |text: &str, is_written| Step { text: text.into(), is_written, ..Step::default() };
        let written = vec![step("[BOS]", false), step("cat", true)];
        let written_to_queries = Some(Arc::new(vec![0.0, 0.0, 0.25, 0.75]));
        let queries = Queries { written, written_to_queries, ..queries() };
        let words = patch_words(&queries, &input());
        assert_eq!(words.words, ["cat"]);
        // 0.25 * 0.8 + 0.75 * 0.1 and 0.25 * 0.2 + 0.75 * 0.4, the larger of which is one.
        assert!((words.scores[0] - 0.275 / 0.35).abs() < 1e-5 && (words.scores[1] - 1.0).abs() < 1e-6);
    }
}
