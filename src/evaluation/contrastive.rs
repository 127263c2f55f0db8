//! What is measured of a dual encoder: retrieval, and the pointing game with every attribution.

use candle_core::Tensor;
use image::RgbImage;

use super::pointing::{self, Pair, Pointing};
use super::report::{Report, SplitReport};
use super::retrieval::Retrieval;
use super::{SPLITS, fresh_scenes};
use crate::attribution::{ATTRIBUTIONS, Subject};
use crate::error::{Error, Result};
use crate::models::opened::Opened;
use crate::models::record::PairPass;
use crate::taps::{Array, CancelToken, Interventions, Taps};
use crate::world::{Language, Scene};

/// The classes of checkpoints that can be evaluated so.
pub const CLASSES: [&str; 2] = ["CLIPModel", "SiglipModel"];

/// Scenes among which a text or picture is to be found.
pub const RETRIEVAL_SCENES: usize = 256;
/// The key of the random map.
pub const RANDOM: &str = "random";

/// Pictures in one pass, at most.
const BATCH: usize = 64;
/// Numbers of one head's patterns over all blocks in one pass, at most: with gradients these are what takes memory.
const PATTERN_NUMBERS: usize = 1 << 22;

/// What to measure on.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Which scenes.
    pub seed: u32,
    /// How many of each split; retrieval takes the first [`RETRIEVAL_SCENES`] of them.
    pub scenes: usize,
}

/// The scenes of one split with the phrases to point at, for each language.
struct Material {
    scenes: Vec<Scene>,
    pairs: Vec<(Language, Vec<Pair>)>,
}

/// Measures a checkpoint; `progress` hears how many passes of how many are done, a pass a picture.
///
/// # Errors
/// If the checkpoint is of another class, there are too few scenes, the work is cancelled, or a pass fails.
pub fn evaluate(
    opened: &Opened,
    plan: Plan,
    stop: &CancelToken,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Report> {
    if !CLASSES.contains(&opened.checkpoint.class()) {
        let problem = format!("a '{}' isn't a dual encoder", opened.checkpoint.class());
        return Err(Error::unusable(problem, "name a checkpoint of CLIP or SigLIP").at(&opened.checkpoint.folder));
    }
    let centres = pointing::centres(&opened.processor, opened.dual_encoder().grid());
    let material = SPLITS.map(|split| {
        let scenes = fresh_scenes(split, plan.seed, plan.scenes);
        let pairs = Language::ALL.map(|language| (language, pointing::pairs(&scenes, language, &centres)));
        Material { scenes, pairs: pairs.into() }
    });
    if material.iter().flat_map(|material| &material.pairs).any(|(_, pairs)| pairs.is_empty()) {
        return Err(Error::unusable("no scene has two different things", "ask for more scenes"));
    }
    let passes = material.iter().map(|material| {
        let pairs: usize = material.pairs.iter().map(|(_, pairs)| pairs.len()).sum();
        material.scenes.len().min(RETRIEVAL_SCENES) + pairs
    });
    let mut run = Run { opened, stop, progress, done: 0, passes: passes.sum() };
    let mut splits = Vec::new();
    for (split, material) in SPLITS.into_iter().zip(&material) {
        let retrieval = run.retrieval(&material.scenes[..material.scenes.len().min(RETRIEVAL_SCENES)])?;
        let mut pointing = Vec::new();
        for (language, pairs) in &material.pairs {
            pointing.extend(run.pointing(&material.scenes, *language, pairs)?);
        }
        splits.push(SplitReport { split, scenes: plan.scenes, retrieval, pointing });
    }
    Ok(Report {
        checkpoint: opened.checkpoint.name(),
        class: opened.checkpoint.class().to_owned(),
        parameters: opened.parameters,
        seed: plan.seed,
        splits,
    })
}

/// An evaluation under way.
struct Run<'a> {
    opened: &'a Opened,
    stop: &'a CancelToken,
    progress: &'a mut dyn FnMut(usize, usize),
    done: usize,
    passes: usize,
}

