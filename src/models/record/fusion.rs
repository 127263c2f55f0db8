//! A pass of a model whose words look at the picture: BLIP's three classes, and Flamingo.

use candle_core::Tensor;

use super::{Pass, Wanted};
use crate::error::{Error, Result};
use crate::models::blip::{Blip, BlipAnswering, BlipHead};
use crate::models::blip_heads::{BlipDecoder, BlipRetrieval};
use crate::models::flamingo::{Flamingo, IMAGE};
use crate::models::fusion::OpenedFusion;
use crate::models::generate::Greedy;
use crate::models::idefics::{Prompt, Writing, image_mask};
use crate::models::tokenizer::{TextBatch, Tokens};
use crate::nn::Fusion;
use crate::taps::{Recorder, Taps};

impl OpenedFusion {
    /// Runs the model once over pictures and texts, and lets it write if it does.
    ///
    /// - What matches gives `itm.logits` `[texts, 2]` (it doesn't fit, it does), `itc.logits` `[pictures, texts]`, the
    ///   cosines of `image_embeds` `[pictures, shared]` and `text_embeds` `[texts, shared]`; the sites of the text that is
    ///   read without a picture have `itc.` before their names.
    /// - What writes gives `logits` `[1, tokens, vocabulary]` of what follows each token of the text, and `generated_ids`,
    ///   those that follow the text or the prompt.
    /// - What answers reads the text as a question (tower `text`) and gives `generated_ids`, its answer. The tower
    ///   `decoder` and `logits` are those of reading the answer to the text, `decoder_input_ids`, its start token first: of
    ///   what stands at each place of it, the end included.
    ///
    /// # Errors
    /// If there are more or fewer pictures or texts than the model takes, a prompt for a model that writes nothing, the
    /// model gives scores that aren't finite, or the pass fails.
    pub fn record(&self, wanted: &Wanted<'_>) -> Result<Pass> {
        wanted.check()?;
        let pass = match (self.flamingo(), self.blip()) {
            (Some(flamingo), _) => self.record_flamingo(flamingo, wanted)?,
            (None, Some(blip)) => match blip.head() {
                BlipHead::Retrieval(head) => self.record_matching(blip, head, wanted)?,
                BlipHead::Captioning(decoder) => self.record_caption(blip, decoder, wanted)?,
                BlipHead::Answering(answering) => self.record_answer(blip, answering, wanted)?,
            },
            (None, None) => Pass::default(),
        };
        pass.checked(&self.checkpoint)
    }

    /// A text as the processor hands it on, with its beginning and its end.
    fn processed(&self, text: &str) -> Result<(Tokens, TextBatch)> {
        let tokens = self.tokenizer.encode(text)?;
        let batch = self.tokenizer.pad(std::slice::from_ref(&tokens.ids), &self.device)?;
        Ok((tokens, batch))
    }

    fn record_matching(&self, blip: &Blip, head: &BlipRetrieval, wanted: &Wanted<'_>) -> Result<Pass> {
        wanted.without_prompt()?;
        let pixels = self.pixels(wanted.pictures)?;
        let tokens = wanted.texts.iter().map(|text| self.tokenizer.encode(text)).collect::<Result<Vec<_>>>()?;
        let rows: Vec<Vec<u32>> = tokens.iter().map(|tokens| tokens.ids.clone()).collect();
        let batch = self.tokenizer.pad(&rows, &self.device)?;
        let mask = batch.attention_mask.as_ref();
        let (mut recorder, mut alone) = (Recorder::new(wanted.sites.clone()), Recorder::new(wanted.sites.clone()));
        let (states, matching) = {
            let mut taps = Taps::under(&wanted.under).with(&mut recorder);
            let states = blip.vision().forward(&pixels, &mut taps)?; // [pictures, 1 + patches, width]
            let matching = head.match_logits(&batch.ids, mask, &wanted.for_each_text(&states)?, &mut taps)?;
            (states, matching)
        };
        let text = head.embed_text(&batch.ids, mask, &mut Taps::under(&wanted.under).with(&mut alone))?;
        let image = head.embed_image(&states)?;
        let mut pass = Pass { tokens, ..Pass::default() };
        pass.float("pixel_values", &pixels)?;
        pass.texts(&batch)?;
        pass.float("itm.logits", &matching)?;
        pass.float("itc.logits", &image.embed.matmul(&text.embed.t()?)?)?; // [pictures, texts]
        pass.float("image_embeds", &image.embed)?;
        pass.float("text_embeds", &text.embed)?;
        pass.see("", recorder.finish());
        pass.see("itc.", alone.finish());
        Ok(pass)
    }

    fn record_caption(&self, blip: &Blip, decoder: &BlipDecoder, wanted: &Wanted<'_>) -> Result<Pass> {
        let pixels = self.pixels(&[wanted.picture()?])?;
        let (tokens, batch) = self.processed(wanted.text()?)?;
        let prompt = wanted.prompt.map(|prompt| self.processed(prompt)).transpose()?;
        let mut recorder = Recorder::new(wanted.sites.clone());
        let (states, logits) = {
            let mut taps = Taps::under(&wanted.under).with(&mut recorder);
            let states = blip.vision().forward(&pixels, &mut taps)?; // [1, 1 + patches, width]
            let fusion = Fusion { states: &states, mask: None };
            let mask = batch.attention_mask.as_ref();
            let logits = decoder.logits(&batch.ids, mask, fusion, None, &mut taps)?; // [1, tokens, vocabulary]
            (states, logits)
        };
        let mut pass = Pass::default();
        pass.float("pixel_values", &pixels)?;
        pass.texts(&batch)?;
        pass.float("logits", &logits)?;
        pass.see("", recorder.finish());
        let from = prompt.as_ref().map_or(&tokens.ids, |(prompt, _)| &prompt.ids);
        if wanted.most > 0 {
            // The decoder itself puts its start token before the text and takes the end off.
            let how = Greedy::new(wanted.most);
            let new = decoder.generate(from, &states, how, &mut Taps::under(&wanted.under), &mut |_| true)?;
            pass.write(&new, &self.tokenizer)?;
        }
        pass.prompt(prompt.as_ref());
        pass.tokens = vec![tokens];
        Ok(pass)
    }

