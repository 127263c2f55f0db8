//! From what is known of a row to evidence.

use candle_core::Tensor;
use image::RgbImage;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::{MOST_ROWS, change};
use super::look::{LOOKS, Passed};
use super::rows::numbers_of;
use super::{ENTRY, Image, Input, Known, Projector};
use crate::error::Result;
use crate::methods::evidence::{Evidence, Heatmap, PatchWords, WordMaps};
use crate::methods::reading::{Line, Place, Weighting};
use crate::methods::spliced::{Change, Depth, PatchReading};
use crate::methods::vectors::unit;
use crate::methods::{Cloud, CloudPoint, News, PointKind, Scores, Stage};
use crate::models::lens::Near;
use crate::models::tokenizer::Tokens;
use crate::taps::{Array, CancelToken, GradProbe, SitePattern, Taps};

/// Words that are kept of each patch.
const KEPT: usize = 10;
/// Words of the language model that lie in the cloud.
const IN_CLOUD: usize = 40;
/// The key of the map of a word.
const WEIGHTED: &str = "gradient-attention";

impl Projector {
    /// Computes what isn't known yet, the most wanted first, and shows it as it comes.
    pub(super) fn complete(
        &self,
        image: &mut Image,
        known: &mut Known,
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(News),
    ) -> Result<()> {
        let depth = self.depth_of(input);
        self.glance(image, known, input, cancel, emit)?;
        if known.spliced.complete {
            return Ok(());
        }
        self.write(image, known, cancel, &mut |known| self.show(image, known, input, emit))?;
        self.raw_maps(image, known, (1, depth), None, cancel)?;
        self.show(image, known, input, emit);
        known.spliced.cost = Some(self.row_cost(image, known, cancel)?);
        if image.change.is_none() {
            image.change = Some(self.changed(image, cancel)?);
        }
        known.spliced.change = image.change.clone();
        self.show(image, known, input, emit);
        self.weighted_maps(image, known, cancel, &mut |part| emit(News::Progress(part)))?;
        for depth in 0..=self.opened.depth() {
            self.read_patches(image, known, depth, cancel)?;
        }
        known.spliced.complete = true;
        self.show(image, known, input, emit);
        Ok(())
    }

    /// Where the selected words look and which words patches are nearest to: what is wanted most.
    pub(super) fn glance(
        &self,
        image: &mut Image,
        known: &mut Known,
        input: &Input,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(News),
    ) -> Result<()> {
        let depth = self.depth_of(input);
        self.read_picture(image, &known.row, depth, cancel)?;
        let wanted: Vec<bool> = known.row.words.iter().map(|at| input.asks_for(known.row.tokens.spans[*at])).collect();
        let steps = || wanted.iter().enumerate().filter(|(_, wanted)| **wanted).map(|(step, _)| step);
        let weighted = (Place::Predict, Weighting::Gradient);
        let is_known = |line: &Line| {
            let known = line.maps_of(weighted);
            known.is_some_and(|maps| steps().all(|step| line.part_of(maps, step).is_some()))
        };
        if !known.reading.lines.first().is_some_and(is_known) {
            let mut probe = GradProbe::new(SitePattern::new(LOOKS));
            let (past, logits) = if known.reading.lines.first().is_some_and(|line| line.maps.is_empty()) {
                self.raw_maps(image, known, (0, depth), Some(&mut probe), cancel)?
            } else {
                let mut taps = Taps::under(&self.interventions).with(&mut probe).cancelled_by(cancel);
                self.read_text(image, &known.row, &mut taps)?
            };
            let passed = Passed { probe: &probe, past, logits: &logits, heads: known.reading.heads };
            if let Some(line) = known.reading.lines.first_mut() {
                self.weigh(&passed, &known.row, (Place::Predict, Some(&wanted)), line, cancel)?;
            }
        }
        self.keep_states_at(image, known, depth, cancel)?;
        self.read_patches(image, known, depth, cancel)?;
        self.show(image, known, input, emit);
        Ok(())
    }

