//! A pass of a model whose queries look at the picture: BLIP-2's two classes and InstructBLIP.

use candle_core::Tensor;

use super::{Pass, Wanted};
use crate::error::Result;
use crate::models::blip_2_retrieval::Blip2Retrieval;
use crate::models::generate::Greedy;
use crate::models::q_former::QFormerText;
use crate::models::querying::OpenedQuerying;
use crate::models::querying_writer::{QueryingPrompt, QueryingWriter};
use crate::models::tokenizer::{TextBatch, Tokens};
use crate::taps::{Point, Recorder, Site, SitePattern, Taps, Tower};

/// What a model that writes goes on from.
struct Asked {
    tokens: Tokens,
    /// The same as a batch of one.
    batch: TextBatch,
    /// What InstructBLIP's queries read.
    instruction: Option<TextBatch>,
}

impl Asked {
    fn instruction(&self) -> Option<QFormerText<'_>> {
        let batch = self.instruction.as_ref()?;
        Some(QFormerText { ids: &batch.ids, attention_mask: batch.attention_mask.as_ref() })
    }
}

impl OpenedQuerying {
    /// Runs the model once over pictures and texts, and lets it write if it does. `input_ids` have the placeholders in front
    /// that the processor puts there.
    ///
    /// - Retrieval gives `itc.logits` `[pictures, texts]`, the highest cosine of `image_embeds` `[pictures, queries,
    ///   shared]` with `text_embeds` `[texts, shared]`, and `itm.logits` `[texts, 2]`, the mean of `itm.logits.queries`
    ///   `[texts, queries, 2]`. The querying transformer makes three passes: `itc.image.`, `itc.text.` and `itm.` stand
    ///   before their sites and before `qformer.output`.
    /// - What writes gives `qformer.output` `[1, queries + instruction tokens, width]`, `projector.output` `[1, queries,
    ///   language width]`, `logits` `[1, tokens, vocabulary]` of what follows each token of the text, and `generated_ids`,
    ///   those that follow the text or the prompt. Where an encoder reads the text (T5), the tower `decoder` and `logits`
    ///   are those of reading what is written behind the text, `decoder_input_ids`, its start token first: of what stands
    ///   at each place of it.
    ///
    /// # Errors
    /// If there are more or fewer pictures or texts than the model takes, a prompt for a model that writes nothing, the
    /// model gives scores that aren't finite, or the pass fails.
    pub fn record(&self, wanted: &Wanted<'_>) -> Result<Pass> {
        wanted.check()?;
        let pass = match (self.retrieval(), self.writer()) {
            (Some(model), _) => self.record_retrieval(model, wanted)?,
            (None, Some(writer)) => self.record_writing(writer, wanted)?,
            (None, None) => Pass::default(),
        };
        pass.checked(&self.checkpoint)
    }

