//! A pass of two encoders: pictures, texts, and how like each picture is to each text; and passes with gradients, from
//! which maps are made.

use candle_core::Tensor;
use image::RgbImage;

use super::{Pass, Wanted};
use crate::error::Result;
use crate::models::opened::Opened;
use crate::taps::{
    Array, CancelToken, GradProbe, Interventions, Point, Recorder, Recording, Site, SitePattern, Taps, Tower,
};

/// What attributions look at: pairs of a picture and a text, one a row.
#[derive(Clone, Debug)]
pub struct PairPass {
    /// The patterns and values of the vision tower and of the pooling head, and the gradients there of each pair's logit.
    pub recording: Recording,
    /// Each patch in the shared space, unit length, `[pairs, patches, projection]`.
    pub patches: Array,
    /// The same by CLIP Surgery's second way.
    pub surgical: Array,
    /// Each text in the shared space, unit length, `[pairs, projection]`.
    pub texts: Array,
    /// The empty text in the shared space, unit length, `[projection]`.
    pub neutral: Vec<f32>,
}

/// Pictures that the vision tower has seen, which can be asked how they get on with texts.
pub struct ProbedPictures {
    probe: GradProbe,
    embed: Tensor, // [pictures, projection]
    factor: f32,
    /// Each patch in the shared space, unit length, `[pictures, patches, projection]`.
    pub patches: Array,
}

impl ProbedPictures {
    /// The patterns and values of the vision tower and of the pooling head, and the gradients there of each picture's logit with
    /// its text, of which `texts` `[pictures, projection]` holds the vectors.
    ///
    /// # Errors
    /// If the shapes don't fit, or the pass fails.
    pub fn with(&self, texts: &Tensor) -> Result<Recording> {
        // Rows of a batch don't see each other, so the gradient of the summed logits is each pair's own. SigLIP's bias
        // has no gradient here.
        let cosines = (&self.embed * texts)?.sum_all()?;
        self.probe.backward(&(cosines * f64::from(self.factor))?)
    }

    /// How many numbers there are at the places whose gradients are taken: as these grow, so does the memory that is held.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.probe.numbers()
    }
}

impl Opened {
    /// Runs the model once over every picture and every text. Outputs are `logits_per_image` `[pictures, texts]` and its
    /// transpose `logits_per_text`, `image_embeds` `[pictures, projection]` and `text_embeds` `[texts, projection]`, both of
    /// unit length.
    ///
    /// # Errors
    /// If there are no pictures or no texts, a prompt, the model gives scores that aren't finite, or the pass fails.
    pub fn record(&self, wanted: &Wanted<'_>) -> Result<Pass> {
        wanted.check()?;
        wanted.without_prompt()?;
        let model = self.dual_encoder();
        let pixels = self.pixels(wanted.pictures)?;
        let tokens = wanted.texts.iter().map(|text| self.tokenizer.encode(text)).collect::<Result<Vec<_>>>()?;
        let rows: Vec<Vec<u32>> = tokens.iter().map(|tokens| tokens.ids.clone()).collect();
        let batch = self.tokenizer.pad(&rows, &self.device)?;
        let mut recorder = Recorder::new(wanted.sites.clone());
        let mut taps = Taps::under(&wanted.under).with(&mut recorder);
        let image = model.encode_image(&pixels, &mut taps)?;
        let text = model.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut taps)?;
        drop(taps);
        let logits = model.logits(&image.embed, &text.embed)?;
        let mut pass = Pass { tokens, ..Pass::default() };
        pass.float("pixel_values", &pixels)?;
        pass.texts(&batch)?;
        pass.float("logits_per_image", &logits)?;
        pass.float("logits_per_text", &logits.t()?)?;
        pass.float("image_embeds", &image.embed)?;
        pass.float("text_embeds", &text.embed)?;
        pass.see("", recorder.finish());
        pass.checked(&self.checkpoint)
    }

    /// Runs the vision tower over `pixels` `[pictures, 3, height, width]` under `interventions`, so that gradients of texts can go back
    /// through it.
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled or fails.
    pub fn probe_pictures(
        &self,
        pixels: &Tensor,
        interventions: &Interventions,
        cancel: &CancelToken,
    ) -> Result<ProbedPictures> {
        let model = self.dual_encoder();
        let last = Site::new(Tower::Vision, model.depths().0.saturating_sub(1), Point::ResidPre);
        let sites = format!("vision.embed,{last},vision.*.pattern,vision.*.v,pooler.*.pattern,pooler.*.v");
        let mut probe = GradProbe::new(SitePattern::new(&sites));
        let mut taps = Taps::under(interventions).with(&mut probe).cancelled_by(cancel);
        let image = model.encode_image(pixels, &mut taps)?;
        drop(taps);
        let patches = Array::from_tensor(&image.patches)?;
        Ok(ProbedPictures { probe, embed: image.embed, factor: model.logit_factor()?, patches })
    }

    /// Each patch of `pixels` in the shared space by CLIP Surgery's second way, unit length, `[pictures, patches, projection]`.
    ///
    /// # Errors
    /// As [`Self::probe_pictures`].
    pub fn surgical(&self, pixels: &Tensor, interventions: &Interventions, cancel: &CancelToken) -> Result<Array> {
        let mut taps = Taps::under(interventions).cancelled_by(cancel);
        Array::from_tensor(&self.dual_encoder().surgical_patches(pixels, &mut taps)?)
    }

    /// The empty text in the shared space, unit length, `[projection]`.
    ///
    /// # Errors
    /// If the pass fails.
    pub fn neutral(&self, interventions: &Interventions) -> Result<Vec<f32>> {
        let (model, empty) = (self.dual_encoder(), self.texts(&[""])?);
        let neutral = model.encode_text(&empty.ids, empty.attention_mask.as_ref(), &mut Taps::under(interventions))?;
        Ok(Array::from_tensor(&neutral.embed)?.data)
    }

    /// Runs the vision tower over `pixels` `[pairs, 3, height, width]` and takes the gradient of each picture's logit with
    /// its text, of which `texts` `[pairs, projection]` holds the vectors; all that under `interventions`.
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled or fails.
    pub fn probe_pairs(
        &self,
        pixels: &Tensor,
        texts: &Tensor,
        interventions: &Interventions,
        cancel: &CancelToken,
    ) -> Result<PairPass> {
        let pictures = self.probe_pictures(pixels, interventions, cancel)?;
        Ok(PairPass {
            neutral: self.neutral(interventions)?,
            surgical: self.surgical(pixels, interventions, cancel)?,
            recording: pictures.with(texts)?,
            patches: pictures.patches,
            texts: Array::from_tensor(texts)?,
        })
    }

    /// [`Self::probe_pairs`] of every picture with `word`, encoded as a text of its own.
    ///
    /// # Errors
    /// If there are no pictures, or the pass fails.
    pub fn probe_word(&self, pictures: &[&RgbImage], word: &str, interventions: &Interventions) -> Result<PairPass> {
        let batch = self.texts(&[word])?;
        let model = self.dual_encoder();
        let text = model.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut Taps::under(interventions))?;
        let texts = text.embed.broadcast_as((pictures.len(), model.projection_size()))?.contiguous()?;
        self.probe_pairs(&self.pixels(pictures)?, &texts, interventions, &CancelToken::default())
    }
}
