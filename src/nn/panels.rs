//! Frozen weights in 32 bits as products read them.
//!
//! A product of matrices goes through the weights in strips of as many columns as the registers of the processor hold results for.
//! `gemm` copies each strip into one piece before, for every product anew, which takes a tenth of a pass over 200 patches and half
//! of one over 50. Here the strips are laid so once. The sums are formed in the same order, so that the results are the same to
//! the bit, but for 64 rows and columns at the most, of which `gemm` takes the steps otherwise.

use gemm::Parallelism;
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::OnceLock;

use super::kernels::{Matrix, multiply_on};
use super::row_product::add_row;
use super::target::Target;
use crate::error::Result;

/// Steps of the inner axis whose sums stay in registers, as in `gemm`; what follows is added to the result.
const STEPS: usize = 512;
/// Fewer products of numbers aren't worth to wake another thread for.
const ALONE: usize = 48 * 48 * 256;
/// Rows of the result that make a task, where there are fewer strips than threads.
const ROWS: usize = 48;
/// Numbers in a line of the cache.
const LINE: usize = 16;
/// Of so many numbers the strips for gradients are kept, too.
const KEPT: usize = 1 << 20;

/// A matrix `[rows, columns]` in strips of columns.
#[derive(Clone, Debug)]
pub struct Panels {
    rows: usize,
    columns: usize,
    width: usize,               // of a strip
    numbers: Vec<f32>,          // [strips, rows, width], zeros behind the last column
    turned: OnceLock<Vec<f32>>, // the same of the transposed matrix, once a gradient was asked for
}

/// Columns of a strip: as many numbers as `gemm` keeps results of in a column of registers, or twice as many.
fn strip_width() -> usize {
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("avx512f") {
        return 48;
    }
    64
}

impl Panels {
    /// The transposed matrix of `weight` `[columns, rows]`, laid so.
    #[must_use]
    pub(super) fn new(weight: &[f32], (columns, rows): (usize, usize)) -> Self {
        let mut panels = Self::empty((columns, rows));
        let (width, strip) = (panels.width, (rows * panels.width).max(1));
        let strips = panels.numbers.par_chunks_mut(strip).zip(weight.par_chunks(strip));
        strips.for_each(|(numbers, weight)| lay(weight, rows, numbers, width));
        panels
    }

    /// The same of a weight of which `fill` puts some rows, from a first one on, where they are asked for. Each strip's come into the
    /// cache by themselves.
    pub(super) fn read(
        (columns, rows): (usize, usize),
        fill: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
    ) -> Result<Self> {
        let mut panels = Self::empty((columns, rows));
        let width = panels.width;
        let strips = panels.numbers.par_chunks_mut((rows * width).max(1)).enumerate();
        strips.try_for_each_init(Vec::new, |weight, (strip, numbers)| {
            let first = strip * width;
            weight.resize(width.min(columns - first) * rows, 0.0);
            fill(first, weight)?;
            lay(weight, rows, numbers, width);
            Result::Ok(())
        })?;
        Ok(panels)
    }

    fn empty((columns, rows): (usize, usize)) -> Self {
        let width = strip_width();
        let numbers = vec![0f32; columns.div_ceil(width) * rows * width];
        Self { rows, columns, width, numbers, turned: OnceLock::new() }
    }

    /// Rows and columns.
    #[must_use]
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The transposed matrix `[columns, rows]`, row by row.
    #[must_use]
    pub fn transposed(&self) -> Vec<f32> {
        let mut all = vec![0f32; self.rows * self.columns];
        let strip = self.rows * self.width;
        all.par_chunks_mut((self.width * self.rows).max(1)).zip(self.numbers.par_chunks(strip.max(1))).for_each(
            |(lines, numbers)| {
                for (row, numbers) in numbers.chunks_exact(self.width).enumerate() {
                    for (line, value) in lines.chunks_exact_mut(self.rows).zip(numbers) {
                        line[row] = *value;
                    }
                }
            },
        );
        all
    }

