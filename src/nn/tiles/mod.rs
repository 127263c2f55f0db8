//! Products of matrices by the processor's tiles (AMX), which multiply numbers of 16 bits sixteen times as fast as its vectors do
//! those of 32.
//!
//! A number is rounded to 8 digits there, with the range of `f32` (`bf16`): so it is where weights are held so, as other programs
//! do that compute in `bf16`. Where more counts, it is taken apart into two such numbers, `x = high + low`, and a product into three:
//! `high high + high low + low high`, summed in `f32`. What is left out then is 2⁻¹⁷ of a term, so that a sum is off by 10⁻⁵ of what
//! its terms are in all at the most, and by a few 10⁻⁶ of its largest number as a rule. That is for weights of fewer than 16 bits;
//! products with weights of 32 bits are taken in 32 bits.
//!
//! The way is that of Henry, Tang and Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For
//! Higher-Precision Computations" (2019), there with three parts.

mod amx;
mod product;

use multiversion::multiversion;
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use super::kernels::Matrix;

pub(super) use amx::available;
pub(super) use product::multiply;

/// A tile has so many rows at the most.
const SIDE: usize = 16;
/// A row of a tile holds so many numbers.
const WIDTH: usize = 32;
/// Fewer numbers aren't worth to wake another thread for, to put them in tiles.
const ALONE: usize = 1 << 18;
/// A panel of the right matrix has so many columns: two tiles.
pub(super) const PANEL: usize = 2 * SIDE;

/// A row of a tile: pairs of numbers of 16 bits, the first of a pair in the lower half.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; SIDE]);

impl Line {
    const EMPTY: Self = Self([0; SIDE]);
}

/// Room for tiles. What was used once is used again on the same thread: giving it back to the system and asking for it anew would
/// take as long as filling it.
struct Lines {
    room: Vec<Line>,
    count: usize,
}

impl Lines {
    /// More isn't kept.
    const KEPT: usize = 1 << 19;

    /// Room for `count` lines, in which anything may stand.
    fn new(count: usize) -> Self {
        let mut room = SPARE.try_with(Cell::take).unwrap_or_default();
        if room.len() < count {
            room = vec![Line::EMPTY; count];
        }
        Self { room, count }
    }
}

impl Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        &self.room[..self.count]
    }
}

impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [Line] {
        &mut self.room[..self.count]
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.room);
        if room.len() <= Self::KEPT {
            // While a thread ends, nothing is kept.
            let _ = SPARE.try_with(|spare| {
                let other = spare.take();
                spare.set(if other.len() > room.len() { other } else { room });
            });
        }
    }
}

thread_local! {
    /// What this thread has used before.
    static SPARE: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// So many rows of so many numbers of a matrix, zeros where it ends.
type Block = [[f32; WIDTH]; SIDE];

/// The left matrix of a product, in tiles.
pub(super) struct Left {
    lines: Lines, // [blocks of rows, steps, high and, if there is one, low, height]
    rows: usize,
    columns: usize,
    blocks: usize,
    height: usize, // rows of a tile
    split: bool,   // whether there is a low part
}

/// A matrix in tiles, for products in which it is the right one.
pub struct Tiled {
    lines: Vec<Line>, // [panels, steps, high and, if there is one, low, two tiles, pairs of rows]
    rows: usize,
    columns: usize,
    split: bool, // whether there is a low part
}

impl Left {
    /// Puts `matrix` in tiles, without low parts unless `split`, on all threads if `parallel`.
    pub fn new(matrix: Matrix<'_>, split: bool, parallel: bool) -> Self {
        let (rows, columns) = (matrix.rows, matrix.columns);
        // An even number of blocks, all of one height: two are multiplied at once, and a row takes time, whether it is full or not.
        let blocks = if rows == 1 { 1 } else { 2 * rows.div_ceil(2 * SIDE) };
        let height = rows.div_ceil(blocks);
        let steps = columns.div_ceil(WIDTH);
        let of_a_step = Self::step_lines(height, split);
        let mut lines = Lines::new(blocks * steps * of_a_step);
        let put = |(block, lines): (usize, &mut [Line])| {
            for (step, lines) in lines.chunks_exact_mut(of_a_step).enumerate() {
                let (high, low) = lines.split_at_mut(height);
                fill(matrix, (block * height, step * WIDTH), high, low);
            }
        };
        if parallel && rows * columns >= ALONE {
            lines.par_chunks_exact_mut(steps * of_a_step).enumerate().for_each(put);
        } else {
            lines.chunks_exact_mut(steps * of_a_step).enumerate().for_each(put);
        }
        Self { lines, rows, columns, blocks, height, split }
    }

    /// Lines of one step of a block.
    fn step_lines(height: usize, split: bool) -> usize {
        if split { 2 * height } else { height }
    }
}

impl std::fmt::Debug for Tiled {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Tiled([{}, {}])", self.rows, self.columns)
    }
}