    fn record_answer(&self, blip: &Blip, answering: &BlipAnswering, wanted: &Wanted<'_>) -> Result<Pass> {
        let pixels = self.pixels(&[wanted.picture()?])?;
        let (tokens, batch) = self.processed(wanted.text()?)?;
        let prompt = wanted.prompt.map(|prompt| self.processed(prompt)).transpose()?;
        let mut recorder = Recorder::new(wanted.sites.clone());
        let (states, read) = {
            let mut taps = Taps::under(&wanted.under).with(&mut recorder);
            let states = blip.vision().forward(&pixels, &mut taps)?; // [1, 1 + patches, width]
            let read = answering.read(&batch.ids, batch.attention_mask.as_ref(), &states, &mut taps)?;
            (states, read) // [1, question tokens, width]
        };
        let answer = |read: &Tensor| -> Result<Vec<u32>> {
            if wanted.most == 0 {
                return Ok(Vec::new());
            }
            let how = Greedy::new(wanted.most);
            answering.answer.generate(&[], read, how, &mut Taps::under(&wanted.under), &mut |_| true)
        };
        let own = answer(&read)?;
        // Each logit is of a token of the answer, so its last one is read by nobody.
        let but_last = own.split_last().map_or(&[][..], |(_, before)| before);
        let before = [&[blip.config().text_config.bos_token_id][..], but_last].concat();
        let ids = Tensor::from_slice(&before, (1, before.len()), &self.device)?;
        let logits = {
            let mut taps = Taps::under(&wanted.under).with(&mut recorder);
            let fusion = Fusion { states: &read, mask: None };
            answering.answer.logits(&ids, None, fusion, None, &mut taps)? // [1, answer, vocabulary]
        };
        let mut pass = Pass { tokens: vec![tokens], ..Pass::default() };
        pass.float("pixel_values", &pixels)?;
        pass.texts(&batch)?;
        pass.row("decoder_input_ids", &before);
        pass.float("logits", &logits)?;
        pass.see("", recorder.finish());
        let new = match &prompt {
            Some((_, asked)) => {
                let mask = asked.attention_mask.as_ref();
                answer(&answering.read(&asked.ids, mask, &states, &mut Taps::under(&wanted.under))?)?
            }
            None => own,
        };
        if wanted.most > 0 {
            pass.write(&new, &self.tokenizer)?;
        }
        pass.prompt(prompt.as_ref());
        Ok(pass)
    }

    fn record_flamingo(&self, flamingo: &dyn Flamingo, wanted: &Wanted<'_>) -> Result<Pass> {
        let tokens = self.tokens(wanted.text()?)?;
        let prompt = wanted.prompt.map(|prompt| self.tokens(prompt)).transpose()?;
        let pixels = self.pixels(wanted.pictures)?.unsqueeze(0)?; // [1, pictures, 3, height, width]
        let batch = self.tokenizer.pad(std::slice::from_ref(&tokens.ids), &self.device)?;
        let seen = self.sight(&tokens.ids, wanted.pictures.len())?;
        let mut recorder = Recorder::new(wanted.sites.clone());
        let logits = {
            let mut taps = Taps::under(&wanted.under).with(&mut recorder);
            let states = flamingo.see(&pixels, &mut taps)?; // [1, pictures, media tokens, vision width]
            flamingo.read(&batch.ids, &states, &seen, &mut taps)? // [1, tokens, all tokens]
        };
        let mut pass = Pass::default();
        pass.float("pixel_values", &pixels)?;
        pass.texts(&batch)?;
        pass.id("image_attention_mask", &seen)?;
        pass.float("logits", &logits)?;
        pass.see("", recorder.finish());
        if wanted.most > 0 {
            let from = prompt.as_ref().unwrap_or(&tokens);
            let asked = Prompt {
                ids: Tensor::from_slice(&from.ids, (1, from.ids.len()), &self.device)?,
                attention_mask: None,
                image_mask: self.sight(&from.ids, wanted.pictures.len())?,
                pixels,
            };
            let how = Writing { most: wanted.most, ends: flamingo.ends(), cached: true };
            let new = flamingo.generate(&asked, &how, &mut Taps::under(&wanted.under), &mut |_| true)?;
            pass.write(&new, &self.tokenizer)?;
        }
        if let Some(prompt) = &prompt {
            pass.row("prompt_ids", &prompt.ids);
        }
        pass.tokens = vec![tokens];
        Ok(pass)
    }

    /// Which picture each token sees, `[1, tokens, pictures]`.
    fn sight(&self, ids: &[u32], pictures: usize) -> Result<Tensor> {
        let image = self.tokenizer.id(IMAGE).unwrap_or(u32::MAX);
        let places = ids.iter().filter(|id| **id == image).count();
        if places != pictures {
            return Err(Error::unusable(
                format!("the text has {places} places for pictures, and {pictures} were given"),
                format!("write {IMAGE} into it for each picture, where that stands"),
            ));
        }
        image_mask(ids, image, pictures, &self.device)
    }
}

impl Pass {
    /// Adds what was gone on from in place of the text, if something was.
    fn prompt(&mut self, prompt: Option<&(Tokens, TextBatch)>) {
        if let Some((prompt, _)) = prompt {
            self.row("prompt_ids", &prompt.ids);
        }
    }
}
