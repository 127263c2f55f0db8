//! Where words look: raw attention, and attention weighted by gradients, in one pass each; gradients go back through it once for
//! each word, or once for the score of a whole text.

use candle_core::{IndexOp, Tensor};
use std::sync::Arc;

use super::super::expected::expect;
use super::super::gradients::each;
use super::super::reading::{LineKind, Place, Step, UNKNOWN, Weighting};
use super::{CrossAttention, Image, Known};
use crate::attribution::fusion::{Look, PatchKeys, Weight};
use crate::error::Result;
use crate::models::fusion::Task;
use crate::models::score::sum_of_logits;
use crate::taps::{Attn, CancelToken, GradProbe, Recorder, Recording, SitePattern, Taps};

const WORDS_LOOK: &str = "text.*.cross_attn.pattern,decoder.*.cross_attn.pattern";
/// The same, and where the latents look between words and patches.
const ALL_LOOK: &str = "text.*.cross_attn.pattern,decoder.*.cross_attn.pattern,resampler.*.cross_attn.pattern";

/// What gradients explain of one token.
struct Asked {
    /// The positions whose attention is looked at.
    positions: Vec<usize>,
    /// The tokens whose logits are explained, as (position of the logit, token).
    logits: Vec<(usize, u32)>,
}

impl CrossAttention {
    /// The raw attention of a line with these ids, at both places, and what was expected at each of its tokens.
    pub(super) fn raw_maps(
        &self,
        image: &Image,
        known: &mut Known,
        line: usize,
        ids: &[u32],
        cancel: &CancelToken,
    ) -> Result<()> {
        let texts = self.opened.tokenizer.pad(&[ids.to_vec()], &self.opened.device)?;
        let under = self.under(&known.closed);
        let mut recorder = Recorder::new(SitePattern::new(WORDS_LOOK));
        let logits = {
            let mut taps = Taps::under(&under).with(&mut recorder).cancelled_by(cancel);
            self.opened.read(&texts, &image.states, &mut taps)?.logits
        };
        let mut recording = recorder.finish();
        recording.activations.extend(image.resampler.activations.clone());
        let (mut read, mut predict) = (Vec::new(), Vec::new());
        for at in 0..ids.len() {
            known.reading.heads = self.heads_into(&recording, &[at], Weight::Raw, &mut read)?;
            // The first token is predicted by nothing.
            let before: Vec<usize> = at.checked_sub(1).into_iter().collect();
            self.heads_into(&recording, &before, Weight::Raw, &mut predict)?;
        }
        let predicts = known.reading.predicts;
        let Some(line) = known.reading.lines.get_mut(line) else { return Ok(()) };
        line.maps.push((Place::Read, Weighting::Raw, Arc::new(read)));
        if predicts {
            line.maps.push((Place::Predict, Weighting::Raw, Arc::new(predict)));
        }
        match logits {
            Some(logits) => self.expect(&mut line.steps, &logits.i(0)?, ids),
            None => Ok(()),
        }
    }

    /// What the model expected at each token but the first, from `logits` `[tokens, vocabulary]` of what follows each.
    pub(super) fn expect(&self, steps: &mut [Step], logits: &Tensor, ids: &[u32]) -> Result<()> {
        let (steps, ids) = (steps.get_mut(1..).unwrap_or_default(), ids.get(1..).unwrap_or_default());
        expect(steps, logits, ids, &self.opened.tokenizer)
    }

    /// Adds the maps of all heads, `[layers, heads, patches]`, to `into`; gives the number of heads.
    fn heads_into(
        &self,
        recording: &Recording,
        positions: &[usize],
        weight: Weight,
        into: &mut Vec<f32>,
    ) -> Result<usize> {
        let look = Look {
            recording,
            row: 0,
            picture: 0,
            tower: self.opened.tower(),
            attention: Attn::CrossAttn,
            layers: self.opened.cross_layers(),
            resampler: self.opened.resampler_layers(),
            patches: PatchKeys::Behind(self.opened.leading()),
            positions,
        };
        into.extend(look.by_head(weight)?.concat());
        look.layers.checked_sub(1).map_or(Ok(0), |last| look.heads(look.tower, last))
    }

