//! Pictures of which patches are hidden.

use image::{GrayImage, Rgb, RgbImage};

/// What stands in the place of a hidden patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// The mean colour of the picture.
    #[default]
    Mean,
    /// The picture, blurred so far that no patch tells what it showed.
    Blur,
}

impl Fill {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mean, Self::Blur];
}

/// A picture whose patches can be hidden.
pub struct Hiding {
    picture: RgbImage,
    filling: RgbImage,
    grid: (usize, usize),
    patches: Vec<[u32; 4]>, // left, top, right, bottom
}

impl Hiding {
    /// Of a `picture` whose part `seen` (left, top, right, bottom, in pixels) lies under a grid of rows and columns.
    #[must_use]
    pub fn new(picture: &RgbImage, fill: Fill, seen: [f32; 4], (rows, columns): (usize, usize)) -> Self {
        let [left, top, right, bottom] = seen;
        let (width, height) = picture.dimensions();
        let filling = match fill {
            Fill::Mean => RgbImage::from_pixel(width, height, mean(picture)),
            Fill::Blur => {
                let side = (right - left).min(bottom - top) / rows.max(columns).max(1) as f32;
                image::imageops::fast_blur(picture, side.max(1.0))
            }
        };
        let patches = corners(seen, (rows, columns), (width, height));
        Self { picture: picture.clone(), filling, grid: (rows, columns), patches }
    }

    /// Rows and columns of patches.
    #[must_use]
    pub fn grid(&self) -> (usize, usize) {
        self.grid
    }

    /// How many patches there are.
    #[must_use]
    pub fn patches(&self) -> usize {
        self.patches.len()
    }

    /// The picture with everything hidden, as far as `share` (from 0 to 1) goes: each pixel so far on its way there.
    #[must_use]
    pub fn faded(&self, share: f32) -> RgbImage {
        let mut picture = self.picture.clone();
        let hidden = self.only(&[]);
        for (pixel, other) in picture.pixels_mut().zip(hidden.pixels()) {
            let along =
                |own: u8, other: u8| (f32::from(own) + (f32::from(other) - f32::from(own)) * share).round() as u8;
            pixel.0 = [0, 1, 2].map(|at| along(pixel.0[at], other.0[at]));
        }
        picture
    }

    /// The picture without these patches.
    #[must_use]
    pub fn without(&self, hidden: &[usize]) -> RgbImage {
        self.with_patches_of(&self.picture, &self.filling, hidden)
    }

    /// These patches alone: everything else is hidden.
    #[must_use]
    pub fn only(&self, shown: &[usize]) -> RgbImage {
        self.with_patches_of(&self.filling, &self.picture, shown)
    }

    /// Which share of each patch lies in the mask, `[patches]`. It is as large as the picture.
    #[must_use]
    pub fn covered(&self, mask: &GrayImage) -> Vec<f32> {
        let share = |[left, top, right, bottom]: &[u32; 4]| {
            let inside = (*top..*bottom).flat_map(|y| (*left..*right).map(move |x| (x, y)));
            let count = inside.filter(|(x, y)| mask.get_pixel_checked(*x, *y).is_some_and(|pixel| pixel.0[0] > 0));
            count.count() as f32 / ((right - left) * (bottom - top)).max(1) as f32
        };
        self.patches.iter().map(share).collect()
    }

    fn with_patches_of(&self, ground: &RgbImage, other: &RgbImage, patches: &[usize]) -> RgbImage {
        let mut picture = ground.clone();
        for [left, top, right, bottom] in patches.iter().filter_map(|patch| self.patches.get(*patch)) {
            for y in *top..*bottom {
                for x in *left..*right {
                    picture.put_pixel(x, y, *other.get_pixel(x, y));
                }
            }
        }
        picture
    }
}

/// Where each patch of a grid lies, row by row, as left, top, right and bottom in pixels of a picture of this `size`. The grid
/// of rows and columns lies over the part `seen` of it.
#[must_use]
pub fn corners(
    [left, top, right, bottom]: [f32; 4],
    (rows, columns): (usize, usize),
    (width, height): (u32, u32),
) -> Vec<[u32; 4]> {
    let along = |from: f32, to: f32, at: usize, count: usize, most: u32| {
        (from + (to - from) * at as f32 / count.max(1) as f32).round().clamp(0.0, most as f32) as u32
    };
    let of_patch = |patch: usize| {
        let (row, column) = (patch / columns, patch % columns);
        [
            along(left, right, column, columns, width),
            along(top, bottom, row, rows, height),
            along(left, right, column + 1, columns, width),
            along(top, bottom, row + 1, rows, height),
        ]
    };
    (0..rows * columns).map(of_patch).collect()
}

fn mean(picture: &RgbImage) -> Rgb<u8> {
    let mut sums = [0u64; 3];
    for pixel in picture.pixels() {
        sums.iter_mut().zip(pixel.0).for_each(|(sum, level)| *sum += u64::from(level));
    }
    let count = u64::from(picture.width() * picture.height()).max(1);
    Rgb(sums.map(|sum| (sum / count) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_hidden_and_shown() {
        let picture = RgbImage::from_fn(8, 8, |x, y| Rgb([if x >= 6 && y >= 6 { 255 } else { 0 }; 3]));
        let hiding = Hiding::new(&picture, Fill::Mean, [0.0, 0.0, 8.0, 8.0], (4, 4));
        let level = |picture: &RgbImage, x, y| picture.get_pixel(x, y).0[0];
        let without = hiding.without(&[15]);
        assert_eq!([level(&without, 7, 7), level(&without, 0, 0)], [15, 0]); // the mean of the whole picture
        let only = hiding.only(&[15]);
        assert_eq!([level(&only, 7, 7), level(&only, 0, 0)], [255, 15]);
        assert_eq!(hiding.faded(0.0), picture);
        assert_eq!(hiding.faded(1.0), hiding.only(&[]));
        assert_eq!(level(&hiding.faded(0.5), 7, 7), 135);
    }
}
