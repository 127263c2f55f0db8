//! The pointing game in a row where patches stand as words: every noun of a scene's full caption, where it is read and where
//! it is written; and the answer to each question about a colour, for the thing that was asked about.

use candle_core::Tensor;
use serde::Serialize;

use super::fusion::rows_of;
use super::fusion_pointing::Place;
use super::pointing::{self, Pair, Pointing, hit, hits};
use super::projector::Run;
use crate::attribution::fusion::{Look, PatchKeys, Weight};
use crate::error::Result;
use crate::models::llava::LlavaPrompt;
use crate::models::score::sum_of_logits;
use crate::models::tokenizer::Tokens;
use crate::taps::{Attn, GradProbe, SitePattern, Taps, Tower};
use crate::world::{Language, QuestionKind, Scene};

/// Rows in one pass with gradients.
const BATCH: usize = 32;

/// The pointing game by three kinds of map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProjectorPointing {
    /// Where attention is looked at.
    pub place: Place,
    /// Whether it is that of an answer; else that of the nouns of a caption.
    pub of_answers: bool,
    /// Raw attention, the mean over layers and heads.
    pub raw: Pointing,
    /// Attention weighted by the gradient, the mean over layers and heads.
    pub weighted: Pointing,
    /// Relevancy: weighted attention followed through all layers.
    pub relevancy: Pointing,
    /// What each head's raw attention hits within the margin, `[layers][heads]`.
    pub raw_heads: Vec<Vec<f64>>,
}

/// Words of a text about a scene that are to point at a thing.
struct Asked {
    pair: Pair,
    tokens: Tokens,
    positions: Vec<usize>,
}

/// Plays the game.
pub(super) fn play(
    run: &Run<'_>,
    scenes: &[Scene],
    features: &Tensor,
    language: Language,
) -> Result<Vec<ProjectorPointing>> {
    let centres = pointing::centres(&run.opened.processor, run.opened.grid());
    let pairs = pointing::pairs(scenes, language, &centres);
    let (mut nouns, mut answers) = (Vec::new(), Vec::new());
    for pair in pairs {
        let scene = &scenes[pair.scene];
        let front = format!("{} ", language.caption_prompt());
        let named = scene.named_in_full_caption(language);
        if let Some((_, range)) = named.into_iter().find(|(thing, _)| *thing == pair.thing) {
            let range = range.start + front.len()..range.end + front.len();
            nouns.push(asked(run, pair.clone(), &format!("{front}{}", scene.full_caption(language)), range)?);
        }
        let colour = scene.questions(language).into_iter().find(|question| {
            let objects = &question.objects;
            question.kind == QuestionKind::Colour && objects.iter().all(|at| scene.objects[*at].thing == pair.thing)
        });
        if let Some(question) = colour.filter(|question| !question.objects.is_empty()) {
            let text = format!("{} {}", question.text, question.answer);
            let range = question.text.len() + 1..text.len();
            answers.push(asked(run, pair, &text, range)?);
        }
    }
    Ok(vec![
        play_at(run, features, language, &nouns, (Place::Read, false))?,
        play_at(run, features, language, &nouns, (Place::Predict, false))?,
        play_at(run, features, language, &answers, (Place::Predict, true))?,
    ])
}

/// The tokens of a text, and which of them stand in `range`.
fn asked(run: &Run<'_>, pair: Pair, text: &str, range: std::ops::Range<usize>) -> Result<Asked> {
    let tokens = run.opened.tokens_to_go_on(text)?;
    let inside = |span: &Option<(usize, usize)>| span.is_some_and(|(from, to)| from < range.end && to > range.start);
    let positions = (0..tokens.ids.len()).filter(|at| inside(&tokens.spans[*at])).collect();
    Ok(Asked { pair, tokens, positions })
}

