//! How strongly the language model holds to words of a text about the picture, or to what it has answered.

use candle_core::Tensor;

use super::rows::Row;
use super::{Input, Projector};
use crate::attribution::bimodal_relevancy::{Flow, Part};
use crate::error::Result;
use crate::methods::Method;
use crate::methods::holding::{About, Claim, Held, Measure, probabilities};
use crate::taps::{CancelToken, Tower};

impl Projector {
    /// The row that the model is held to, and its tokens that are asked for, each by the position that predicts it.
    fn held_to(&mut self, input: &Input, claim: Claim, cancel: &CancelToken) -> Result<(Row, Vec<(usize, u32)>)> {
        if claim == Claim::Written {
            // What is known already costs nothing.
            self.evidence(&claim.about(input), cancel, &mut |_| ())?;
        }
        let before = |row: &Row, at: usize| Some((at.checked_sub(1)?, row.tokens.ids[at]));
        Ok(match (claim, &self.known) {
            (Claim::Written, Some(known)) => {
                let row = &known.written;
                let steps = known.reading.lines.last().map(|line| line.steps.as_slice()).unwrap_or_default();
                let written = row.words.iter().zip(steps).filter(|(_, step)| step.is_written);
                (row.clone(), written.filter_map(|(at, _)| before(row, *at)).collect())
            }
            _ => {
                let row = self.row(&input.sentence)?;
                let asked = claim.about(input);
                let wanted = row.words.iter().filter(|at| {
                    let span = row.tokens.spans[**at];
                    span.is_some() && asked.asks_for(span)
                });
                let wanted = wanted.filter_map(|at| before(&row, *at)).collect();
                (row, wanted)
            }
        })
    }

    /// From the positions that predict the words along their own row to the patches in it, and from there through the vision
    /// tower.
    pub(super) fn flow_from(&mut self, input: &Input, claim: Claim, cancel: &CancelToken) -> Result<Flow> {
        let (row, asked) = self.held_to(input, claim, cancel)?;
        let model = self.opened.model();
        let leading = model.config().class_tokens();
        let handed = row.patches.iter().map(|(at, patch)| (*at, leading + patch)).collect();
        let words = Part { handed, ..Part::new(Tower::Decoder) };
        let start = asked.into_iter().map(|(at, _)| at).collect();
        Ok(Flow { start, parts: vec![words, Part::new(Tower::Vision)] })
    }

    pub(super) fn hold_to(&mut self, input: &Input, about: &About<'_>, cancel: &CancelToken) -> Result<Held> {
        let (row, asked) = self.held_to(input, about.claim, cancel)?;
        let ids = row.tokens.ids;
        let under = self.anatomy(input)?.changes(&input.all_interventions());
        let (opened, model) = (&self.opened, self.opened.model());
        Held::ask(Measure::Probability, about, &under, cancel, |pictures, taps| {
            let features = opened.see(&opened.pixels(pictures)?, taps)?;
            let projected = model.project(&features)?; // [pictures, positions, language width]
            let rows = Tensor::from_vec(ids.repeat(pictures.len()), (pictures.len(), ids.len()), &opened.device)?;
            let inputs = model.inputs(&rows, Some(&projected))?;
            let logits = model.language().logits(&inputs, None, None, taps)?; // [pictures, tokens, vocabulary]
            probabilities(&logits, &asked)
        })
    }
}
