//! Pictures and texts as vectors of one space, by a model that is opened when it is first needed.

use candle_core::{Device, Tensor};
use image::RgbImage;
use image::imageops::{FilterType, crop_imm, resize};
use std::path::PathBuf;

use super::THUMBNAIL;
use crate::error::Result;
use crate::models::opened::Opened;
use crate::models::preprocess::ImageProcessor;
use crate::models::runtime::RuntimeName;
use crate::taps::{CancelToken, Taps};

/// A dual encoder that may not be open yet.
pub(super) struct Encoder {
    checkpoint: PathBuf,
    runtime: RuntimeName,
    opened: Option<Opened>,
    /// The last text with its vector: it is asked for again whenever more pictures are there.
    text: Option<(String, Vec<f32>)>,
}

impl Encoder {
    #[must_use]
    pub fn new(checkpoint: PathBuf, runtime: RuntimeName) -> Self {
        Self { checkpoint, runtime, opened: None, text: None }
    }

    fn opened(&mut self) -> Result<&Opened> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => self.runtime.open(|runtime| Opened::open(&self.checkpoint, runtime))?.0,
        };
        Ok(self.opened.insert(opened))
    }

    /// Vectors of pictures as the vision tower takes them, `[3, height, width]` each.
    ///
    /// # Errors
    /// If the model can't be opened, the pass fails or is cancelled.
    pub fn pictures(&mut self, pixels: &[Tensor], cancel: &CancelToken) -> Result<Vec<Vec<f32>>> {
        let opened = self.opened()?;
        let pixels = Tensor::cat(pixels, 0)?.to_device(&opened.device)?;
        let mut taps = Taps::none().cancelled_by(cancel);
        Ok(opened.dual_encoder().encode_image(&pixels, &mut taps)?.embed.to_vec2()?)
    }

    /// The vector of a text.
    ///
    /// # Errors
    /// If the model can't be opened, or the pass fails.
    pub fn text(&mut self, text: &str) -> Result<Vec<f32>> {
        if let Some((known, vector)) = &self.text
            && known == text
        {
            return Ok(vector.clone());
        }
        let opened = self.opened()?;
        let batch = opened.texts(&[text])?;
        let features =
            opened.dual_encoder().encode_text(&batch.ids, batch.attention_mask.as_ref(), &mut Taps::none())?;
        let vector = features.embed.to_vec2()?.concat();
        self.text = Some((text.to_owned(), vector.clone()));
        Ok(vector)
    }
}

/// A picture as the vision tower takes it, `[1, 3, height, width]`.
///
/// # Errors
/// If the picture has no pixels.
pub(super) fn pixels(processor: &ImageProcessor, picture: &RgbImage) -> Result<Tensor> {
    processor.batch(&[picture], &Device::Cpu)
}

/// The middle square of a picture, small.
#[must_use]
pub(super) fn thumbnail(picture: &RgbImage) -> Box<[u8]> {
    let side = picture.width().min(picture.height());
    let (left, top) = ((picture.width() - side) / 2, (picture.height() - side) / 2);
    let middle = crop_imm(picture, left, top, side, side).to_image();
    resize(&middle, THUMBNAIL, THUMBNAIL, FilterType::Triangle).into_raw().into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_picture_is_the_middle_of_a_large_one() {
        let level = |x: u32| if (100..300).contains(&x) { 200 } else { 0 };
        let wide = RgbImage::from_fn(400, 200, |x, _| image::Rgb([level(x), 7, 9]));
        let small = thumbnail(&wide);
        assert_eq!(small.len() as u32, THUMBNAIL * THUMBNAIL * 3);
        assert!(small.as_chunks::<3>().0.iter().all(|pixel| *pixel == [200, 7, 9]));
        assert_eq!(thumbnail(&RgbImage::new(1, 1)).len() as u32, THUMBNAIL * THUMBNAIL * 3);
    }
}
