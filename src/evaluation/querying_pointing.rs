//! The pointing game through queries: from the words to the queries that stand for them, and from there to the patches.
//!
//! A model for retrieval has a winner: the query that is most like the phrase, whose similarity is that of the picture. A
//! model that writes has a noun of a full caption looked at where it is predicted: the language model attends to what the
//! queries brought back, and the queries to patches. The mean of all queries is the control, since it is the same for each
//! word.

use candle_core::Tensor;
use serde::Serialize;
use std::sync::Arc;

use super::contrastive::RANDOM;
use super::fusion::rows_of;
use super::pointing::{self, Pair, Pointing, hits};
use super::querying::Run;
use super::sentences::BATCH;
use crate::error::{Error, Result};
use crate::methods::queries::{Contrast, Queries, QueryLook};
use crate::models::blip_2_retrieval::Blip2Retrieval;
use crate::models::q_former::QFormerText;
use crate::models::querying_writer::{QueryingPrompt, QueryingWriter};
use crate::models::tokenizer::Tokens;
use crate::taps::{Array, Attn, Point, Recorder, Recording, Site, SitePattern, Taps, Tower};
use crate::world::{Language, Scene};

/// The pointing game by one kind of map each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueryingPointing {
    /// A random map.
    pub random: Pointing,
    /// The mean of the maps of all queries, whatever the words are.
    pub all: Pointing,
    /// The map of the winning query, the mean over blocks and heads: of the one that is most like the phrase or, in a model
    /// that writes, that the noun looks at most.
    pub winner: Pointing,
    /// The winner's map in each block in which queries look at the picture, the mean over heads.
    pub layers: Vec<Pointing>,
    /// The maps of all queries, each as much as the noun looks at it; of a model that writes.
    pub through: Option<Pointing>,
    /// What the winner's map hits within the margin in each head, `[layers][heads]`.
    pub heads: Vec<Vec<f64>>,
}

/// Plays the game with `states` `[scenes, 1 + patches, vision width]`.
pub(super) fn play(
    run: &Run<'_>,
    scenes: &[Scene],
    states: &Tensor,
    language: Language,
) -> Result<Option<QueryingPointing>> {
    let centres = pointing::centres(&run.opened.processor, run.opened.grid());
    let pairs = pointing::pairs(scenes, language, &centres);
    let mut game = Game::default();
    if let Some(model) = run.opened.retrieval() {
        for chunk in pairs.chunks(BATCH) {
            for (pair, queries) in chunk.iter().zip(of_phrases(run, model, states, chunk)?) {
                game.play(pair, &queries)?;
            }
        }
        return Ok(Some(game.finish(language, false)));
    }
    let Some(writer) = run.opened.writer().filter(|writer| !writer.language().encoder_decoder()) else {
        return Ok(None);
    };
    let prompt = language.caption_prompt();
    let mut nouns = Vec::new();
    for pair in pairs {
        nouns.extend(Noun::find(run, pair, scenes, language)?);
    }
    for chunk in nouns.chunks(BATCH) {
        for (noun, queries) in chunk.iter().zip(of_nouns(run, writer, states, prompt, chunk)?) {
            game.play(&noun.pair, &queries)?;
        }
    }
    Ok(Some(game.finish(language, true)))
}

/// The different scenes of pairs, which stand together, and the place among them of each pair's.
fn drawn<'a>(pairs: impl Iterator<Item = &'a Pair> + Clone) -> (Vec<usize>, Vec<usize>) {
    let mut scenes: Vec<usize> = pairs.clone().map(|pair| pair.scene).collect();
    scenes.dedup();
    let place = |pair: &Pair| scenes.iter().position(|scene| *scene == pair.scene).unwrap_or(0);
    let places = pairs.map(place).collect();
    (scenes, places)
}

/// The sites that are recorded.
const SITES: &str = "qformer.*.cross_attn.pattern,decoder.*.self_attn.pattern";

/// The queries of each pair's scene, held against its phrase.
fn of_phrases(run: &Run<'_>, model: &Blip2Retrieval, states: &Tensor, pairs: &[Pair]) -> Result<Vec<Queries>> {
    let (scenes, places) = drawn(pairs.iter());
    let mut recorder = Recorder::new(SitePattern::new(SITES));
    let image = {
        let mut taps = Taps::none().with(&mut recorder).cancelled_by(run.stop);
        model.embed_image(&rows_of(states, scenes.into_iter())?, None, &mut taps)?
    };
    let recording = recorder.finish();
    let text = run.texts(model, &pairs.iter().map(|pair| pair.text.as_str()).collect::<Vec<_>>())?;
    let cosines = Array::from_tensor(&Blip2Retrieval::contrast(&image, &text)?)?; // [pictures, queries, texts]
    let looked = |(text, place): (usize, usize)| -> Result<Queries> {
        let mut queries = looking(run, &recording, place)?;
        let of_picture = cosines.row(place).chunks_exact(pairs.len());
        let phrase = of_picture.map(|texts| texts[text]).collect();
        queries.contrast = Some(Contrast { phrase, ..Contrast::default() });
        Ok(queries)
    };
    places.into_iter().enumerate().map(looked).collect()
}

