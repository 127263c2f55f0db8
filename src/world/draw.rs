//! Pixels of a scene, and which of them show which object.

use image::{GrayImage, RgbImage};

use super::SIDE;
use super::scene::{Object, Scene};
use super::tile::tile;

/// An object is as good as invisible when smaller, and scaling it makes no sense when larger.
const SIZES: std::ops::RangeInclusive<u32> = 1..=4 * SIDE;

impl Scene {
    /// The picture, [`SIDE`] x [`SIDE`] pixels. Objects are cut off at the border; later ones cover earlier ones.
    pub fn draw(&self) -> RgbImage {
        let mut picture = RgbImage::new(SIDE, SIDE);
        let pixels: &mut [u8] = &mut picture;
        self.ground.paint(pixels);
        for object in &self.objects {
            for_each_row(object, |start, row| {
                let (under, _) = pixels[3 * start..3 * (start + row.len())].as_chunks_mut::<3>();
                for (under, over) in under.iter_mut().zip(row) {
                    let through = 255 - u32::from(over[3]);
                    if through < 255 {
                        for (under, &over) in under.iter_mut().zip(over) {
                            let behind = (u32::from(*under) * through + 127) / 255;
                            *under = (behind + u32::from(over)).min(255) as u8;
                        }
                    }
                }
            });
        }
        picture
    }

    /// The pixels that show object `index`: 255 where it is visible, 0 elsewhere.
    ///
    /// A pixel belongs to the topmost object that covers more than half of it. Without such an object, all is 0.
    pub fn mask(&self, index: usize) -> GrayImage {
        self.mask_of(&[index])
    }

    /// The pixels that show any of these objects: 255 where one is visible, 0 elsewhere.
    pub fn mask_of(&self, objects: &[usize]) -> GrayImage {
        let mut mask = GrayImage::new(SIDE, SIDE);
        let pixels: &mut [u8] = &mut mask;
        for (index, object) in self.objects.iter().enumerate() {
            let value = if objects.contains(&index) { 255 } else { 0 };
            for_each_row(object, |start, row| {
                for (pixel, over) in pixels[start..start + row.len()].iter_mut().zip(row) {
                    if over[3] > 127 {
                        *pixel = value;
                    }
                }
            });
        }
        mask
    }
}

/// Calls `paint` for every row of the object that is in the scene, with the index of the scene's pixel where it starts.
fn for_each_row(object: &Object, mut paint: impl FnMut(usize, &[[u8; 4]])) {
    if !SIZES.contains(&object.size) {
        return;
    }
    let bounds = object.bounds();
    let side = SIDE as i32;
    let (left, right) = (bounds.left.clamp(0, side), bounds.right.clamp(0, side));
    let (top, bottom) = (bounds.top.clamp(0, side), bounds.bottom.clamp(0, side));
    if left >= right || top >= bottom {
        return;
    }
    let tile = tile(object.thing, object.size);
    for y in top..bottom {
        let row = (y - bounds.top) as usize * object.size as usize;
        let first = row + (left - bounds.left) as usize;
        let last = row + (right - bounds.left) as usize;
        paint((y * side + left) as usize, &tile[first..last]);
    }
}
