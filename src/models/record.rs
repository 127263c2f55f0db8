//! One pass of a dual encoder, brought to the host: what goes in, what comes out, and what was seen on the way.

use candle_core::{DType, Tensor};
use image::RgbImage;

use super::opened::Opened;
use super::tokenizer::Tokens;
use crate::error::{Error, Result};
use crate::taps::{Array, CancelToken, GradProbe, IdArray, Recorder, Recording, SitePattern, Taps};

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

/// What attributions look at: pairs of a picture and a text, one a row.
#[derive(Clone, Debug)]
pub struct PairPass {
    /// The patterns of the vision tower and of the pooling head, and the gradients there of each pair's logit.
    pub recording: Recording,
    /// Each patch in the shared space, unit length, `[pairs, patches, projection]`.
    pub patches: Array,
    /// Each text in the shared space, unit length, `[pairs, projection]`.
    pub texts: Array,
    /// The empty text in the shared space, unit length, `[projection]`.
    pub neutral: Vec<f32>,
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

    /// Runs the vision tower over `pixels` `[pairs, 3, height, width]` and takes the gradient of each picture's logit with
    /// its text, of which `texts` `[pairs, projection]` holds the vectors.
    ///
    /// # Errors
    /// If the shapes don't fit, the pass is cancelled or fails.
    pub fn probe_pairs(&self, pixels: &Tensor, texts: &Tensor, cancel: &CancelToken) -> Result<PairPass> {
        let model = self.dual_encoder();
        let mut probe = GradProbe::new(SitePattern::new("vision.*.pattern,pooler.*.pattern"));
        let mut taps = Taps::none().with(&mut probe).cancelled_by(cancel);
        let image = model.encode_image(pixels, &mut taps)?;
        drop(taps);
        // Rows of a batch don't see each other, so the gradient of the summed logits is each pair's own. SigLIP's bias
        // has no gradient here.
        let cosines = (&image.embed * texts)?.sum_all()?;
        let score = (cosines * f64::from(model.logit_factor()?))?;
        cancel.check()?;
        let empty = self.texts(&[""])?;
        let neutral = model.encode_text(&empty.ids, empty.attention_mask.as_ref(), &mut Taps::none())?;
        Ok(PairPass {
            neutral: Array::from_tensor(&neutral.embed)?.data,
            recording: probe.backward(&score)?,
            patches: Array::from_tensor(&image.patches)?,
            texts: Array::from_tensor(texts)?,
        })
    }

    /// [`Self::probe_pairs`] of every picture with `word`, encoded as a text of its own.
    ///
    /// # Errors
    /// If there are no pictures, or the pass fails.
    pub fn probe_word(&self, pictures: &[&RgbImage], word: &str) -> Result<PairPass> {
        let batch = self.texts(&[word])?;
        let model = self.dual_encoder();
        let text = model.encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut Taps::none())?;
        let texts = text.embed.broadcast_as((pictures.len(), model.projection_size()))?.contiguous()?;
        self.probe_pairs(&self.pixels(pictures)?, &texts, &CancelToken::default())
    }
}

fn ids(tensor: &Tensor) -> Result<IdArray> {
    let data = tensor.to_dtype(DType::I64)?.flatten_all()?.to_vec1::<i64>()?;
    Ok(IdArray { shape: tensor.dims().to_vec(), data })
}
