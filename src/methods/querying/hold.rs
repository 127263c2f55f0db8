//! How strongly the best query lies beside words, or the language model behind the queries holds to what is written.

use image::RgbImage;

use super::{Input, Querying};
use crate::error::Result;
use crate::methods::Method;
use crate::methods::holding::{Claim, Held, Measure, TOGETHER, probabilities};
use crate::models::q_former::QFormerText;
use crate::models::querying_writer::QueryingPrompt;
use crate::taps::{CancelToken, Taps};

impl Querying {
    pub(super) fn hold_to(
        &mut self,
        input: &Input,
        claim: Claim,
        pictures: &[RgbImage],
        cancel: &CancelToken,
    ) -> Result<Held> {
        if self.opened.writer().is_some() {
            return self.hold_to_text(input, claim, pictures, cancel);
        }
        let kept = self.asked(input)?.kept;
        let phrase = claim.about(input).phrase().to_owned();
        let under = self.anatomy(input)?.changes(&input.all_interventions());
        let mut values = Vec::with_capacity(pictures.len());
        let Some(model) = self.opened.retrieval() else { return Ok(Held { measure: Measure::Cosine, values }) };
        let batch = self.opened.tokenizer.batch(&[phrase], &self.opened.device)?;
        let mut taps = Taps::under(&under).cancelled_by(cancel);
        let text = model.embed_text((&batch).into(), &mut taps)?.flatten_all()?.to_vec1::<f32>()?;
        for chunk in pictures.chunks(TOGETHER) {
            let states = self.opened.see(&self.opened.pixels(&chunk.iter().collect::<Vec<_>>())?, &mut taps)?;
            let queries = model.embed_image(&states, Some(&kept), &mut taps)?.to_vec3::<f32>()?;
            values.extend(queries.iter().map(|queries| {
                let cosines = queries.iter().map(|query| crate::methods::vectors::dot(query, &text));
                cosines.fold(f32::MIN, f32::max)
            }));
        }
        Ok(Held { measure: Measure::Cosine, values })
    }

    fn hold_to_text(
        &mut self,
        input: &Input,
        claim: Claim,
        pictures: &[RgbImage],
        cancel: &CancelToken,
    ) -> Result<Held> {
        let asked = self.asked(input)?;
        if claim == Claim::Written {
            // What is known already costs nothing.
            self.evidence(&claim.about(input), cancel, &mut |_| ())?;
        }
        let mut values = Vec::with_capacity(pictures.len());
        let measure = Measure::Probability;
        let Some(writer) = self.opened.writer() else { return Ok(Held { measure, values }) };
        // What is given to the language model, and what it is then to write, as far as that is asked for.
        let (given, text, wanted): (Vec<u32>, Vec<u32>, Vec<bool>) = match (claim, &self.known) {
            (Claim::Written, Some(known)) => {
                let steps = known.queries.written.iter().filter(|step| step.is_written);
                let ids: Vec<u32> = steps.filter_map(|step| self.opened.tokenizer.id(&step.text)).collect();
                let all = vec![true; ids.len()];
                (known.prompt.ids.clone(), ids, all)
            }
            _ => {
                let tokens = self.opened.tokens_to_go_on(input.sentence.trim())?;
                let blanks = input.sentence.len() - input.sentence.trim_start().len();
                let asked = claim.about(input);
                let wanted = tokens.spans.iter().map(|span| {
                    let span = span.map(|(start, end)| (start + blanks, end + blanks));
                    span.is_some() && asked.asks_for(span)
                });
                (Vec::new(), tokens.ids, wanted.collect())
            }
        };
        let instruction = self.opened.instruction(&self.question(writer, &asked)?.text)?;
        let count = asked.kept.len();
        let under = self.anatomy(input)?.changes(&input.all_interventions());
        for chunk in pictures.chunks(TOGETHER) {
            let mut taps = Taps::under(&under).cancelled_by(cancel);
            let states = self.opened.see(&self.opened.pixels(&chunk.iter().collect::<Vec<_>>())?, &mut taps)?;
            let copies = |ids: &[u32]| -> Result<candle_core::Tensor> {
                let rows = ids.repeat(chunk.len());
                Ok(candle_core::Tensor::from_vec(rows, (chunk.len(), ids.len()), &self.opened.device)?)
            };
            let ids = instruction.as_ref().map(|tokens| copies(&tokens.ids)).transpose()?;
            let read = ids.as_ref().map(|ids| QFormerText { ids, attention_mask: None });
            let queries = writer.query(&states, read, Some(&asked.kept), &mut taps)?; // [pictures, kept, width]
            let projected = writer.project(&queries)?;
            let wanted = |before: usize| -> Vec<(usize, u32)> {
                let all = text.iter().zip(&wanted).enumerate().filter(|(_, (_, wanted))| **wanted);
                all.filter_map(|(at, (token, _))| Some(((before + at).checked_sub(1)?, *token))).collect()
            };
            let (logits, tokens) = match writer.language().start() {
                Some(start) if writer.language().encoder_decoder() => {
                    let ids = copies(&writer.prompt(&given, count))?;
                    let prompt = QueryingPrompt { ids: &ids, attention_mask: None, projected: &projected };
                    let before = copies(&[&[start], &text[..text.len().saturating_sub(1)]].concat())?;
                    (writer.logits(prompt, Some(&before), &mut taps)?, wanted(1))
                }
                _ => {
                    let all = [given.as_slice(), &text].concat();
                    let ids = copies(&writer.prompt(&all, count))?;
                    let inputs = writer.inputs(&ids, &projected)?;
                    let logits = writer.language().logits(&inputs, None, None, &mut taps)?;
                    (logits, wanted(count + given.len()))
                }
            };
            values.extend(probabilities(&logits, &tokens)?);
        }
        Ok(Held { measure, values })
    }
}
