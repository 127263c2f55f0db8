//! Numbers over the maps of all queries: how much of the picture they see together, and how different they are.

use nalgebra::{DMatrix, SymmetricEigen};

/// Numbers over the maps of all queries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The share of patches to which at least one query gives as much attention as if it looked everywhere alike: one over
    /// the number of patches.
    pub coverage: f32,
    /// The mean over the queries of [`entropy`], in bits.
    pub entropy: f32,
    /// The mean cosine between the maps of two queries: 1 where all look alike. None where there is one query alone.
    pub overlap: Option<f32>,
    /// See [`effective_rank`].
    pub rank: f32,
}

impl Figures {
    /// The numbers over `maps`, one a query, all of one length. None where there are none.
    #[must_use]
    pub fn of(maps: &[Vec<f32>]) -> Option<Self> {
        let patches = maps.first().map_or(0, Vec::len);
        if patches == 0 || maps.iter().any(|map| map.len() != patches) {
            return None;
        }
        let even = 1.0 / patches as f32;
        let is_seen = |patch: &usize| maps.iter().any(|map| map[*patch] >= even);
        let cosines = cosines(maps);
        let count = maps.len();
        let pairs = (count * (count - 1)) as f64;
        // The diagonal is each map with itself.
        let between = cosines.sum() - cosines.trace();
        Some(Self {
            coverage: (0..patches).filter(is_seen).count() as f32 * even,
            entropy: maps.iter().map(|map| entropy(map)).sum::<f32>() / count as f32,
            overlap: (pairs > 0.0).then_some((between / pairs) as f32),
            rank: rank_of(cosines),
        })
    }
}

/// The entropy of a map that is brought to sum one, in bits: 0 where all lies on one patch.
#[must_use]
pub fn entropy(map: &[f32]) -> f32 {
    let sum: f32 = map.iter().sum();
    let shares = map.iter().map(|value| value / sum).filter(|share| *share > 0.0);
    // Not minus zero where all lies on one patch.
    shares.map(|share| -share * share.log2()).sum::<f32>().abs()
}

/// How many different maps there are in effect (Roy and Vetterli 2007): the exponential of the entropy of the singular
/// values, as shares of their sum. Each map is brought to length one before, so that a weak one counts as much as a strong
/// one: 1 where all look alike, the number of queries where no two share a patch.
#[must_use]
pub fn effective_rank(maps: &[Vec<f32>]) -> f32 {
    rank_of(cosines(maps))
}

/// The cosine of each map with each; zero for a map of nothing.
fn cosines(maps: &[Vec<f32>]) -> DMatrix<f64> {
    let unit = |map: &Vec<f32>| -> Vec<f64> {
        let length = map.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        // What isn't finite would never come to an end below.
        let scale = if length.is_finite() && length > 0.0 { 1.0 / length } else { 0.0 };
        map.iter().map(|value| if scale > 0.0 { f64::from(*value) * scale } else { 0.0 }).collect()
    };
    let units: Vec<Vec<f64>> = maps.iter().map(unit).collect();
    let product = |row: usize, column: usize| units[row].iter().zip(&units[column]).map(|(a, b)| a * b).sum::<f64>();
    DMatrix::from_fn(units.len(), units.len(), product)
}

fn rank_of(cosines: DMatrix<f64>) -> f32 {
    if cosines.is_empty() {
        return 0.0;
    }
    // The eigenvalues of the inner products are the squares of the singular values.
    let eigen = SymmetricEigen::new(cosines);
    let singular: Vec<f64> = eigen.eigenvalues.iter().map(|value| value.max(0.0).sqrt()).collect();
    let sum: f64 = singular.iter().sum();
    let shares = singular.iter().map(|value| value / sum).filter(|share| *share > 0.0);
    let entropy: f64 = shares.map(|share| -share * share.ln()).sum();
    if sum > 0.0 { entropy.exp() as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: f32, other: f32) -> bool {
        (one - other).abs() < 1e-3
    }

    #[test]
    fn queries_that_look_alike_count_as_one() {
        let alike = vec![vec![0.2, 0.3, 0.1], vec![0.4, 0.6, 0.2], vec![0.2, 0.3, 0.1]];
        assert!(near(effective_rank(&alike), 1.0), "{}", effective_rank(&alike));
        let figures = Figures::of(&alike).unwrap();
        assert!(near(figures.overlap.unwrap(), 1.0) && near(figures.coverage, 2.0 / 3.0), "{figures:?}");
    }

    #[test]
    fn queries_that_share_no_patch_count_each() {
        let apart = vec![vec![0.5, 0.0, 0.0, 0.0], vec![0.0, 0.1, 0.1, 0.0]];
        assert!(near(effective_rank(&apart), 2.0));
        let figures = Figures::of(&apart).unwrap();
        // One patch gets a half, two get less than a quarter: one of four is seen.
        assert!(near(figures.coverage, 0.25) && near(figures.entropy, 0.5), "{figures:?}");
        assert!(near(figures.overlap.unwrap(), 0.0));
    }

    #[test]
    fn two_of_four_alike_are_between() {
        let maps: Vec<Vec<f32>> =
            [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(Vec::from).to_vec();
        // Singular values √2, 1, 1.
        let sum = 2f32.sqrt() + 2.0;
        let share = |value: f32| -(value / sum) * (value / sum).ln();
        let expected = (share(2f32.sqrt()) + 2.0 * share(1.0)).exp();
        assert!(near(effective_rank(&maps), expected), "{} {expected}", effective_rank(&maps));
    }

    #[test]
    fn odd_maps_do_no_harm() {
        assert_eq!(Figures::of(&[]), None);
        assert_eq!(Figures::of(&[vec![1.0], vec![]]), None);
        assert_eq!(effective_rank(&[]), 0.0);
        assert_eq!((effective_rank(&[vec![0.0; 3], vec![0.0; 3]]), entropy(&[0.0; 4])), (0.0, 0.0));
        assert!(effective_rank(&[vec![f32::NAN, 1.0], vec![1.0, f32::INFINITY]]).abs() < 1e-6);
        let one = Figures::of(&[vec![0.25; 4]]).unwrap();
        assert!(one.overlap.is_none() && near(one.entropy, 2.0) && near(one.rank, 1.0) && near(one.coverage, 1.0));
    }
}
