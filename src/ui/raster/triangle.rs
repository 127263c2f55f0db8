//! One triangle: which pixels it covers, and what colour each of them gets.

use egui::epaint;

use super::texture::Texture;

/// Vertices are snapped to a grid of 1/256 pixel, as GPUs do, so that coverage is exact integer arithmetic.
const SUBPIXELS: i64 = 256;

/// Vertices further out than this many pixels are moved here: products of two distances then fit into 64 bits.
const FARTHEST: f32 = (1 << 21) as f32;

/// A rectangle of pixels; `right` and `bottom` are just outside.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) right: i32,
    pub(super) bottom: i32,
}

impl Bounds {
    pub(super) fn is_empty(self) -> bool {
        self.left >= self.right || self.top >= self.bottom
    }
}

/// A corner in pixels: where it is, and the values that are interpolated between corners.
#[derive(Clone, Copy)]
pub(super) struct Vertex {
    /// In 1/256 pixel.
    x: i64,
    y: i64,
    /// Red, green, blue, alpha from 0 to 255, then the position in the texture in texels.
    values: [f32; 6],
}

impl Vertex {
    /// `None` if a coordinate is not a finite number or the texture is empty.
    pub(super) fn new(vertex: &epaint::Vertex, pixels_per_point: f32, texture: &Texture) -> Option<Self> {
        let [width, height] = texture.size()?;
        let (position, uv) = (vertex.pos * pixels_per_point, vertex.uv);
        if !(position.is_finite() && uv.is_finite()) {
            return None;
        }
        let snap = |pixels: f32| {
            let pixels = pixels.clamp(-FARTHEST, FARTHEST);
            (f64::from(pixels) * SUBPIXELS as f64).round() as i64
        };
        let [r, g, b, a] = vertex.color.to_array().map(f32::from);
        Some(Self { x: snap(position.x), y: snap(position.y), values: [r, g, b, a, uv.x * width, uv.y * height] })
    }
}

/// A value that changes linearly over the screen, or one side's edge function.
#[derive(Clone, Copy)]
struct Plane<T> {
    /// At the centre of the first pixel of the triangle's bounds.
    origin: T,
    per_column: T,
    per_row: T,
}

enum Fill {
    /// The same colour everywhere: panels, the inside of shapes.
    Solid([u8; 4]),
    /// Vertex colours times one texel: the soft edges of shapes.
    Gradient([f32; 4]),
    /// Vertex colours times the texture: text and images.
    Textured,
}

/// A triangle that is ready to be drawn.
pub(super) struct Triangle<'a> {
    bounds: Bounds,
    /// At or above zero inside.
    edges: [Plane<i64>; 3],
    values: [Plane<f32>; 6],
    fill: Fill,
    texture: &'a Texture,
}

impl<'a> Triangle<'a> {
    /// `None` if it covers no pixel of `clip`.
    pub(super) fn new([a, mut b, mut c]: [Vertex; 3], clip: Bounds, texture: &'a Texture) -> Option<Self> {
        let mut area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
        if area == 0 {
            return None;
        }
        // egui's winding is arbitrary; from here on the inside is on the positive side of each edge.
        if area < 0 {
            (b, c, area) = (c, b, -area);
        }
        let bounds = Bounds {
            left: clip.left.max(pixel_from(a.x.min(b.x).min(c.x))),
            top: clip.top.max(pixel_from(a.y.min(b.y).min(c.y))),
            right: clip.right.min(pixel_from(a.x.max(b.x).max(c.x)) + 1),
            bottom: clip.bottom.min(pixel_from(a.y.max(b.y).max(c.y)) + 1),
        };
        if bounds.is_empty() {
            return None;
        }
        let centre = |pixel: i32| i64::from(pixel) * SUBPIXELS + SUBPIXELS / 2;
        let (x, y) = (centre(bounds.left), centre(bounds.top));
        let edges = [(a, b), (b, c), (c, a)].map(|(from, to)| edge(from, to, x, y));

        let [first, second, third] = [a, b, c].map(|vertex| vertex.values);
        let values = std::array::from_fn(|i| {
            let along_b = f64::from(second[i]) - f64::from(first[i]);
            let along_c = f64::from(third[i]) - f64::from(first[i]);
            let dx = (along_b * (c.y - a.y) as f64 - along_c * (b.y - a.y) as f64) / area as f64;
            let dy = (along_c * (b.x - a.x) as f64 - along_b * (c.x - a.x) as f64) / area as f64;
            Plane {
                origin: (f64::from(first[i]) + dx * (x - a.x) as f64 + dy * (y - a.y) as f64) as f32,
                per_column: (dx * SUBPIXELS as f64) as f32,
                per_row: (dy * SUBPIXELS as f64) as f32,
            }
        });
        let same = |i: usize| first[i] == second[i] && first[i] == third[i];
        let fill = if !same(4) || !same(5) {
            Fill::Textured
        } else {
            let texel = texture.sample(first[4], first[5]);
            if (0..4).all(same) {
                Fill::Solid(std::array::from_fn(|i| byte(first[i] * texel[i] / 255.0)))
            } else {
                Fill::Gradient(texel)
            }
        };
        Some(Self { bounds, edges, values, fill, texture })
    }

