//! What a linear map can read from vectors: ridge regression, and how much of the variance of new cases it explains.

use nalgebra::DMatrix;

use crate::error::{Error, Result};

/// Ridges that are tried, as shares of the mean squared length of a row.
const RIDGES: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// Cases: what is read from, `[cases, width]`, and what is to be read, `[cases, targets]`.
pub(super) struct Cases {
    pub from: DMatrix<f64>,
    pub to: DMatrix<f64>,
}

/// The share of the variance of `unseen` targets that a ridge regression on `seen` explains (R²; below 0 where the mean says
/// more). The ridge is the one that explains the last fifth of `seen` best from the rest (Alain & Bengio 2016, arXiv 1610.01644,
/// for the idea of such probes).
///
/// # Errors
/// If there are too few cases.
pub(super) fn r_squared(seen: &Cases, unseen: &Cases) -> Result<f64> {
    let (cases, kept) = (seen.from.nrows(), seen.from.nrows() * 4 / 5);
    if kept == 0 || kept == cases || unseen.from.nrows() == 0 {
        return Err(Error::unusable("there are too few scenes for a probe", "ask for more scenes"));
    }
    let part = |first: usize, count: usize| Cases {
        from: seen.from.rows(first, count).into_owned(),
        to: seen.to.rows(first, count).into_owned(),
    };
    let (first, last) = (part(0, kept), part(kept, cases - kept));
    let tried = explained(&first, &last, &RIDGES);
    let best = (0..RIDGES.len()).max_by(|one, other| tried[*one].total_cmp(&tried[*other])).unwrap_or(0);
    Ok(explained(seen, unseen, &[RIDGES[best]])[0])
}

/// R² for each of `ridges`. Rows are fewer than numbers in a row, so the regression is solved by inner products of rows.
fn explained(seen: &Cases, unseen: &Cases, ridges: &[f64]) -> Vec<f64> {
    let (mean_from, mean_to) = (seen.from.row_mean(), seen.to.row_mean());
    let less = |matrix: &DMatrix<f64>, mean: &nalgebra::RowDVector<f64>| {
        DMatrix::from_fn(matrix.nrows(), matrix.ncols(), |row, column| matrix[(row, column)] - mean[column])
    };
    let (from, to) = (less(&seen.from, &mean_from), less(&seen.to, &mean_to));
    let (new, truth) = (less(&unseen.from, &mean_from), less(&unseen.to, &mean_to));
    let kernel = &from * from.transpose();
    let across = &new * from.transpose();
    let length = kernel.trace() / kernel.nrows() as f64;
    let of_ridge = |ridge: &f64| {
        let damped = &kernel + DMatrix::identity(kernel.nrows(), kernel.nrows()) * (ridge * length).max(1e-12);
        damped.cholesky().map_or(f64::NEG_INFINITY, |factor| {
            let residual = &truth - &across * factor.solve(&to);
            1.0 - residual.norm_squared() / truth.norm_squared().max(1e-12)
        })
    };
    ridges.iter().map(of_ridge).collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn cases(count: usize, seed: u64, noise: bool) -> Cases {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let from = DMatrix::from_fn(count, 20, |_, _| rng.random_range(-1.0..1.0));
        let to = DMatrix::from_fn(count, 2, |row, column| {
            if noise { rng.random_range(-1.0..1.0) } else { 3.0 * from[(row, column)] - from[(row, column + 2)] + 5.0 }
        });
        Cases { from, to }
    }

    #[test]
    fn a_linear_map_is_found_and_noise_is_not() {
        let linear = r_squared(&cases(100, 1, false), &cases(50, 2, false)).expect("enough cases");
        assert!(linear > 0.999, "{linear}");
        let noise = r_squared(&cases(100, 1, true), &cases(50, 2, true)).expect("enough cases");
        assert!(noise < 0.2, "{noise}");
        assert!(r_squared(&cases(1, 1, false), &cases(50, 2, false)).is_err());
    }
}
