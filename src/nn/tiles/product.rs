//! The order in which the parts of a product are taken, so that what is read again and again lies in the cache.

use multiversion::multiversion;
use rayon::prelude::*;
use std::ops::Range;

use super::amx::{Begin, Part, Tiles};
use super::{Left, PANEL, SIDE, Tiled};

/// So many steps of the inner axis are taken at once, ...
const STEPS: usize = 32;
/// ... of so many panels ...
const PANELS: usize = 4;
/// ... and so many rows: together a good megabyte, which lies in the cache of a core.
const ROWS: usize = 160;
/// Fewer products of numbers aren't worth to wake another thread for.
const ALONE: usize = 1 << 24;

/// What becomes of a product of two matrices.
#[derive(Clone, Copy)]
pub enum Onto<'a> {
    /// `out = keep * out + scale * product`.
    Scaled {
        /// What is kept of what is there.
        keep: f32,
        /// What the product is taken times.
        scale: f32,
    },
    /// `out = row + product`, whatever is there, with the same row for each.
    Shifted(&'a [f32]),
}

impl Onto<'_> {
    /// The product itself.
    pub const PLAIN: Self = Self::Scaled { keep: 0.0, scale: 1.0 };
}

/// Where the result goes, shared by the threads, which write to different columns.
#[derive(Clone, Copy)]
struct Target {
    first: *mut f32,
    stride: usize,
}

#[expect(unsafe_code, reason = "threads write to different columns of one matrix, which no slice can say")]
// SAFETY: each task writes to the columns of its own panels only.
unsafe impl Send for Target {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for Target {}

/// The product of two matrices into `out`, whose rows are `stride` apart, on all threads if `parallel`.
///
/// # Panics
/// If the shapes don't fit, which is a defect of the caller.
pub fn multiply(out: &mut [f32], stride: usize, onto: Onto<'_>, left: &Left, right: &Tiled, parallel: bool) {
    let (rows, columns) = (left.rows, right.columns);
    let fits = left.columns == right.rows && left.split == right.split && columns <= stride && rows > 0;
    assert!(fits && out.len() >= (rows - 1) * stride + columns, "matrix shapes fit");
    if let Onto::Shifted(row) = onto {
        assert!(row.len() == columns, "matrix shapes fit");
    }
    let target = Target { first: out.as_mut_ptr(), stride };
    let panels = columns.div_ceil(PANEL);
    let parallel = parallel && rows * left.columns * columns >= ALONE;
    let threads = if parallel { rayon::current_num_threads() } else { 1 };
    let group = panels.div_ceil(2 * threads).clamp(1, PANELS);
    let take = |at: usize| {
        let first = at * group;
        run(left, right, first..(first + group).min(panels), onto, target);
    };
    let groups = panels.div_ceil(group);
    if parallel {
        (0..groups).into_par_iter().for_each(take);
    } else {
        (0..groups).for_each(take);
    }
}

/// The columns of some panels.
fn run(left: &Left, right: &Tiled, panels: Range<usize>, onto: Onto<'_>, target: Target) {
    let (height, blocks, steps) = (left.height, left.blocks, right.steps());
    let (left_step, right_step) = (Left::step_lines(height, left.split), Tiled::step_lines(right.split));
    let mut tiles = Tiles::new(height);
    let pairs = blocks.div_ceil(2);
    let at_once = (ROWS / (2 * height)).max(1);
    let is_plain = matches!(onto, Onto::Shifted(_) | Onto::Scaled { keep: 0.0, scale: 1.0 });
    let mut aside = [0f32; 2 * SIDE * PANEL];
    for first in (0..pairs).step_by(at_once) {
        for start in (0..steps).step_by(STEPS) {
            for panel in panels.clone() {
                let column = panel * PANEL;
                let width = PANEL.min(right.columns - column);
                let mut shift = [0f32; PANEL];
                if let Onto::Shifted(row) = onto {
                    shift[..width].copy_from_slice(&row[column..column + width]);
                }
                for pair in first..(first + at_once).min(pairs) {
                    let part = |some: Range<usize>| {
                        let block = |block: usize| {
                            let first = block.min(blocks - 1) * steps;
                            &left.lines[(first + some.start) * left_step..(first + some.end) * left_step]
                        };
                        let (from, to) = (panel * steps + some.start, panel * steps + some.end);
                        Part {
                            left: [block(2 * pair), block(2 * pair + 1)],
                            right: &right.lines[from * right_step..to * right_step],
                            split: right.split,
                        }
                    };
                    let first_row = pair * 2 * height;
                    let count = (2 * height).min(left.rows - first_row);
                    // A row gets the same sums wherever it stands, so that what comes of a batch comes of its entries.
                    let start_at = match onto {
                        Onto::Shifted(_) => Begin::Row(&shift),
                        Onto::Scaled { .. } => Begin::Zero,
                    };
                    let place = target.first.wrapping_add(first_row * target.stride + column);
                    if is_plain && count == 2 * height && width == PANEL {
                        let begin = if start > 0 { Begin::Present } else { start_at };
                        #[expect(unsafe_code, reason = "threads write to different columns of one matrix")]
                        // SAFETY: these rows and columns are inside, as `multiply` has shown, and no other task's.
                        unsafe {
                            tiles.add(&part(start..(start + STEPS).min(steps)), begin, place, target.stride);
                        }
                    } else if start == 0 {
                        // Not all of it has a place, or what is there counts.
                        #[expect(unsafe_code, reason = "as above")]
                        // SAFETY: there is room for two whole blocks aside, and the rows and columns that are written then are
                        // inside and no other task's.
                        unsafe {
                            tiles.add(&part(0..steps), start_at, aside.as_mut_ptr(), PANEL);
                            for (row, sums) in aside.chunks_exact(PANEL).take(count).enumerate() {
                                let out = std::slice::from_raw_parts_mut(place.add(row * target.stride), width);
                                write(out, onto, sums);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Puts sums of a row in their place.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn write(out: &mut [f32], onto: Onto<'_>, sums: &[f32]) {
    match onto {
        Onto::Scaled { keep: 0.0, scale } => {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = scale * sum;
            }
        }
        Onto::Scaled { keep, scale } => {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = keep * *out + scale * sum;
            }
        }
        Onto::Shifted(_) => out.copy_from_slice(&sums[..out.len()]),
    }
}