    /// Draws the part that lies in a band of rows: `pixels`, of which the first row is the picture's row `first_row`.
    pub(super) fn draw(&self, pixels: &mut [[u8; 4]], width: usize, first_row: usize) {
        let rows = pixels.len() / width;
        let top = (self.bounds.top as usize).max(first_row);
        let bottom = (self.bounds.bottom as usize).min(first_row + rows);
        for y in top..bottom {
            let row = y as i64 - i64::from(self.bounds.top);
            let Some((start, end)) = self.span(row) else {
                continue;
            };
            let left = (y - first_row) * width + self.bounds.left as usize;
            let span = &mut pixels[left + start..left + end];
            match self.fill {
                Fill::Solid(colour) => fill(span, colour),
                Fill::Gradient(texel) => self.shade(span, start, row, |_, _| texel),
                Fill::Textured => self.shade(span, start, row, |x, y| self.texture.sample(x, y)),
            }
        }
    }

    /// The columns, counted from the left bound, whose centres lie inside the triangle in this row.
    fn span(&self, row: i64) -> Option<(usize, usize)> {
        let mut start = 0;
        let mut end = i64::from(self.bounds.right - self.bounds.left);
        for edge in &self.edges {
            let value = edge.origin + edge.per_row * row;
            let step = edge.per_column;
            if step > 0 {
                start = start.max(-value.div_euclid(step));
            } else if step < 0 {
                end = end.min(value.div_euclid(-step) + 1);
            } else if value < 0 {
                return None;
            }
        }
        (start < end).then_some((start as usize, end as usize))
    }

    fn shade(&self, span: &mut [[u8; 4]], start: usize, row: i64, texel: impl Fn(f32, f32) -> [f32; 4]) {
        let starts = self.values.map(|value| value.origin + value.per_row * row as f32);
        for (column, pixel) in (start..).zip(span) {
            let at = |i: usize| starts[i] + self.values[i].per_column * column as f32;
            let texel = texel(at(4), at(5));
            let source: [f32; 4] = std::array::from_fn(|i| at(i) * texel[i] * (1.0 / 255.0));
            let rest = 1.0 - source[3] * (1.0 / 255.0);
            *pixel = std::array::from_fn(|i| byte(source[i] + f32::from(pixel[i]) * rest));
        }
    }
}

/// The first pixel whose centre is at or after this position.
fn pixel_from(subpixels: i64) -> i32 {
    (subpixels - SUBPIXELS / 2 + SUBPIXELS - 1).div_euclid(SUBPIXELS) as i32
}

/// Twice the area of the triangle (`from`, `to`, pixel centre); `x` and `y` are the centre of the first pixel.
fn edge(from: Vertex, to: Vertex, x: i64, y: i64) -> Plane<i64> {
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    // A centre exactly on an edge belongs to the triangle only on its top and left edges: neighbours that share
    // an edge then draw each pixel once.
    let top_left = dy < 0 || (dy == 0 && dx > 0);
    Plane {
        origin: dx * (y - from.y) - dy * (x - from.x) - i64::from(!top_left),
        per_column: -dy * SUBPIXELS,
        per_row: dx * SUBPIXELS,
    }
}

fn fill(span: &mut [[u8; 4]], colour: [u8; 4]) {
    match colour[3] {
        0 if colour == [0; 4] => {}
        255 => span.fill(colour),
        alpha => {
            let rest = 255 - u32::from(alpha);
            for pixel in span {
                *pixel = std::array::from_fn(|i| {
                    let under = (u32::from(pixel[i]) * rest + 127) / 255;
                    (u32::from(colour[i]) + under).min(255) as u8
                });
            }
        }
    }
}

/// Rounds to the nearest byte; the cast saturates.
fn byte(value: f32) -> u8 {
    (value + 0.5) as u8
}
