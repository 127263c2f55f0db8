//! What the model writes: a caption, the answer to a question, or the continuation of a text, handed out word by word.

use candle_core::{IndexOp, Tensor};
use std::sync::Arc;

use super::super::reading::{Line, LineKind, Place, Step, Weighting};
use super::{CrossAttention, Image, Input, Known};
use crate::error::Result;
use crate::methods::is_question;
use crate::models::blip::{Blip, BlipHead};
use crate::models::fusion::Task;
use crate::models::generate::Greedy;
use crate::models::idefics::{Prompt, Writing};
use crate::taps::{Array, Attn, CancelToken, Change, Interventions, Point, Recorder, Site, SitePattern, Taps, Tower};

/// The longest text that is written, in tokens.
const MOST: usize = 40;

impl CrossAttention {
    /// Writes, if the model does; `show` is called after each word.
    pub(super) fn write(
        &self,
        image: &Image,
        known: &mut Known,
        input: &Input,
        cancel: &CancelToken,
        show: &mut dyn FnMut(&Known),
    ) -> Result<()> {
        if self.opened.task() == Task::Match {
            return Ok(());
        }
        let given = self.given(known, input)?;
        let under = self.under(&known.closed);
        if !known.closed.is_empty() {
            // Beside what it writes now, what it would write without any picture.
            let mut guess = Vec::new();
            let mut without = self.interventions.clone();
            without.0.push(Change::GatesClosed { layers: None });
            self.go_on(image, &known.tokens.ids, &given, &without, cancel, &mut |token| guess.push(token))?;
            known.reading.guess = Some(self.opened.tokenizer.decode(&guess)?);
        }
        known.written.clone_from(&given);
        let step =
            |token: u32, is_written| Step { text: self.opened.tokenizer.token(token), is_written, ..Step::default() };
        let steps = given.iter().map(|token| step(*token, false)).collect();
        known.reading.lines.push(Line { kind: LineKind::Written, steps, maps: Vec::new(), of_question: None });
        let end = self.opened.end();
        let asked = known.tokens.ids.clone();
        let mut take = |token: u32| {
            if token != end {
                known.written.push(token);
                if let Some(line) = known.reading.lines.last_mut() {
                    line.steps.push(step(token, true));
                }
                show(known);
            }
        };
        self.go_on(image, &asked, &given, &under, cancel, &mut take)?;
        let written = known.written.clone();
        match self.opened.task() {
            Task::Answer => self.raw_answer(image, known, cancel),
            _ => self.raw_maps(image, known, 1, &written, cancel),
        }
    }

    /// What is gone on from: the person's question; where it is none, what a caption is asked for with, as far as the model
    /// knows these words. An answer goes on from the start token alone.
    fn given(&self, known: &Known, input: &Input) -> Result<Vec<u32>> {
        if let Some(blip) = self.opened.blip().filter(|_| self.opened.task() == Task::Answer) {
            return Ok(vec![blip.config().text_config.bos_token_id]);
        }
        if is_question(&known.sentence) {
            return Ok(known.tokens.ids.clone());
        }
        let prompt = self.opened.tokens(input.language.caption_prompt())?;
        // Published captioners write best without being asked.
        let is_ours = self.familiarity.is_some() && prompt.known.iter().all(|known| *known);
        let prompt = if is_ours || self.opened.flamingo().is_some() { prompt } else { self.opened.tokens("")? };
        Ok(prompt.ids)
    }