/// A noun of a scene's full caption, behind the question for it.
struct Noun {
    pair: Pair,
    tokens: Tokens,
    positions: Vec<usize>, // those that predict it
}

impl Noun {
    /// The noun of a pair, if the caption names it.
    fn find(run: &Run<'_>, pair: Pair, scenes: &[Scene], language: Language) -> Result<Option<Self>> {
        let scene = &scenes[pair.scene];
        let named = scene.named_in_full_caption(language);
        let Some((_, range)) = named.into_iter().find(|(thing, _)| *thing == pair.thing) else { return Ok(None) };
        let prompt = format!("{} ", language.caption_prompt());
        let range = prompt.len() + range.start..prompt.len() + range.end;
        let tokens =
            run.opened.prompt(&format!("{prompt}{}", scene.full_caption(language)), run.opened.query_count())?;
        let inside = |span: Option<(usize, usize)>| span.is_some_and(|(from, to)| from < range.end && to > range.start);
        let read = (0..tokens.ids.len()).filter(|at| inside(tokens.spans[*at]));
        let positions = read.filter_map(|at| at.checked_sub(1)).collect();
        Ok(Some(Self { pair, tokens, positions }))
    }
}

/// The queries of each noun's scene, looked at where the language model predicts the noun; queries that read an instruction
/// have read `prompt`.
fn of_nouns(
    run: &Run<'_>,
    writer: &QueryingWriter,
    states: &Tensor,
    prompt: &str,
    nouns: &[Noun],
) -> Result<Vec<Queries>> {
    let (scenes, places) = drawn(nouns.iter().map(|noun| &noun.pair));
    let device = &run.opened.device;
    let instructions = run.opened.instructions.as_ref();
    let instructions =
        instructions.map(|tokenizer| tokenizer.batch(&vec![prompt; scenes.len()], device)).transpose()?;
    let rows: Vec<Vec<u32>> = nouns.iter().map(|noun| noun.tokens.ids.clone()).collect();
    let texts = run.opened.tokenizer.pad(&rows, device)?;
    let mut recorder = Recorder::new(SitePattern::new(SITES));
    {
        let mut taps = Taps::none().with(&mut recorder).cancelled_by(run.stop);
        let seen = rows_of(states, scenes.into_iter())?;
        let queries = writer.query(&seen, instructions.as_ref().map(QFormerText::from), None, &mut taps)?;
        let projected = rows_of(&writer.project(&queries)?, places.iter().copied())?; // [texts, queries, language width]
        let mask = texts.attention_mask.as_ref();
        writer.logits(
            QueryingPrompt { ids: &texts.ids, attention_mask: mask, projected: &projected },
            None,
            &mut taps,
        )?;
    }
    let recording = recorder.finish();
    // Where no token stands for a query, no id does.
    let unseen = if writer.placeholder().is_none() { run.opened.query_count() } else { 0 };
    let looked = |(row, (noun, place)): (usize, (&Noun, usize))| -> Result<Queries> {
        let mut queries = looking(run, &recording, place)?;
        let positions: Vec<usize> = noun.positions.iter().map(|at| at + unseen).collect();
        let shares = looked_at(&recording, writer.language().depth(), row, &positions, queries.count)?;
        queries.written_to_queries = Some(Arc::new(shares));
        Ok(queries)
    };
    nouns.iter().zip(places.iter().copied()).enumerate().map(looked).collect()
}

/// How much `positions` of a row look at each query in the language model, `[queries]`, the mean over layers, heads and
/// positions. What the queries brought back stands in front of all words.
fn looked_at(recording: &Recording, depth: usize, row: usize, positions: &[usize], queries: usize) -> Result<Vec<f32>> {
    let mut shares = vec![0f32; queries];
    for layer in 0..depth {
        let pattern = recorded(recording, Site::pattern(Tower::Decoder, layer))?;
        let [_, heads, froms, keys] = pattern.shape[..] else { continue };
        let weight = 1.0 / (depth * heads * positions.len().max(1)) as f32;
        for head in 0..heads {
            for position in positions {
                let begin = ((row * heads + head) * froms + position) * keys;
                let looks = pattern.data.get(begin..begin + keys).unwrap_or_default();
                shares.iter_mut().zip(looks).for_each(|(share, look)| *share += look * weight);
            }
        }
    }
    Ok(shares)
}

