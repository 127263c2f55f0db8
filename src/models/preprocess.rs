//! From a picture to what a vision tower takes: resize, crop, scale, normalise, as `preprocessor_config.json` says.
//!
//! The numbers are those of transformers' image processors, which resize 8-bit pixels with Pillow.

use std::path::Path;

use candle_core::{Device, Tensor};
use image::{RgbImage, imageops};
use serde_json::json;

mod config;

use super::checkpoint::read_text;
use super::resample::{Axis, Filter, resample};
use crate::error::{Error, Result};

const FILE: &str = "preprocessor_config.json";

const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const CLIP_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];
const HALF: [f64; 3] = [0.5; 3];

/// Which of transformers' image processors a configuration is for; it decides the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `CLIPImageProcessor`, also used by LLaVA: shortest edge to 224, then the centre.
    Clip,
    /// `SiglipImageProcessor`: stretched to 224 x 224, mean and deviation one half.
    Siglip,
    /// `BlipImageProcessor`, also used by BLIP-2 and InstructBLIP: stretched to 384 x 384.
    Blip,
    /// `IdeficsImageProcessor`: stretched to 224 x 224. (It lays transparent pictures on white; here alpha is
    /// gone once a picture is decoded.)
    Idefics,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Clip => "CLIPImageProcessor",
            Self::Siglip => "SiglipImageProcessor",
            Self::Blip => "BlipImageProcessor",
            Self::Idefics => "IdeficsImageProcessor",
        }
    }

    /// Reads a class name, with the endings that it had over the years.
    fn named(name: &str) -> Option<Self> {
        let stem = name.strip_suffix("Fast").unwrap_or(name);
        let stem =
            ["ImageProcessor", "FeatureExtractor", "Processor"].iter().find_map(|ending| stem.strip_suffix(ending))?;
        match stem {
            "CLIP" | "Llava" => Some(Self::Clip),
            "Siglip" => Some(Self::Siglip),
            "Blip" | "Blip2" | "InstructBlip" => Some(Self::Blip),
            "Idefics" => Some(Self::Idefics),
            _ => None,
        }
    }

    fn mean_and_std(self) -> ([f64; 3], [f64; 3]) {
        match self {
            Self::Siglip => (HALF, HALF),
            _ => (CLIP_MEAN, CLIP_STD),
        }
    }
}

/// How a picture becomes the input of a vision tower. The result has one size, whatever the picture's.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    class: Class,
    resize: Option<Resize>,
    filter: Filter,
    crop: bool,
    /// Height and width of the result.
    size: [u32; 2],
    rescale: Option<f64>,
    normalise: Option<([f64; 3], [f64; 3])>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Resize {
    /// The shorter side gets this length, the other follows.
    Shortest(u32),
    /// Height and width, whatever that does to the shape.
    Stretch([u32; 2]),
}

impl ImageProcessor {
    /// The usual processor of a class, for a tower that takes `side` x `side` pixels.
    #[must_use]
    pub fn new(class: Class, side: u32) -> Self {
        let crop = class == Class::Clip;
        Self {
            class,
            resize: Some(if crop { Resize::Shortest(side) } else { Resize::Stretch([side; 2]) }),
            filter: Filter::Bicubic,
            crop,
            size: [side; 2],
            rescale: Some(1.0 / 255.0),
            normalise: Some(class.mean_and_std()),
        }
    }

    /// Pictures as a vision tower takes them, `[pictures, 3, height, width]`.
    ///
    /// # Errors
    /// If a picture has no pixels.
    pub fn batch(&self, pictures: &[&RgbImage], device: &Device) -> Result<Tensor> {
        let (height, width) = self.size();
        let mut values = Vec::new();
        for picture in pictures {
            values.extend(self.normalise(&self.pixels(picture)?));
        }
        Ok(Tensor::from_vec(values, (pictures.len(), 3, height as usize, width as usize), device)?)
    }

