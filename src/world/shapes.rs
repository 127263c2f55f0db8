//! The drawn shapes, as formulas in basic arithmetic: the same pixels on every machine.

use super::thing::{Colour, Shape};

/// Points are tested on a grid of so many by so many in each pixel; the share inside is the pixel's opacity.
const FINENESS: u32 = 4;
/// The rim is what is left of the shape outside a copy of it that is smaller by this factor.
const RIM: f32 = 1.14;

/// Corners of a star with five points around the middle, in halves of the box; the box is filled.
const STAR: [(f32, f32); 10] = [
    (0.0, -0.95),
    (0.306, -0.331),
    (0.989, -0.231),
    (0.495, 0.251),
    (0.611, 0.931),
    (0.0, 0.61),
    (-0.611, 0.931),
    (-0.495, 0.251),
    (-0.989, -0.231),
    (-0.306, -0.331),
];
const TRIANGLE: [(f32, f32); 3] = [(0.0, -0.92), (0.99, 0.88), (-0.99, 0.88)];

/// The shape as `size * size` pixels of premultiplied red, green, blue and alpha.
pub(super) fn draw_shape(shape: Shape, colour: Colour, size: u32) -> Vec<[u8; 4]> {
    let unit = 2.0 / (size * FINENESS) as f32;
    let points = FINENESS * FINENESS;
    let place = |pixel: u32, part: u32| ((pixel * FINENESS + part) as f32 + 0.5) * unit - 1.0;
    let mut pixels = Vec::with_capacity((size * size) as usize);
    for y in 0..size {
        for x in 0..size {
            let mut sums = [0_u32; 4];
            for part in 0..points {
                let point = (place(x, part % FINENESS), place(y, part / FINENESS));
                if is_inside(shape, point) {
                    let paint = shade(shape, colour, point);
                    for (sum, value) in sums.iter_mut().zip(paint) {
                        *sum += u32::from(value);
                    }
                    sums[3] += 255;
                }
            }
            pixels.push(sums.map(|sum| ((sum + points / 2) / points) as u8));
        }
    }
    pixels
}

/// Whether a point is in the shape; its box reaches from -1 to 1 both ways, y pointing down.
fn is_inside(shape: Shape, (x, y): (f32, f32)) -> bool {
    match shape {
        Shape::Ball => x * x + y * y <= 0.97 * 0.97,
        Shape::Box => {
            let (half, corner) = (0.9_f32, 0.16_f32);
            let over = |distance: f32| (distance.abs() - (half - corner)).max(0.0);
            let (x, y) = (over(x), over(y));
            x * x + y * y <= corner * corner
        }
        Shape::Star => is_in_polygon(&STAR, x, y),
        Shape::Heart => {
            // (x² + y² - 1)³ <= x² y³, y pointing up, stretched to fill the box.
            let (x, y) = (x * 1.16, 0.12 - y * 1.14);
            let ring = x * x + y * y - 1.0;
            ring * ring * ring <= x * x * y * y * y
        }
        Shape::Triangle => is_in_polygon(&TRIANGLE, x, y),
    }
}

/// A ray from the point crosses the outline an odd number of times.
fn is_in_polygon(corners: &[(f32, f32)], x: f32, y: f32) -> bool {
    let mut inside = false;
    let mut previous = corners[corners.len() - 1];
    for &corner in corners {
        let ((x1, y1), (x2, y2)) = (previous, corner);
        if (y1 > y) != (y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1 {
            inside = !inside;
        }
        previous = corner;
    }
    inside
}

/// The colour at a point of the shape: lighter at the top, darker at the bottom, with a dark rim.
fn shade(shape: Shape, colour: Colour, (x, y): (f32, f32)) -> [u8; 3] {
    // The copy shrinks around the middle of the shape's mass, so that the rim is even.
    let middle = match shape {
        Shape::Triangle => 0.28,
        Shape::Star => 0.09,
        Shape::Heart => -0.06,
        Shape::Ball | Shape::Box => 0.0,
    };
    let is_rim = !is_inside(shape, (x * RIM, (y - middle) * RIM + middle));
    let light = if is_rim {
        return colour.rgb().map(|part| (f32::from(part) * 0.66) as u8);
    } else if shape == Shape::Ball {
        // A soft spot of light at the upper left.
        let (x, y) = (x + 0.35, y + 0.4);
        (1.0 - 2.2 * (x * x + y * y)).max(0.0) * 70.0 - 12.0 * (y - 0.4)
    } else {
        -16.0 * y
    };
    colour.rgb().map(|part| (f32::from(part) + light).clamp(0.0, 255.0) as u8)
}
