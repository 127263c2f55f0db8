//! A measured share and how sure it is.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// How often the sample is drawn anew.
const RESAMPLES: usize = 1000;

/// A share from 0 to 1 with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// What was measured.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

impl Share {
    /// `statistic` of `groups` groups, which gets their indices. The interval is that of the percentile bootstrap
    /// (Efron 1979): the groups are drawn again with repetition, a thousand times, always by the same random numbers.
    ///
    /// Groups must be independent, so they are scenes: phrases of one scene aren't.
    pub fn bootstrap(groups: usize, statistic: impl Fn(&[usize]) -> f64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut indices: Vec<usize> = (0..groups).collect();
        let value = statistic(&indices);
        let mut drawn: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                indices.fill_with(|| rng.random_range(0..groups as u64) as usize);
                statistic(&indices)
            })
            .collect();
        drawn.sort_by(f64::total_cmp);
        Self { value, low: drawn[RESAMPLES / 40], high: drawn[RESAMPLES - 1 - RESAMPLES / 40] }
    }

    /// The mean of `hits`, each of a scene of its own.
    #[must_use]
    pub fn of(hits: &[f64]) -> Self {
        Self::bootstrap(hits.len(), |drawn| mean(drawn.iter().map(|index| hits[*index])))
    }
}

/// The mean, or 0 of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}
