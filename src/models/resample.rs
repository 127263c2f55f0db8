//! Pillow's resampling of 8-bit pixels, to the last bit.
//!
//! Vision towers are trained on what Pillow makes of a picture, so its rounding is part of the model: weights in
//! fixed point with 22 bits, first along the rows, then along the columns, cut to 8 bits after each. Since
//! version 13 Pillow takes the columns first where that is much less work (python-pillow/Pillow, pull request
//! 9549); older versions differ from this by a level in such tall pictures. After its `src/libImaging/Resample.c`.

use std::f64::consts::PI;

use image::RgbImage;
use multiversion::multiversion;

/// Bits after the point in a weight: 32, less 8 for the pixel, less 2 for sums above one and the sign.
const BITS: u32 = 22;
/// One half in fixed point: where sums start, so that cutting the bits off rounds.
const HALF: i32 = 1 << (BITS - 1);
/// Numbers that are computed together: the three of a pixel, and one more, so that they fill a register.
const LANES: usize = 4;

/// How pixels are weighted; the names are Pillow's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel alone.
    Nearest,
    /// A windowed sinc over three pixels to each side.
    Lanczos,
    /// A straight line between neighbours.
    Bilinear,
    /// A cubic with a = -0.5 (Catmull-Rom).
    Bicubic,
    /// The mean of the pixels that are covered.
    Box,
    /// A windowed sinc over one pixel to each side.
    Hamming,
}

impl Filter {
    /// By Pillow's numbers, which are the position in this list.
    const ALL: [Self; 6] = [Self::Nearest, Self::Lanczos, Self::Bilinear, Self::Bicubic, Self::Box, Self::Hamming];

    /// The filter that has this number in Pillow and in `preprocessor_config.json`, if one has.
    #[must_use]
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number in Pillow.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// How far it reaches to each side, in pixels of the smaller picture.
    fn reach(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| {
            if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
        };
        let far = x.abs();
        match self {
            Self::Nearest | Self::Box => f64::from(x > -0.5 && x <= 0.5),
            Self::Bilinear => (1.0 - far).max(0.0),
            Self::Hamming if far < 1.0 => sinc(far) * (0.54 + 0.46 * (far * PI).cos()),
            Self::Bicubic if far < 1.0 => (1.5 * far - 2.5) * far * far + 1.0,
            Self::Bicubic if far < 2.0 => (((far - 5.0) * far + 8.0) * far - 4.0) * -0.5,
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

/// One axis of a resizing of which only a part is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// The picture's length, in pixels, not zero.
    pub source: u32,
    /// The length that the whole picture would get, not zero.
    pub full: u64,
    /// The first pixel of the resized picture that is wanted.
    pub start: u64,
    /// How many are wanted; `start + kept` is at most `full`.
    pub kept: u32,
}

/// The wanted part of the resized picture, `x.kept` wide and `y.kept` high. Costs only that part.
#[must_use]
pub fn resample(picture: &RgbImage, filter: Filter, x: Axis, y: Axis) -> RgbImage {
    let (columns, rows) = (x.taps(filter), y.taps(filter));
    let (Some(top), Some(bottom)) = (rows.first(), rows.last()) else {
        return RgbImage::default();
    };
    let line = 3 * x.source as usize;
    let lines = &picture.as_raw()[top.first * line..bottom.end() * line];
    let skipped = top.first;
    let out = if y.shrinks_twice_as_much_as(x) {
        along_lines(&down_lines(lines, line, &rows, skipped), line, &columns)
    } else {
        let narrow = along_lines(lines, line, &columns);
        down_lines(&narrow, 3 * columns.len(), &rows, skipped)
    };
    RgbImage::from_raw(x.kept, y.kept, out).unwrap_or_default()
}

/// Resizes each line of `line` bytes.
fn along_lines(lines: &[u8], line: usize, columns: &[Taps]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len() / line * 3 * columns.len());
    let mut pixels = vec![[0; LANES]; line / 3];
    for line in lines.chunks_exact(line) {
        for (pixel, bytes) in pixels.iter_mut().zip(line.as_chunks::<3>().0) {
            pixel[..3].copy_from_slice(&bytes.map(i32::from));
        }
        for taps in columns {
            let [red, green, blue, _] = mixed(&pixels[taps.first..], &taps.weights).map(to_byte);
            out.extend([red, green, blue]);
        }
    }
    out
}

/// The sum of pixels, each with its weight.
#[multiversion(targets("x86_64+avx2"))]
fn mixed(pixels: &[[i32; LANES]], weights: &[i32]) -> [i32; LANES] {
    let mut sums = [HALF; LANES];
    for (pixel, weight) in pixels.iter().zip(weights) {
        for lane in 0..LANES {
            sums[lane] += pixel[lane] * weight;
        }
    }
    sums
}

/// Adds a line of bytes with its weight.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_line(sums: &mut [i32], line: &[u8], weight: i32) {
    for (sum, &value) in sums.iter_mut().zip(line) {
        *sum += i32::from(value) * weight;
    }
}

/// Mixes lines of `line` bytes; the first line that is given is number `skipped` of the picture.
fn down_lines(lines: &[u8], line: usize, rows: &[Taps], skipped: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(line * rows.len());
    let mut sums = vec![HALF; line];
    for taps in rows {
        sums.fill(HALF);
        let under = lines[(taps.first - skipped) * line..].chunks_exact(line);
        for (pixels, weight) in under.zip(&taps.weights) {
            add_line(&mut sums, pixels, *weight);
        }
        out.extend(sums.iter().map(|&sum| to_byte(sum)));
    }
    out
}

/// The pixels that one resized pixel is made of.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

impl Taps {
    fn end(&self) -> usize {
        self.first + self.weights.len()
    }
}

impl Axis {
    /// Pillow's rule for taking the columns first, `self` being the vertical axis.
    fn shrinks_twice_as_much_as(self, other: Self) -> bool {
        let shrinks = |axis: Self| i128::from(axis.source) - i128::from(axis.full);
        shrinks(self) > 0 && shrinks(self) > 2 * shrinks(other)
    }

    fn taps(self, filter: Filter) -> Vec<Taps> {
        (self.start..self.start + u64::from(self.kept))
            .map(|at| match filter {
                Filter::Nearest => Taps {
                    first: ((2 * at + 1) * u64::from(self.source) / (2 * self.full)) as usize,
                    weights: vec![1 << BITS],
                },
                _ => self.weighted(filter, at),
            })
            .collect()
    }

    fn weighted(self, filter: Filter, at: u64) -> Taps {
        let scale = f64::from(self.source) / self.full as f64;
        let spread = scale.max(1.0); // making larger interpolates, making smaller averages
        let reach = filter.reach() * spread;
        let centre = (at as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as u32;
        let end = ((centre + reach + 0.5) as u32).min(self.source);
        let weights: Vec<f64> =
            (first..end).map(|i| filter.weight((f64::from(i) - centre + 0.5) * (1.0 / spread))).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |w: &f64| (w / total * f64::from(1 << BITS)).round() as i32;
        Taps { first: first as usize, weights: weights.iter().map(fixed).collect() }
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}