    /// Makes a pass. What is seen in it goes to `into` with `front` before the names, and so does the output of the querying
    /// transformer, if it takes part.
    fn watched<T>(
        &self,
        wanted: &Wanted<'_>,
        (front, into): (&str, &mut Pass),
        pass: impl FnOnce(&mut Taps<'_>) -> Result<T>,
    ) -> Result<T> {
        // Nothing follows the last block.
        let last = Site::new(Tower::QFormer, self.depth().saturating_sub(1), Point::ResidPost);
        let mut recorder = Recorder::new(wanted.sites.clone());
        let mut output = Recorder::new(SitePattern::new(&last.to_string()));
        let given = {
            let mut taps = Taps::under(&wanted.under).with(&mut recorder).with(&mut output);
            pass(&mut taps)?
        };
        into.see(front, recorder.finish());
        if let Some(states) = output.finish().activations.remove(&last) {
            into.floats.insert(format!("{front}qformer.output"), states);
        }
        Ok(given)
    }

    fn record_retrieval(&self, model: &Blip2Retrieval, wanted: &Wanted<'_>) -> Result<Pass> {
        wanted.without_prompt()?;
        let pixels = self.pixels(wanted.pictures)?;
        let queries = self.query_count();
        let tokens = wanted.texts.iter().map(|text| self.prompt(text, queries)).collect::<Result<Vec<_>>>()?;
        let rows: Vec<Vec<u32>> = tokens.iter().map(|tokens| tokens.ids.clone()).collect();
        let batch = self.tokenizer.batch(wanted.texts, &self.device)?; // without placeholders, which the model drops
        let text = QFormerText { ids: &batch.ids, attention_mask: batch.attention_mask.as_ref() };
        let mut pass = Pass { tokens, ..Pass::default() };
        pass.float("pixel_values", &pixels)?;
        pass.texts(&self.tokenizer.pad(&rows, &self.device)?)?;
        let states = self.watched(wanted, ("", &mut pass), |taps| self.see(&pixels, taps))?;
        let image = self.watched(wanted, ("itc.image.", &mut pass), |taps| model.embed_image(&states, None, taps))?;
        let read = self.watched(wanted, ("itc.text.", &mut pass), |taps| model.embed_text(text, taps))?;
        let states = wanted.for_each_text(&states)?; // [texts, 1 + patches, vision width]
        let matching =
            self.watched(wanted, ("itm.", &mut pass), |taps| model.match_logits(text, &states, None, taps))?;
        pass.float("image_embeds", &image)?;
        pass.float("text_embeds", &read)?;
        pass.float("itc.logits", &Blip2Retrieval::contrast(&image, &read)?.max(1)?)?;
        pass.float("itm.logits", &matching.mean(1)?)?;
        pass.float("itm.logits.queries", &matching)?;
        Ok(pass)
    }

    /// A text as the processor hands it on.
    fn asked(&self, text: &str) -> Result<Asked> {
        let tokens = self.prompt(text, self.query_count())?;
        let batch = self.tokenizer.pad(std::slice::from_ref(&tokens.ids), &self.device)?;
        let instruction = self.instructions.as_ref();
        let instruction = instruction.map(|tokenizer| tokenizer.batch(&[text], &self.device)).transpose()?;
        Ok(Asked { tokens, batch, instruction })
    }

    fn record_writing(&self, writer: &QueryingWriter, wanted: &Wanted<'_>) -> Result<Pass> {
        let pixels = self.pixels(&[wanted.picture()?])?;
        let asked = self.asked(wanted.text()?)?;
        let prompt = wanted.prompt.map(|prompt| self.asked(prompt)).transpose()?;
        let mut pass = Pass::default();
        pass.float("pixel_values", &pixels)?;
        pass.texts(&asked.batch)?;
        if let Some(batch) = &asked.instruction {
            pass.id("qformer_input_ids", &batch.ids)?;
            if let Some(mask) = &batch.attention_mask {
                pass.id("qformer_attention_mask", mask)?;
            }
        }
        let states = self.watched(wanted, ("", &mut pass), |taps| self.see(&pixels, taps))?;
        let queries =
            self.watched(wanted, ("", &mut pass), |taps| writer.query(&states, asked.instruction(), None, taps))?;
        let projected = writer.project(&queries)?; // [1, queries, language width]
        pass.float("projector.output", &projected)?;

        let own = QueryingPrompt { ids: &asked.batch.ids, attention_mask: None, projected: &projected };
        let write = |prompt: QueryingPrompt<'_>| -> Result<Vec<u32>> {
            if wanted.most == 0 {
                return Ok(Vec::new());
            }
            writer.generate(prompt, Greedy::new(wanted.most).into(), &mut Taps::under(&wanted.under), &mut |_| true)
        };
        // What a decoder alone reads is the text; the other one reads what is written.
        let (mut new, mut written) = (Vec::new(), None);
        if let Some(start) = writer.language().start() {
            new = write(own)?;
            let but_last = new.split_last().map_or(&[][..], |(_, before)| before);
            let before = [&[start][..], but_last].concat();
            pass.row("decoder_input_ids", &before);
            written = Some(Tensor::from_slice(&before, (1, before.len()), &self.device)?);
        }
        let logits = self.watched(wanted, ("", &mut pass), |taps| writer.logits(own, written.as_ref(), taps))?;
        pass.float("logits", &logits)?;
        if let Some(prompt) = &prompt {
            pass.row("prompt_ids", &prompt.tokens.ids);
            let queries = writer.query(&states, prompt.instruction(), None, &mut Taps::under(&wanted.under))?;
            let projected = writer.project(&queries)?;
            new = write(QueryingPrompt { ids: &prompt.batch.ids, attention_mask: None, projected: &projected })?;
        } else if written.is_none() {
            new = write(own)?;
        }
        if wanted.most > 0 {
            pass.write(&new, &self.tokenizer)?;
        }
        pass.tokens = vec![asked.tokens];
        Ok(pass)
    }
}
