//! Things as small pictures with transparency, ready to be pasted into a scene.

use std::borrow::Cow;
use std::sync::{LazyLock, OnceLock};

use super::shapes::draw_shape;
use super::stickers::STICKERS;
use super::thing::Thing;

/// Smallest size of an object in a random scene, in pixels.
pub(super) const SMALLEST: u32 = 72;
/// Largest size of an object in a random scene, in pixels.
pub(super) const LARGEST: u32 = 136;
/// Sizes in random scenes are this far apart, which keeps the number of scaled stickers small.
pub(super) const STEP: u32 = 8;

const SIZES: usize = ((LARGEST - SMALLEST) / STEP + 1) as usize;
/// Width and height of the sticker files, in pixels.
const SOURCE: u32 = 128;

/// A thing at one size: `size * size` pixels of premultiplied red, green, blue and alpha, row by row.
type Tile = Vec<[u8; 4]>;

/// The stickers as in their files, premultiplied.
static SOURCES: LazyLock<Vec<Tile>> = LazyLock::new(|| STICKERS.iter().map(|entry| decode(entry.png)).collect());

/// Things at the sizes of random scenes, each made when it is first needed.
static TILES: LazyLock<Vec<[OnceLock<Tile>; SIZES]>> =
    LazyLock::new(|| Thing::all().map(|_| std::array::from_fn(|_| OnceLock::new())).collect());

/// The thing at this size, in pixels. Sizes that random scenes have are kept, others are made anew.
pub(super) fn tile(thing: Thing, size: u32) -> Cow<'static, [[u8; 4]]> {
    let is_kept = (SMALLEST..=LARGEST).contains(&size) && (size - SMALLEST).is_multiple_of(STEP);
    if is_kept {
        let place = &TILES[thing.index()][((size - SMALLEST) / STEP) as usize];
        Cow::Borrowed(place.get_or_init(|| make(thing, size)))
    } else {
        Cow::Owned(make(thing, size))
    }
}

fn make(thing: Thing, size: u32) -> Tile {
    match thing {
        Thing::Sticker(sticker) => scale(&SOURCES[sticker.index()], size),
        Thing::Shape { shape, colour } => draw_shape(shape, colour, size),
    }
}

/// The stickers are part of the program and a test decodes them all; one that fails is left transparent.
fn decode(png: &[u8]) -> Tile {
    let blank = vec![[0; 4]; (SOURCE * SOURCE) as usize];
    let Ok(picture) = image::load_from_memory(png).map(|picture| picture.to_rgba8()) else {
        return blank;
    };
    if picture.dimensions() != (SOURCE, SOURCE) {
        return blank;
    }
    let premultiply = |part: u8, alpha: u8| ((u32::from(part) * u32::from(alpha) + 127) / 255) as u8;
    let pixels = picture.pixels().map(|pixel| {
        let [red, green, blue, alpha] = pixel.0;
        [premultiply(red, alpha), premultiply(green, alpha), premultiply(blue, alpha), alpha]
    });
    pixels.collect()
}

/// Scales a sticker: first its rows, then its columns.
fn scale(source: &[[u8; 4]], size: u32) -> Tile {
    if size == SOURCE {
        return source.to_vec();
    }
    transposed_scale(&transposed_scale(source, size), size)
}

/// Scales the columns of a picture with rows of `SOURCE` pixels to `size` and turns rows into columns.
fn transposed_scale(source: &[[u8; 4]], size: u32) -> Tile {
    let rows = source.len() / SOURCE as usize;
    let mut result = Vec::with_capacity(rows * size as usize);
    for column in 0..size {
        let (first, weights) = weights(column, size);
        for row in 0..rows {
            let start = row * SOURCE as usize + first;
            let mut sums = [0_i32; 4];
            for (pixel, weight) in source[start..].iter().zip(&weights) {
                for (sum, &part) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(part) * weight;
                }
            }
            result.push(sums.map(|sum| ((sum + (1 << 13)) >> 14).clamp(0, 255) as u8));
        }
    }
    result
}

/// The first pixel that counts for pixel `column` of `size`, and the shares of it and its followers, of 2^14 in all.
///
/// A tent as wide as two pixels of the coarser of both pictures: no ringing, and no holes when made smaller.
fn weights(column: u32, size: u32) -> (usize, Vec<i32>) {
    let ratio = SOURCE as f32 / size as f32;
    let reach = ratio.max(1.0);
    let centre = (column as f32 + 0.5) * ratio - 0.5;
    let first = (centre - reach).max(0.0) as u32;
    let last = ((centre + reach) as u32 + 1).min(SOURCE - 1);
    let tent: Vec<f32> = (first..=last).map(|pixel| (1.0 - (pixel as f32 - centre).abs() / reach).max(0.0)).collect();
    // One after the other: the order of a float sum is part of the result.
    let total = tent.iter().fold(0.0_f32, |total, weight| total + weight);
    let shares = tent.iter().map(|weight| (weight / total * 16384.0 + 0.5) as i32).collect();
    (first as usize, shares)
}