    fn show(&self, image: &Image, known: &Known, input: &Input, emit: &mut dyn FnMut(News)) {
        emit(News::Evidence(Box::new(self.evidence_of(image, known, input))));
    }

    /// The words of the patches at `depth`, if they aren't known.
    fn read_patches(&self, image: &mut Image, known: &mut Known, depth: usize, cancel: &CancelToken) -> Result<()> {
        if known.spliced.depth(depth).is_some() {
            return Ok(());
        }
        // No text behind the picture changes them.
        let alike = image.past(&known.row) > 0;
        let of_picture = image.read.as_ref().filter(|_| alike).and_then(|read| read.depth(depth));
        if let Some(of_picture) = of_picture {
            return self.keep_depth(known, of_picture.clone());
        }
        let states = self.states_at(image, known, depth, cancel)?;
        let language = self.opened.model().language();
        let states = self.patches_of(known, &states)?;
        let nearest = self.lens.nearest(language, &states, KEPT, cancel)?;
        let lens = self.lens.likeliest(language, &states, KEPT, cancel)?;
        let on_patches = |words: Vec<Vec<Near>>| {
            let mut all = vec![Vec::new(); self.patches()];
            for ((_, patch), words) in known.row.patches.iter().zip(words) {
                all[*patch] = words.into_iter().map(|near| (near.word, near.score)).collect();
            }
            all
        };
        let depth = Depth { layer: depth, nearest: on_patches(nearest), lens: on_patches(lens) };
        if let Some(read) = image.read.as_mut().filter(|_| alike) {
            read.depths.push(depth.clone());
        }
        self.keep_depth(known, depth)
    }

    /// Keeps the words of the patches at a depth, and those that matter there.
    fn keep_depth(&self, known: &mut Known, depth: Depth) -> Result<()> {
        let at_projector = depth.layer == 0;
        known.spliced.depths.push(depth);
        known.spliced.depths.sort_by_key(|depth| depth.layer);
        if at_projector {
            known.words = self.words_here(known)?;
        }
        Ok(())
    }

    /// Of the row's `states` those of its patches, `[patches, width]`.
    fn patches_of(&self, known: &Known, states: &Array) -> Result<Tensor> {
        let rows: Vec<f32> = known.row.patches.iter().flat_map(|(at, _)| states.row(*at).to_vec()).collect();
        let width = states.shape.last().copied().unwrap_or(1);
        Ok(Tensor::from_vec(rows, (known.row.patches.len(), width), &self.opened.device)?)
    }

    /// What the projector does to neighbourhoods, measured with the patches of the pictures to compare with.
    fn changed(&self, image: &Image, cancel: &CancelToken) -> Result<Change> {
        let places: Vec<(usize, usize)> = (0..self.opened.positions())
            .filter_map(|place| Some((place, self.opened.model().config().patch(place)?)))
            .collect();
        let of_patches = |vectors: &[Vec<f32>]| -> Vec<Vec<f32>> {
            places.iter().filter_map(|(place, _)| vectors.get(*place).cloned()).collect()
        };
        let [before, behind] = [&image.vectors[0], &image.vectors[1]].map(|vectors| of_patches(vectors));
        let mut others = Vec::new();
        for (_, [before, behind]) in &self.compared {
            others.extend(of_patches(before).into_iter().zip(of_patches(behind)));
        }
        let mut change = change(&before, &behind, &others, cancel)?;
        // A patch that the model leaves out has nothing to compare.
        for of_patch in [&mut change.kept, &mut change.lost] {
            let mut all = vec![0.0; self.patches()];
            places.iter().zip(of_patch.iter()).for_each(|((_, patch), value)| all[*patch] = *value);
            *of_patch = all;
        }
        Ok(change)
    }