    /// Hands out what the model writes behind `given`, or as the answer to `asked`.
    fn go_on(
        &self,
        image: &Image,
        asked: &[u32],
        given: &[u32],
        under: &Interventions,
        cancel: &CancelToken,
        take: &mut dyn FnMut(u32),
    ) -> Result<()> {
        let device = &self.opened.device;
        let mut taps = Taps::under(under).cancelled_by(cancel);
        let mut on_token = |token: u32| {
            take(token);
            true
        };
        match self.opened.blip().map(Blip::head) {
            Some(BlipHead::Captioning(decoder)) => {
                // Its last token, which ends it, is left out.
                let prompt = [given, &[self.opened.end()]].concat();
                decoder.generate(&prompt, &image.states, Greedy::new(MOST), &mut taps, &mut on_token)?;
            }
            Some(BlipHead::Answering(answering)) => {
                let question = Tensor::from_slice(asked, (1, asked.len()), device)?;
                let read = answering.read(&question, None, &image.states, &mut taps)?;
                answering.answer.generate(&[], &read, Greedy::new(MOST), &mut taps, &mut on_token)?;
            }
            Some(BlipHead::Retrieval(_)) => {}
            None => {
                let Some(model) = self.opened.flamingo() else { return Ok(()) };
                let prompt = Prompt {
                    ids: Tensor::from_slice(given, (1, given.len()), device)?,
                    attention_mask: None,
                    pixels: image.pixels.unsqueeze(0)?,
                    image_mask: self.opened.image_mask(given)?,
                };
                let how = Writing { most: MOST, ends: model.ends(), cached: true };
                model.generate(&prompt, &how, &mut taps, &mut on_token)?;
            }
        }
        Ok(())
    }

    /// What an answer sees of the question, and by way of it of the picture.
    fn raw_answer(&self, image: &Image, known: &mut Known, cancel: &CancelToken) -> Result<()> {
        let (question, answer) = (known.tokens.ids.clone(), known.written.clone());
        let texts = self.opened.tokenizer.pad(&[question], &self.opened.device)?;
        let mut recorder = Recorder::new(SitePattern::new("decoder.*.cross_attn.pattern"));
        let logits = {
            let mut taps = Taps::under(&self.interventions).with(&mut recorder).cancelled_by(cancel);
            let Some(read) = self.opened.read(&texts, &image.states, &mut taps)?.states else { return Ok(()) };
            let ids = Tensor::from_slice(&answer, (1, answer.len()), &self.opened.device)?;
            self.opened.answer(&ids, &read, None, &mut taps)?
        };
        let recording = recorder.finish();
        let of_question = mean_over_heads(&recording.activations, answer.len()); // by the position that predicts
        let words = known.tokens.ids.len();
        let mut maps = Vec::new();
        if let Some((.., looks)) = known.reading.lines.first().and_then(|line| line.maps.first()) {
            let size = looks.len() / words.max(1);
            for row in of_question.chunks_exact(words.max(1)) {
                let mut map = vec![0.0; size];
                for (share, look) in row.iter().zip(looks.chunks_exact(size.max(1))) {
                    map.iter_mut().zip(look).for_each(|(map, value)| *map += share * value);
                }
                maps.extend(map);
            }
        }
        if let Some(line) = known.reading.lines.last_mut() {
            line.maps.push((Place::Predict, Weighting::Raw, Arc::new(maps)));
            line.of_question = Some(Arc::new(of_question));
            self.expect(&mut line.steps, &logits.i(0)?, &answer)?;
        }
        Ok(())
    }
}

/// The mean over layers and heads of the rows that predict each of `steps` tokens, `[steps, keys]`; the first, which nothing
/// predicts, has zeros.
fn mean_over_heads(patterns: &std::collections::BTreeMap<Site, Array>, steps: usize) -> Vec<f32> {
    let is_decoder = |site: &Site| site.tower == Tower::Decoder && site.point == Point::Pattern(Attn::CrossAttn);
    let patterns: Vec<&Array> = patterns.iter().filter(|(site, _)| is_decoder(site)).map(|(_, array)| array).collect();
    let Some([_, heads, queries, keys]) =
        patterns.first().and_then(|array| <[usize; 4]>::try_from(&array.shape[..]).ok())
    else {
        return Vec::new();
    };
    let mut mean = vec![0.0; steps * keys];
    let share = 1.0 / (heads * patterns.len()).max(1) as f32;
    for pattern in patterns {
        for head in 0..heads {
            for step in 1..steps.min(queries + 1) {
                let begin = (head * queries + step - 1) * keys;
                let row = pattern.data.get(begin..begin + keys).unwrap_or_default();
                mean[step * keys..(step + 1) * keys]
                    .iter_mut()
                    .zip(row)
                    .for_each(|(mean, value)| *mean += value * share);
            }
        }
    }
    mean
}
