//! How strongly the language model holds to words of a text about the picture, or to what it has answered.

use candle_core::Tensor;
use image::RgbImage;

use super::{Input, Projector};
use crate::error::Result;
use crate::methods::Method;
use crate::methods::holding::{Claim, Held, Measure, TOGETHER, probabilities};
use crate::taps::{CancelToken, Taps};

impl Projector {
    pub(super) fn hold_to(
        &mut self,
        input: &Input,
        claim: Claim,
        pictures: &[RgbImage],
        cancel: &CancelToken,
    ) -> Result<Held> {
        if claim == Claim::Written {
            // What is known already costs nothing.
            self.evidence(&claim.about(input), cancel, &mut |_| ())?;
        }
        let before = |row: &super::rows::Row, at: usize| Some((at.checked_sub(1)?, row.tokens.ids[at]));
        let (ids, asked): (Vec<u32>, Vec<(usize, u32)>) = match (claim, &self.known) {
            (Claim::Written, Some(known)) => {
                let row = &known.written;
                let steps = known.reading.lines.last().map(|line| line.steps.as_slice()).unwrap_or_default();
                let written = row.words.iter().zip(steps).filter(|(_, step)| step.is_written);
                (row.tokens.ids.clone(), written.filter_map(|(at, _)| before(row, *at)).collect())
            }
            _ => {
                let row = self.row(&input.sentence)?;
                let asked = claim.about(input);
                let wanted = row.words.iter().filter(|at| {
                    let span = row.tokens.spans[**at];
                    span.is_some() && asked.asks_for(span)
                });
                let wanted = wanted.filter_map(|at| before(&row, *at)).collect();
                (row.tokens.ids, wanted)
            }
        };
        let under = self.anatomy(input)?.changes(&input.all_interventions());
        let model = self.opened.model();
        let mut values = Vec::with_capacity(pictures.len());
        for chunk in pictures.chunks(TOGETHER) {
            let mut taps = Taps::under(&under).cancelled_by(cancel);
            let features = self.opened.see(&self.opened.pixels(&chunk.iter().collect::<Vec<_>>())?, &mut taps)?;
            let projected = model.project(&features)?; // [pictures, positions, language width]
            let rows = Tensor::from_vec(ids.repeat(chunk.len()), (chunk.len(), ids.len()), &self.opened.device)?;
            let inputs = model.inputs(&rows, Some(&projected))?;
            let logits = model.language().logits(&inputs, None, None, &mut taps)?; // [pictures, tokens, vocabulary]
            values.extend(probabilities(&logits, &asked)?);
        }
        Ok(Held { measure: Measure::Probability, values })
    }
}