    /// The vectors of pictures to compare with, which are looked at once; as many as [`change`] takes.
    pub(super) fn look_at_compared(&mut self, input: &Input, cancel: &CancelToken) -> Result<()> {
        let pictures = input.comparison.iter().map(|pair| &pair.picture);
        let pictures: Vec<_> = pictures.take(MOST_ROWS / self.opened.positions().max(1)).cloned().collect();
        let is_known = |picture: &Arc<RgbImage>| self.compared.iter().any(|(known, _)| Arc::ptr_eq(known, picture));
        let same = self.compared.len() == pictures.len() && pictures.iter().all(is_known);
        if let Some(image) = self.image.as_mut().filter(|_| !same) {
            image.change = None;
        }
        self.compared.retain(|(known, _)| pictures.iter().any(|picture| Arc::ptr_eq(known, picture)));
        for picture in pictures {
            cancel.check()?;
            if self.compared.iter().any(|(known, _)| Arc::ptr_eq(known, &picture)) {
                continue;
            }
            let (_, vectors) = self.see(&picture, &mut Taps::under(&self.interventions).cancelled_by(cancel))?;
            self.compared.push((picture, vectors));
        }
        Ok(())
    }

    /// What is known so far.
    fn evidence_of(&self, image: &Image, known: &Known, input: &Input) -> Evidence {
        let depth = self.depth_of(input);
        Evidence {
            method: ENTRY.key,
            model: self.facts.clone(),
            tokens: known.row_of_words(),
            grid: self.opened.grid(),
            seen: self.opened.seen(input.picture.width(), input.picture.height()),
            phrase: input.phrase().to_owned(),
            maps: maps_of(known, input),
            complete: known.spliced.complete,
            patch_words: patch_words(known.spliced.depth(depth)),
            cloud: self.cloud(known, depth),
            scores: Scores::default(),
            attention: Vec::new(),
            norms: image.norms.clone(),
            ledger: self.ledger(image, known),
            familiarity: image.familiar,
            reading: Some(Arc::new(known.reading.clone())),
            queries: None,
            spliced: Some(Arc::new(known.spliced.clone())),
        }
    }

    /// Patches among words: at the projector's output among the words of the table, deeper among the words of the row.
    fn cloud(&self, known: &Known, depth: usize) -> Cloud {
        let Some((_, states)) = known.states.iter().find(|(at, _)| *at == depth) else { return Cloud::default() };
        // What differs between words and patches is not how long their states are.
        let point = |kind, label: String, vector: &[f32]| CloudPoint {
            kind,
            pair: 0,
            listed: None,
            picture: None,
            label,
            vector: unit(vector),
        };
        let columns = self.opened.grid().1.max(1);
        let mut points = Vec::new();
        for (at, patch) in &known.row.patches {
            let label = format!("{}·{}", patch / columns + 1, patch % columns + 1);
            points.push(point(PointKind::Patch, label, states.row(*at)));
        }
        if depth == 0 {
            points.extend(known.words.iter().map(|(word, vector)| point(PointKind::Word, word.clone(), vector)));
        } else {
            for at in &known.row.words {
                if known.row.tokens.spans[*at].is_some() {
                    points.push(point(PointKind::Word, known.row.tokens.texts[*at].trim().to_owned(), states.row(*at)));
                }
            }
        }
        Cloud { points }
    }

    /// The words that matter here, with their vectors: those of the text, and those nearest to any patch.
    fn words_here(&self, known: &Known) -> Result<Vec<(String, Vec<f32>)>> {
        let mut words: Vec<(String, u32)> = Vec::new();
        let mut add = |word: &str, id: u32| {
            if words.len() < IN_CLOUD && !word.is_empty() && !words.iter().any(|(known, _)| known == word) {
                words.push((word.to_owned(), id));
            }
        };
        let tokens = &known.row.tokens;
        for at in known.row.words.iter().filter(|at| tokens.spans[**at].is_some()) {
            add(tokens.texts[*at].trim(), tokens.ids[*at]);
        }
        if let Some(depth) = known.spliced.depth(0) {
            let mut near: Vec<&(String, f32)> = depth.nearest.iter().filter_map(|words| words.first()).collect();
            near.sort_by(|one, other| other.1.total_cmp(&one.1));
            for (word, _) in near {
                if let Some(id) = self.lens.id(word) {
                    add(word, id);
                }
            }
        }
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<u32> = words.iter().map(|(_, id)| *id).collect();
        let ids = Tensor::from_vec(ids, (1, words.len()), &self.opened.device)?;
        let vectors = numbers_of(&self.opened.model().language().embed(&ids)?)?;
        Ok(words.into_iter().map(|(word, _)| word).zip(vectors).collect())
    }

