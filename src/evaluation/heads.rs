//! Which head grounds? For each head of the attention by which a model's words reach its patches, the share of nouns on whose object
//! it is highest.
//!
//! Of two encoders no word reaches a patch by attention: there it is the attention of the position that sums up the picture,
//! weighted by the gradient of the noun's score.

use serde::Serialize;
use std::fmt;
use std::path::Path;

use super::pointing::{self, Pair, hit};
use super::{contrastive, fresh_scenes, fusion, projector, querying};
use crate::attribution::fusion::{Look, PatchKeys, Weight};
use crate::error::Result;
use crate::models::checkpoint::Checkpoint;
use crate::models::fusion::{CLASSES, OpenedFusion};
use crate::models::opened::Opened;
use crate::models::projector::{CLASSES as WITH_PROJECTOR, OpenedProjector};
use crate::models::querying::{CLASSES as WITH_QUERIES, OpenedQuerying};
use crate::models::runtime::Runtime;
use crate::taps::{Attn, CancelToken, Tower};
use crate::world::{Language, Scene, Split};

/// Scenes on which the built-in checkpoints were measured, and the seed of these scenes.
pub const USUAL: (usize, u32) = (256, 99);
/// Scenes that are looked at before it is asked whether to go on.
const TOGETHER: usize = 16;

/// How well each head grounds on some scenes, `[layers][heads]`.
type Measure<'a> = dyn Fn(&[Scene]) -> Result<Vec<Vec<f64>>> + 'a;

/// How well each head grounds.
#[derive(Clone, Debug, Serialize)]
pub struct Heads {
    /// The checkpoint.
    pub checkpoint: String,
    /// How many scenes.
    pub scenes: usize,
    /// Their seed.
    pub seed: u32,
    /// The share of nouns on whose object each head is highest, `[layers][heads]`; the layers are those that have this attention.
    /// Empty where no head leads from words to patches.
    pub heads: Vec<Vec<f32>>,
}

/// Measures the checkpoint in `folder`; `progress` hears how many scenes of how many are done.
///
/// # Errors
/// If the checkpoint can't be opened, the work is cancelled, or a pass fails.
pub fn measure(
    folder: &Path,
    runtime: &Runtime,
    (scenes, seed): (usize, u32),
    stop: &CancelToken,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Heads> {
    let checkpoint = Checkpoint::open(folder)?;
    let class = checkpoint.class();
    let of: Box<Measure<'_>> = if CLASSES.contains(&class) {
        let opened = OpenedFusion::open(folder, runtime)?;
        Box::new(move |scenes| fusion::heads(&opened, scenes, stop))
    } else if WITH_QUERIES.contains(&class) {
        let opened = OpenedQuerying::open(folder, runtime)?;
        Box::new(move |scenes| querying::heads(&opened, scenes, stop))
    } else if WITH_PROJECTOR.contains(&class) {
        let opened = OpenedProjector::open(folder, runtime)?;
        Box::new(move |scenes| projector::heads(&opened, scenes, stop))
    } else {
        let opened = Opened::open(folder, runtime)?;
        Box::new(move |scenes| of_two_encoders(&opened, scenes, stop))
    };
    let drawn = fresh_scenes(Split::Test, seed, scenes);
    let mut sums: Vec<Vec<f64>> = Vec::new();
    let (mut done, mut nouns) = (0, 0.0);
    for chunk in drawn.chunks(TOGETHER) {
        stop.check()?;
        let shares = of(chunk)?;
        // The game is played where there is something else to look at.
        let several = chunk.iter().filter(|scene| scene.things().len() > 1);
        let count = several.map(|scene| scene.phrases(Language::English).len()).sum::<usize>() as f64;
        nouns += count;
        sums.resize(shares.len(), Vec::new());
        for (sums, shares) in sums.iter_mut().zip(shares) {
            sums.resize(shares.len(), 0.0);
            sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share * count);
        }
        done += chunk.len();
        progress(done, drawn.len());
    }
    #[expect(clippy::cast_possible_truncation, reason = "shares")]
    let heads = sums.iter().map(|layer| layer.iter().map(|sum| (sum / nouns.max(1.0)) as f32).collect()).collect();
    Ok(Heads { checkpoint: checkpoint.name(), scenes: done, seed, heads })
}

/// The class token's attention in each head of the vision tower, or that of each head that pools the patches, weighted by the
/// gradient of the noun's score.
fn of_two_encoders(opened: &Opened, scenes: &[Scene], stop: &CancelToken) -> Result<Vec<Vec<f64>>> {
    let model = opened.dual_encoder();
    let centres = pointing::centres(&opened.processor, model.grid());
    let pairs = pointing::pairs(scenes, Language::English, &centres);
    let (tower, attention, layers) = match model.class_tokens() {
        0 => (Tower::Pooler, Attn::CrossAttn, 1),
        _ => (Tower::Vision, Attn::SelfAttn, model.depths().0),
    };
    let mut sums: Vec<Vec<f64>> = Vec::new();
    for chunk in pairs.chunks(contrastive::pairs_in_a_pass(opened)) {
        let pass = contrastive::probe(opened, scenes, chunk, stop)?;
        for (row, pair) in chunk.iter().enumerate() {
            let look = Look {
                recording: &pass.recording,
                row,
                picture: row,
                tower,
                attention,
                layers,
                resampler: 0,
                patches: PatchKeys::Behind(model.class_tokens()),
                positions: &[0],
            };
            add(&mut sums, &look, pair)?;
        }
    }
    let count = pairs.len().max(1) as f64;
    sums.iter_mut().flatten().for_each(|sum| *sum /= count);
    Ok(sums)
}

fn add(sums: &mut Vec<Vec<f64>>, look: &Look<'_>, pair: &Pair) -> Result<()> {
    let mut maps = look.by_head(Weight::Gradient)?.into_iter();
    sums.resize(look.layers, Vec::new());
    for (layer, sums) in sums.iter_mut().enumerate() {
        sums.resize(look.heads(look.tower, layer)?, 0.0);
        for (sum, map) in sums.iter_mut().zip(maps.by_ref()) {
            *sum += hit(&map, &pair.near_object);
        }
    }
    Ok(())
}

impl fmt::Display for Heads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checkpoint, scenes, seed, heads } = self;
        writeln!(
            formatter,
            "{checkpoint}, English, {scenes} scenes, seed {seed}: nouns on whose object a head is highest"
        )?;
        let most = heads.iter().map(Vec::len).max().unwrap_or(0);
        let names: String = (0..most).map(|head| format!("{:>6}", head + 1)).collect();
        writeln!(formatter, "  layer{names}")?;
        for (layer, heads) in heads.iter().enumerate() {
            let shares: String = heads.iter().map(|share| format!("{share:>6.2}")).collect();
            writeln!(formatter, "  {:>5}{shares}", layer + 1)?;
        }
        Ok(())
    }
}
