//! What the projector does to neighbourhoods of patches, and what can no longer be told behind it.

use nalgebra::DMatrix;

use crate::error::Result;
use crate::methods::expected::highest;
use crate::methods::spliced::Change;
use crate::methods::vectors::{dot, unit};
use crate::taps::CancelToken;

/// How many neighbours of a patch are compared.
const NEIGHBOURS: usize = 5;
/// The most patches that a regression is fitted on.
pub(super) const MOST_ROWS: usize = 1000;
/// Weight of the ridge, as a share of the mean squared length of a patch's vector behind the projector, less the mean.
const RIDGE: f64 = 1e-3;

/// Compares a picture's patches `before` the projector and `behind` it, a vector each. `others` are further patches, of
/// other pictures, that join the regression which tells what was before from what comes out.
///
/// # Errors
/// If it is cancelled.
pub(super) fn change(
    before: &[Vec<f32>],
    behind: &[Vec<f32>],
    others: &[(Vec<f32>, Vec<f32>)],
    cancel: &CancelToken,
) -> Result<Change> {
    let neighbours = NEIGHBOURS.min(before.len().saturating_sub(1));
    let [near_before, near_behind] = [before, behind].map(|vectors| nearest(vectors, neighbours));
    let kept = near_before.iter().zip(&near_behind).map(|(before, behind)| {
        let common = before.iter().filter(|patch| behind.contains(patch)).count();
        common as f32 / neighbours.max(1) as f32
    });
    cancel.check()?;
    let room = MOST_ROWS.saturating_sub(before.len());
    let step = others.len().div_ceil(room.max(1)).max(1);
    let some: Vec<&(Vec<f32>, Vec<f32>)> = others.iter().step_by(step).take(room).collect();
    let all_before = matrix(before.iter().chain(some.iter().map(|(before, _)| before)));
    let all_behind = matrix(behind.iter().chain(some.iter().map(|(_, behind)| behind)));
    Ok(Change {
        neighbours,
        kept: kept.collect(),
        alignment: alignment(&matrix(before.iter()), &matrix(behind.iter())),
        lost: lost(&all_before, &all_behind, before.len(), cancel)?,
    })
}

/// The `count` nearest others of each vector, by cosine.
fn nearest(vectors: &[Vec<f32>], count: usize) -> Vec<Vec<usize>> {
    let units: Vec<Vec<f32>> = vectors.iter().map(|vector| unit(vector)).collect();
    let near = |(at, vector): (usize, &Vec<f32>)| {
        let cosine = |(other, vector_there): (usize, &Vec<f32>)| {
            if other == at { f32::NEG_INFINITY } else { dot(vector, vector_there) }
        };
        let cosines: Vec<f32> = units.iter().enumerate().map(cosine).collect();
        highest(&cosines, count)
    };
    units.iter().enumerate().map(near).collect()
}

/// Vectors as rows, less their mean.
fn matrix<'a>(vectors: impl Iterator<Item = &'a Vec<f32>>) -> DMatrix<f64> {
    let rows: Vec<&Vec<f32>> = vectors.collect();
    let width = rows.iter().map(|row| row.len()).min().unwrap_or(0);
    let mut matrix = DMatrix::from_fn(rows.len(), width, |row, column| f64::from(rows[row][column]));
    for mut column in matrix.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    matrix
}

/// Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414, equation 3 with linear kernels), by the kernels
/// between patches, of which there are fewer than there are numbers in a vector of a large model.
fn alignment(before: &DMatrix<f64>, behind: &DMatrix<f64>) -> f32 {
    let (one, other) = (before * before.transpose(), behind * behind.transpose());
    let all = (one.norm_squared() * other.norm_squared()).sqrt();
    if all > 0.0 { (one.dot(&other) / all).clamp(0.0, 1.0) as f32 } else { 0.0 }
}

