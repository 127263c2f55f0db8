//! A pass of a model that reads pictures as words: LLaVA.

use candle_core::Tensor;

use super::{Pass, Wanted};
use crate::error::{Error, Result};
use crate::models::generate::Greedy;
use crate::models::llava::LlavaPrompt;
use crate::models::projector::OpenedProjector;
use crate::models::tokenizer::Tokens;
use crate::taps::{Recorder, Taps};

impl OpenedProjector {
    /// Runs the model once over the pictures of one text, and lets it write. `input_ids` have as many placeholders as a
    /// picture has vectors, as the processor puts them. Outputs are `projector.output` `[pictures, positions, language
    /// width]`, `logits` `[1, tokens, vocabulary]` of what follows each token of the text, and `generated_ids`, those that
    /// follow the text or the prompt.
    ///
    /// # Errors
    /// If there is more or less than one text, text or prompt haven't one place for each picture, the model gives scores
    /// that aren't finite, or the pass fails.
    pub fn record(&self, wanted: &Wanted<'_>) -> Result<Pass> {
        wanted.check()?;
        let tokens = self.tokens(wanted.text()?)?;
        let prompt = wanted.prompt.map(|prompt| self.tokens(prompt)).transpose()?;
        for text in [Some(&tokens), prompt.as_ref()].into_iter().flatten() {
            self.check_places(text, wanted.pictures.len())?;
        }
        let pixels = self.pixels(wanted.pictures)?;
        let batch = self.tokenizer.pad(std::slice::from_ref(&tokens.ids), &self.device)?;
        let mut recorder = Recorder::new(wanted.sites.clone());
        let (projected, logits) = {
            let mut taps = Taps::under(&wanted.under).with(&mut recorder);
            let features = self.see(&pixels, &mut taps)?; // [pictures, positions, feature width]
            let projected = self.model().project(&features)?; // [pictures, positions, language width]
            let own = LlavaPrompt { ids: &batch.ids, attention_mask: None, projected: Some(&projected) };
            let logits = self.model().logits(own, &mut taps)?; // [1, tokens, vocabulary]
            (projected, logits)
        };
        let mut pass = Pass::default();
        pass.float("pixel_values", &pixels)?;
        pass.texts(&batch)?;
        pass.float("projector.output", &projected)?;
        pass.float("logits", &logits)?;
        pass.see("", recorder.finish());
        if wanted.most > 0 {
            let from = prompt.as_ref().unwrap_or(&tokens);
            let ids = Tensor::from_slice(&from.ids, (1, from.ids.len()), &self.device)?;
            let asked = LlavaPrompt { ids: &ids, attention_mask: None, projected: Some(&projected) };
            let how = Greedy::new(wanted.most).into();
            let new = self.model().generate(asked, how, &mut Taps::under(&wanted.under), &mut |_| true)?;
            pass.write(&new, &self.tokenizer)?;
        }
        if let Some(prompt) = &prompt {
            pass.row("prompt_ids", &prompt.ids);
        }
        pass.tokens = vec![tokens];
        pass.checked(&self.checkpoint)
    }

    /// Refuses a text that hasn't one place for each picture.
    fn check_places(&self, text: &Tokens, pictures: usize) -> Result<()> {
        let placeholder = self.model().placeholder();
        let found = text.ids.iter().filter(|id| **id == placeholder).count() / self.positions().max(1);
        if found == pictures {
            return Ok(());
        }
        Err(Error::unusable(
            format!("the text has {found} places for pictures, and {pictures} were given"),
            format!("write {} into it for each picture, where that stands", self.image_token()),
        ))
    }
}
