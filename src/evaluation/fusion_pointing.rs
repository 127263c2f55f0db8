//! The pointing game for words that look at a picture: every noun of a scene's full caption (of a model that answers, of
//! its questions), where it is read and where it is written, by layer and head.

use candle_core::{IndexOp, Tensor};
use serde::Serialize;

use super::Share;
use super::fusion::{Run, rows_of};
use super::pointing::{self, Pair, Pointing, hit, hits};
use super::sentences::BATCH;
use crate::attribution::fusion::{Look, PatchKeys, Weight};
use crate::error::{Error, Result};
use crate::models::fusion::Task;
use crate::models::score::sum_of_logits;
use crate::models::tokenizer::Tokens;
use crate::taps::{Attn, CancelToken, GradProbe, SitePattern, Taps};
use crate::world::{Language, Scene};

/// The pointing game by one kind of map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FusionPointing {
    /// Where the noun's attention is looked at.
    pub place: Place,
    /// Raw attention, the mean over layers and heads.
    pub raw: Pointing,
    /// Attention weighted by the gradient, the mean over layers and heads.
    pub weighted: Pointing,
    /// What each head's raw attention hits within the margin, `[layers][heads]`.
    pub raw_heads: Vec<Vec<f64>>,
    /// What each head's weighted attention hits within the margin, `[layers][heads]`.
    pub weighted_heads: Vec<Vec<f64>>,
}

/// Where a word's attention is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// At the positions that read it.
    Read,
    /// At the positions that predict it: those before.
    Predict,
}

/// A noun of a scene to point at.
struct Noun {
    pair: Pair,
    tokens: Tokens,
    positions: Vec<usize>,
}

/// Plays the game.
pub(super) fn play(run: &Run<'_>, scenes: &[Scene], language: Language) -> Result<Vec<FusionPointing>> {
    let centres = pointing::centres(&run.opened.processor, run.opened.grid());
    let mut nouns = Vec::new();
    for pair in pointing::pairs(scenes, language, &centres) {
        let scene = &scenes[pair.scene];
        let (text, range) = match run.opened.task() {
            Task::Answer => {
                let questions = scene.questions(language);
                let about = questions.into_iter().find_map(|question| {
                    let start = question.text.find(&pair.text)?;
                    Some((start..start + pair.text.len(), question.text))
                });
                let Some((range, text)) = about else { continue };
                (text, range)
            }
            _ => {
                let named = scene.named_in_full_caption(language);
                let Some((_, range)) = named.into_iter().find(|(thing, _)| *thing == pair.thing) else { continue };
                (scene.full_caption(language), range)
            }
        };
        let tokens = run.opened.tokens(&text)?;
        let inside =
            |span: &Option<(usize, usize)>| span.is_some_and(|(from, to)| from < range.end && to > range.start);
        let positions = (0..tokens.ids.len()).filter(|at| inside(&tokens.spans[*at])).collect();
        nouns.push(Noun { pair, tokens, positions });
    }
    let places: &[Place] =
        if run.opened.task() == Task::Write { &[Place::Read, Place::Predict] } else { &[Place::Read] };
    places.iter().map(|place| play_at(run, scenes, language, &nouns, *place)).collect()
}