impl Run<'_> {
    fn advance(&mut self, pictures: usize) {
        self.done += pictures;
        (self.progress)(self.done, self.passes);
    }

    fn pixels(&self, scenes: &[&Scene]) -> Result<Tensor> {
        let pictures: Vec<RgbImage> = scenes.iter().map(|scene| scene.draw()).collect();
        self.opened.pixels(&pictures.iter().collect::<Vec<_>>())
    }

    /// Texts in the shared space, `[texts, projection]`.
    fn texts(&self, texts: &[&str]) -> Result<Tensor> {
        let batch = self.opened.texts(texts)?;
        let mut taps = Taps::none().cancelled_by(self.stop);
        Ok(self.opened.dual_encoder().encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut taps)?.embed)
    }

    fn retrieval(&mut self, scenes: &[Scene]) -> Result<Vec<Retrieval>> {
        let mut pictures = Vec::new();
        for chunk in scenes.chunks(BATCH) {
            let pixels = self.pixels(&chunk.iter().collect::<Vec<_>>())?;
            let mut taps = Taps::none().cancelled_by(self.stop);
            pictures.push(self.opened.dual_encoder().encode_image(&pixels, &mut taps)?.embed);
            self.advance(chunk.len());
        }
        let pictures = Tensor::cat(&pictures, 0)?; // [scenes, projection]
        let mut results = Vec::new();
        for language in Language::ALL {
            results.push(Retrieval::among(scenes, language, |captions| {
                let texts = captions.chunks(BATCH).map(|chunk| self.texts(chunk)).collect::<Result<Vec<_>>>()?;
                let logits = self.opened.dual_encoder().logits(&pictures, &Tensor::cat(&texts, 0)?)?;
                Ok(Array::from_tensor(&logits)?.data)
            })?);
        }
        Ok(results)
    }

    /// The pointing game with the random map and every attribution.
    fn pointing(&mut self, scenes: &[Scene], language: Language, pairs: &[Pair]) -> Result<Vec<Pointing>> {
        let mut hits: Vec<Vec<[f64; 2]>> = vec![Vec::new(); ATTRIBUTIONS.len()];
        for chunk in pairs.chunks(pairs_in_a_pass(self.opened)) {
            self.point(scenes, chunk, &mut hits)?;
            self.advance(chunk.len());
        }
        let random: Vec<[f64; 2]> = pairs.iter().map(pointing::random_hits).collect();
        let mut results = vec![Pointing::of(RANDOM, language, pairs, &random)];
        for (attribution, hits) in ATTRIBUTIONS.iter().zip(&hits) {
            results.push(Pointing::of(attribution.key, language, pairs, hits));
        }
        Ok(results)
    }

    /// One pass with gradients; adds each pair's hit to the list of each attribution.
    fn point(&self, scenes: &[Scene], pairs: &[Pair], hits: &mut [Vec<[f64; 2]>]) -> Result<()> {
        let model = self.opened.dual_encoder();
        let pass = probe(self.opened, scenes, pairs, self.stop)?;
        for (row, pair) in pairs.iter().enumerate() {
            let subject = Subject {
                recording: &pass.recording,
                row,
                patches: pass.patches.row(row),
                surgical: pass.surgical.row(row),
                text: pass.texts.row(row),
                neutral: &pass.neutral,
                class_tokens: model.class_tokens(),
                depth: model.depths().0,
            };
            for (attribution, hits) in ATTRIBUTIONS.iter().zip(&mut *hits) {
                hits.push(pointing::hits(&(attribution.map)(&subject)?, pair));
            }
        }
        Ok(())
    }
}

/// One pass with gradients over pairs, which stand together by scene.
pub(super) fn probe(opened: &Opened, scenes: &[Scene], pairs: &[Pair], stop: &CancelToken) -> Result<PairPass> {
    // Each scene is drawn once, however many phrases there are about it.
    let mut drawn: Vec<usize> = pairs.iter().map(|pair| pair.scene).collect();
    drawn.dedup();
    let rows = pairs.iter().map(|pair| drawn.iter().position(|scene| *scene == pair.scene).unwrap_or(0) as u32);
    let rows = Tensor::from_iter(rows, &opened.device)?;
    let pictures: Vec<RgbImage> = drawn.iter().map(|scene| scenes[*scene].draw()).collect();
    let pixels = opened.pixels(&pictures.iter().collect::<Vec<_>>())?;
    let pixels = pixels.index_select(&rows, 0)?; // [pairs, 3, height, width]
    let batch = opened.texts(&pairs.iter().map(|pair| pair.text.as_str()).collect::<Vec<_>>())?;
    let mut taps = Taps::none().cancelled_by(stop);
    let text = opened.dual_encoder().encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut taps)?.embed;
    opened.probe_pairs(&pixels, &text, &Interventions::default(), stop)
}

/// As many pairs as fit into memory with their patterns, at most [`BATCH`].
pub(super) fn pairs_in_a_pass(opened: &Opened) -> usize {
    let model = opened.dual_encoder();
    let positions = model.grid().0 * model.grid().1 + model.class_tokens();
    (PATTERN_NUMBERS / (positions * positions * model.depths().0).max(1)).clamp(1, BATCH)
}
