//! The inner loops of the fused CPU operations, on plain slices.
//!
//! `multiversion` compiles each loop for the instruction sets of newer processors and chooses at run time, so the
//! plain build is fast. The order of every sum is written out, so the choice doesn't change a single bit.

use candle_core::{CpuStorage, Layout, Storage, Tensor};
use gemm::Parallelism;
use multiversion::multiversion;
use rayon::prelude::*;

use super::target::Target;

/// Sums are kept in this many lanes, as many as the widest vector register holds.
const LANES: usize = 16;

/// A matrix inside a slice: element (row, column) stands at `row * row_stride + column * column_stride`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix whose rows stand `row_stride` apart.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// A matrix whose rows follow each other.
    pub fn dense(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// The transposed matrix, over the same numbers.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    fn fits(&self) -> bool {
        let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
        last < self.data.len()
    }
}

/// `out = keep * out + scale * a b`, with `out` dense and row-major.
///
/// # Panics
/// If the shapes don't fit, which is a defect of the caller.
pub(super) fn multiply(out: &mut [f32], keep: f32, scale: f32, a: Matrix<'_>, b: Matrix<'_>, threads: Parallelism) {
    let (rows, inner, columns) = (a.rows, a.columns, b.columns);
    if rows == 0 || columns == 0 || inner == 0 {
        out.iter_mut().for_each(|value| *value *= keep);
        return;
    }
    assert!(out.len() >= rows * columns, "matrix shapes fit");
    let target = Target { first: out.as_mut_ptr(), stride: columns };
    // SAFETY: the assertion above shows that every element that is written lies within `out`, which is borrowed exclusively.
    #[expect(unsafe_code, reason = "as of `multiply_on`")]
    unsafe {
        multiply_on(target, keep, scale, a, b, threads);
    }
}

/// As [`multiply`], to where `out` is; neither matrix is empty.
///
/// # Safety
/// There is room for the result, which nobody else touches meanwhile.
#[expect(unsafe_code, reason = "gemm takes pointers; the bounds of what is read are checked here")]
pub(super) unsafe fn multiply_on(
    out: Target,
    keep: f32,
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    threads: Parallelism,
) {
    let (rows, inner, columns) = (a.rows, a.columns, b.columns);
    assert!(b.rows == inner && a.fits() && b.fits(), "matrix shapes fit");
    #[expect(clippy::cast_possible_wrap, reason = "strides of slices fit in isize")]
    // SAFETY: the assertion above shows that every element that is read lies within its slice, and the caller promises the rest.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.first,
            1,
            out.stride as isize,
            keep != 0.0,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            keep,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

/// The matrix of rows of so many `columns`, column by column.
pub(super) fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    // A tile is read and written in whole lines of the cache, each once: rows that lie a power of two apart push each other out.
    const SIDE: usize = 16;
    let rows = values.len() / columns.max(1);
    let mut turned = vec![0f32; rows * columns];
    turned.par_chunks_mut((SIDE * rows).max(1)).enumerate().for_each(|(block, turned)| {
        let first = block * SIDE;
        let width = SIDE.min(columns - first);
        let mut tile = [0f32; SIDE * SIDE];
        for start in (0..rows).step_by(SIDE) {
            let height = SIDE.min(rows - start);
            for row in 0..height {
                let line = &values[(start + row) * columns + first..][..width];
                for (column, value) in line.iter().enumerate() {
                    tile[column * SIDE + row] = *value;
                }
            }
            for (column, turned) in turned.chunks_exact_mut(rows).enumerate() {
                turned[start..start + height].copy_from_slice(&tile[column * SIDE..][..height]);
            }
        }
    });
    turned
}

/// Sum of a slice, in lanes.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Sum of the products of two slices, in lanes.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut rest = 0f32;
    for (x, y) in a_chunks.remainder().iter().zip(b_chunks.remainder()) {
        rest += x * y;
    }
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// e to the power of `x`, to about 2 units in the last place; exactly 0 where `x` is below -87.
///
/// Written without branches and calls so that the loops around it become vector code. Range reduction to
/// `2^n * e^r` and a polynomial for `e^r` (coefficients of the Cephes library's expf).
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.000_000_3e-1;
    let mantissa = p * r * r + r + 1.0;
    let power = f32::from_bits(shifted.to_bits() << 23); // bits of n, moved into the exponent of 2^(n - 127 + 127)
    let value = mantissa * f32::from_bits(power.to_bits().wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { value }
}

/// The highest value of a row.
#[inline(always)]
fn highest(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    let higher = |high: f32, value: &f32| if *value > high { *value } else { high };
    chunks.remainder().iter().chain(&lanes).fold(f32::NEG_INFINITY, higher)
}

