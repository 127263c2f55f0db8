//! Where words look: raw attention in one pass, and attention weighted by gradients in one pass over copies of the text,
//! each of which is asked about one word.

use candle_core::{IndexOp, Tensor};
use std::sync::Arc;

use super::super::expected::expect;
use super::super::reading::{LineKind, Place, Step, Weighting};
use super::{CrossAttention, Image, Known};
use crate::attribution::fusion::{Look, PatchKeys, Weight};
use crate::error::Result;
use crate::models::fusion::Task;
use crate::models::score::sum_of_logits;
use crate::taps::{Attn, CancelToken, GradProbe, Recorder, Recording, SitePattern, Taps};

/// Numbers of all patterns in one pass with gradients, at most.
const PATTERN_NUMBERS: usize = 1 << 23;
const WORDS_LOOK: &str = "text.*.cross_attn.pattern,decoder.*.cross_attn.pattern";
/// The same, and where the latents look between words and patches.
const ALL_LOOK: &str = "text.*.cross_attn.pattern,decoder.*.cross_attn.pattern,resampler.*.cross_attn.pattern";

/// What a pass with gradients explains, for one row.
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
            known.reading.heads = self.heads_into(&recording, 0, &[at], Weight::Raw, &mut read)?;
            // The first token is predicted by nothing.
            let before: Vec<usize> = at.checked_sub(1).into_iter().collect();
            self.heads_into(&recording, 0, &before, Weight::Raw, &mut predict)?;
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
        row: usize,
        positions: &[usize],
        weight: Weight,
        into: &mut Vec<f32>,
    ) -> Result<usize> {
        let look = Look {
            recording,
            row,
            // As it is, each row of the batch looks at the same latents; weighted, the latents of a row look on its behalf.
            picture: if weight == Weight::Raw { 0 } else { row },
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
            let answers = at > 0 && self.opened.task() == Task::Answer;
            let maps = match (answers, at) {
                (true, _) => self.weighted_answer(image, known, cancel)?,
                (_, 0) => self.weighted(image, known, &known.tokens.ids, (place, None), cancel)?,
                _ => self.weighted(image, known, &known.written, (place, None), cancel)?,
            };
            if let Some(line) = known.reading.lines.get_mut(at) {
                line.maps.push((place, Weighting::Gradient, Arc::new(maps)));
            }
            progress((done + 1) as f32 / all as f32);
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

    /// `[steps, layers, heads, patches]` of a text that looks at the picture; where only some steps are `wanted`, the others
    /// have zeros.
    pub(super) fn weighted(
        &self,
        image: &Image,
        known: &Known,
        ids: &[u32],
        (place, wanted): (Place, Option<&[bool]>),
        cancel: &CancelToken,
    ) -> Result<Vec<f32>> {
        let is_wanted = |at: usize| wanted.is_none_or(|wanted| wanted.get(at) == Some(&true));
        let asked: Vec<(usize, Asked)> =
            self.asked(ids, place).into_iter().enumerate().filter(|(at, _)| is_wanted(*at)).collect();
        let (rows, columns) = self.opened.grid();
        let of_step = self.opened.cross_layers() * known.reading.heads.max(1) * rows * columns;
        let keys = image.states.dim(1)?;
        let of_row = ids.len() * keys * self.opened.cross_layers() * known.reading.heads.max(1);
        let together = (PATTERN_NUMBERS / of_row.max(1)).clamp(1, 32);
        let mut maps = Vec::with_capacity(ids.len() * of_step);
        for chunk in asked.chunks(together) {
            let under = self.under(&known.closed);
            let mut probe = GradProbe::new(SitePattern::new(ALL_LOOK));
            let score = {
                let mut taps = Taps::under(&under).with(&mut probe).cancelled_by(cancel);
                let rows = vec![ids.to_vec(); chunk.len()];
                let texts = self.opened.tokenizer.pad(&rows, &self.opened.device)?;
                let (_, positions, width) = image.seen.dims3()?;
                let seen = image.seen.broadcast_as((chunk.len(), positions, width))?.contiguous()?;
                let states = self.opened.resample(&seen, &mut taps)?; // [rows, keys, width]
                let read = self.opened.read(&texts, &states, &mut taps)?;
                let question = read.states.map(|states| self.answer_score(known, &states, &mut taps)).transpose()?;
                match (read.matching, read.logits, question) {
                    (Some(matching), ..) => matching.i((.., 1))?.sum_all()?,
                    (_, Some(logits), _) => sum_of_logits(&logits, of_rows(chunk.iter().map(|(_, asked)| asked)))?,
                    (.., Some(score)) => score,
                    _ => return Ok(Vec::new()),
                }
            };
            let recording = probe.backward(&score)?;
            for (row, (at, asked)) in chunk.iter().enumerate() {
                maps.resize(at * of_step, 0.0);
                self.heads_into(&recording, row, &asked.positions, Weight::Gradient, &mut maps)?;
            }
        }
        maps.resize(ids.len() * of_step, 0.0);
        Ok(maps)
    }

    /// The logits of the answer that was written, summed over the copies of the question in `states`.
    fn answer_score(&self, known: &Known, states: &Tensor, taps: &mut Taps<'_>) -> Result<Tensor> {
        let written = &known.written;
        let copies = states.dim(0)?;
        let answers = self.opened.tokenizer.pad(&vec![written.clone(); copies], &self.opened.device)?;
        let logits = self.opened.answer(&answers.ids, states, None, taps)?;
        let answer = written.iter().skip(1).enumerate();
        sum_of_logits(&logits, answer.flat_map(|(at, token)| (0..copies).map(move |row| (row, at, *token))))
    }

    /// `[steps, layers, heads, patches]` of an answer: where the question looked on its behalf.
    fn weighted_answer(&self, image: &Image, known: &Known, cancel: &CancelToken) -> Result<Vec<f32>> {
        let (question, answer) = (&known.tokens.ids, &known.written);
        let everywhere: Vec<usize> = (0..question.len()).collect();
        let mut maps = Vec::new();
        let asked = self.asked(answer, Place::Predict);
        let mut probe = GradProbe::new(SitePattern::new("text.*.cross_attn.pattern"));
        let score = {
            let mut taps = Taps::under(&self.interventions).with(&mut probe).cancelled_by(cancel);
            let copies = asked.len();
            let states = image.states.broadcast_as((copies, image.states.dim(1)?, image.states.dim(2)?))?;
            let texts = self.opened.tokenizer.pad(&vec![question.clone(); copies], &self.opened.device)?;
            let Some(read) = self.opened.read(&texts, &states.contiguous()?, &mut taps)?.states else {
                return Ok(Vec::new());
            };
            let answers = self.opened.tokenizer.pad(&vec![answer.clone(); copies], &self.opened.device)?;
            sum_of_logits(&self.opened.answer(&answers.ids, &read, None, &mut taps)?, of_rows(asked.iter()))?
        };
        let recording = probe.backward(&score)?;
        for row in 0..asked.len() {
            // What the first token, which starts every answer, would look at nobody asked.
            let positions: &[usize] = if row == 0 { &[] } else { &everywhere };
            self.heads_into(&recording, row, positions, Weight::Gradient, &mut maps)?;
        }
        Ok(maps)
    }
}

/// The logits that each row is asked about, as [`sum_of_logits`] takes them.
fn of_rows<'a>(asked: impl Iterator<Item = &'a Asked>) -> impl Iterator<Item = (usize, usize, u32)> {
    let rows = asked.enumerate();
    rows.flat_map(|(row, asked)| asked.logits.iter().map(move |(at, token)| (row, *at, *token)))
}