fn play_at(
    run: &Run<'_>,
    features: &Tensor,
    language: Language,
    all: &[Asked],
    (place, of_answers): (Place, bool),
) -> Result<ProjectorPointing> {
    let opened = run.opened;
    let model = opened.model();
    let (mut raw, mut weighted, mut relevancy) = (Vec::new(), Vec::new(), Vec::new());
    let mut heads: Vec<Vec<f64>> = vec![Vec::new(); opened.depth()]; // [layers][heads], sums
    for chunk in all.chunks(BATCH) {
        let mut probe = GradProbe::new(SitePattern::new("decoder.*.self_attn.pattern"));
        let score = {
            let mut taps = Taps::none().with(&mut probe).cancelled_by(run.stop);
            let seen = rows_of(features, chunk.iter().map(|asked| asked.pair.scene))?;
            let projected = model.project(&seen)?; // [texts, positions, width]
            let rows: Vec<Vec<u32>> = chunk.iter().map(|asked| asked.tokens.ids.clone()).collect();
            let texts = opened.tokenizer.pad(&rows, &opened.device)?;
            let mask = texts.attention_mask.as_ref();
            let prompt = LlavaPrompt { ids: &texts.ids, attention_mask: mask, projected: Some(&projected) };
            let logits = model.logits(prompt, &mut taps)?; // [texts, tokens, vocabulary]
            score(run, &logits, chunk, place)?
        };
        let recording = probe.backward(&score)?;
        for (row, asked) in chunk.iter().enumerate() {
            let positions: Vec<usize> = match place {
                Place::Read => asked.positions.clone(),
                Place::Predict => asked.positions.iter().filter_map(|at| at.checked_sub(1)).collect(),
            };
            let placeholders = asked.tokens.ids.iter().enumerate().filter(|(_, id)| **id == model.placeholder());
            let keys: Vec<(usize, usize)> = placeholders
                .enumerate()
                .filter_map(|(place, (at, _))| Some((at, model.config().patch(place)?)))
                .collect();
            let (rows, columns) = opened.grid();
            let look = Look {
                recording: &recording,
                row,
                picture: row,
                tower: Tower::Decoder,
                attention: Attn::SelfAttn,
                layers: opened.depth(),
                resampler: 0,
                patches: PatchKeys::At(&keys, rows * columns),
                positions: &positions,
            };
            raw.push(hits(&look.all(Weight::Raw)?, &asked.pair));
            weighted.push(hits(&look.all(Weight::Gradient)?, &asked.pair));
            relevancy.push(hits(&look.relevancy()?, &asked.pair));
            let mut maps = look.by_head(Weight::Raw)?.into_iter();
            for (layer, sums) in heads.iter_mut().enumerate() {
                sums.resize(look.heads(look.tower, layer)?, 0.0);
                for (sum, map) in sums.iter_mut().zip(&mut maps) {
                    *sum += hit(&map, &asked.pair.near_object);
                }
            }
        }
    }
    let pairs: Vec<Pair> = all.iter().map(|asked| asked.pair.clone()).collect();
    let share = |sum: &f64| sum / all.len().max(1) as f64;
    Ok(ProjectorPointing {
        place,
        of_answers,
        raw: Pointing::of("attention", language, &pairs, &raw),
        weighted: Pointing::of("gradient-attention", language, &pairs, &weighted),
        relevancy: Pointing::of("relevancy", language, &pairs, &relevancy),
        raw_heads: heads.iter().map(|layer| layer.iter().map(share).collect()).collect(),
    })
}

/// The sum over the batch of what each row is explained for: the logits of the words themselves, or of all that follows.
fn score(run: &Run<'_>, logits: &Tensor, all: &[Asked], place: Place) -> Result<Tensor> {
    let end = run.opened.model().language().ends().first().copied();
    let mut asked_of = Vec::new();
    for (row, asked) in all.iter().enumerate() {
        let ids = &asked.tokens.ids;
        let explained: Vec<usize> = match place {
            Place::Predict => asked.positions.clone(),
            Place::Read => (asked.positions.last().map_or(ids.len(), |last| last + 1)..ids.len()).collect(),
        };
        for at in explained.into_iter().filter(|at| *at > 0) {
            asked_of.push((row, at - 1, ids[at]));
        }
        if let (Place::Read, Some(end)) = (place, end) {
            asked_of.push((row, ids.len() - 1, end));
        }
    }
    sum_of_logits(logits, asked_of)
}
