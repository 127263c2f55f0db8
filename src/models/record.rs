//! One pass of a dual encoder, brought to the host: what goes in, what comes out, and what was seen on the way.

use candle_core::{DType, Tensor};
use image::RgbImage;

use super::opened::Opened;
use super::tokenizer::Tokens;
use crate::error::{Error, Result};
use crate::taps::{Array, GradProbe, IdArray, Recorder, Recording, SitePattern, Taps};

/// Inputs, outputs and recorded activations of one pass over pictures and texts.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Each text as the model read it, without padding.
    pub tokens: Vec<Tokens>,
    /// `[pictures, 3, height, width]`, normalised.
    pub pixel_values: Array,
    /// `[texts, tokens]`, padded to one length.
    pub input_ids: IdArray,
    /// `[texts, tokens]`, 1 for tokens and 0 for padding; `None` where the model sees padding.
    pub attention_mask: Option<IdArray>,
    /// `[pictures, texts]`.
    pub logits_per_image: Array,
    /// `[texts, pictures]`.
    pub logits_per_text: Array,
    /// `[pictures, projection]`, unit length.
    pub image_embeds: Array,
    /// `[texts, projection]`, unit length.
    pub text_embeds: Array,
    /// What was seen at the wanted sites.
    pub recording: Recording,
}

/// What attributions look at: one word with each of several pictures.
#[derive(Clone, Debug)]
pub struct WordPass {
    /// The vision tower's patterns, a row for each picture; and the gradients there of its logit, if asked for.
    pub recording: Recording,
    /// Each patch in the shared space, unit length, `[pictures, patches, projection]`.
    pub patches: Array,
    /// The word in the shared space, unit length, `[1, projection]`.
    pub word: Array,
}

impl Opened {
    /// Runs the model once over every picture and every text, and keeps the activations that `wanted` names.
    ///
    /// # Errors
    /// If there are no pictures or no texts, the model gives numbers that aren't finite, or the pass fails.
    pub fn record(&self, pictures: &[&RgbImage], texts: &[String], wanted: SitePattern) -> Result<Pass> {
        if pictures.is_empty() {
            return Err(Error::unusable("there is no picture", "give one"));
        }
        let model = self.dual_encoder();
        let pixels = self.pixels(pictures)?;
        let tokens = texts.iter().map(|text| self.tokenizer.encode(text)).collect::<Result<Vec<_>>>()?;
        let rows: Vec<Vec<u32>> = tokens.iter().map(|tokens| tokens.ids.clone()).collect();
        let batch = self.tokenizer.pad(&rows, &self.device)?;
        let mut recorder = Recorder::new(wanted);
        let mut taps = Taps::none().with(&mut recorder);
        let image = model.encode_image(&pixels, &mut taps)?;
        let text = model.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut taps)?;
        drop(taps);
        let logits = model.logits(&image.embed, &text.embed)?;
        let logits_per_image = Array::from_tensor(&logits)?;
        if logits_per_image.data.iter().any(|logit| !logit.is_finite()) {
            return Err(Error::unusable("the model gives scores that aren't finite", "fetch or train it again")
                .at(&self.checkpoint.folder));
        }
        Ok(Pass {
            tokens,
            pixel_values: Array::from_tensor(&pixels)?,
            input_ids: ids(&batch.ids)?,
            attention_mask: batch.attention_mask.as_ref().map(ids).transpose()?,
            logits_per_text: Array::from_tensor(&logits.t()?)?,
            logits_per_image,
            image_embeds: Array::from_tensor(&image.embed)?,
            text_embeds: Array::from_tensor(&text.embed)?,
            recording: recorder.finish(),
        })
    }

    /// Runs the model over every picture with `word`, encoded as a text of its own.
    ///
    /// # Errors
    /// If there are no pictures, or the pass fails.
    pub fn record_word(&self, pictures: &[&RgbImage], word: &str, gradients: bool) -> Result<WordPass> {
        let model = self.dual_encoder();
        let batch = self.texts(&[word])?;
        let text = model.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut Taps::none())?;
        let pixels = self.pixels(pictures)?;
        let wanted = SitePattern::new("vision.*.pattern,pooler.*.pattern");
        let (image, recording) = if gradients {
            let mut probe = GradProbe::new(wanted);
            let image = model.encode_image(&pixels, &mut Taps::none().with(&mut probe))?;
            // A picture reaches only its own logit, so the sum gives each row its own gradient.
            let score = model.logits(&image.embed, &text.embed)?.sum_all()?;
            (image, probe.backward(&score)?)
        } else {
            let mut recorder = Recorder::new(wanted);
            let image = model.encode_image(&pixels, &mut Taps::none().with(&mut recorder))?;
            (image, recorder.finish())
        };
        Ok(WordPass { recording, patches: Array::from_tensor(&image.patches)?, word: Array::from_tensor(&text.embed)? })
    }
}

fn ids(tensor: &Tensor) -> Result<IdArray> {
    let data = tensor.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
    Ok(IdArray { shape: tensor.dims().to_vec(), data })
}
