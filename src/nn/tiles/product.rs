//! The order in which the parts of a product are taken, so that what is read again and again lies in the cache.

use rayon::prelude::*;
use std::ops::Range;

use super::amx::{Begin, Part, Tiles};
use super::{Left, PANEL, SIDE, Tiled};
use crate::nn::target::Target;

/// So many steps of the inner axis are taken at once, ...
const STEPS: usize = 32;
/// ... of so many panels ...
const PANELS: usize = 4;
/// ... and so many rows: together a good megabyte, which lies in the cache of a core.
const ROWS: usize = 160;
/// Fewer products of numbers aren't worth to wake another thread for.
const ALONE: usize = 1 << 24;

/// The product of two matrices, and `shift` in each row, if there is one, into `out`, whatever is there; on all threads if `parallel`.
///
/// # Panics
/// If the shapes don't fit, which is a defect of the caller.
pub fn multiply(out: &mut [f32], shift: Option<&[f32]>, left: &Left, right: &Tiled, parallel: bool) {
    let (rows, columns) = (left.rows, right.columns);
    let fits = left.columns == right.rows && left.split == right.split && rows > 0;
    assert!(
        fits && out.len() == rows * columns && shift.is_none_or(|shift| shift.len() == columns),
        "matrix shapes fit"
    );
    let target = Target { first: out.as_mut_ptr(), stride: columns };
    let panels = columns.div_ceil(PANEL);
    let parallel = parallel && rows * left.columns * columns >= ALONE;
    let threads = if parallel { rayon::current_num_threads() } else { 1 };
    let group = panels.div_ceil(2 * threads).clamp(1, PANELS);
    let take = |at: usize| {
        let first = at * group;
        run(left, right, first..(first + group).min(panels), shift, target);
    };
    let groups = panels.div_ceil(group);
    if parallel {
        (0..groups).into_par_iter().for_each(take);
    } else {
        (0..groups).for_each(take);
    }
}

/// The columns of some panels.
fn run(left: &Left, right: &Tiled, panels: Range<usize>, shift: Option<&[f32]>, target: Target) {
    let (height, blocks, steps) = (left.height, left.blocks, right.steps());
    let (left_step, right_step) = (Left::step_lines(height, left.split), Tiled::step_lines(right.split));
    let mut tiles = Tiles::new(height);
    let pairs = blocks.div_ceil(2);
    let at_once = (ROWS / (2 * height)).max(1);
    let mut aside = [0f32; 2 * SIDE * PANEL];
    for first in (0..pairs).step_by(at_once) {
        for start in (0..steps).step_by(STEPS) {
            for panel in panels.clone() {
                let column = panel * PANEL;
                let width = PANEL.min(right.columns - column);
                // A row gets the same sums wherever it stands, so that what comes of a batch comes of its entries.
                let mut row = [0f32; PANEL];
                if let Some(shift) = shift {
                    row[..width].copy_from_slice(&shift[column..column + width]);
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
                    let place = target.at(first_row, column);
                    if count == 2 * height && width == PANEL {
                        let begin = if start > 0 { Begin::Present } else { Begin::Row(&row) };
                        #[expect(unsafe_code, reason = "threads write to different columns of one matrix")]
                        // SAFETY: these rows and columns are inside, as `multiply` has shown, and no other task's.
                        unsafe {
                            tiles.add(&part(start..(start + STEPS).min(steps)), begin, place, target.stride);
                        }
                    } else if start == 0 {
                        // Not all of it has a place.
                        #[expect(unsafe_code, reason = "as above")]
                        // SAFETY: there is room for two whole blocks aside, and the rows and columns that are written then are
                        // inside and no other task's.
                        unsafe {
                            tiles.add(&part(0..steps), Begin::Row(&row), aside.as_mut_ptr(), PANEL);
                            for (row, sums) in aside.chunks_exact(PANEL).take(count).enumerate() {
                                target.row(first_row + row, column, width).copy_from_slice(&sums[..width]);
                            }
                        }
                    }
                }
            }
        }
    }
}
