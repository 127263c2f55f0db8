//! Words inside of patches: how many patches of an object lie nearest to a word that names it, by depth.

use candle_core::{IndexOp, Tensor};
use serde::Serialize;
use std::collections::BTreeSet;

use super::Share;
use super::fusion::rows_of;
use super::projector::Run;
use super::sentences::BATCH;
use crate::error::Result;
use crate::models::lens::{Lens, unit};
use crate::models::llava::LlavaPrompt;
use crate::taps::{Recorder, SitePattern, Taps};
use crate::world::{Language, SIDE, Scene, Thing};

/// The figures at one depth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PatchNames {
    /// 0 is the projector's output, n what leaves the n-th block of the language model.
    pub depth: usize,
    /// How many patches of objects were asked.
    pub patches: usize,
    /// The word nearest by cosine, among all words, names the object.
    pub nearest: Share,
    /// The same among nouns alone.
    pub nearest_noun: Share,
    /// The word that is likeliest by the logit lens, among all words.
    pub likeliest: Share,
    /// The same among nouns alone.
    pub likeliest_noun: Share,
    /// What the nearest word would get if the object were one of another scene.
    pub of_another_scene: f64,
}

/// The patches of a scene that an object covers, with the object's thing. A patch counts if one object alone shows on at least
/// half of it.
fn covered(run: &Run<'_>, scene: &Scene) -> Vec<(usize, Thing)> {
    let (rows, columns) = run.opened.grid();
    let [left, top, right, bottom] = run.opened.seen(SIDE, SIDE);
    let along = |from: f32, to: f32, at: usize, count: usize| (from + (to - from) * at as f32 / count as f32).round();
    let mut covered = Vec::new();
    for (index, object) in scene.objects.iter().enumerate() {
        let mask = scene.mask(index);
        for patch in 0..rows * columns {
            let (row, column) = (patch / columns, patch % columns);
            let across = |at: usize| along(left, right, at, columns).clamp(0.0, SIDE as f32) as u32;
            let down = |at: usize| along(top, bottom, at, rows).clamp(0.0, SIDE as f32) as u32;
            let (x, y) = (across(column)..across(column + 1), down(row)..down(row + 1));
            let all = x.len() * y.len();
            let on = y.flat_map(|y| x.clone().map(move |x| (x, y))).filter(|(x, y)| mask.get_pixel(*x, *y).0[0] > 127);
            if all > 0 && 2 * on.count() >= all {
                covered.push((patch, object.thing));
            }
        }
    }
    covered
}

/// The tokens that name a thing, in either language: the last word of what it is called, for one and for two of it.
fn names(run: &Run<'_>, thing: Thing) -> Result<BTreeSet<u32>> {
    let mut names = BTreeSet::new();
    for language in Language::ALL {
        for count in [1, 2] {
            let tokens = run.opened.tokenizer.encode(&thing.counted(count, language))?;
            let mut words = tokens.ids.iter().zip(&tokens.spans).zip(&tokens.known).rev();
            let last = words.find(|((_, span), known)| span.is_some() && **known);
            names.extend(last.map(|((id, _), _)| *id));
        }
    }
    Ok(names)
}

/// Hits and patches of each scene, by what is asked.
type Hits = Vec<[f64; 6]>; // nearest, nearest noun, likeliest, likeliest noun, of another scene, patches

