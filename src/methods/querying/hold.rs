//! How strongly the best query lies beside words, or the language model behind the queries holds to what is written.

use candle_core::Tensor;

use super::{Input, Querying};
use crate::attribution::bimodal_relevancy::{Flow, Part};
use crate::error::{Error, Result};
use crate::methods::Method;
use crate::methods::holding::{About, Claim, Held, Measure, probabilities};
use crate::methods::queries::highest;
use crate::models::q_former::QFormerText;
use crate::models::querying_writer::QueryingPrompt;
use crate::taps::{CancelToken, Taps, Tower};

impl Querying {
    pub(super) fn hold_to(&mut self, input: &Input, about: &About<'_>, cancel: &CancelToken) -> Result<Held> {
        if self.opened.writer().is_some() {
            return self.hold_to_text(input, about, cancel);
        }
        let kept = self.asked(input)?.kept;
        let phrase = about.claim.about(input).phrase().to_owned();
        let under = self.anatomy(input)?.changes(&input.all_interventions());
        let opened = &self.opened;
        let Some(model) = opened.retrieval() else { return Err(says_nothing()) };
        let batch = self.opened.tokenizer.batch(&[phrase], &self.opened.device)?;
        let text = model.embed_text((&batch).into(), &mut Taps::under(&under).cancelled_by(cancel))?.flatten_all()?;
        Held::ask(Measure::Cosine, about, &under, cancel, |pictures, taps| {
            let states = opened.see(&opened.pixels(pictures)?, taps)?;
            let queries = model.embed_image(&states, Some(&kept), taps)?; // [pictures, queries, shared]
            Ok(queries.broadcast_mul(&text)?.sum(2)?.max(1)?)
        })
    }

    /// What is given to the language model, what it is then to write, and which of that is asked for.
    fn held_to(
        &mut self,
        input: &Input,
        claim: Claim,
        cancel: &CancelToken,
    ) -> Result<(Vec<u32>, Vec<u32>, Vec<bool>)> {
        if claim == Claim::Written {
            // What is known already costs nothing.
            self.evidence(&claim.about(input), cancel, &mut |_| ())?;
        }
        Ok(match (claim, &self.known) {
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
        })
    }

    fn hold_to_text(&mut self, input: &Input, about: &About<'_>, cancel: &CancelToken) -> Result<Held> {
        let asked = self.asked(input)?;
        let (given, text, wanted) = self.held_to(input, about.claim, cancel)?;
        let opened = &self.opened;
        let Some(writer) = opened.writer() else { return Err(says_nothing()) };
        let instruction = self.opened.instruction(&self.question(writer, &asked)?.text)?;
        let count = asked.kept.len();
        let under = self.anatomy(input)?.changes(&input.all_interventions());
        Held::ask(Measure::Probability, about, &under, cancel, |pictures, taps| {
            let states = opened.see(&opened.pixels(pictures)?, taps)?;
            let copies = |ids: &[u32]| -> Result<Tensor> {
                let rows = ids.repeat(pictures.len());
                Ok(Tensor::from_vec(rows, (pictures.len(), ids.len()), &opened.device)?)
            };
            let ids = instruction.as_ref().map(|tokens| copies(&tokens.ids)).transpose()?;
            let read = ids.as_ref().map(|ids| QFormerText { ids, attention_mask: None });
            let queries = writer.query(&states, read, Some(&asked.kept), taps)?; // [pictures, kept, width]
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
                    (writer.logits(prompt, Some(&before), taps)?, wanted(1))
                }
                _ => {
                    let all = [given.as_slice(), &text].concat();
                    let ids = copies(&writer.prompt(&all, count))?;
                    let inputs = writer.inputs(&ids, &projected)?;
                    let logits = writer.language().logits(&inputs, None, None, taps)?;
                    (logits, wanted(count + given.len()))
                }
            };
            probabilities(&logits, &tokens)
        })
    }
}

impl Querying {
    /// From the query that is most like the words (of a model that writes, from the positions that predict them to what the queries
    /// brought back, in their own row or by cross-attention) through the querying transformer to the patches.
    pub(super) fn flow_from(&mut self, input: &Input, claim: Claim, cancel: &CancelToken) -> Result<Flow> {
        let kept = self.asked(input)?.kept.len();
        let (queries, vision) = (Part::new(Tower::QFormer), Part::new(Tower::Vision));
        if self.opened.writer().is_none() {
            self.evidence(&claim.about(input), cancel, &mut |_| ())?;
            let contrast = self.known.as_ref().and_then(|known| known.queries.contrast.as_ref());
            let winner = contrast.and_then(|contrast| highest(&contrast.phrase)).ok_or_else(says_nothing)?;
            return Ok(Flow { start: vec![winner], parts: vec![queries, vision] });
        }
        let (given, _, wanted) = self.held_to(input, claim, cancel)?;
        let Some(writer) = self.opened.writer() else { return Err(says_nothing()) };
        let language = writer.language();
        let before = if language.encoder_decoder() { 1 } else { kept + given.len() };
        let asked = wanted.iter().enumerate().filter(|(_, wanted)| **wanted);
        let start = asked.filter_map(|(at, _)| (before + at).checked_sub(1)).collect();
        let handed: Vec<(usize, usize)> = (0..kept).map(|at| (at, at)).collect();
        let parts = if language.encoder_decoder() {
            let encoder = Part { handed, ..Part::new(Tower::Encoder) };
            vec![Part::new(Tower::Decoder), encoder, queries, vision]
        } else {
            vec![Part { handed, ..Part::new(Tower::Decoder) }, queries, vision]
        };
        Ok(Flow { start, parts })
    }
}

fn says_nothing() -> Error {
    Error::unusable("the model says nothing of the picture", "choose another checkpoint")
}