    /// Reads `preprocessor_config.json` in a checkpoint's folder.
    ///
    /// # Errors
    /// The file is missing or can't be read, or as [`ImageProcessor::from_json`]; the error names the file.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = String::from_utf8_lossy(&read_text(&path)?).into_owned();
        Self::from_json(&text).map_err(|e| e.at(&path))
    }

    /// Reads the text of a `preprocessor_config.json`. What it leaves out is as in transformers' class of that
    /// name; without a name it is CLIP's.
    ///
    /// # Errors
    /// Not JSON, a class that isn't known, a filter or a size that makes no sense, or a configuration whose
    /// results would differ in size from picture to picture.
    pub fn from_json(text: &str) -> Result<Self> {
        config::read(text)
    }

    /// The text of an ordinary `preprocessor_config.json`, which transformers reads back as the same class.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (mean, std) = self.normalise.unwrap_or(self.class.mean_and_std());
        let sides = |[height, width]: [u32; 2]| json!({"height": height, "width": width});
        let mut out = json!({
            "image_processor_type": self.class.name(),
            "do_resize": self.resize.is_some(),
            "resample": self.filter.number(),
            "do_rescale": self.rescale.is_some(),
            "rescale_factor": self.rescale.unwrap_or(1.0 / 255.0),
            "do_normalize": self.normalise.is_some(),
            "image_mean": mean,
            "image_std": std,
            "do_convert_rgb": true,
        });
        out["size"] = match self.resize {
            Some(Resize::Shortest(n)) => json!({"shortest_edge": n}),
            Some(Resize::Stretch(size)) => sides(size),
            None => sides(self.size),
        };
        match self.class {
            Class::Clip => {
                out["do_center_crop"] = json!(self.crop);
                out["crop_size"] = sides(self.size);
            }
            Class::Idefics => out["image_size"] = json!(self.size[0]),
            Class::Siglip | Class::Blip => {}
        }
        format!("{out:#}\n")
    }

    /// The colour that becomes 0 in the result, 0 to 255 in each channel; black where nothing is normalised.
    #[must_use]
    pub fn mean_colour(&self) -> [u8; 3] {
        let (mean, _) = self.normalise.unwrap_or(([0.0; 3], [1.0; 3]));
        mean.map(|channel| (channel * 255.0) as u8)
    }

    /// Height and width of the result, in pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.size[0], self.size[1])
    }

    /// What the model sees of a picture, before normalisation: resized, cropped, black where the crop is larger
    /// than the picture. Only the part that is kept is computed, so a very long picture costs no more than another.
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn pixels(&self, picture: &RgbImage) -> Result<RgbImage> {
        if picture.width() == 0 || picture.height() == 0 {
            return Err(Error::unusable("the picture has no pixels", "choose another"));
        }
        let (x, y) = self.windows(picture.width(), picture.height());
        let part = resample(picture, self.filter, x.axis, y.axis);
        if part.dimensions() == (x.out, y.out) {
            return Ok(part);
        }
        let mut padded = RgbImage::new(x.out, y.out);
        imageops::replace(&mut padded, &part, x.pad.into(), y.pad.into());
        Ok(padded)
    }

    /// Pixels as the tower takes them, `[3, height, width]`: (v x factor - mean) / deviation for each colour.
    #[must_use]
    pub fn normalise(&self, pixels: &RgbImage) -> Vec<f32> {
        let mut out = Vec::with_capacity(pixels.as_raw().len());
        for channel in 0..3 {
            let table = self.values(channel);
            out.extend(pixels.pixels().map(|p| table[usize::from(p.0[channel])]));
        }
        out
    }

    /// What each of the 256 values of a pixel's channel becomes; rounded to f32 after each step, as transformers does.
    fn values(&self, channel: usize) -> [f32; 256] {
        std::array::from_fn(|v| {
            let v = self.rescale.map_or(v as f32, |factor| (v as f64 * factor) as f32);
            self.normalise.map_or(v, |(mean, std)| (v - mean[channel] as f32) / std[channel] as f32)
        })
    }

    /// The rectangle of a `width` x `height` picture that the model sees: left, top, right, bottom in the
    /// picture's pixels. It reaches beyond the picture where the crop is padded.
    #[must_use]
    pub fn seen(&self, width: u32, height: u32) -> [f32; 4] {
        let (x, y) = self.windows(width.max(1), height.max(1));
        let ((left, right), (top, bottom)) = (x.seen(), y.seen());
        [left as f32, top as f32, right as f32, bottom as f32]
    }

    fn windows(&self, width: u32, height: u32) -> (Window, Window) {
        let [full_height, full_width] = match self.resize {
            None => [height, width].map(u64::from),
            Some(Resize::Stretch(size)) => size.map(u64::from),
            Some(Resize::Shortest(n)) => {
                let short = u64::from(width.min(height));
                [height, width].map(|side| u64::from(n) * u64::from(side) / short)
            }
        };
        (Window::new(width, full_width, self.size[1]), Window::new(height, full_height, self.size[0]))
    }
}

/// Resize and centre crop along one axis: what is kept stands after `pad` blank pixels in a result of `out`.
struct Window {
    axis: Axis,
    pad: u32,
    out: u32,
}

impl Window {
    fn new(source: u32, full: u64, out: u32) -> Self {
        // Halves are rounded down in a crop and up in a padding, as in transformers' center_crop.
        let (start, kept, pad) = match u32::try_from(full) {
            Ok(full) if full < out => (0, full, (out - full).div_ceil(2)),
            _ => ((full - u64::from(out)) / 2, out, 0),
        };
        let axis = Axis { source, full, start, kept };
        Self { axis, pad, out }
    }

    /// From and to where the result reaches, in the picture's pixels.
    fn seen(&self) -> (f64, f64) {
        let scale = f64::from(self.axis.source) / self.axis.full as f64;
        let start = self.axis.start as f64 - f64::from(self.pad);
        (start * scale, (start + f64::from(self.out)) * scale)
    }
}