pub(super) fn measure(run: &Run<'_>, scenes: &[Scene], features: &Tensor) -> Result<Vec<PatchNames>> {
    let opened = run.opened;
    let model = opened.model();
    let language = model.language();
    let named: Vec<BTreeSet<u32>> = Thing::all().map(|thing| names(run, thing)).collect::<Result<_>>()?;
    let nouns: BTreeSet<u32> = named.iter().flatten().copied().collect();
    let words = Lens::new(language, &opened.tokenizer, Some(model.placeholder()))?;
    let table = unit(&language.words().weight().widened()?)?.t()?.contiguous()?; // [width, tokens]
    let row = opened.tokens_to_go_on("")?.ids;
    let mut places: Vec<Option<u32>> = vec![None; opened.grid().0 * opened.grid().1];
    let of_picture = row.iter().enumerate().filter(|(_, id)| **id == model.placeholder());
    for (place, (at, _)) in of_picture.enumerate() {
        if let Some(patch) = model.config().patch(place) {
            places[patch] = Some(at as u32);
        }
    }
    let mut by_depth: Vec<Hits> = vec![Vec::new(); opened.depth() + 1];
    let all_covered: Vec<Vec<(usize, Thing)>> = scenes.iter().map(|scene| covered(run, scene)).collect();
    for begin in (0..scenes.len()).step_by(BATCH) {
        let end = scenes.len().min(begin + BATCH);
        let projected = model.project(&rows_of(features, begin..end)?)?; // [scenes, positions, width]
        let ids = Tensor::new(row.as_slice(), &opened.device)?.unsqueeze(0)?.repeat((end - begin, 1))?;
        let prompt = LlavaPrompt { ids: &ids, attention_mask: None, projected: Some(&projected) };
        let mut recorder = Recorder::new(SitePattern::new("decoder.*.resid_post"));
        {
            let mut taps = Taps::none().with(&mut recorder).cancelled_by(run.stop);
            model.logits(prompt, &mut taps)?;
        }
        let mut depths = vec![model.inputs(&ids, Some(&projected))?]; // [scenes, row, width]
        for states in recorder.finish().activations.into_values() {
            depths.push(Tensor::from_vec(states.data, states.shape, &opened.device)?);
        }
        for (depth, states) in depths.iter().enumerate() {
            for scene in begin..end {
                run.stop.check()?;
                let covered = &all_covered[scene];
                let kept: Vec<(u32, Thing)> =
                    covered.iter().filter_map(|(patch, thing)| Some(((*places.get(*patch)?)?, *thing))).collect();
                let mut hits = [0.0; 6];
                if !kept.is_empty() {
                    let at: Vec<u32> = kept.iter().map(|(at, _)| *at).collect();
                    let of_patches =
                        states.i(scene - begin)?.index_select(&Tensor::new(at.as_slice(), &opened.device)?, 0)?;
                    let cosines = unit(&of_patches)?.matmul(&table)?.to_vec2::<f32>()?; // [patches, tokens]
                    let lens = language.lens(&of_patches.unsqueeze(0)?)?.i(0)?.to_vec2::<f32>()?;
                    let others = scenes[(scene + 1) % scenes.len()].things();
                    for ((_, thing), (near, likely)) in kept.iter().zip(cosines.iter().zip(&lens)) {
                        let is = |id: u32| f64::from(u8::from(named[thing.index()].contains(&id)));
                        let nearest = best(near, |id| words.word(id).is_some());
                        hits[0] += is(nearest);
                        hits[1] += is(best(near, |id| nouns.contains(&id)));
                        hits[2] += is(best(likely, |id| words.word(id).is_some()));
                        hits[3] += is(best(likely, |id| nouns.contains(&id)));
                        let is_other = |thing: &&Thing| named[thing.index()].contains(&nearest);
                        hits[4] += others.iter().filter(is_other).count() as f64 / others.len().max(1) as f64;
                        hits[5] += 1.0;
                    }
                }
                by_depth[depth].push(hits);
            }
        }
    }
    Ok(by_depth.into_iter().enumerate().map(|(depth, hits)| figures(depth, &hits)).collect())
}

/// The token with the highest score among those that count.
fn best(scores: &[f32], counts: impl Fn(u32) -> bool) -> u32 {
    let all = (0..scores.len() as u32).filter(|id| counts(*id));
    all.max_by(|a, b| scores[*a as usize].total_cmp(&scores[*b as usize]).then(b.cmp(a))).unwrap_or_default()
}

fn figures(depth: usize, hits: &Hits) -> PatchNames {
    let ratio = |scenes: &[usize], which: usize| {
        let sum = |which: usize| scenes.iter().map(|scene| hits[*scene][which]).sum::<f64>();
        sum(which) / sum(5).max(1.0)
    };
    let share = |which: usize| Share::bootstrap(hits.len(), |scenes| ratio(scenes, which));
    let all: Vec<usize> = (0..hits.len()).collect();
    PatchNames {
        depth,
        patches: hits.iter().map(|hits| hits[5] as usize).sum(),
        nearest: share(0),
        nearest_noun: share(1),
        likeliest: share(2),
        likeliest_noun: share(3),
        of_another_scene: ratio(&all, 4),
    }
}