impl Tiled {
    /// Puts `matrix` in tiles, without low parts unless `split`.
    pub(super) fn new(matrix: Matrix<'_>, split: bool) -> Self {
        let (rows, columns) = (matrix.rows, matrix.columns);
        let of_a_panel = rows.div_ceil(WIDTH) * Self::step_lines(split);
        let mut lines = vec![Line::EMPTY; columns.div_ceil(PANEL) * of_a_panel];
        let turned = matrix.t();
        let put = |(panel, lines): (usize, &mut [Line])| {
            for (step, lines) in lines.chunks_exact_mut(Self::step_lines(split)).enumerate() {
                for tile in 0..2 {
                    let at = (panel * PANEL + tile * SIDE, step * WIDTH);
                    let (high, rest) = lines[tile * SIDE..].split_at_mut(SIDE);
                    let low = if split { &mut rest[SIDE..2 * SIDE] } else { &mut [] };
                    fill(turned, at, high, low);
                    turn(high);
                    turn(low);
                }
            }
        };
        if rows * columns >= ALONE {
            lines.par_chunks_exact_mut(of_a_panel).enumerate().for_each(put);
        } else {
            lines.chunks_exact_mut(of_a_panel).enumerate().for_each(put);
        }
        Self { lines, rows, columns, split }
    }

    /// Rows and columns.
    #[must_use]
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The numbers again, column by column: `[columns, rows]`.
    pub(super) fn turned(&self) -> Vec<f32> {
        let of_a_step = Self::step_lines(self.split);
        let of_a_panel = self.steps() * of_a_step;
        let mut numbers = vec![0f32; self.columns * self.rows];
        numbers.par_chunks_mut(self.rows.max(1)).enumerate().for_each(|(column, numbers)| {
            let (panel, tile, at) = (column / PANEL, column % PANEL / SIDE, column % SIDE);
            let lines = &self.lines[panel * of_a_panel + tile * SIDE..(panel + 1) * of_a_panel];
            for (step, numbers) in numbers.chunks_mut(WIDTH).enumerate() {
                for (pair, numbers) in numbers.chunks_mut(2).enumerate() {
                    let line = step * of_a_step + pair;
                    let (mut first, mut second) = halves(lines[line].0[at]);
                    if self.split {
                        let low = halves(lines[line + 2 * SIDE].0[at]);
                        (first, second) = (first + low.0, second + low.1);
                    }
                    numbers[0] = first;
                    numbers[1..].fill(second);
                }
            }
        });
        numbers
    }

    fn steps(&self) -> usize {
        self.rows.div_ceil(WIDTH)
    }

    /// Lines of one step of a panel.
    fn step_lines(split: bool) -> usize {
        if split { 4 * SIDE } else { 2 * SIDE }
    }
}

/// Puts as many rows of a matrix as tiles have lines, and [`WIDTH`] of its columns, in a high and a low tile, zeros where it ends. There
/// need not be a low one.
fn fill(matrix: Matrix<'_>, (row, column): (usize, usize), high: &mut [Line], low: &mut [Line]) {
    let is_whole = row + high.len() <= matrix.rows && column + WIDTH <= matrix.columns;
    if is_whole && matrix.column_stride == 1 {
        split_rows(&matrix.data[row * matrix.row_stride + column..], matrix.row_stride, high, low);
    } else {
        split_rows(gather(matrix, row, column).as_flattened(), WIDTH, high, low);
    }
}

/// [`SIDE`] rows of a matrix from `row` on and [`WIDTH`] of its columns from `column` on.
fn gather(matrix: Matrix<'_>, row: usize, column: usize) -> Block {
    let mut numbers = [[0f32; WIDTH]; SIDE];
    let height = SIDE.min(matrix.rows.saturating_sub(row));
    let width = WIDTH.min(matrix.columns - column);
    for (at, numbers) in numbers[..height].iter_mut().enumerate() {
        let start = (row + at) * matrix.row_stride + column * matrix.column_stride;
        let stored = matrix.data[start..].iter().step_by(matrix.column_stride);
        for (number, stored) in numbers[..width].iter_mut().zip(stored) {
            *number = *stored;
        }
    }
    numbers
}

/// The nearest number of 16 bits, as `f32`; what isn't finite stays so.
#[inline(always)]
fn nearest(number: f32) -> f32 {
    let bits = number.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    // No number stays no number, were its mark in the lower half.
    let mark = u32::from(bits & 0xffff != 0) << 22;
    f32::from_bits(if bits & 0x7f80_0000 == 0x7f80_0000 { bits & 0xffff_0000 | mark } else { rounded })
}

/// Two numbers of 16 bits as a pair.
#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    first.to_bits() >> 16 | second.to_bits() & 0xffff_0000
}

/// Takes rows of numbers apart, which begin `stride` apart: a row becomes a line of the high tile and, if there is one, of the low tile.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
fn split_rows(numbers: &[f32], stride: usize, high: &mut [Line], low: &mut [Line]) {
    for (row, high) in high.iter_mut().enumerate() {
        let Some(numbers) = numbers[row * stride..].first_chunk::<WIDTH>() else { return };
        for (at, [first, second]) in numbers.as_chunks::<2>().0.iter().enumerate() {
            high.0[at] = pair(nearest(*first), nearest(*second));
        }
        let Some(low) = low.get_mut(row) else { continue };
        for (at, [first, second]) in numbers.as_chunks::<2>().0.iter().enumerate() {
            let rest = |number: f32| nearest(number - nearest(number));
            low.0[at] = pair(rest(*first), rest(*second));
        }
    }
}

/// Columns of a tile become rows.
fn turn(lines: &mut [Line]) {
    let Some(lines) = lines.first_chunk_mut::<SIDE>() else { return };
    for row in 0..SIDE {
        for column in 0..row {
            let above = lines[column].0[row];
            lines[column].0[row] = std::mem::replace(&mut lines[row].0[column], above);
        }
    }
}

/// The two numbers of a pair.
fn halves(pair: u32) -> (f32, f32) {
    (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000))
}

#[cfg(test)]
mod tests;