/// Softmax of one row, in place.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn softmax_row(row: &mut [f32]) {
    let highest = highest(row);
    for value in row.iter_mut() {
        *value = exp(*value - highest);
    }
    let scale = 1.0 / sum(row);
    for value in row.iter_mut() {
        *value *= scale;
    }
}

/// Gradient of a softmax row: `gradient` holds the gradient of the result and becomes that of the scores.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn softmax_row_gradient(result: &[f32], gradient: &mut [f32]) {
    let mean = dot(result, gradient);
    for (gradient, result) in gradient.iter_mut().zip(result) {
        *gradient = result * (*gradient - mean);
    }
}

/// Layer norm of one row.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn layer_norm_row(row: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    let (mean, scale) = moments(row, epsilon);
    for (((out, value), weight), bias) in out.iter_mut().zip(row).zip(weight).zip(bias) {
        *out = (value - mean) * scale * weight + bias;
    }
}

/// Mean and 1 / standard deviation of a row.
#[inline(always)]
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum(row) / count;
    let mut lanes = [0f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let mut rest = 0f32;
    for value in chunks.remainder() {
        rest += (value - mean) * (value - mean);
    }
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += (chunk[lane] - mean) * (chunk[lane] - mean);
        }
    }
    let variance = (lanes.iter().sum::<f32>() + rest) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// Gradients of a layer-norm row: writes that of the row to `out`, adds those of weight and bias.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn layer_norm_row_gradient(
    row: &[f32],
    weight: &[f32],
    epsilon: f32,
    gradient: &[f32],
    out: &mut [f32],
    weight_gradient: &mut [f32],
    bias_gradient: &mut [f32],
) {
    let (mean, scale) = moments(row, epsilon);
    for i in 0..row.len() {
        let unit = (row[i] - mean) * scale;
        weight_gradient[i] += gradient[i] * unit;
        bias_gradient[i] += gradient[i];
        out[i] = gradient[i] * weight[i];
    }
    let count = row.len() as f32;
    let mean_gradient = sum(out) / count;
    let mean_product = (dot(out, row) - mean * mean_gradient * count) * scale / count;
    for (out, value) in out.iter_mut().zip(row) {
        *out = scale * (*out - mean_gradient - (value - mean) * scale * mean_product);
    }
}

/// 1 / root of the mean square of a row.
#[inline(always)]
fn root_mean_square(row: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(row, row) / row.len() as f32 + epsilon).sqrt()
}

/// Root-mean-square norm of one row.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn rms_norm_row(row: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let scale = root_mean_square(row, epsilon);
    for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
        *out = value * scale * weight;
    }
}

/// Gradients of a row of [`rms_norm_row`]: writes that of the row to `out`, adds that of the weight.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn rms_norm_row_gradient(
    row: &[f32],
    weight: &[f32],
    epsilon: f32,
    gradient: &[f32],
    out: &mut [f32],
    weight_gradient: &mut [f32],
) {
    let scale = root_mean_square(row, epsilon);
    for i in 0..row.len() {
        weight_gradient[i] += gradient[i] * row[i] * scale;
        out[i] = gradient[i] * weight[i];
    }
    let along = dot(out, row) * scale * scale / row.len() as f32;
    for (out, value) in out.iter_mut().zip(row) {
        *out = scale * (*out - value * along);
    }
}

/// Turns each head of a row: number `i` of a head together with number `i + half`, by the angle with this cosine and sine; the
/// other way round where `direction` is -1 instead of 1.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn turn_row(row: &[f32], cos: &[f32], sin: &[f32], direction: f32, out: &mut [f32]) {
    let half = cos.len();
    for (out, head) in out.chunks_exact_mut(2 * half).zip(row.chunks_exact(2 * half)) {
        let ((out_left, out_right), (left, right)) = (out.split_at_mut(half), head.split_at(half));
        for i in 0..half {
            let sin = direction * sin[i];
            out_left[i] = left[i] * cos[i] - right[i] * sin;
            out_right[i] = right[i] * cos[i] + left[i] * sin;
        }
    }
}

/// Logarithm of the softmax of one row.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn log_softmax_row(row: &[f32], out: &mut [f32]) {
    let highest = highest(row);
    for (out, value) in out.iter_mut().zip(row) {
        *out = exp(*value - highest);
    }
    let shift = highest + sum(out).ln();
    for (out, value) in out.iter_mut().zip(row) {
        *out = value - shift;
    }
}

/// Gradient of a row of [`log_softmax_row`], of its `result` and the gradient of that.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn log_softmax_row_gradient(result: &[f32], gradient: &[f32], out: &mut [f32]) {
    let total = sum(gradient);
    for ((out, result), gradient) in out.iter_mut().zip(result).zip(gradient) {
        *out = gradient - exp(*result) * total;
    }
}

