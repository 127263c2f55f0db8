//! Textures and how they are sampled.

use std::sync::Arc;

use egui::epaint::{ImageData, ImageDelta};
use egui::{ColorImage, TextureFilter, TextureOptions, TextureWrapMode};

/// An image in memory with its filter and wrap mode.
pub(super) struct Texture {
    image: Arc<ColorImage>,
    options: TextureOptions,
}

impl Texture {
    pub(super) fn new(delta: ImageDelta) -> Self {
        let ImageData::Color(image) = delta.image;
        Self { image, options: delta.options }
    }

    /// Replaces the part of the image whose upper left texel is `at`; what lies outside is ignored.
    pub(super) fn patch(&mut self, at: [usize; 2], delta: &ImageDelta) {
        self.options = delta.options;
        let ImageData::Color(patch) = &delta.image;
        let image = Arc::make_mut(&mut self.image);
        let [width, patch_width] = [image.width(), patch.width()];
        let room = width.saturating_sub(at[0]);
        if patch_width == 0 || patch_width > room {
            return;
        }
        let rows = image.pixels.chunks_exact_mut(width).skip(at[1]);
        for (row, new) in rows.zip(patch.pixels.chunks_exact(patch_width)) {
            row[at[0]..at[0] + patch_width].copy_from_slice(new);
        }
    }

    /// Width and height in texels, or `None` if there is nothing to sample.
    pub(super) fn size(&self) -> Option<[f32; 2]> {
        let [width, height] = self.image.size;
        let usable = width > 0 && height > 0 && self.image.pixels.len() == width * height;
        usable.then_some([width as f32, height as f32])
    }

    /// The colour (0 to 255, premultiplied) at a position in texels; texel centres lie at halves.
    pub(super) fn sample(&self, x: f32, y: f32) -> [f32; 4] {
        // Like egui's reproducible GPU path, one filter for both directions: no driver has to guess the scale.
        if self.options.magnification == TextureFilter::Nearest {
            return self.texel(floor(x + BORDER), floor(y + BORDER));
        }
        let (x, y) = (x - 0.5, y - 0.5);
        let (left, top) = (floor(x), floor(y));
        let (fx, fy) = (x - left as f32, y - top as f32);
        // Text sits on whole pixels: there the answer is one texel, but for rounding of the coordinates.
        if fx.min(1.0 - fx) < WHOLE && fy.min(1.0 - fy) < WHOLE {
            return self.texel(left + i32::from(fx > 0.5), top + i32::from(fy > 0.5));
        }
        let (right, bottom) = (left + 1, top + 1);
        let upper = mix(self.texel(left, top), self.texel(right, top), fx);
        let lower = mix(self.texel(left, bottom), self.texel(right, bottom), fx);
        mix(upper, lower, fy)
    }

    fn texel(&self, x: i32, y: i32) -> [f32; 4] {
        let [width, height] = self.image.size;
        let mode = self.options.wrap_mode;
        let index = wrap(y, height, mode) * width + wrap(x, width, mode);
        self.image.pixels[index].to_array().map(f32::from)
    }
}

/// Nearer to a texel's centre than this counts as on it; GPUs too keep only eight bits of the fraction.
const WHOLE: f32 = 1.0 / 512.0;

/// A pixel centre exactly on the border of two texels shows the second one, whichever way its coordinate was rounded.
const BORDER: f32 = 1.0 / 4096.0;

fn wrap(texel: i32, size: usize, mode: TextureWrapMode) -> usize {
    let size = size as i32;
    let inside = match mode {
        TextureWrapMode::ClampToEdge => texel.clamp(0, size - 1),
        TextureWrapMode::Repeat => texel.rem_euclid(size),
        TextureWrapMode::MirroredRepeat => {
            let phase = texel.rem_euclid(2 * size);
            phase.min(2 * size - 1 - phase)
        }
    };
    inside as usize
}

fn mix(a: [f32; 4], b: [f32; 4], share: f32) -> [f32; 4] {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * share)
}

/// The standard `floor` is a function call on processors without SSE4.1, which costs more than the whole sample.
/// Texel positions stay within 30 bits, so that the neighbouring texel still has a number.
fn floor(value: f32) -> i32 {
    const LIMIT: f32 = (1 << 30) as f32;
    let value = value.clamp(-LIMIT, LIMIT);
    let whole = value as i32;
    whole - i32::from(whole as f32 > value)
}