/// Of each of the first `count` rows the share of `before` that a ridge regression on all other rows can't tell from
/// `behind`. What leaving a row out would give follows from the fit on all of them: its residual is the larger by 1 / (1 -
/// h), with h the row's own weight in its fit.
fn lost(before: &DMatrix<f64>, behind: &DMatrix<f64>, count: usize, cancel: &CancelToken) -> Result<Vec<f32>> {
    let rows = behind.nrows();
    if rows == 0 {
        return Ok(Vec::new());
    }
    let variance = behind.norm_squared() / rows as f64;
    let ridge = RIDGE * variance.max(1e-12);
    cancel.check()?;
    // What the fit leaves of each row, and of the row's own weight in its fit: by the inner products of columns or of rows,
    // whichever are fewer.
    let (residuals, left) = if behind.ncols() <= rows {
        let moments = behind.tr_mul(behind) + DMatrix::identity(behind.ncols(), behind.ncols()) * ridge;
        let Some(factor) = moments.cholesky() else { return Ok(vec![0.0; count]) };
        let solved = factor.solve(&behind.transpose()); // [width behind, rows]
        let own = |row: usize| 1.0 - (behind.row(row) * solved.column(row))[(0, 0)];
        (before - behind * (&solved * before), (0..count).map(own).collect::<Vec<f64>>())
    } else {
        let kernel = behind * behind.transpose() + DMatrix::identity(rows, rows) * ridge;
        let Some(factor) = kernel.cholesky() else { return Ok(vec![0.0; count]) };
        let left = factor.inverse() * ridge; // 1 - K (K + ridge)^-1
        (&left * before, (0..count).map(|row| left[(row, row)]).collect())
    };
    let mean = 1.0 / rows as f64; // the weight of a row in the mean, which was taken off
    let of_row = |(row, left): (usize, f64)| {
        let length = before.row(row).norm_squared();
        let residual = residuals.row(row).norm_squared() / (left - mean).max(1e-6).powi(2);
        if length > 0.0 { (residual / length).clamp(0.0, 1.0) as f32 } else { 0.0 }
    };
    Ok(left.into_iter().enumerate().map(of_row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn vectors(count: usize, width: usize) -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        (0..count).map(|_| (0..width).map(|_| rng.random_range(-1.0..1.0f32)).collect()).collect()
    }

    #[test]
    fn a_turn_keeps_everything() {
        let before = vectors(60, 4);
        let behind: Vec<Vec<f32>> = before.iter().map(|v| vec![v[1], -v[0], v[3], v[2]]).collect();
        let change = change(&before, &behind, &[], &CancelToken::default()).expect("a change");
        assert_eq!(change.neighbours, 5);
        assert!(change.kept.iter().all(|kept| *kept == 1.0) && (change.alignment - 1.0).abs() < 1e-5);
        assert!(change.lost.iter().all(|lost| *lost < 0.01), "{:?}", change.lost);
    }

    #[test]
    fn what_is_dropped_is_lost() {
        let before = vectors(400, 4);
        let behind: Vec<Vec<f32>> = before.iter().map(|v| v[..2].to_vec()).collect();
        let change = change(&before, &behind, &[], &CancelToken::default()).expect("a change");
        let mean = change.lost.iter().sum::<f32>() / 400.0;
        assert!((mean - 0.5).abs() < 0.06, "{mean}");
        assert!(change.alignment < 0.9 && change.kept.iter().sum::<f32>() < 300.0);
    }

    /// Leaving a row out and fitting again gives what the formula gives.
    #[test]
    fn a_row_that_is_left_out_is_told_from_the_others() {
        let before = vectors(12, 2);
        let behind: Vec<Vec<f32>> = before.iter().map(|v| vec![v[0] + 0.3 * v[1] * v[1]]).collect();
        let all = change(&before, &behind, &[], &CancelToken::default()).expect("a change");
        let (x, y) = (matrix(behind.iter()), matrix(before.iter()));
        let ridge = RIDGE * (&x * x.transpose()).trace() / 12.0;
        for left_out in 0..12 {
            let others: Vec<usize> = (0..12).filter(|row| *row != left_out).collect();
            let mean = |of: &[Vec<f32>], column: usize| {
                others.iter().map(|row| f64::from(of[*row][column])).sum::<f64>() / 11.0
            };
            let (x0, y0) = (mean(&behind, 0), [mean(&before, 0), mean(&before, 1)]);
            let along = |row: usize| f64::from(behind[row][0]) - x0;
            let spread: f64 = others.iter().map(|row| along(*row).powi(2)).sum::<f64>() + ridge;
            let mut off = 0.0;
            for (column, mean) in y0.iter().enumerate() {
                let there = |row: usize| f64::from(before[row][column]) - mean;
                let slope = others.iter().map(|row| along(*row) * there(*row)).sum::<f64>() / spread;
                off += (there(left_out) - slope * along(left_out)).powi(2);
            }
            let expected = (off / y.row(left_out).norm_squared()).clamp(0.0, 1.0) as f32;
            assert!((all.lost[left_out] - expected).abs() < 0.01, "{} {expected}", all.lost[left_out]);
        }
    }

    #[test]
    fn nothing_and_sameness_give_numbers() {
        for before in [Vec::new(), vec![vec![1.0, 2.0]], vec![vec![1.0, 2.0]; 4]] {
            let change = change(&before, &before, &[], &CancelToken::default()).expect("a change");
            assert_eq!((change.kept.len(), change.lost.len()), (before.len(), before.len()));
            assert!(
                change.kept.iter().chain(&change.lost).all(|value| value.is_finite()) && change.alignment.is_finite()
            );
        }
    }
}