/// `x * sigmoid(slope x)` for each value.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn gate(slope: f32, values: &[f32], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = value / (1.0 + exp(-slope * value));
    }
}

/// Gradient of [`gate`] times `gradient`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn gate_gradient(slope: f32, values: &[f32], gradient: &[f32], out: &mut [f32]) {
    for ((out, value), gradient) in out.iter_mut().zip(values).zip(gradient) {
        let sigmoid = 1.0 / (1.0 + exp(-slope * value));
        *out = gradient * sigmoid * (1.0 + slope * value * (1.0 - sigmoid));
    }
}

/// The error function, off by less than 3·10⁻⁷: a fraction of two polynomials, as in Eigen and XLA.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    // Closer to 0 the fraction doesn't change any more, but its terms get too small to be computed fast.
    let length = x.abs().max(1e-10);
    let square = length * length;
    let mut above = -2.726_142_3e-10;
    above = above * square + 2.770_681_4e-8;
    above = above * square - 2.101_024_1e-6;
    above = above * square - 5.692_506_5e-5;
    above = above * square - 7.349_906_3e-4;
    above = above * square - 2.954_6e-3;
    above = above * square - 1.609_603_3e-2;
    let mut below = -1.456_607_2e-5;
    below = below * square - 2.133_740_5e-4;
    below = below * square - 1.682_827e-3;
    below = below * square - 7.373_329_2e-3;
    below = below * square - 1.426_473_9e-2;
    x * above / below
}

/// `x Φ(x)` for each value.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn gelu(values: &[f32], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = 0.5 * value * (1.0 + erf(value * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// Gradient of [`gelu`] times `gradient`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn gelu_gradient(values: &[f32], gradient: &[f32], out: &mut [f32]) {
    const DENSITY: f32 = 0.398_942_3; // 1 / √(2π), that of the normal distribution at 0
    for ((out, value), gradient) in out.iter_mut().zip(values).zip(gradient) {
        let share = 0.5 * (1.0 + erf(value * std::f32::consts::FRAC_1_SQRT_2));
        *out = gradient * (share + value * DENSITY * exp(-0.5 * value * value));
    }
}

/// The sums of what stands at the same place.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn add(left: &[f32], right: &[f32], sums: &mut [f32]) {
    for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
        *sum = left + right;
    }
}

/// Multiplies each value with the one that stands at its place in `by`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn scale_by(values: &mut [f32], by: &[f32]) {
    for (value, by) in values.iter_mut().zip(by) {
        *value *= by;
    }
}

/// Adds each row of `rows` to `total`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2+fma"))]
pub(super) fn add_rows(rows: &[f32], total: &mut [f32]) {
    for row in rows.chunks_exact(total.len()) {
        for (total, value) in total.iter_mut().zip(row) {
            *total += value;
        }
    }
}

/// The numbers of a contiguous `f32` storage, as a fused operation gets it.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("a fused operation got a tensor that isn't contiguous"),
    }
}

/// Runs `work` on the numbers of a CPU tensor, which are copied only where they don't follow each other.
pub(super) fn with_slice<R>(
    tensor: &Tensor,
    work: impl FnOnce(&[f32]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(slice(storage, layout)?),
        _ => candle_core::bail!("a fused operation got a tensor that isn't on the CPU"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_accurate() {
        for step in -8700..=8700 {
            let x = step as f32 / 100.0;
            let relative = (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
            assert!(relative < 4e-7, "exp({x}) is off by {relative}");
        }
        assert_eq!(exp(-1e9), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    /// Against its integral, 2 / √π ∫ exp(-t²), by Simpson's rule.
    #[test]
    fn error_function_is_accurate() {
        let density = |t: f64| 2.0 / std::f64::consts::PI.sqrt() * (-t * t).exp();
        let (mut integral, step) = (0f64, 0.01);
        for at in 0..600 {
            let t = f64::from(at) * step;
            for (x, expected) in [(t, integral), (-t, -integral)] {
                let off = (f64::from(erf(x as f32)) - expected).abs();
                assert!(off < 3e-7, "erf({x}) is off by {off}");
            }
            integral += step / 6.0 * (density(t) + 4.0 * density(t + step / 2.0) + density(t + step));
        }
        assert!((erf(f32::INFINITY) - 1.0).abs() < 3e-7 && erf(f32::NAN).is_nan());
        // Near 0 it is a straight line.
        for x in [1e-4f32, 1e-9, 1e-12, 1e-20, 1e-30, -1e-15] {
            let slope = erf(x) / x;
            assert!((slope - std::f32::consts::FRAC_2_SQRT_PI).abs() < 1e-6, "erf({x}) has the slope {slope}");
        }
    }
}
