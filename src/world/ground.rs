//! What lies behind the objects: soft colours that let them stand out.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::SIDE;

/// The ground of a scene. Colours are red, green and blue, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Ground {
    /// One colour.
    Plain {
        /// That colour.
        colour: [u8; 3],
    },
    /// From one colour to another.
    Gradient {
        /// The colour at the start.
        from: [u8; 3],
        /// The colour at the end.
        to: [u8; 3],
        /// Which way it runs.
        slope: Slope,
    },
    /// Soft clouds and grain around one colour.
    Noisy {
        /// The colour in the mean.
        colour: [u8; 3],
        /// Which noise.
        seed: u32,
    },
}

/// Which way a gradient runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slope {
    /// From the top to the bottom.
    Down,
    /// From the left to the right.
    Across,
    /// From the upper left to the lower right.
    Diagonal,
}

/// Soft colours, light enough for black things and coloured enough for white ones.
const PALETTE: [[u8; 3]; 12] = [
    [198, 222, 240],
    [176, 206, 226],
    [200, 230, 212],
    [184, 214, 186],
    [246, 224, 196],
    [236, 206, 184],
    [226, 208, 236],
    [204, 198, 226],
    [244, 212, 218],
    [232, 228, 214],
    [214, 218, 224],
    [242, 234, 190],
];

/// Edge of a cloud's cell, in pixels.
const CELL: u32 = 32;
/// Cells in a row, and one more for the far corners.
const CORNERS: usize = (SIDE / CELL) as usize + 1;

impl Ground {
    /// A random ground: plain, gradient and noisy ones are equally frequent.
    pub(super) fn random(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0..3_u32) {
            0 => Self::Plain { colour: soft_colour(rng) },
            1 => Self::Gradient {
                from: soft_colour(rng),
                to: soft_colour(rng),
                slope: match rng.random_range(0..3_u32) {
                    0 => Slope::Down,
                    1 => Slope::Across,
                    _ => Slope::Diagonal,
                },
            },
            _ => Self::Noisy { colour: soft_colour(rng), seed: rng.random_range(0..u32::MAX) },
        }
    }

    /// Paints the whole scene, `SIDE * SIDE * 3` bytes, row by row.
    pub(super) fn paint(self, pixels: &mut [u8]) {
        match self {
            Self::Plain { colour } => pixels.as_chunks_mut::<3>().0.fill(colour),
            Self::Gradient { from, to, slope } => paint_gradient(from, to, slope, pixels),
            Self::Noisy { colour, seed } => paint_noise(colour, seed, pixels),
        }
    }
}

fn soft_colour(rng: &mut ChaCha8Rng) -> [u8; 3] {
    PALETTE[rng.random_range(0..PALETTE.len() as u32) as usize]
        .map(|part| (i32::from(part) + rng.random_range(-10..=8_i32)) as u8)
}

fn paint_gradient(from: [u8; 3], to: [u8; 3], slope: Slope, pixels: &mut [u8]) {
    let last = SIDE as i32 - 1;
    // The colours of all steps are worked out once, in twice as many steps as the scene has rows.
    let steps: Vec<[u8; 3]> = (0..=2 * last)
        .map(|step| {
            std::array::from_fn(|part| {
                let (start, end) = (i32::from(from[part]), i32::from(to[part]));
                (start + ((end - start) * step + last) / (2 * last)) as u8
            })
        })
        .collect();
    for (index, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (x, y) = (index % SIDE as usize, index / SIDE as usize);
        *pixel = match slope {
            Slope::Down => steps[2 * y],
            Slope::Across => steps[2 * x],
            Slope::Diagonal => steps[x + y],
        };
    }
}

/// Clouds are random heights at the corners of cells, blended in between; grain is a small step for each pixel.
fn paint_noise(colour: [u8; 3], seed: u32, pixels: &mut [u8]) {
    let heights: [[i32; CORNERS]; CORNERS] = std::array::from_fn(|row| {
        std::array::from_fn(|column| (scramble(seed ^ (row * CORNERS + column + 1) as u32) >> 24) as i32 - 128)
    });
    let mut state = scramble(seed) | 1;
    let (rows, _) = pixels.as_chunks_mut::<3>();
    for (y, row) in rows.chunks_exact_mut(SIDE as usize).enumerate() {
        let (cell, down) = (y / CELL as usize, ease(y as u32 % CELL));
        // Heights along this row: at each corner, blended between the cells above and below; 256 times as fine.
        let along: [i32; CORNERS] =
            std::array::from_fn(|column| heights[cell][column] * (256 - down) + heights[cell + 1][column] * down);
        for (x, pixel) in row.iter_mut().enumerate() {
            let (cell, across) = (x / CELL as usize, ease(x as u32 % CELL));
            let cloud = (along[cell] * (256 - across) + along[cell + 1] * across) >> 16;
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let grain = (state >> 28) as i32 - 8;
            let change = cloud / 8 + grain / 2;
            *pixel = colour.map(|part| (i32::from(part) + change).clamp(0, 255) as u8);
        }
    }
}

/// A smooth way from 0 to 256 across a cell: `3 t² - 2 t³`, in integers.
fn ease(step: u32) -> i32 {
    let (step, cell) = (step as i32, CELL as i32);
    256 * step * step * (3 * cell - 2 * step) / (cell * cell * cell)
}

/// Mixes the bits of a number, so that neighbouring numbers give unlike results.
fn scramble(number: u32) -> u32 {
    let mixed = (number ^ (number >> 16)).wrapping_mul(0x21f0_aaad);
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x735a_2d97);
    mixed ^ (mixed >> 15)
}
