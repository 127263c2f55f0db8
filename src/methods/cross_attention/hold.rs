//! How strongly the model holds to words, to its answer, or to sentence and picture belonging together.

use candle_core::IndexOp;
use image::RgbImage;

use super::{CrossAttention, Input, with_gates};
use crate::error::Result;
use crate::methods::Method;
use crate::methods::holding::{Claim, Held, Measure, TOGETHER, probabilities};
use crate::models::fusion::Task;
use crate::taps::{CancelToken, Taps};

impl CrossAttention {
    pub(super) fn hold_to(
        &mut self,
        input: &Input,
        claim: Claim,
        pictures: &[RgbImage],
        cancel: &CancelToken,
    ) -> Result<Held> {
        let (closed, asked_for) = (self.closed(input), claim.about(input));
        let task = self.opened.task();
        let of_written = claim == Claim::Written || task == Task::Answer;
        if of_written && task != Task::Match {
            // What is known already costs nothing.
            self.evidence(&asked_for, cancel, &mut |_| ())?;
        }
        let tokens = self.opened.tokens(&input.sentence)?;
        let known = self.known.as_ref();
        let (ids, asked): (Vec<u32>, Vec<(usize, u32)>) = match (task, known) {
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
        };
        let measure = if task == Task::Match { Measure::Matching } else { Measure::Probability };
        let under = with_gates(self.anatomy(input)?.changes(&input.all_interventions()), &closed);
        let mut values = Vec::with_capacity(pictures.len());
        for chunk in pictures.chunks(TOGETHER) {
            let pixels = self.opened.pixels(&chunk.iter().collect::<Vec<_>>())?;
            let mut taps = Taps::under(&under).cancelled_by(cancel);
            let states = self.opened.see(&pixels, &mut taps)?; // [pictures, keys, width]
            let texts = self.opened.tokenizer.pad(&vec![ids.clone(); chunk.len()], &self.opened.device)?;
            let read = self.opened.read(&texts, &states, &mut taps)?;
            if let Some(matching) = read.matching {
                values.extend(crate::nn::softmax(&matching)?.i((.., 1))?.to_vec1::<f32>()?);
            } else if let Some(logits) = read.logits {
                values.extend(probabilities(&logits, &asked)?);
            } else if let (Some(read), Some(known)) = (read.states, self.known.as_ref()) {
                let answers = vec![known.written.clone(); chunk.len()];
                let answers = self.opened.tokenizer.pad(&answers, &self.opened.device)?;
                values.extend(probabilities(&self.opened.answer(&answers.ids, &read, None, &mut taps)?, &asked)?);
            }
        }
        Ok(Held { measure, values })
    }
}