/// Where the queries of one picture look.
fn looking(run: &Run<'_>, recording: &Recording, picture: usize) -> Result<Queries> {
    let (opened, layers) = (run.opened, run.opened.cross_layers());
    let site = |layer: &usize| Site::new(Tower::QFormer, *layer, Point::Pattern(Attn::CrossAttn));
    let patterns = layers.iter().map(|layer| recorded(recording, site(layer))).collect::<Result<Vec<_>>>()?;
    let count = opened.query_count();
    let heads = patterns.first().and_then(|pattern| pattern.shape.get(1)).copied().unwrap_or(0);
    let mut maps = Vec::new();
    for query in 0..count {
        for pattern in &patterns {
            let keys = pattern.shape.last().copied().unwrap_or(0);
            for head in 0..heads {
                let begin = ((picture * heads + head) * count + query) * keys;
                // Without the class token.
                maps.extend_from_slice(pattern.data.get(begin + 1..begin + keys).unwrap_or_default());
            }
        }
    }
    Ok(Queries {
        count,
        kept: (0..count).collect(),
        depth: opened.depth(),
        layers,
        heads,
        maps: Arc::new(maps),
        ..Queries::default()
    })
}

fn recorded(recording: &Recording, site: Site) -> Result<&Array> {
    recording.get(site).ok_or_else(|| Error::unusable(format!("{site} wasn't recorded"), "record all attention"))
}

/// The hits so far.
#[derive(Default)]
struct Game {
    pairs: Vec<Pair>,
    all: Vec<[f64; 2]>,
    winner: Vec<[f64; 2]>,
    through: Vec<[f64; 2]>,
    layers: Vec<Vec<[f64; 2]>>, // [layers][pairs]
    heads: Vec<Vec<f64>>,       // [layers][heads], sums
}

impl Game {
    /// One pair, with the queries of its scene.
    fn play(&mut self, pair: &Pair, queries: &Queries) -> Result<()> {
        let missing = || Error::unusable("the queries have no maps", "report this");
        let winner = queries.winner(Some(0)).ok_or_else(missing)?;
        let map = |place: usize, look: QueryLook| queries.map(place, look).ok_or_else(missing);
        self.winner.push(hits(&map(winner, QueryLook::default())?, pair));
        self.layers.resize(queries.layers.len(), Vec::new());
        self.heads.resize(queries.layers.len(), vec![0.0; queries.heads]);
        for (layer, (of_layer, of_heads)) in self.layers.iter_mut().zip(&mut self.heads).enumerate() {
            of_layer.push(hits(&map(winner, QueryLook { layer: Some(layer), head: None })?, pair));
            for (head, sum) in of_heads.iter_mut().enumerate() {
                let [near, _] = hits(&map(winner, QueryLook { layer: Some(layer), head: Some(head) })?, pair);
                *sum += near;
            }
        }
        let similarity = queries.similarity(Some(0)).ok_or_else(missing)?;
        let (mut all, mut through) = (vec![0f32; queries.patches()], vec![0f32; queries.patches()]);
        for (place, share) in similarity.iter().enumerate() {
            for (at, value) in map(place, QueryLook::default())?.into_iter().enumerate() {
                all[at] += value;
                through[at] += value * share;
            }
        }
        self.all.push(hits(&all, pair));
        self.through.push(hits(&through, pair));
        self.pairs.push(pair.clone());
        Ok(())
    }

    /// The shares of hits; `writes` says whether words look at queries, so that there is a way through all of them.
    fn finish(self, language: Language, writes: bool) -> QueryingPointing {
        let of = |key, hits: &[[f64; 2]]| Pointing::of(key, language, &self.pairs, hits);
        let random: Vec<[f64; 2]> = self.pairs.iter().map(pointing::random_hits).collect();
        let count = self.pairs.len().max(1) as f64;
        QueryingPointing {
            random: of(RANDOM, &random),
            all: of("all-queries", &self.all),
            winner: of("winning-query", &self.winner),
            layers: self.layers.iter().map(|layer| of("winning-query", layer)).collect(),
            through: writes.then(|| of("words-to-queries", &self.through)),
            heads: self.heads.iter().map(|layer| layer.iter().map(|sum| sum / count).collect()).collect(),
        }
    }
}