    /// From pixels to the row.
    fn ledger(&self, image: &Image, known: &Known) -> Vec<Stage> {
        let (rows, columns) = self.opened.grid();
        let (height, width) = self.opened.processor.size();
        let stage = |key, shape: String| Stage { key, shape };
        let positions = self.opened.positions();
        let [before, behind] = [0, 1].map(|which: usize| image.vectors[which].first().map_or(0, Vec::len));
        vec![
            stage("pixels", format!("3 × {height} × {width}")),
            stage("patches", format!("{rows} × {columns} = {}", rows * columns)),
            stage("vision-tower", format!("{positions} × {before}")),
            stage("projector", format!("{positions} × {behind}")),
            stage("tokens", format!("{positions} + {}", known.row.words.len())),
            stage("language-model", format!("{} × ({} × {behind})", self.opened.depth(), known.row.tokens.ids.len())),
        ]
    }
}

impl Known {
    /// The text tokens of the row.
    fn row_of_words(&self) -> Tokens {
        let all = &self.row.tokens;
        let mut words = Tokens { cut: all.cut, ..Default::default() };
        for at in &self.row.words {
            words.ids.push(all.ids[*at]);
            words.texts.push(all.texts[*at].clone());
            words.spans.push(all.spans[*at]);
            words.known.push(all.known[*at]);
        }
        words
    }
}

/// The weighted map of the phrase and of each word while it is predicted, the mean over layers and heads.
fn maps_of(known: &Known, input: &Input) -> BTreeMap<String, WordMaps> {
    let mut maps = BTreeMap::new();
    let Some(line) = known.reading.lines.first() else { return maps };
    let size = (known.reading.layers, known.reading.heads);
    let map = |step: usize| line.map(step, (Place::Predict, Weighting::Gradient), None, size);
    if !has_weighted(line) {
        return maps;
    }
    let (start, end) = input.selection.unwrap_or((0, known.sentence.len()));
    let mut whole: Option<Vec<f32>> = None;
    for (at, step) in line.steps.iter().enumerate() {
        let (Some((from, to)), Some(values)) = (step.span, map(at)) else { continue };
        if from < end && to > start {
            match &mut whole {
                Some(whole) => whole.iter_mut().zip(&values).for_each(|(whole, value)| *whole += value),
                None => whole = Some(values.clone()),
            }
        }
        let word = step.text.trim().to_owned();
        maps.entry(word).or_insert_with(|| WordMaps::from([(WEIGHTED, Heatmap { values })]));
    }
    if let Some(values) = whole {
        maps.insert(input.phrase().to_owned(), WordMaps::from([(WEIGHTED, Heatmap { values })]));
    }
    maps
}

fn has_weighted(line: &Line) -> bool {
    line.maps.iter().any(|(.., weighting, _)| *weighting == Weighting::Gradient)
}

/// For each patch the words nearest to its state, by cosine.
fn patch_words(depth: Option<&Depth>) -> PatchWords {
    let Some(depth) = depth else { return PatchWords::default() };
    let mut words: Vec<String> = Vec::new();
    for near in depth.nearest.iter().flat_map(|near| near.iter().take(3)) {
        if !words.contains(&near.0) {
            words.push(near.0.clone());
        }
    }
    let mut scores = Vec::with_capacity(words.len() * depth.nearest.len());
    for patch in 0..depth.nearest.len() {
        let near = depth.words(patch, PatchReading::Cosine);
        scores.extend(
            words.iter().map(|word| near.iter().find(|(known, _)| known == word).map_or(0.0, |(_, score)| *score)),
        );
    }
    PatchWords { from_sentence: 0, words, scores }
}
