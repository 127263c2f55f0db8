//! Tiles against products taken number by number.

use super::*;

/// Numbers between -1 and 1, the same for a seed.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(step).take(count).collect()
}

/// How far a number of a product is off at the most, as a share of what its terms are in all.
fn error((rows, inner, columns): (usize, usize, usize), (left_turned, right_turned): (bool, bool), split: bool) -> f64 {
    let (mut a, mut b) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
    if !split {
        a.iter_mut().chain(&mut b).for_each(|number| *number = half::bf16::from_f32(*number).to_f32());
    }
    let left = if left_turned { Matrix::dense(&a, inner, rows).t() } else { Matrix::dense(&a, rows, inner) };
    let right = if right_turned { Matrix::dense(&b, columns, inner).t() } else { Matrix::dense(&b, inner, columns) };
    let mut out = vec![f32::NAN; rows * columns];
    multiply(&mut out, None, &Left::new(left, split, true), &Tiled::new(right, split), true);
    let at = |matrix: Matrix<'_>, row: usize, column: usize| {
        f64::from(matrix.data[row * matrix.row_stride + column * matrix.column_stride])
    };
    let mut worst = 0f64;
    for row in 0..rows {
        for column in 0..columns {
            let terms = (0..inner).map(|k| at(left, row, k) * at(right, k, column));
            let (sum, all) = terms.fold((0.0, 0.0), |(sum, all), term: f64| (sum + term, all + term.abs()));
            let apart = (sum - f64::from(out[row * columns + column])).abs();
            worst = worst.max(apart / all);
        }
    }
    worst
}

#[test]
fn a_product_in_tiles_is_the_product() {
    if !available() {
        return;
    }
    let shapes = [
        (1, 32, 32),
        (1, 1000, 33),
        (2, 7, 5),
        (16, 64, 64),
        (17, 33, 47),
        (50, 768, 129),
        (197, 64, 197),
        (331, 1100, 65),
    ];
    for shape in shapes {
        for turned in [(false, false), (false, true), (true, false), (true, true)] {
            for split in [true, false] {
                let error = error(shape, turned, split);
                // Each part is rounded to 2⁻¹⁸ of a number, and the product of the low parts, as much, is left out.
                assert!(error < 3.0 / f64::from(1 << 18), "{shape:?} {turned:?} {split}: {error}");
            }
        }
    }
}

/// Put at once in its place, wherever parts of it end, it is the same as put aside and then shifted.
#[test]
fn a_shifted_product_is_the_product_and_the_shift() {
    if !available() {
        return;
    }
    for (rows, inner, columns) in [(1, 64, 32), (64, 1100, 64), (70, 2100, 75), (33, 40, 128)] {
        let (a, b) = (numbers(rows * inner, 4), numbers(inner * columns, 5));
        let shift = numbers(columns, 6);
        let left = Left::new(Matrix::dense(&a, rows, inner), true, false);
        let right = Tiled::new(Matrix::dense(&b, inner, columns), true);
        let (mut plain, mut shifted) = (vec![f32::NAN; rows * columns], vec![f32::NAN; rows * columns]);
        multiply(&mut plain, None, &left, &right, false);
        multiply(&mut shifted, Some(&shift), &left, &right, true);
        for (at, (plain, shifted)) in plain.iter().zip(&shifted).enumerate() {
            let expected = plain + shift[at % columns];
            assert!((shifted - expected).abs() <= 1e-5 * (1.0 + expected.abs()), "{shifted} is {expected}");
        }
    }
}

/// To the bit, however many rows there are beside it.
#[test]
fn a_row_gives_the_same_alone() {
    if !available() {
        return;
    }
    let (rows, inner, columns) = (75, 1100, 70);
    let (a, b, shift) = (numbers(rows * inner, 4), numbers(inner * columns, 5), numbers(columns, 6));
    let right = Tiled::new(Matrix::dense(&b, inner, columns), true);
    let product = |a: &[f32]| {
        let rows = a.len() / inner;
        let mut out = vec![0f32; rows * columns];
        let left = Left::new(Matrix::dense(a, rows, inner), true, true);
        multiply(&mut out, Some(&shift), &left, &right, true);
        out
    };
    let all = product(&a);
    for row in [0, 1, 40, 74] {
        let alone = product(&a[row * inner..][..inner]);
        assert_eq!(alone, all[row * columns..][..columns], "row {row}");
    }
}

#[test]
fn a_matrix_in_tiles_keeps_sixteen_digits() {
    if !available() {
        return;
    }
    for (rows, columns) in [(1, 1), (32, 32), (45, 67), (100, 16)] {
        let b = numbers(rows * columns, 3);
        for split in [true, false] {
            let tiled = Tiled::new(Matrix::dense(&b, columns, rows).t(), split);
            let most = if split { 1.0 / f32::from(1u16 << 15) / 2.0 } else { 1.0 / 256.0 };
            for (found, expected) in tiled.turned().iter().zip(&b) {
                assert!((found - expected).abs() <= most * expected.abs(), "{found} is {expected}");
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    if !available() {
        return;
    }
    for number in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7f80_0001)] {
        let mut b = numbers(40 * 40, 7);
        b[1000] = number;
        let tiled = Tiled::new(Matrix::dense(&b, 40, 40), true);
        let a = numbers(40 * 40, 8);
        let mut out = vec![0f32; 40 * 40];
        multiply(&mut out, None, &Left::new(Matrix::dense(&a, 40, 40), true, false), &tiled, false);
        for (at, number) in out.iter().enumerate() {
            assert_eq!(number.is_finite(), at % 40 != 0, "{at}: {number}");
        }
    }
}
