//! A picture changed by hand: painted over, cropped, shifted. What was changed is kept, not the pixels.

use image::{Rgb, RgbImage, imageops};
use serde::{Deserialize, Serialize};

/// Changes that are kept; a person makes some dozens.
pub const MOST_CHANGES: usize = 2000;
/// The shortest side that a crop leaves, as a share of the picture's.
const LEAST_SHARE: f32 = 0.05;

/// One change of a picture. Places and lengths are shares of the picture's width and height as it is shown by then, so that
/// they hold at any resolution; they are kept in ten-thousandths, which can be compared and stored exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Paint a disc with the picture's mean colour.
    Paint {
        /// Its middle: along the width, along the height.
        at: [i32; 2],
        /// Its radius, as a share of the shorter side.
        radius: i32,
    },
    /// Keep a part alone.
    Crop {
        /// Left, top, right, bottom.
        to: [i32; 4],
    },
    /// Move the picture; what comes into view has its mean colour.
    Shift {
        /// To the right, down.
        by: [i32; 2],
    },
}

/// Shares are kept in parts of this size.
const UNIT: f32 = 10_000.0;

/// A share as it is kept.
#[must_use]
pub fn kept(share: f32) -> i32 {
    let share = if share.is_finite() { share.clamp(-2.0, 2.0) } else { 0.0 };
    (share * UNIT).round() as i32
}

/// The share that is meant.
fn share(kept: i32) -> f32 {
    kept.clamp(-20_000, 20_000) as f32 / UNIT
}

/// The picture after all changes, one after the other.
#[must_use]
pub fn retouched(picture: &RgbImage, changes: &[Change]) -> RgbImage {
    let ground = mean_colour(picture);
    let mut picture = picture.clone();
    for change in changes.iter().take(MOST_CHANGES) {
        match change {
            Change::Paint { at, radius } => paint(&mut picture, at.map(share), share(*radius), ground),
            Change::Crop { to } => picture = crop(&picture, to.map(share)),
            Change::Shift { by } => picture = shift(&picture, by.map(share), ground),
        }
    }
    picture
}

fn mean_colour(picture: &RgbImage) -> Rgb<u8> {
    let mut sums = [0u64; 3];
    for pixel in picture.pixels() {
        for (sum, part) in sums.iter_mut().zip(pixel.0) {
            *sum += u64::from(part);
        }
    }
    let count = (u64::from(picture.width()) * u64::from(picture.height())).max(1);
    Rgb(sums.map(|sum| (sum / count) as u8))
}

fn paint(picture: &mut RgbImage, at: [f32; 2], radius: f32, colour: Rgb<u8>) {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let radius = (radius.max(0.0) * width.min(height)).max(0.5);
    let [x, y] = [at[0] * width, at[1] * height];
    let range = |middle: f32, most: f32| {
        let inside = |value: f32| value.clamp(0.0, most) as u32;
        inside((middle - radius).floor())..inside((middle + radius).ceil())
    };
    for row in range(y, height) {
        for column in range(x, width) {
            let (across, down) = (column as f32 + 0.5 - x, row as f32 + 0.5 - y);
            if across * across + down * down <= radius * radius {
                picture.put_pixel(column, row, colour);
            }
        }
    }
}

fn crop(picture: &RgbImage, [left, top, right, bottom]: [f32; 4]) -> RgbImage {
    let along = |start: f32, end: f32, length: u32| {
        let (start, end) = (start.min(end).clamp(0.0, 1.0), start.max(end).clamp(0.0, 1.0));
        let end = end.max((start + LEAST_SHARE).min(1.0));
        let first = (start * length as f32).round().min(length.saturating_sub(1) as f32) as u32;
        (first, ((end * length as f32).round() as u32).saturating_sub(first).max(1))
    };
    let ((x, width), (y, height)) = (along(left, right, picture.width()), along(top, bottom, picture.height()));
    imageops::crop_imm(picture, x, y, width, height).to_image()
}

fn shift(picture: &RgbImage, [across, down]: [f32; 2], ground: Rgb<u8>) -> RgbImage {
    let mut moved = RgbImage::from_pixel(picture.width(), picture.height(), ground);
    let by = |share: f32, length: u32| (share * length as f32).round() as i64;
    imageops::replace(&mut moved, picture, by(across, picture.width()), by(down, picture.height()));
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> RgbImage {
        RgbImage::from_fn(40, 20, |x, _| if x < 20 { Rgb([200, 0, 0]) } else { Rgb([0, 0, 100]) })
    }

    #[test]
    fn what_is_painted_has_the_mean_colour() {
        let change = Change::Paint { at: [kept(0.25), kept(0.5)], radius: kept(0.2) };
        let painted = retouched(&picture(), &[change]);
        assert_eq!(painted.get_pixel(10, 10).0, [100, 0, 50]);
        assert_eq!(painted.get_pixel(10, 2).0, [200, 0, 0]);
    }

    #[test]
    fn a_crop_keeps_the_part_alone() {
        let cropped = retouched(&picture(), &[Change::Crop { to: [kept(0.5), 0, kept(1.0), kept(1.0)] }]);
        assert_eq!(cropped.dimensions(), (20, 20));
        assert!(cropped.pixels().all(|pixel| pixel.0 == [0, 0, 100]));
        // Upside down, or of nothing.
        assert_eq!(retouched(&picture(), &[Change::Crop { to: [kept(1.0), 0, kept(0.5), kept(1.0)] }]), cropped);
        let nothing = retouched(&picture(), &[Change::Crop { to: [i32::MAX; 4] }, Change::Crop { to: [0; 4] }]);
        assert!(nothing.width() >= 1 && nothing.height() >= 1);
    }

    #[test]
    fn a_shift_brings_the_mean_colour_into_view() {
        let moved = retouched(&picture(), &[Change::Shift { by: [kept(0.5), kept(0.0)] }]);
        assert_eq!(moved.get_pixel(0, 0).0, [100, 0, 50]);
        assert_eq!(moved.get_pixel(39, 0).0, [200, 0, 0]);
        assert_eq!(kept(f32::NAN), 0);
    }
}