    /// The weighted attention of all lines.
    pub(super) fn weighted_maps(
        &self,
        image: &Image,
        known: &mut Known,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(f32),
    ) -> Result<()> {
        let mut work = Vec::new();
        for (at, line) in known.reading.lines.iter().enumerate() {
            let places: &[Place] = match (line.kind, self.opened.task()) {
                (LineKind::Written, Task::Answer) => &[Place::Predict],
                (_, Task::Write) => &[Place::Read, Place::Predict],
                _ => &[Place::Read],
            };
            work.extend(places.iter().map(|place| (at, *place)));
        }
        let all = work.len().max(1);
        for (done, (at, place)) in work.into_iter().enumerate() {
            if at > 0 && self.opened.task() == Task::Answer {
                let maps = self.weighted_answer(image, known, cancel)?;
                if let Some(line) = known.reading.lines.get_mut(at) {
                    line.maps.push((place, Weighting::Gradient, Arc::new(maps)));
                }
            } else {
                self.weigh(image, known, at, (place, None), cancel)?;
            }
            progress((done + 1) as f32 / all as f32);
        }
        Ok(())
    }

    /// Puts the weighted maps of a line at `place` among its maps: of the steps that are `wanted`, or of all, as far as they aren't
    /// known.
    pub(super) fn weigh(
        &self,
        image: &Image,
        known: &mut Known,
        line: usize,
        (place, wanted): (Place, Option<&[bool]>),
        cancel: &CancelToken,
    ) -> Result<()> {
        let look = (place, Weighting::Gradient);
        let Some(of) = known.reading.lines.get(line) else { return Ok(()) };
        let missing = of.missing(look, wanted);
        if of.maps_of(look).is_some() && !missing.contains(&true) {
            return Ok(());
        }
        let ids = if line == 0 { &known.tokens.ids } else { &known.written };
        let maps = self.weighted(image, known, ids, (place, &missing), cancel)?;
        if let Some(line) = known.reading.lines.get_mut(line) {
            line.put(look, maps);
            // Views list them as they stand here, whichever came first.
            line.maps.sort_by_key(|(place, how, _)| (*how, *place));
        }
        Ok(())
    }

    /// What is asked about each token of a text: at the position that reads it, what follows or whether the text fits; at
    /// the position before it, the token itself.
    fn asked(&self, ids: &[u32], place: Place) -> Vec<Asked> {
        let end = self.opened.end();
        let followers = |at: usize| -> Vec<(usize, u32)> {
            let following = (at + 1..ids.len()).map(|later| (later - 1, ids[later]));
            following.chain([(ids.len() - 1, end)]).collect()
        };
        (0..ids.len())
            .map(|at| match place {
                Place::Read => Asked { positions: vec![at], logits: followers(at) },
                Place::Predict => Asked {
                    positions: at.checked_sub(1).into_iter().collect(),
                    logits: at.checked_sub(1).map(|before| (before, ids[at])).into_iter().collect(),
                },
            })
            .collect()
    }