    /// `x` `[count, rows]` times this matrix, and `shift` `[columns]` in each row, if there is one: `[count, columns]`.
    ///
    /// # Panics
    /// If the shapes don't fit, which is a defect of the caller.
    #[must_use]
    pub(super) fn product(&self, x: &[f32], shift: Option<&[f32]>) -> Vec<f32> {
        product(x, (self.rows, self.columns), (&self.numbers, self.width), shift)
    }

    /// `x` `[count, columns]` times the transposed matrix: `[count, rows]`.
    ///
    /// # Panics
    /// As [`Self::product`].
    #[must_use]
    pub(super) fn back(&self, x: &[f32]) -> Vec<f32> {
        let turned = if self.numbers.len() <= KEPT {
            Cow::Borrowed(self.turned.get_or_init(|| self.turn()))
        } else {
            Cow::Owned(self.turn())
        };
        product(x, (self.columns, self.rows), (&turned, self.width), None)
    }

    /// The strips of the transposed matrix.
    fn turn(&self) -> Vec<f32> {
        let (width, strip) = (self.width, self.rows * self.width);
        let mut turned = vec![0f32; self.rows.div_ceil(width) * self.columns * width];
        turned.par_chunks_mut((self.columns * width).max(1)).enumerate().for_each(|(at, turned)| {
            let first = at * width;
            for (block, lines) in turned.chunks_mut(width * width).enumerate() {
                let here = &self.numbers[block * strip + first * width..(block + 1) * strip];
                for (row, numbers) in here.chunks_exact(width).take(width).enumerate() {
                    for (line, value) in lines.chunks_exact_mut(width).zip(numbers) {
                        line[row] = *value;
                    }
                }
            }
        });
        turned
    }
}

/// Lays rows of a weight `[columns, rows]` as a strip of so many columns of the transposed matrix.
fn lay(weight: &[f32], rows: usize, strip: &mut [f32], width: usize) {
    // What is read and written together is in whole lines of the cache.
    for (block, lines) in strip.chunks_mut(LINE * width).enumerate() {
        for (column, weight) in weight.chunks_exact(rows).enumerate() {
            let weight = &weight[LINE * block..rows.min(LINE * (block + 1))];
            for (line, value) in lines.chunks_exact_mut(width).zip(weight) {
                line[column] = *value;
            }
        }
    }
}