fn play_at(
    run: &Run<'_>,
    scenes: &[Scene],
    language: Language,
    nouns: &[Noun],
    place: Place,
) -> Result<FusionPointing> {
    let opened = run.opened;
    let (mut raw, mut weighted) = (Vec::new(), Vec::new());
    let mut heads: Vec<Vec<[f64; 2]>> = Vec::new(); // [layers][heads], sums
    for chunk in nouns.chunks(BATCH) {
        let mut drawn: Vec<usize> = chunk.iter().map(|noun| noun.pair.scene).collect();
        drawn.dedup();
        let place_of = |noun: &Noun| drawn.iter().position(|scene| *scene == noun.pair.scene).unwrap_or(0);
        let pictures: Vec<Scene> = drawn.iter().map(|scene| scenes[*scene].clone()).collect();
        let mut probe = GradProbe::new(SitePattern::new(
            "text.*.cross_attn.pattern,decoder.*.cross_attn.pattern,\
                                                         resampler.*.cross_attn.pattern",
        ));
        let score = {
            let mut taps = Taps::none().with(&mut probe).cancelled_by(run.stop);
            let seen = opened.look(&run.pixels(&pictures)?, &mut taps)?;
            // The latents of each noun look on its behalf.
            let states = opened.resample(&rows_of(&seen, chunk.iter().map(place_of))?, &mut taps)?;
            let rows: Vec<Vec<u32>> = chunk.iter().map(|noun| noun.tokens.ids.clone()).collect();
            score(run, &rows, chunk, &states, place, &mut taps)?
        };
        let recording = probe.backward(&score)?;
        for (row, noun) in chunk.iter().enumerate() {
            let before = |at: &usize| at.checked_sub(1);
            let positions: Vec<usize> = match place {
                Place::Read => noun.positions.clone(),
                Place::Predict => noun.positions.iter().filter_map(before).collect(),
            };
            let look = Look {
                recording: &recording,
                row,
                picture: row,
                tower: opened.tower(),
                attention: Attn::CrossAttn,
                layers: opened.cross_layers(),
                resampler: opened.resampler_layers(),
                patches: PatchKeys::Behind(opened.leading()),
                positions: &positions,
            };
            raw.push(hits(&look.all(Weight::Raw)?, &noun.pair));
            weighted.push(hits(&look.all(Weight::Gradient)?, &noun.pair));
            let maps = [look.by_head(Weight::Raw)?, look.by_head(Weight::Gradient)?];
            heads.resize(opened.cross_layers(), Vec::new());
            let mut at = 0;
            for (layer, sums) in heads.iter_mut().enumerate() {
                sums.resize(look.heads(look.tower, layer)?, [0.0; 2]);
                for sums in sums {
                    for (sum, maps) in sums.iter_mut().zip(&maps) {
                        *sum += hit(&maps[at], &noun.pair.near_object);
                    }
                    at += 1;
                }
            }
        }
    }
    let pairs: Vec<Pair> = nouns.iter().map(|noun| noun.pair.clone()).collect();
    let shares = |which: usize| {
        let share = |sums: &[f64; 2]| sums[which] / nouns.len().max(1) as f64;
        heads.iter().map(|layer| layer.iter().map(share).collect()).collect()
    };
    Ok(FusionPointing {
        place,
        raw: Pointing::of("cross-attention", language, &pairs, &raw),
        weighted: Pointing::of("gradient-cross-attention", language, &pairs, &weighted),
        raw_heads: shares(0),
        weighted_heads: shares(1),
    })
}

/// The sum over the batch of what each noun is explained for: that the text matches; the logits of the noun itself; of
/// all that follows it; or of the answer.
fn score(
    run: &Run<'_>,
    rows: &[Vec<u32>],
    nouns: &[Noun],
    states: &Tensor,
    place: Place,
    taps: &mut Taps<'_>,
) -> Result<Tensor> {
    let opened = run.opened;
    let texts = opened.tokenizer.pad(rows, &opened.device)?;
    let read = opened.read(&texts, states, taps)?;
    if let Some(matching) = &read.matching {
        return Ok(matching.i((.., 1))?.sum_all()?);
    }
    let mut asked = Vec::new();
    if let Some(logits) = &read.logits {
        for (row, noun) in nouns.iter().enumerate() {
            let ids = &noun.tokens.ids;
            let explained: Vec<usize> = match place {
                Place::Predict => noun.positions.clone(),
                Place::Read => {
                    let last = noun.positions.last().copied().unwrap_or(0);
                    (last + 1..ids.len()).collect()
                }
            };
            for at in explained.into_iter().filter(|at| *at > 0) {
                asked.push((row, at - 1, ids[at]));
            }
            if place == Place::Read {
                asked.push((row, ids.len() - 1, opened.end()));
            }
        }
        return sum_of_logits(logits, asked);
    }
    if let Some(questions) = &read.states {
        let answers = opened.write_all(rows, &states.detach(), 8, &CancelToken::default())?;
        let start = opened.blip().map_or(0, |blip| blip.config().text_config.bos_token_id);
        let lines: Vec<Vec<u32>> = answers.iter().map(|ids| [&[start], ids.as_slice()].concat()).collect();
        let padded = opened.tokenizer.pad(&lines, &opened.device)?;
        let logits = opened.answer(&padded.ids, questions, texts.attention_mask.as_ref(), taps)?;
        for (row, line) in lines.iter().enumerate() {
            for (before, token) in line.iter().skip(1).enumerate() {
                asked.push((row, before, *token));
            }
        }
        return sum_of_logits(&logits, asked);
    }
    Err(Error::unusable("the model gives no score for a text", "evaluate one that matches, writes or answers"))
}

/// The mean of a share over nouns, for the table.
#[must_use]
pub fn best_head(heads: &[Vec<f64>]) -> Option<(usize, usize, f64)> {
    let all = heads.iter().enumerate();
    let all = all.flat_map(|(layer, heads)| heads.iter().enumerate().map(move |(head, share)| (layer, head, *share)));
    all.max_by(|one, other| one.2.total_cmp(&other.2))
}

impl FusionPointing {
    /// The share of hits of raw and of weighted attention.
    #[must_use]
    pub fn shares(&self) -> [Share; 2] {
        [self.raw.over_things, self.weighted.over_things]
    }
}