    /// `[steps, layers, heads, patches]` of a text that looks at the picture, with [`UNKNOWN`] for steps that aren't `wanted`.
    fn weighted(
        &self,
        image: &Image,
        known: &Known,
        ids: &[u32],
        (place, wanted): (Place, &[bool]),
        cancel: &CancelToken,
    ) -> Result<Vec<f32>> {
        let is_wanted = |at: usize| wanted.get(at) == Some(&true);
        let asked: Vec<(usize, Asked)> =
            self.asked(ids, place).into_iter().enumerate().filter(|(at, _)| is_wanted(*at)).collect();
        let (rows, columns) = self.opened.grid();
        let of_step = self.opened.cross_layers() * known.reading.heads.max(1) * rows * columns;
        let mut maps = Vec::with_capacity(ids.len() * of_step);
        if asked.is_empty() {
            maps.resize(ids.len() * of_step, UNKNOWN);
            return Ok(maps);
        }
        let under = self.under(&known.closed);
        let mut probe = GradProbe::new(SitePattern::new(ALL_LOOK));
        let (read, answer) = {
            let mut taps = Taps::under(&under).with(&mut probe).cancelled_by(cancel);
            let texts = self.opened.tokenizer.pad(&[ids.to_vec()], &self.opened.device)?;
            let states = self.opened.resample(&image.seen, &mut taps)?; // [1, keys, width]
            let read = self.opened.read(&texts, &states, &mut taps)?;
            let answer = read.states.as_ref().map(|states| self.answer_score(known, states, &mut taps)).transpose()?;
            (read, answer)
        };
        // Whether a text fits, and what is answered, is a score of the whole text.
        let score = match (&read.matching, answer) {
            (Some(matching), _) => Some(matching.i((.., 1))?.sum_all()?),
            (None, answer) => answer.filter(|_| read.logits.is_none()),
        };
        let of_whole = score.map(|score| probe.backward(&score)).transpose()?;
        if of_whole.is_none() && read.logits.is_none() {
            return Ok(Vec::new());
        }
        let found = each(self.numbers(image, ids.len())?, &asked, |(_, asked)| {
            cancel.check()?;
            let of_this = match (&of_whole, &read.logits) {
                (None, Some(logits)) => Some(probe.backward(&asked.score(logits)?)?),
                _ => None,
            };
            let mut maps = Vec::with_capacity(of_step);
            if let Some(recording) = of_this.as_ref().or(of_whole.as_ref()) {
                self.heads_into(recording, &asked.positions, Weight::Gradient, &mut maps)?;
            }
            Ok(maps)
        })?;
        for ((at, _), found) in asked.into_iter().zip(found) {
            maps.resize(at * of_step, UNKNOWN);
            maps.extend(found);
        }
        maps.resize(ids.len() * of_step, UNKNOWN);
        Ok(maps)
    }

    /// Numbers in the states of all blocks of a pass over so many tokens, and in what they look at.
    fn numbers(&self, image: &Image, tokens: usize) -> Result<usize> {
        let (_, keys, width) = image.states.dims3()?;
        Ok(self.opened.cross_layers() * (keys + tokens) * width)
    }

    /// The logits of the answer that was written to the question in `states`, summed.
    fn answer_score(&self, known: &Known, states: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let written = &known.written;
        let answers = self.opened.tokenizer.pad(std::slice::from_ref(written), &self.opened.device)?;
        let logits = self.opened.answer(&answers.ids, states, None, taps)?;
        sum_of_logits(&logits, written.iter().skip(1).enumerate().map(|(at, token)| (0, at, *token)))
    }

    /// `[steps, layers, heads, patches]` of an answer: where the question looked on its behalf.
    fn weighted_answer(&self, image: &Image, known: &Known, cancel: &CancelToken) -> Result<Vec<f32>> {
        let (question, answer) = (&known.tokens.ids, &known.written);
        let everywhere: Vec<usize> = (0..question.len()).collect();
        let mut probe = GradProbe::new(SitePattern::new("text.*.cross_attn.pattern"));
        let logits = {
            let mut taps = Taps::under(&self.interventions).with(&mut probe).cancelled_by(cancel);
            let pad = |ids| self.opened.tokenizer.pad(std::slice::from_ref(ids), &self.opened.device);
            let Some(read) = self.opened.read(&pad(question)?, &image.states, &mut taps)?.states else {
                return Ok(Vec::new());
            };
            self.opened.answer(&pad(answer)?.ids, &read, None, &mut taps)?
        };
        let asked: Vec<(usize, Asked)> = self.asked(answer, Place::Predict).into_iter().enumerate().collect();
        let maps = each(self.numbers(image, question.len())?, &asked, |(at, asked)| {
            cancel.check()?;
            let recording = probe.backward(&asked.score(&logits)?)?;
            // What the first token, which starts every answer, would look at nobody asked.
            let positions: &[usize] = if *at == 0 { &[] } else { &everywhere };
            let mut maps = Vec::new();
            self.heads_into(&recording, positions, Weight::Gradient, &mut maps)?;
            Ok(maps)
        })?;
        Ok(maps.concat())
    }
}

impl Asked {
    /// The sum of the logits that are explained, of those of one text, `[1, tokens, vocabulary]`.
    fn score(&self, logits: &Tensor) -> Result<Tensor> {
        sum_of_logits(logits, self.logits.iter().map(|(at, token)| (0, *at, *token)))
    }
}