/// `x` `[count, rows]` times the matrix `[rows, columns]` whose strips of so many columns are given, and `shift` in each row.
fn product(
    x: &[f32],
    (rows, columns): (usize, usize),
    (strips, width): (&[f32], usize),
    shift: Option<&[f32]>,
) -> Vec<f32> {
    let count = x.len() / rows.max(1);
    assert!(
        x.len() == count * rows
            && strips.len() == columns.div_ceil(width) * rows * width
            && shift.is_none_or(|shift| shift.len() == columns),
        "matrix shapes fit"
    );
    let parallel = count * rows * columns >= ALONE;
    let steps = rows.div_ceil(rows.div_ceil(STEPS).max(1)).max(1);
    if count == 1 {
        let mut out = shift.map_or_else(|| vec![0.0; columns], <[f32]>::to_vec);
        add_row(&mut out, x, (strips, width), steps, parallel);
        return out;
    }
    // Each number is written by a task, so that none has to be there before.
    let mut out: Vec<f32> = Vec::with_capacity(count * columns);
    if count * columns == 0 {
        return out;
    }
    let target = Target { first: out.as_mut_ptr(), stride: columns };
    let all = columns.div_ceil(width);
    let threads = if parallel { rayon::current_num_threads() } else { 1 };
    // Whatever the blocks are, a number is the same sum.
    let blocks = (2 * threads).div_ceil(all).min(count / ROWS).max(1);
    let task = |at: usize| {
        let (strip, block) = (at / blocks, at % blocks);
        let (first, end) = (block * count / blocks, (block + 1) * count / blocks);
        let column = strip * width;
        let wide = width.min(columns - column);
        if let Some(shift) = shift {
            for row in first..end {
                let shift = &shift[column..column + wide];
                #[expect(unsafe_code, reason = "threads write to different columns of one matrix")]
                // SAFETY: there is room for these rows and columns, which this function has for itself, and no other task's.
                unsafe {
                    std::ptr::copy_nonoverlapping(shift.as_ptr(), target.at(row, column), wide);
                }
            }
        }
        for start in (0..rows).step_by(steps) {
            let inner = steps.min(rows - start);
            let left = Matrix { data: &x[first * rows + start..], ..Matrix::strided(x, end - first, inner, rows) };
            let right = Matrix::strided(&strips[(strip * rows + start) * width..], inner, wide, width);
            let keep = if start > 0 || shift.is_some() { 1.0 } else { 0.0 };
            #[expect(unsafe_code, reason = "as above")]
            // SAFETY: as above.
            unsafe {
                let here = Target { first: target.at(first, column), ..target };
                multiply_on(here, keep, 1.0, left, right, Parallelism::None);
            }
        }
    };
    if parallel {
        (0..all * blocks).into_par_iter().for_each(task);
    } else {
        (0..all * blocks).for_each(task);
    }
    #[expect(unsafe_code, reason = "writing zeros first would take a fortieth of a training step")]
    // SAFETY: there is room for them, and the tasks have written all rows and columns: the shift or, without one, the products.
    unsafe {
        out.set_len(count * columns);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kernels::multiply;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        (0..count as u32).map(|at| (at.wrapping_mul(seed) >> 8) as f32 / (1 << 24) as f32 - 0.5).collect()
    }

    /// Shapes that fill strips and blocks of steps, and shapes that don't.
    #[test]
    fn a_product_in_strips_is_the_product_to_the_bit() {
        for (count, rows, columns) in
            [(1, 5, 3), (2, 64, 64), (7, 513, 65), (100, 96, 130), (150, 1100, 47), (200, 64, 300)]
        {
            let (x, weight) = (numbers(count * rows, 2_654_435_761), numbers(columns * rows, 2_246_822_519));
            let shift = numbers(columns, 3_266_489_917);
            let matrix = Matrix::dense(&weight, columns, rows);
            let panels = Panels::new(&weight, (columns, rows));
            assert_eq!(panels.dims(), (rows, columns));
            assert_eq!(panels.transposed(), weight);
            let read = Panels::read((columns, rows), |first, some| {
                some.copy_from_slice(&weight[first * rows..][..some.len()]);
                Ok(())
            });
            assert_eq!(read.expect("it is there").numbers, panels.numbers);
            let mut expected: Vec<f32> = shift.repeat(count);
            multiply(&mut expected, 1.0, 1.0, Matrix::dense(&x, count, rows), matrix.t(), Parallelism::None);
            let near = |found: &[f32], expected: &[f32]| {
                let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
                assert!(off < 1e-4, "{count} {rows} {columns}: off by {off}");
            };
            let found = panels.product(&x, Some(&shift));
            near(&found, &expected);
            if count > 64 {
                assert_eq!(found, expected, "{count} {rows} {columns}");
            }
            let y = numbers(count * columns, 668_265_263);
            let mut expected = vec![0f32; count * rows];
            multiply(&mut expected, 0.0, 1.0, Matrix::dense(&y, count, columns), matrix, Parallelism::None);
            near(&panels.back(&y), &expected);
            // The other way to them, as of large weights.
            assert_eq!(product(&y, (columns, rows), (&panels.turn(), panels.width), None), panels.back(&y));
        }
        assert!(Panels::new(&[1.0; 6], (3, 2)).product(&[], None).is_empty());
    }

    #[test]
    fn a_row_gives_the_same_alone_and_on_any_number_of_threads() {
        let (count, rows, columns) = (200, 700, 130);
        let (x, weight) = (numbers(count * rows, 2_654_435_761), numbers(columns * rows, 2_246_822_519));
        let panels = Panels::new(&weight, (columns, rows));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| panels.product(&x, None))
        };
        let all = on(1);
        assert!(all == on(2) && all == on(7));
        for (first, end) in [(3, 12), (5, 6), (199, 200)] {
            let some = panels.product(&x[first * rows..end * rows], None);
            assert_eq!(some, all[first * columns..end * columns]);
        }
    }
}
