//! The nearest neighbours of each vector by Euclidean distance, exactly: what t-SNE and UMAP build on.

use nalgebra::DMatrix;

use super::{Watch, report};
use crate::error::Result;

/// So many vectors are compared with all at a time: few enough for little memory, enough for a fast matrix product.
const BLOCK: usize = 128;
/// Below this share of the two squared lengths a squared distance is rounding alone.
const NOTHING: f64 = 1e-12;

/// The `neighbours` nearest others of each vector as `(index, distance)`, the nearest first and the earlier vector first
/// among equals. Distances are divided by their mean: neither method knows units, and so sizes never overflow.
///
/// The vectors have the same length and finite numbers, and there are more of them than `neighbours`.
///
/// # Errors
/// If `watch` stops the work.
pub(super) fn nearest(vectors: &[&[f32]], neighbours: usize, watch: Watch<'_>) -> Result<Vec<Vec<(usize, f64)>>> {
    let (count, width) = (vectors.len(), vectors.first().map_or(0, |vector| vector.len()));
    let mut rows = DMatrix::from_fn(count, width, |row, column| f64::from(vectors[row][column]));
    // Around the middle, lengths are of the size of the distances, and less is lost in their difference.
    for mut column in rows.column_iter_mut() {
        column.add_scalar_mut(-column.mean());
    }
    let columns = rows.transpose();
    let lengths: Vec<f64> = columns.column_iter().map(|vector| vector.norm_squared()).collect();
    let mut found = Vec::with_capacity(count);
    for first in (0..count).step_by(BLOCK) {
        report(watch, first as f32 / count as f32)?;
        let block = columns.columns(first, BLOCK.min(count - first));
        let products = &rows * block; // [all, block]
        for (at, products) in products.column_iter().enumerate() {
            let own = first + at;
            let mut others: Vec<(usize, f64)> = products
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != own)
                .map(|(other, product)| {
                    let lengths = lengths[own] + lengths[other];
                    let square = lengths - 2.0 * product;
                    (other, if square > NOTHING * lengths { square.sqrt() } else { 0.0 })
                })
                .collect();
            let order = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
            if neighbours < others.len() {
                others.select_nth_unstable_by(neighbours, order);
                others.truncate(neighbours);
            }
            others.sort_unstable_by(order);
            others.shrink_to_fit();
            found.push(others);
        }
    }
    let mean = found.iter().flatten().map(|(_, distance)| distance).sum::<f64>() / (count * neighbours).max(1) as f64;
    if mean > 0.0 {
        found.iter_mut().flatten().for_each(|(_, distance)| *distance /= mean);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{clusters, slices};
    use super::*;

    #[test]
    fn the_nearest_come_first() {
        let cloud: [&[f32]; 5] = [&[0.0, 1.0], &[1.0, 1.0], &[3.0, 1.0], &[0.0, 1.0], &[7.0, 1.0]];
        let found = nearest(&cloud, 3, &mut |_| true).unwrap();
        let indices: Vec<Vec<usize>> = found.iter().map(|row| row.iter().map(|(index, _)| *index).collect()).collect();
        assert_eq!(indices, [[3, 1, 2], [0, 3, 2], [1, 0, 3], [0, 1, 2], [2, 1, 0]]);
        assert_eq!(found[0][0].1, 0.0, "the same vector twice");
        let shares = |row: usize| found[row].iter().map(|(_, distance)| distance / found[0][1].1).collect::<Vec<_>>();
        for (share, expected) in shares(4).iter().zip([4.0, 6.0, 7.0]) {
            assert!((share - expected).abs() < 1e-12, "{share}, not {expected}");
        }
        let mean = found.iter().flatten().map(|(_, distance)| distance).sum::<f64>() / 15.0;
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }

    #[test]
    fn blocks_meet() {
        let cloud = clusters(BLOCK + 3, 8, 2);
        let found = nearest(&slices(&cloud), 4, &mut |_| true).unwrap();
        let square = |a: usize, b: usize| -> f64 {
            cloud[a].iter().zip(&cloud[b]).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum()
        };
        for (own, row) in found.iter().enumerate() {
            let mut others: Vec<usize> = (0..cloud.len()).filter(|other| *other != own).collect();
            others.sort_by(|a, b| square(own, *a).total_cmp(&square(own, *b)));
            assert_eq!(row.iter().map(|(index, _)| *index).collect::<Vec<_>>(), others[..4], "{own}");
        }
    }
}
