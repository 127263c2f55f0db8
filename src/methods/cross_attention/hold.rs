//! How strongly the model holds to words, to its answer, or to sentence and picture belonging together.

use candle_core::IndexOp;

use super::{CrossAttention, Input, with_gates};
use crate::attribution::bimodal_relevancy::{Flow, Order, Part};
use crate::error::{Error, Result};
use crate::methods::Method;
use crate::methods::holding::{About, Claim, Held, Measure, probabilities};
use crate::models::fusion::Task;
use crate::taps::{CancelToken, Tower};

/// The ids of a text, and tokens by the positions that predict them.
type HeldTo = (Vec<u32>, Vec<(usize, u32)>);

impl CrossAttention {
    /// The text that the model is held to, and the tokens of it, each by the position that predicts it; of a question, the tokens
    /// of the answer.
    fn held_to(&mut self, input: &Input, claim: Claim, cancel: &CancelToken) -> Result<HeldTo> {
        let asked_for = claim.about(input);
        let task = self.opened.task();
        let of_written = claim == Claim::Written || task == Task::Answer;
        if of_written && task != Task::Match {
            // What is known already costs nothing.
            self.evidence(&asked_for, cancel, &mut |_| ())?;
        }
        let tokens = self.opened.tokens(&input.sentence)?;
        let known = self.known.as_ref();
        Ok(match (task, known) {
            (Task::Answer, Some(known)) => (tokens.ids, known.written.iter().skip(1).copied().enumerate().collect()),
            (Task::Write, Some(known)) if of_written => {
                let line = known.reading.lines.last();
                let given = line.map_or(0, |line| line.steps.iter().filter(|step| !step.is_written).count());
                let written = known.written.iter().enumerate().skip(given.max(1));
                (known.written.clone(), written.map(|(at, token)| (at - 1, *token)).collect())
            }
            _ => {
                let wanted = (1..tokens.ids.len())
                    .filter(|at| tokens.spans[*at].is_some() && asked_for.asks_for(tokens.spans[*at]));
                let wanted = wanted.map(|at| (at - 1, tokens.ids[at])).collect();
                (tokens.ids, wanted)
            }
        })
    }

    pub(super) fn hold_to(&mut self, input: &Input, about: &About<'_>, cancel: &CancelToken) -> Result<Held> {
        let closed = self.closed(input);
        let (ids, asked) = self.held_to(input, about.claim, cancel)?;
        let task = self.opened.task();
        let measure = if task == Task::Match { Measure::Matching } else { Measure::Probability };
        let under = with_gates(self.anatomy(input)?.changes(&input.all_interventions()), &closed);
        let written = self.known.as_ref().map(|known| known.written.clone()).unwrap_or_default();
        let opened = &self.opened;
        Held::ask(measure, about, &under, cancel, |pictures, taps| {
            let states = opened.see(&opened.pixels(pictures)?, taps)?; // [pictures, keys, width]
            let copies = |ids: &Vec<u32>| opened.tokenizer.pad(&vec![ids.clone(); pictures.len()], &opened.device);
            let read = opened.read(&copies(&ids)?, &states, taps)?;
            match (read.matching, read.logits, read.states) {
                (Some(matching), ..) => Ok(crate::nn::softmax(&matching)?.i((.., 1))?),
                (_, Some(logits), _) => probabilities(&logits, &asked),
                (.., Some(read)) => probabilities(&opened.answer(&copies(&written)?.ids, &read, None, taps)?, &asked),
                _ => Err(Error::unusable("the model says nothing of the picture", "choose other words")),
            }
        })
    }

    /// From the words that are predicted (of a model that matches, from the position that says whether text and picture belong
    /// together) by cross-attention to the patches, for an answer by way of its question, for Flamingo by way of its latents.
    pub(super) fn flow_from(&mut self, input: &Input, claim: Claim, cancel: &CancelToken) -> Result<Flow> {
        let (_, asked) = self.held_to(input, claim, cancel)?;
        let (opened, task) = (&self.opened, self.opened.task());
        let start = if task == Task::Match { vec![0] } else { asked.into_iter().map(|(at, _)| at).collect() };
        let mut parts = Vec::new();
        if let Some(flamingo) = opened.flamingo() {
            let behind = (0..flamingo.gated()).map(|gated| flamingo.block_behind(gated)).collect();
            parts.push(Part { order: Order::Gated(behind), ..Part::new(Tower::Decoder) });
            if opened.resampler_layers() > 0 {
                parts.push(Part { order: Order::Latents, ..Part::new(Tower::Resampler) });
            }
        } else {
            parts.extend((task == Task::Answer).then(|| Part::new(Tower::Decoder)));
            parts.push(Part::new(opened.tower()));
        }
        parts.push(Part::new(Tower::Vision));
        Ok(Flow { start, parts })
    }
}
